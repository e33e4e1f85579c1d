"""What is told about messages that were judged, from a store that holds one of each kind."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from waymail.app.cli import main
from waymail.app.cli.output import Exit
from waymail.mail.envelope import Body, Envelope, Origin, QueueIds, Recipient
from waymail.net.clock import SystemClock
from waymail.store.contract import Event, NewMessage, Refusal, State
from waymail.store.sqlite import SqliteStore

REJECTED: Mapping[str, Any] = {
    "action": "reject",
    "rule": "dmarc_reject",
    "reason": "neither SPF nor DKIM passed for bank.example",
    "reply": "550 5.7.26 bank.example asks to refuse this",
    "checks": {
        "spf": {"result": "fail", "reason": "-all matched", "domain": "bank.example", "mechanism": "-all"},
        "dkim": [{"result": "none", "reason": "no signature"}],
        "dmarc": {"result": "fail", "reason": "nothing is aligned", "policy": "reject"},
        "dnsbl": {"result": "listed", "reason": "", "hits": [{"zone": "bl.example", "answer": "127.0.0.2", "text": ""}]},
    },
    "matches": [
        {"rule": "dmarc_reject", "action": "reject", "reason": "neither passed"},
        {"rule": "spf_fail", "action": "mark", "reason": "-all matched"},
    ],
    "dns": [
        ["bank.example", "TXT", "records", ["v=spf1 mx -all", "other"], False],
        ["bank.example", "MX", "records", ["10 mx.bank.example", "20 mx2.bank.example"], False],
        ["mx.bank.example", "A", "records", ["192.0.2.1"], False],
        ["mx2.bank.example", "A", "no records", [], False],
        ["_dmarc.bank.example", "TXT", "records", ["v=DMARC1; p=reject"], True],
        ["7.2.0.192.bl.example", "A", "failure: timed out", [], False],
    ],
}
MARKED: Mapping[str, Any] = {
    "action": "accept",
    "rule": "dmarc_reject",
    "override": "trusted_forwarder: sealed by lists.example\x1b[31m",
    "forged": 2,
    "checks": {},
    "dns": [],
}
REPLY = "550 5.7.26 bank.example asks to refuse this"
ORIGIN = Origin("ESMTP", "mx.example.net", "192.0.2.7")


@pytest.fixture
def server(tmp_path: Path) -> tuple[str, dict[str, str]]:
    """A configuration, and the id of each message."""
    config = tmp_path / "waymail.toml"
    config.write_text('hostname = "mail.example.org"\n')
    ids, now, made = QueueIds(7), SystemClock().now(), dict[str, str]()

    def envelope(name: str, origin: Origin = ORIGIN) -> Envelope:
        made[name] = ids.next(now)
        return Envelope(made[name], "ceo@bank.example", (Recipient(f"{name}@example.org"),), now, origin=origin)

    async def fill() -> None:
        store = await SqliteStore.open(tmp_path / "data" / "queue", now=SystemClock().now)
        events = (Event(now, "judged", REJECTED),)
        await store.refused(Refusal(envelope("refused"), REPLY, events, 900))
        gone = Event(now, "judged", {"action": "discard", "rule": "policy"})
        await store.refused(Refusal(envelope("discarded"), "250 queued", (gone,), 900, State.REMOVED))
        for name, origin, judged in (
            ("marked", ORIGIN, (Event(now, "judged", MARKED),)),
            ("trusted", ORIGIN, ()),
            ("user", Origin("ESMTPSA", "laptop", "192.0.2.8", user="ann"), ()),
            ("here", Origin(), ()),
        ):
            await store.accept(NewMessage(envelope(name, origin), Body(b"x", 1), events=judged))
        await store.close()

    asyncio.run(fill())
    return str(config), made


def explained(server: tuple[str, dict[str, str]], name: str, capsys: pytest.CaptureFixture[str]) -> list[str]:
    assert main(["explain", server[1][name], "--config", server[0]]) == Exit.OK
    return capsys.readouterr().out.splitlines()


def test_a_refused_message_has_its_checks_its_rule_and_what_dns_said(
    server: tuple[str, dict[str, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    first, when, *lines = explained(server, "refused", capsys)
    assert first == f"{server[1]['refused']}  from ceo@bank.example to refused@example.org"
    assert when.endswith("refused from mx.example.net [192.0.2.7], by ESMTP, no TLS, 900 B")
    assert lines == [
        "  reject: dmarc_reject: neither SPF nor DKIM passed for bank.example",
        "    the client was told: 550 5.7.26 bank.example asks to refuse this",
        "  rules that applied",
        "    dmarc_reject  reject  neither passed",
        "    spf_fail      mark    -all matched",
        "  checks",
        "    spf    fail    -all matched",
        "                   domain: bank.example",
        "                   mechanism: -all",
        "    dkim   none    no signature",
        "    dmarc  fail    nothing is aligned",
        "                   policy: reject",
        "    dnsbl  listed",
        "                   hits: zone bl.example, answer 127.0.0.2",
        "  asked of DNS",
        "    bank.example TXT         v=spf1 mx -all",
        "                             other",
        "    bank.example MX          10 mx.bank.example",
        "                             20 mx2.bank.example",
        "    mx.bank.example A        192.0.2.1",
        "    mx2.bank.example A       no records",
        "    _dmarc.bank.example TXT  v=DMARC1; p=reject  (DNSSEC)",
        "    7.2.0.192.bl.example A   failure: timed out",
    ]


def test_spf_is_gone_through_once_more_with_the_answers_of_then(
    server: tuple[str, dict[str, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["explain", server[1]["refused"], "--again", "--config", server[0]]) == Exit.OK
    lines = capsys.readouterr().out.splitlines()
    again = lines[lines.index("  SPF once more, with these answers") + 1 :]
    assert again[0] == "    bank.example  v=spf1 mx -all"
    assert [line.split()[:3] for line in again[1:3]] == [["mx", "no", "match:"], ["-all", "match"]]
    assert not any("it was" in line for line in again)


def test_a_departure_from_what_the_domain_asks_is_said_and_drives_no_terminal(
    server: tuple[str, dict[str, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    _, when, *lines = explained(server, "marked", capsys)
    assert "  accepted from " in when
    assert lines == [
        "  accept: dmarc_reject",
        r"    not as the sender's domain asks: trusted_forwarder: sealed by lists.example\x1b[31m",
        "    taken out: 2 header fields that claimed to be this server's",
    ]


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("user", "not judged: ann authenticated"),
        ("here", "not judged: it was made on this machine"),
        ("trusted", "not judged: its client is trusted, or this server checked nothing when it came"),
    ],
)
def test_a_message_that_was_not_judged_says_why(
    server: tuple[str, dict[str, str]], capsys: pytest.CaptureFixture[str], name: str, why: str
) -> None:
    assert explained(server, name, capsys)[-1] == f"  {why}"


def test_a_discarded_message_does_not_look_as_if_it_were_accepted(
    server: tuple[str, dict[str, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert "  discarded from " in explained(server, "discarded", capsys)[1]


def test_json_has_the_questions_with_names(server: tuple[str, dict[str, str]], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "refused@example.org", "--json", "--config", server[0]]) == Exit.OK
    (found,) = json.loads(capsys.readouterr().out)
    assert (found["id"], found["recipients"][0]["state"]) == (server[1]["refused"], "refused")
    (judged,) = found["judged"]
    assert judged["checks"] == REJECTED["checks"]
    assert judged["dns"][4] == {
        "name": "_dmarc.bank.example",
        "type": "TXT",
        "status": "records",
        "records": ["v=DMARC1; p=reject"],
        "authentic": True,
    }


def test_all_of_a_sender_are_explained_up_to_the_limit(
    server: tuple[str, dict[str, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["explain", "ceo@bank.example", "--limit", "2", "--config", server[0]]) == Exit.OK
    out, err = capsys.readouterr()
    assert [line[:13] for line in out.splitlines() if "  from ceo@" in line] == [server[1]["here"], server[1]["user"]]
    assert "these are the newest 2" in err


def test_nothing_found_and_what_cannot_be_looked_for(
    server: tuple[str, dict[str, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["explain", "eve@example.org", "--config", server[0]]) == Exit.UNAVAILABLE
    assert "eve@example.org" in capsys.readouterr().err
    assert main(["explain", "eve@example.org", "--json", "--config", server[0]]) == Exit.OK
    assert json.loads(capsys.readouterr().out) == []
    for arguments in (["@example.org"], [" "], ["eve@example.org", "--limit", "0"]):
        assert main(["explain", *arguments, "--config", server[0]]) == Exit.USAGE


# --- the trace


def test_the_trace_of_a_refused_message_has_the_rule_that_decided(
    server: tuple[str, dict[str, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["trace", server[1]["refused"], "--config", server[0]]) == Exit.OK
    _, verdict, *lines = capsys.readouterr().out.splitlines()
    assert verdict == f"  refused: {REPLY}"
    assert [line[23:] for line in lines] == [
        "refused     from mx.example.net [192.0.2.7], by ESMTP, no TLS, 900 B",
        "judged      reject: dmarc_reject: neither SPF nor DKIM passed for bank.example",
    ]


def test_refused_messages_are_found_by_their_state_and_wait_for_nobody(
    server: tuple[str, dict[str, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["trace", "--state", "refused", "--json", "--config", server[0]]) == Exit.OK
    (found,) = json.loads(capsys.readouterr().out)
    assert found["id"] == server[1]["refused"]
    assert [event["kind"] for event in found["events"]] == ["refused", "judged"]
    assert main(["queue", "list", "--json", "--config", server[0]]) == Exit.OK
    waiting = {one["id"] for one in json.loads(capsys.readouterr().out)}
    assert waiting == {server[1][name] for name in ("marked", "trusted", "user", "here")}
