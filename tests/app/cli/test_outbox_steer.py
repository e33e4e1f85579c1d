from __future__ import annotations

import asyncio
import io
import json
import time
from pathlib import Path

import pytest

import waymail
import waymail.sync
from waymail.app.cli import main
from waymail.app.cli.output import Exit
from waymail.store.contract import State
from waymail.testing import SmtpServer
from waymail.testing.peer import HANG, Answer, Peer

MESSAGE = b"Subject: x\r\n\r\nhello\r\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "outbox.db"


@pytest.fixture
def ids(path: Path) -> list[str]:
    """Two messages of ann's and one of eve's, which wait."""
    with waymail.sync.Outbox(path, carry=False) as outbox:
        return [
            outbox.submit(MESSAGE, sender=f"{name}@example.org", recipients="bob@example.net", at=time.time() + 3600).id
            for name in ("ann", "ann", "eve")
        ]


def states(path: Path) -> list[State]:
    with waymail.sync.Outbox(path, carry=False) as outbox:
        stories = outbox._opened().watch.stories(10)
    return [one.state for story in stories for one in story.recipients]


def test_what_is_held_is_held_until_it_is_released(path: Path, ids: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["outbox", "hold", str(path), "--sender", "ann@example.org"]) == Exit.OK
    assert capsys.readouterr().out == "held: 2 recipients of 2 messages\n"
    with waymail.sync.Outbox(path, carry=False) as outbox:
        assert [one.is_held for one in outbox.waiting()] == [True, True, False]
    assert main(["outbox", "hold", str(path), "--sender", "ann@example.org"]) == Exit.UNAVAILABLE
    assert "nothing that is queued was chosen: 2 are held\n" in capsys.readouterr().err
    assert main(["outbox", "release", str(path), ids[2]]) == Exit.UNAVAILABLE
    assert "nothing that is held was chosen: 1 is not held\n" in capsys.readouterr().err
    assert main(["outbox", "release", str(path), ids[0], "--json"]) == Exit.OK
    assert json.loads(capsys.readouterr().out) == {"recipients": 1, "messages": 1, "active": 0}
    assert main(["outbox", "release", str(path), "--all"]) == Exit.OK
    out = capsys.readouterr().out
    assert out.startswith("released: 1 recipient of 1 message\n")
    assert f"`waymail outbox run {path}` does" in out
    assert states(path) == [State.QUEUED] * 3


def test_what_is_removed_is_gone_and_who_means_many_is_asked(
    path: Path, ids: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    assert main(["outbox", "remove", str(path), "--all"]) == Exit.USAGE
    assert "this is about 3 messages: say --yes" in capsys.readouterr().err
    assert main(["outbox", "remove", str(path), ids[2]]) == Exit.OK
    assert main(["outbox", "trace", str(path), ids[2]]) == Exit.OK
    assert "removed" in capsys.readouterr().out
    assert main(["outbox", "remove", str(path), "--all", "--yes"]) == Exit.OK
    assert capsys.readouterr().out == "removed: 2 recipients of 2 messages\n"
    assert states(path) == []


@pytest.mark.parametrize("action", ["flush", "hold", "release", "remove"])
def test_who_does_not_say_what_or_where_is_told(
    path: Path, ids: list[str], capsys: pytest.CaptureFixture[str], action: str
) -> None:
    assert main(["outbox", action, str(path)]) == Exit.USAGE
    said = capsys.readouterr().err
    assert "which messages? give ids, --sender, --recipient, --destination or --older; or --all" in said
    assert main(["outbox", action, str(path), "nonsense"]) == Exit.USAGE
    assert main(["outbox", action, f"{path}.missing", "--all"]) == Exit.IO
    assert "is the path right" in capsys.readouterr().err
    assert not Path(f"{path}.missing").exists()
    assert states(path) == [State.QUEUED] * 3


def test_what_was_submitted_for_later_is_not_flushed(path: Path, ids: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["outbox", "flush", str(path), *ids]) == Exit.UNAVAILABLE
    assert "nothing that is queued was chosen: 3 are submitted for a later time\n" in capsys.readouterr().err


def test_what_has_ended_is_traced(path: Path, ids: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["outbox", "remove", str(path), ids[0]]) == Exit.OK
    assert main(["outbox", "remove", str(path), ids[0]]) == Exit.UNAVAILABLE
    assert f"`waymail outbox trace {path} {ids[0]}` tells what became of it" in capsys.readouterr().err


async def test_what_is_being_attempted_is_left_alone_and_said_to_be(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    began = asyncio.Event()

    def hang(_: bytes) -> Answer:
        began.set()
        return HANG

    async with Peer([("MAIL", hang)]) as peer, waymail.Outbox(path, f"smtp://{peer.address}?tls=off", grace=0) as outbox:
        await outbox.submit(MESSAGE, sender="ann@example.org", recipients="bob@example.net")
        await began.wait()
        assert await asyncio.to_thread(main, ["outbox", "hold", str(path), "--all"]) == Exit.UNAVAILABLE
    assert "nothing that is queued was chosen: 1 is being attempted now\n" in capsys.readouterr().err


async def test_a_flush_has_a_server_that_was_away_tried_at_once(
    path: Path, smtp_server: SmtpServer, capsys: pytest.CaptureFixture[str]
) -> None:
    smtp_server.stop()
    async with waymail.Outbox(path, smtp_server.url, retry=[3600.0]) as outbox:
        tickets = [await outbox.submit(MESSAGE, sender="ann@example.org", recipients="bob@example.net") for _ in range(3)]
        assert await outbox.drain(10)
        assert [one.next_at > time.time() + 1000 for one in await outbox.waiting()] == [True] * 3
        smtp_server.start()
        assert await asyncio.to_thread(main, ["outbox", "flush", str(path), "--all"]) == Exit.OK
        outcomes = [await ticket.outcome(20) for ticket in tickets]  # who is not told probes in an hour
    assert all(one.is_delivered for one in outcomes)
    assert len(smtp_server.messages) == 3
    assert capsys.readouterr().out == "flushed: 3 recipients of 3 messages\n"
