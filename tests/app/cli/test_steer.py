"""Commands that look at the queue by domain and change it, where no server runs; tests/system/test_steering.py has one."""

from __future__ import annotations

import asyncio
import io
import json
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from threading import Thread

import pytest

from waymail.app.cli import main
from waymail.app.cli.live import UP, Live
from waymail.app.cli.output import Exit
from waymail.app.cli.reasons import BY_MX, Reasons
from waymail.mail.envelope import Body, Envelope, Options, QueueIds, Recipient
from waymail.net.clock import SystemClock
from waymail.store.contract import Change, Event, NewMessage, Selection, Settlement, State, Waiting
from waymail.store.read import SqliteReader
from waymail.store.sqlite import SqliteStore

HOUR = 3600.0
REPLY = "450 4.2.0 greylisted\x1b[2J"
CONFIG = """
hostname = "mail.example.org"
[routes]
"dead.example" = "smtp://relay.example:25"
"""

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Three messages wait: two since two hours for x.example, one of them also for dead.example; one is new."""
    (tmp_path / "waymail.toml").write_text(CONFIG)
    asyncio.run(fill(tmp_path))
    return tmp_path


async def fill(place: Path) -> None:
    now, new_id = SystemClock().now(), QueueIds(1)
    store = await SqliteStore.open(place / "data" / "queue", now=lambda: now)
    for age, sender, to in (
        (2 * HOUR, "ann@example.org", ("a@x.example", "b@dead.example")),
        (2 * HOUR, "eve@example.org", ("c@x.example",)),
        (1.0, "", ("d@y.example",)),
    ):
        at = now - age
        envelope = Envelope(new_id.next(at), sender, tuple(map(Recipient, to)), at)
        delivery = await store.accept(NewMessage(envelope, Body(b"Subject: x\r\n\r\nx\r\n", 17)))
        changes = tuple(Change(one.number, State.QUEUED, 1, REPLY, now + HOUR) for one in delivery.pending)
        event = Event(at, "attempt", {"results": [{"to": list(to), "outcome": "deferred", "reply": REPLY}]})
        await store.settle(Settlement(envelope.id, delivery.token, changes, (event,)))
    await store.close()


@pytest.fixture
def run(place: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*arguments: str) -> tuple[int, str, str]:
        code = main([*arguments, "--config", str(place / "waymail.toml")])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def states(place: Path) -> list[str]:
    """Of each recipient: its address and where it stands."""

    async def read() -> list[str]:
        store = await SqliteReader.open(place / "data" / "queue")
        stories = await store.list(100, Selection(everything=True))
        await store.close()
        return [f"{one.address} {one.state.name}" for story in stories for one in story.recipients]

    return asyncio.run(read())


# --- looking ---


def test_what_waits_is_told_by_domain(run: Run) -> None:
    code, out, err = run("queue")
    lines = out.splitlines()
    assert code == Exit.OK
    assert [line.split()[:3] for line in lines[1:4]] == [
        ["x.example", "2", "0"],
        ["dead.example", "1", "0"],
        ["y.example", "1", "0"],
    ]
    assert "2h" in lines[1]
    assert "450 4.2.0 greylisted\\x1b[2J" in lines[1]
    assert lines[-1] == "4 queued, 0 held; 3 domains"
    assert "no server runs" in err


def test_what_is_not_shown_is_counted(run: Run) -> None:
    assert run("queue", "--limit", "1")[1].splitlines()[-1] == "4 queued, 0 held; 3 domains, 2 of them not shown: see --limit"


def test_an_empty_queue_says_so(run: Run) -> None:
    run("queue", "remove", "--all", "--yes")
    assert run("queue")[1] == "Nothing waits.\n"


def test_what_waits_as_json(run: Run) -> None:
    found = json.loads(run("queue", "--json")[1])
    assert (found["queued"], found["domains_in_all"], found["server"], found["destinations"]) == (4, 3, False, [])
    assert found["domains"][0].items() >= {"domain": "x.example", "queued": 2, "destination": None}.items()


@pytest.mark.parametrize(
    ("options", "number"),
    [
        (("--destination", "x.example"), 2),
        (("--destination", "X.Example."), 2),
        (("--destination", "example", "--below"), 3),
        (("--older", "1h"), 2),
        (("--sender", "<>"), 1),
        (("--sender", "ann@example.org", "--older", "1d"), 0),
        (("--recipient", "c@x.example"), 1),
        (("--queued",), 3),
        (("--held",), 0),
        (("--held", "--queued", "--limit", "1"), 1),
    ],
    ids=str,
)
def test_a_list_is_narrowed_down(run: Run, options: tuple[str, ...], number: int) -> None:
    assert len(json.loads(run("queue", "list", *options, "--json")[1])) == number


def test_a_list_that_is_not_whole_says_so(run: Run) -> None:
    code, out, complaint = run("queue", "list", "--limit", "2")
    assert (code, len(out.splitlines()), complaint) == (Exit.OK, 3, "waymail: there are more; these are the oldest 2 (--limit)\n")
    assert run("queue", "list", "--limit", "3")[2] == ""
    assert run("queue", "list", "--limit", "-1")[0] == Exit.USAGE


def test_a_narrowed_list_without_anything_says_so(run: Run) -> None:
    assert run("queue", "list", "--held") == (Exit.OK, "Nothing like that is in the queue.\n", "")


# --- why ---


def test_why_tells_what_is_known_without_a_server(run: Run) -> None:
    code, out, _ = run("why", "bob@DEAD.example")
    told = dict(line.strip().split("  ", 1) for line in out.splitlines()[1:] if line[2] != " ")
    assert code == Exit.OK
    assert out.startswith("dead.example\n")
    assert told["goes to"].strip() == "smtp://relay.example:25, as the configuration says"
    assert told["destination"].strip() == "unknown: no server runs"
    assert told["last said"].strip().endswith("  450 4.2.0 greylisted\\x1b[2J")
    assert told["waits"].strip() == "1 recipient, the oldest for 2h"
    assert told["next"].strip() == "nothing before the server is started"
    assert "ann@example.org to b@dead.example: 450 4.2.0" in out
    assert "the oldest message is given up at" in out
    assert "waymail queue flush --destination dead.example" in out


def test_why_tells_of_mx_records_only_that_a_server_would_know(run: Run) -> None:
    assert "the hosts that DNS names (MX); which those are, a running server would say" in run("why", "x.example")[1]


def test_why_tells_of_a_domain_for_which_nothing_waits(run: Run) -> None:
    code, out, _ = run("why", "nobody.example")
    assert code == Exit.OK
    assert "nothing: nobody waits" in out


def test_why_as_json(run: Run) -> None:
    found = json.loads(run("why", "x.example", "--json")[1])
    assert (found["queued"], found["server"], found["state"], len(found["messages"])) == (2, False, None, 2)
    assert found["replies"][0]["reply"] == REPLY


@pytest.fixture
def unwilling(place: Path) -> Iterator[None]:
    """A server that runs, and answers nothing but that it cannot."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(place / "data" / "control"))
        listening.listen()
        thread = Thread(target=_refuse, args=(listening,))
        thread.start()
        yield
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()


def _refuse(listening: socket.socket) -> None:
    with suppress(OSError):
        while True:
            client, _ = listening.accept()
            with client:
                client.recv(65_536)
                client.sendall(b'{"error": "too busy", "code": 75}\n')


@pytest.mark.usefixtures("unwilling")
def test_what_the_store_knows_is_told_where_the_server_does_not_answer(run: Run) -> None:
    code, out, complaint = run("queue")
    assert (code, complaint) == (Exit.TEMPORARY, "waymail: too busy\n")
    assert "x.example     2 " in out
    code, out, _ = run("why", "x.example")
    assert code == Exit.OK
    assert "  destination   unknown: too busy\n" in out
    assert "2 recipients, the oldest for 2h" in out


def test_why_says_once_what_was_said_several_times_in_a_row() -> None:
    replies = [(90.0, "450 later"), (80.0, "450 later"), (70.0, "421 busy"), (60.0, "450 later")]
    assert Reasons("x.example", 99.0, BY_MX, None, None, (), replies, 0.0).replies_text() == [
        "1970-01-01 00:01:30  450 later (2 times since 1970-01-01 00:01:20)",
        "1970-01-01 00:01:10  421 busy",
        "1970-01-01 00:01:00  450 later",
    ]


def test_why_offers_a_flush_only_where_that_changes_something() -> None:
    def advised(state: str, next_at: float) -> str:
        states = {"k": UP | {"state": state, "down_until": 150.0}}
        known = Live({"x.example": {"to": "k", "hosts": ["mx.example"]}}, states)
        waiting = Waiting("x.example", 3, 0, 10.0, next_at, "")
        return "\n".join(Reasons("x.example", 99.0, BY_MX, known, waiting, (), (), 0.0).advice())

    assert "flush" in advised("up", 90.0), "others may wait for a later time"
    assert "flush" in advised("down", 90.0)
    assert "flush" in advised("slow", 200.0)
    assert "flush" not in advised("slow", 90.0)
    assert "delivery.per_destination" in advised("slow", 90.0)
    assert "flush" not in advised("probing", 90.0)


def test_why_goes_by_the_rules_of_the_queue(run: Run, place: Path) -> None:
    def given_up() -> float:
        found = json.loads(run("why", "dead.example", "--json")[1])
        accepted, end = (datetime.fromisoformat(one) for one in (found["messages"][0]["accepted"], found["given_up"]))
        return (end - accepted).total_seconds()

    assert given_up() == pytest.approx(5 * 24 * HOUR, abs=1)
    rule = '[[queue.rule]]\ndomains = ["*.relay.example", "relay.example"]\nreplies = ["450", "greylisted"]\nexpire = "6h"\n'
    (place / "waymail.toml").write_text(CONFIG + rule)
    assert given_up() == pytest.approx(6 * HOUR, abs=1)


def test_why_needs_a_domain(run: Run) -> None:
    assert run("why", "")[0] == Exit.USAGE


# --- changing ---


def test_what_is_held_and_released_is_said(run: Run, place: Path) -> None:
    code, out, _ = run("queue", "hold", "--destination", "x.example")
    assert (code, out.splitlines()[0]) == (Exit.OK, "held: 2 recipients of 2 messages")
    assert "No server runs" in out
    assert states(place)[:3] == ["a@x.example HELD", "b@dead.example QUEUED", "c@x.example HELD"]
    assert run("queue", "release", "--all")[1].startswith("released: 2 recipients of 2 messages\n")
    assert json.loads(run("queue", "flush", "--sender", "eve@example.org", "--json")[1]) == {
        "recipients": 1,
        "messages": 1,
        "active": 0,
        "server": False,
    }


def test_nothing_of_the_kind_is_69_and_with_json_0(run: Run) -> None:
    assert run("queue", "release", "--sender", "x@y.example") == (
        Exit.UNAVAILABLE,
        "",
        "waymail: nothing that is held was chosen\n",
    )
    code, out, _ = run("queue", "release", "--all", "--json")
    assert (code, json.loads(out)["recipients"]) == (Exit.OK, 0)


def test_what_stands_so_already_is_said_to(run: Run) -> None:
    ids = [one["id"] for one in json.loads(run("queue", "list", "--json")[1])]

    def refused(*command: str) -> str:
        code, _, err = run("queue", *command)
        assert code == Exit.UNAVAILABLE
        return err.removeprefix("waymail: nothing that is ")

    assert refused("release", ids[0]) == (
        "held was chosen: 1 message is not held: `waymail queue flush` tries at once what waits\n"
    )
    run("queue", "hold", "--all")
    assert refused("hold", ids[0]) == "queued was chosen: 1 message is held already\n"
    assert refused("hold", "--all") == "queued was chosen: 3 messages are held already\n"
    assert refused("flush", ids[0]) == "queued was chosen: 1 message is held: `waymail queue release` lets go what is\n"
    run("queue", "remove", ids[0])
    assert refused("hold", ids[0]) == f"queued was chosen: `waymail trace {ids[0]}` tells what became of it\n"
    assert refused("remove", "3" * 13) == "queued or held was chosen: there is no such message\n"


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ((), "which messages? give ids"),
        (("nonsense",), "nonsense is no queue id"),
        (("--all", "--older", "1h"), "--all is for all messages"),
        (("--older", "2"), "--older: '2' is no duration"),
        (("--sender", "a@b", "--recipient", ""), "--recipient is empty"),
        (("--destination", " "), "--destination is empty"),
        (("--below", "--sender", "a@b"), "--below needs --destination"),
    ],
    ids=str,
)
def test_what_cannot_be_meant_is_64_and_changes_nothing(run: Run, place: Path, arguments: tuple[str, ...], why: str) -> None:
    before = states(place)
    for command in ("hold", "remove"):
        code, _, err = run("queue", command, *arguments)
        assert code == Exit.USAGE
        assert why.replace("'2'", '"2"') in err.replace("'2'", '"2"')
    assert states(place) == before


@pytest.mark.parametrize("command", ["remove", "bounce"])
def test_giving_up_more_than_one_needs_yes_where_nobody_can_be_asked(
    run: Run, place: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO())
    before = states(place)
    code, _, err = run("queue", command, "--destination", "x.example")
    assert (code, err) == (Exit.USAGE, f"waymail: this is about 2 messages: say --yes to {command} them\n")
    assert states(place) == before
    assert run("queue", command, "--destination", "y.example")[0] == Exit.OK
    assert run("queue", command, "--destination", "x.example", "--yes")[0] == Exit.OK


@pytest.mark.parametrize(("answer", "code"), [("y\n", Exit.OK), ("\n", Exit.UNAVAILABLE), ("", Exit.UNAVAILABLE)])
def test_a_person_is_asked(run: Run, monkeypatch: pytest.MonkeyPatch, answer: str, code: Exit) -> None:
    terminal = io.StringIO(answer)
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr("sys.stdin", terminal)
    found, _, err = run("queue", "remove", "--all")
    assert found == code
    assert err.startswith("remove 3 messages? [y/N]")


def test_what_is_bounced_leaves_a_notice(run: Run, place: Path) -> None:
    code, out, _ = run("queue", "bounce", "--sender", "ann@example.org", "--reason", "stolen account")
    assert (code, out.splitlines()[0]) == (Exit.OK, "returned to their senders: 2 recipients of 1 message")
    assert states(place)[-1] == "ann@example.org QUEUED"
    assert "given up by the administrator: stolen account" in run("trace", "b@dead.example")[1]


def test_a_reason_is_one_short_line(run: Run) -> None:
    for reason in ("a\nb", "x" * 201):
        assert run("queue", "bounce", "--all", "--yes", "--reason", reason)[0] == Exit.USAGE


def test_without_a_queue_none_is_made(tmp_path: Path) -> None:
    (tmp_path / "waymail.toml").write_text(CONFIG)
    assert main(["queue", "hold", "--all", "--config", str(tmp_path / "waymail.toml")]) == Exit.IO
    assert not (tmp_path / "data").exists()


def test_a_queue_in_memory_is_nowhere_without_its_server(tmp_path: Path) -> None:
    (tmp_path / "waymail.toml").write_text(f'{CONFIG}[queue]\nstore = "memory"\n')
    for command in (["queue"], ["queue", "hold", "--all"]):
        assert main([*command, "--config", str(tmp_path / "waymail.toml")]) == Exit.UNAVAILABLE


def test_a_store_that_somebody_else_has_open_is_said(run: Run, place: Path) -> None:
    async def with_store() -> tuple[int, str, str]:
        store = await SqliteStore.open(place / "data" / "queue", now=SystemClock().now)
        try:
            return await asyncio.to_thread(run, "queue", "hold", "--all")
        finally:
            await store.close()

    code, _, err = asyncio.run(with_store())
    assert code == Exit.TEMPORARY
    assert f"process {os.getpid()} has the queue: a server that is just starting or stopping" in err


def test_the_queue_can_be_seen_while_the_rest_of_the_configuration_is_broken(run: Run, place: Path) -> None:
    (place / "waymail.toml").write_text(CONFIG + "[limits]\nbogus = 1\n")
    assert run("queue")[0] == Exit.OK
    assert run("queue", "hold", "--all")[0] == Exit.CONFIG


def test_what_its_sender_wants_held_is_left_alone_by_a_flush(run: Run, place: Path) -> None:
    async def add() -> None:
        now = SystemClock().now()
        store = await SqliteStore.open(place / "data" / "queue", now=lambda: now)
        envelope = Envelope(
            QueueIds(2).next(now), "ann@example.org", (Recipient("z@z.example"),), now, options=Options(hold_until=now + HOUR)
        )
        await store.accept(NewMessage(envelope, Body(b"x", 1)))
        await store.close()

    asyncio.run(add())
    assert run("queue", "flush", "--recipient", "z@z.example")[0] == Exit.UNAVAILABLE


def test_mail_is_chosen_by_where_it_goes(run: Run, place: Path) -> None:
    assert run("queue", "hold", "--via", "smtp://relay.example:25")[1].splitlines()[0] == "held: 1 recipient of 1 message"
    assert states(place)[:2] == ["a@x.example QUEUED", "b@dead.example HELD"]
    assert len(json.loads(run("queue", "list", "--via", "smtp://relay.example:25", "--held", "--json")[1])) == 1
    code, _, _ = run("queue", "release", "--via", "smtp://relay.example:25", "--sender", "eve@example.org")
    assert code == Exit.UNAVAILABLE
    assert states(place)[1] == "b@dead.example HELD"


def test_a_destination_to_which_nothing_goes_is_said_and_nothing_is_chosen(run: Run, place: Path) -> None:
    before = states(place)
    code, _, err = run("queue", "remove", "--via", "mx.x.example", "--yes")
    assert code == Exit.UNAVAILABLE
    assert "nothing waits that goes to mx.x.example" in err
    assert "only a running server knows" in err
    assert states(place) == before
