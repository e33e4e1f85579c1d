from __future__ import annotations

import asyncio
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from waymail.app.cli import main
from waymail.app.cli.output import Exit, time_text
from waymail.app.cli.story import accepted_text, heading, told
from waymail.mail.envelope import Body, Envelope, Options, Origin, QueueIds, Recipient
from waymail.store.contract import Change, Event, NewMessage, RecipientState, Settlement, State, Story
from waymail.store.sqlite import SqliteStore

CONFIG = 'hostname = "mail.example.org"\n'
START = 1_700_000_000.0  # 2023-11-14 22:13:20 UTC
LATER = 4_000_000_000.0
CONTENT = b"Subject: x\r\n\r\n" + b"x" * 4226


def message(id: str, to: str, **more: Any) -> NewMessage:
    origin = Origin("ESMTPSA", "laptop", "192.0.2.1", "TLSv1.3 AES unverified", "ann")
    envelope = Envelope(id, "ann@example.org", (Recipient(to),), START, message_id=f"<{to}>", origin=origin)
    return NewMessage(envelope, Body(CONTENT, len(CONTENT)), **more)


def attempt(at: float, outcome: str, reply: str, to: str, **more: Any) -> Event:
    peer = {"host": "mx.example.net", "address": "192.0.2.5", "tls": "TLSv1.3 X verified"}
    return Event(
        at,
        "attempt",
        {"destination": "mx", **peer, "ms": 12.5, "results": [{"to": [to], "outcome": outcome, "reply": reply, **more}]},
    )


@pytest.fixture
def server(tmp_path: Path) -> tuple[Path, list[str]]:
    """A configuration whose store holds a message that waits and one that was delivered."""
    config = tmp_path / "waymail.toml"
    config.write_text(CONFIG)
    new_id = QueueIds(1)
    ids = [new_id.next(START), new_id.next(START)]

    async def fill() -> None:
        store = await SqliteStore.open(tmp_path / "data" / "queue", now=lambda: START)
        waits = await store.accept(message(ids[0], "bob@example.net"))
        event = attempt(
            START + 1, "deferred", "450 4.2.1 busy\x1b[2J", "bob@example.net", next=LATER, why="the schedule sets the next"
        )
        change = Change(0, State.QUEUED, 1, "450 4.2.1 busy\x1b[2J", next_at=LATER)
        await store.settle(Settlement(ids[0], waits.token, (change,), (event,)))
        done = await store.accept(message(ids[1], "eve@example.net"))
        event = attempt(START + 2, "delivered", "250 2.0.0 ok", "eve@example.net")
        await store.settle(Settlement(ids[1], done.token, (Change(0, State.DELIVERED, 1, "250 2.0.0 ok"),), (event,)))
        await store.close()

    asyncio.run(fill())
    return config, ids


def run(config: Path, *arguments: str) -> int:
    return main([*arguments, "--config", str(config)])


def test_queue_list_shows_what_waits_and_why(server: tuple[Path, list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    config, ids = server
    assert run(config, "queue", "list") == Exit.OK
    heading, row = capsys.readouterr().out.splitlines()
    assert heading.split() == ["ID", "AGE", "SIZE", "FROM", "TO", "NEXT", "LAST", "REPLY"]
    assert row.startswith(ids[0])
    assert re.search(r" 4\.2 KB +ann@example\.org +bob@example\.net +in \d+d(?: \d+[hms])* +450 4\.2\.1 busy\\x1b\[2J$", row)


def test_queue_list_as_json(server: tuple[Path, list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    config, ids = server
    assert run(config, "queue", "list", "--json") == Exit.OK
    [story] = json.loads(capsys.readouterr().out)
    assert (story["id"], story["size"], story["accepted"]) == (ids[0], 4240, "2023-11-14T22:13:20.000Z")
    [recipient] = story["recipients"]
    assert (recipient["state"], recipient["attempts"], recipient["next"]) == ("queued", 1, "2096-10-02T07:06:40.000Z")
    assert "events" not in story


def test_queue_show_tells_of_each_recipient(server: tuple[Path, list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    config, ids = server
    assert run(config, "queue", "show", ids[0]) == Exit.OK
    shown = capsys.readouterr().out
    assert "from laptop [192.0.2.1], user ann, by ESMTPSA, TLSv1.3 AES, 4.2 KB" in shown
    assert re.search(r"bob@example\.net +- +queued, 1 attempt so far, next at 2096-10-02 07:06:40", shown)
    assert run(config, "queue", "show", ids[0], "--json") == Exit.OK
    assert [event["kind"] for event in json.loads(capsys.readouterr().out)["events"]] == ["accepted", "attempt"]


def test_a_message_that_is_not_there_is_69(server: tuple[Path, list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    config, _ = server
    assert run(config, "queue", "show", "nonsense") == Exit.UNAVAILABLE
    assert run(config, "trace", "nobody@example.com") == Exit.UNAVAILABLE
    assert capsys.readouterr().out == ""
    assert run(config, "trace", "nobody@example.com", "--json") == Exit.OK
    assert capsys.readouterr().out == "[]\n"


def test_a_trace_is_a_story_line_by_line(server: tuple[Path, list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    config, ids = server
    assert run(config, "trace", ids[0]) == Exit.OK
    lines = capsys.readouterr().out.splitlines()
    assert lines[:6] == [
        f"{ids[0]}  from ann@example.org to bob@example.net  <bob@example.net>",
        "  deferred: 450 4.2.1 busy\\x1b[2J",
        "  2023-11-14 22:13:20  accepted    from laptop [192.0.2.1], user ann, by ESMTPSA, TLSv1.3 AES, 4.2 KB",
        "  2023-11-14 22:13:21  attempt     mx.example.net [192.0.2.5], TLSv1.3 X verified, 12.5 ms",
        "                                   bob@example.net: deferred: 450 4.2.1 busy\\x1b[2J",
        "                                     next at 2096-10-02 07:06:40; the schedule sets the next",
    ]
    assert re.fullmatch(
        r"  .{19}  now         bob@example\.net: queued, 1 attempt so far, next at 2096-10-02 07:06:40 \(in .*\)", lines[6]
    )
    assert len(lines) == 7


@pytest.mark.parametrize("text", ["eve@example.net", "<eve@example.net>", "{id}"])
def test_a_trace_finds_by_address_message_id_and_queue_id(
    text: str, server: tuple[Path, list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    config, ids = server
    assert run(config, "trace", text.format(id=ids[1]), "--json") == Exit.OK
    [story] = json.loads(capsys.readouterr().out)
    assert story["id"] == ids[1]
    assert story["events"][-1]["detail"]["results"][0]["outcome"] == "delivered"


def test_a_server_that_never_ran_is_told_apart_from_an_empty_queue(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "waymail.toml"
    config.write_text(CONFIG)
    assert run(config, "queue", "list") == Exit.IO
    assert "there is no queue in" in capsys.readouterr().err
    config.write_text(CONFIG + '[queue]\nstore = "memory"\n')
    assert run(config, "queue", "list") == Exit.UNAVAILABLE


def test_an_empty_queue_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "waymail.toml"
    config.write_text(CONFIG)

    async def make() -> None:
        await (await SqliteStore.open(tmp_path / "data" / "queue", now=lambda: START)).close()

    asyncio.run(make())
    assert run(config, "queue", "list") == Exit.OK
    assert run(config, "queue", "list", "--json") == Exit.OK
    assert capsys.readouterr().out == "The queue is empty.\n[]\n"


def test_a_client_that_names_itself_by_its_address_is_named_once() -> None:
    envelope = Envelope("id", "", (), 0.0, origin=Origin("ESMTP", "[192.0.2.1]", "192.0.2.1"))
    assert accepted_text(envelope, 10) == "from [192.0.2.1], by ESMTP, no TLS, 10 B"


def test_a_story_begins_with_where_it_was_sent_to_before_an_alias() -> None:
    envelope = Envelope("id", "", (), 0.0)
    aliased = (("ann", "info@x"), ("bob", "info@x"), ("eve", "Eve@x"))
    ann, bob, eve = (RecipientState(n, f"{name}@x", asked, State.HELD, 0, 0.0, "") for n, (name, asked) in enumerate(aliased))
    assert heading(Story(envelope, 10, (ann, bob, eve), ())) == "id  from <> to ann@x, bob@x, eve@x (sent to info@x)"


@pytest.mark.parametrize(("due", "is_put_off"), [(50.0, False), (80.0, True)])
def test_a_message_that_is_due_later_than_was_said_was_put_off(due: float, is_put_off: bool) -> None:
    to = ["b@x"]
    attempt = Event(1.0, "attempt", {"results": [{"to": to, "outcome": "deferred", "reply": "451 x", "next": 50.0}]})
    one = RecipientState(0, "b@x", None, State.QUEUED, 1, due, "451 x")
    lines = [str(line) for line in told(Story(Envelope("id", "", (Recipient("b@x"),), 0.0), 10, (one,), (attempt,)), 60.0)]
    assert ("put off when it was due" in lines[-1]) is is_put_off
    flushed = Event(2.0, "flushed", {"to": to, "by": "operator"})
    after = told(Story(Envelope("id", "", (Recipient("b@x"),), 0.0), 10, (one,), (attempt, flushed)), 60.0)
    assert not any("put off" in str(line) for line in after)


def test_what_took_seconds_is_told_in_seconds() -> None:
    attempt = Event(1.0, "attempt", {"destination": "pipe:x", "ms": 20_028.9, "results": []})
    lines = [str(line) for line in told(Story(Envelope("id", "", (), 0.0), 10, (), (attempt,)), 2.0)]
    assert lines[-1].endswith("pipe:x, 20.0 s")


def test_each_kind_of_event_has_a_line() -> None:
    to = ["bob@example.net"]
    events = (
        Event(1.0, "recovered", {"to": to, "uncertain": True}),
        Event(2.0, "delayed", {"to": to, "notice": "n1"}),
        Event(3.0, "held", {"to": to}),
        Event(4.0, "waiting", {"to": ["a@x", "b@x", "c@x", "d@x", "e@x"], "why": "it is down", "reply": "451 y", "next": 90.0}),
        Event(5.0, "bounced", {"to": to, "notice": "n2", "why": "refused"}),
        Event(
            6.0,
            "attempt",
            {
                "destination": "maildir:x",
                "ms": 0,
                "results": [{"to": to, "outcome": "deferred", "reply": "451 x", "uncertain": True}],
            },
        ),
    )
    envelope = Envelope("id", "", (Recipient(to[0]),), 0.0)
    held = RecipientState(0, to[0], None, State.HELD, 2, 0.0, "")
    lines = [str(line)[21:] for line in told(Story(envelope, 10, (held,), events), 7.0)]
    assert lines == [
        "accepted    made here, by local, 10 B",
        "recovered   bob@example.net: the process ended during an attempt; "
        "the next hop may have the message already, and may get it twice",
        "delayed     bob@example.net, notice n1 to the sender",
        "held        bob@example.net",
        "waiting     a@x, b@x, c@x and 2 more: it is down",
        f"              451 y; asked again at {time_text(90.0)}",
        "bounced     bob@example.net: refused, notice n2 to the sender",
        "attempt     maildir:x",
        "            bob@example.net: deferred: 451 x",
        "              uncertain: the next hop may have taken it all the same, and may get it twice",
        "now         bob@example.net: held, 2 attempts so far; waits until it is released",
    ]


def test_an_attempt_names_the_folders_into_which_mail_was_to_go() -> None:
    ann, bob = ({"to": [f"{name}@x"], "outcome": "delivered", "reply": "250", "place": f"/srv/{name}"} for name in ("ann", "bob"))
    full = {"to": ["carol@x"], "outcome": "deferred", "reply": "452 4.2.2 mailbox full", "place": "/srv/carol"}
    events = tuple(
        Event(1.0, "attempt", {"destination": "maildir:/srv/{local}", "ms": 2, "results": results})
        for results in ([ann], [ann, bob], [full])
    )
    lines = [str(line)[21:] for line in told(Story(Envelope("id", "", (), 0.0), 10, (), events), 7.0)]
    assert lines[1:] == [
        "attempt     /srv/ann, 2 ms",
        "            ann@x: delivered: 250",
        "attempt     maildir:/srv/{local}, 2 ms",
        "            ann@x: delivered: 250",
        "              in /srv/ann",
        "            bob@x: delivered: 250",
        "              in /srv/bob",
        "attempt     /srv/carol, 2 ms",
        "            carol@x: deferred: 452 4.2.2 mailbox full",
    ]


def test_what_its_sender_wants_held_is_shown_as_held(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "waymail.toml"
    config.write_text(CONFIG)
    held = message(QueueIds(1).next(START), "bob@example.net")
    held = NewMessage(replace(held.envelope, options=Options(hold_until=LATER)), held.body)

    async def fill() -> None:
        store = await SqliteStore.open(tmp_path / "data" / "queue", now=lambda: START)
        await store.accept(held)
        await store.close()

    asyncio.run(fill())
    assert run(config, "queue", "list") == Exit.OK
    assert "as its sender wants" in capsys.readouterr().out
    for command in (("queue", "show"), ("trace",)):
        assert run(config, *command, held.envelope.id) == Exit.OK
        assert "held until 2096-10-02 07:06:40" in capsys.readouterr().out
