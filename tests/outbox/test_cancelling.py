"""A message that was submitted is taken back, where it is not too late."""

from __future__ import annotations

import asyncio
import time
from email.message import EmailMessage
from pathlib import Path

import pytest

import waymail
import waymail.sync
from waymail.testing.clock import JumpingClock
from waymail.testing.peer import HANG, Answer, Peer
from waymail.testing.smtp_server import SmtpServer

CLOSED = "smtp://127.0.0.1:1?tls=off"
LARGE = b"Subject: large\r\n\r\n" + b"x" * 70 + b"\r\n" + (b"y" * 70 + b"\r\n") * 2000


def url(peer: Peer) -> str:
    return f"smtp://{peer.address}?tls=off"


@pytest.mark.parametrize("carry", [True, False])
async def test_what_was_submitted_for_a_later_time_never_goes(path: Path, peer: Peer, message: EmailMessage, carry: bool) -> None:
    clock = JumpingClock(time.time())
    async with waymail.Outbox(path, url(peer), carry=carry, clock=clock) as outbox:
        ticket = await outbox.submit(message, at=clock.now() + 3600)
        waits = asyncio.create_task(ticket.outcome(20))
        assert await ticket.cancel()
        assert not await ticket.cancel()  # that is done
        outcome = await waits
        assert outcome.removed == ("bob@example.net",)
        assert not outcome.is_delivered
        assert await outbox.waiting() == []
        await clock.advance(4000)
        assert await outbox.drain(5)
    assert peer.messages == []


async def test_those_who_have_it_have_it_and_the_others_get_it_no_more(path: Path, peer: Peer, message: EmailMessage) -> None:
    async with waymail.Outbox(path, url(peer)) as outbox:
        ticket = await outbox.submit(message, recipients=["bob@example.net", "later@example.net", "nobody@example.net"])
        assert await outbox.drain(10)
        assert await ticket.cancel()
        outcome = await ticket.outcome(10)
    assert list(outcome.delivered) == ["bob@example.net"]
    assert list(outcome.failed) == ["nobody@example.net"]
    assert outcome.removed == ("later@example.net",)


async def test_it_is_too_late_while_it_is_being_attempted_and_afterwards(path: Path, message: EmailMessage) -> None:
    began = asyncio.Event()

    def hang(_: bytes) -> Answer:
        began.set()
        return HANG

    async with Peer([("MAIL", hang)]) as peer, waymail.Outbox(path, url(peer), grace=0) as outbox:
        ticket = await outbox.submit(message)
        await began.wait()
        assert not await ticket.cancel()
    async with Peer() as peer, waymail.Outbox(path, url(peer)) as outbox:
        again = await outbox.ticket(ticket.id)
        assert again is not None
        other = await outbox.submit(message)
        assert (await other.outcome(20)).is_delivered
        assert not await other.cancel()


@pytest.mark.parametrize("process", ["that delivers", "another"])
def test_the_file_of_a_large_one_goes_with_it(path: Path, process: str) -> None:
    bodies = path.with_name("outbox.db-bodies")
    with waymail.sync.Outbox(path, CLOSED) as first, waymail.sync.Outbox(path, carry=False) as second:
        outbox = first if process == "that delivers" else second
        ticket = outbox.submit(LARGE, sender="ann@example.org", recipients="bob@example.net", at=time.time() + 3600)
        assert len(list(bodies.iterdir())) == 1
        assert ticket.cancel()
        assert ticket.outcome(10).removed == ("bob@example.net",)
        assert list(bodies.iterdir()) == []


async def test_a_ticket_of_an_outbox_that_was_closed_says_so(path: Path, message: EmailMessage) -> None:
    async with waymail.Outbox(path, CLOSED, carry=False) as outbox:
        ticket = await outbox.submit(message)
    with pytest.raises(waymail.StoreError, match="closed"):
        await ticket.cancel()


def test_what_is_cancelled_while_it_is_delivered_goes_whole_or_not_at_all(path: Path) -> None:
    """Many at once: each is delivered or removed, and never both."""
    with waymail.sync.Outbox(path, carry=False) as other, SmtpServer() as server:
        tickets = [other.submit(b"\r\n", sender="a@b.example", recipients="c@d.example") for _ in range(200)]
        with waymail.sync.Outbox(path, server.url, per_destination=2):
            cancelled = [ticket.cancel() for ticket in reversed(tickets)]
            outcomes = [ticket.outcome(30) for ticket in reversed(tickets)]
        assert [bool(outcome.removed) for outcome in outcomes] == cancelled
        assert [bool(outcome.delivered) for outcome in outcomes] == [not one for one in cancelled]
        assert len(server.messages) == cancelled.count(False)


def test_the_log_of_the_database_is_copied_while_many_are_taken_back(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("waymail.store.deposit.COPY_AFTER", 200_000)
    log = path.with_name(f"{path.name}-wal")
    with waymail.sync.Outbox(path, carry=False) as outbox:
        at = time.time() + 3600
        tickets = [outbox.submit(b"\r\n", sender="a@b.example", recipients="c@d.example", at=at) for _ in range(100)]
        before = log.stat().st_size
        assert all(ticket.cancel() for ticket in tickets)
        assert log.stat().st_size < before + 500_000  # each writes some 20,000 octets of it


def test_a_ticket_of_an_outbox_that_was_closed_does_not_open_it_again(path: Path) -> None:
    with waymail.sync.Outbox(path, CLOSED) as outbox:
        ticket = outbox.submit(b"\r\n", sender="a@b.example", recipients="c@d.example", at=time.time() + 3600)
    for ask in (ticket.outcome, ticket.cancel):
        with pytest.raises(waymail.StoreError, match="closed"):
            ask()
    assert not outbox.is_carrying
    again = outbox.ticket(ticket.id)
    assert again is not None
    assert again.cancel()
    outbox.close()
