from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path

import pytest

import waymail
import waymail.sync
from waymail.testing.peer import Peer
from waymail.testing.smtp_server import SmtpServer


@pytest.fixture
def running() -> Iterator[Peer]:
    """A peer in a thread with a loop of its own."""
    there: list[Peer] = []
    ready, done = threading.Event(), threading.Event()

    async def serve() -> None:
        async with Peer([("RCPT TO:<nobody@", b"550 5.1.1 no such user\r\n")]) as peer:
            there.append(peer)
            ready.set()
            await asyncio.to_thread(done.wait)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    ready.wait()
    try:
        yield there[0]
    finally:
        done.set()
        thread.join()


def test_what_is_submitted_is_delivered_by_the_one_thread(path: Path, running: Peer, message: EmailMessage) -> None:
    told: list[str] = []
    before = threading.active_count()
    with waymail.sync.Outbox(
        path, f"smtp://{running.address}?tls=off", on_delivered=lambda event: told.append(event.recipient)
    ) as outbox:
        ticket = outbox.submit(message)
        assert ticket.outcome(10).is_delivered
        assert outbox.ticket(ticket.id) == ticket
        assert outbox.ticket("0000000000000") is None
        assert outbox.drain(10)
        assert outbox.is_carrying
    assert told == ["bob@example.net"]
    assert threading.active_count() == before


def test_without_carrying_nothing_is_delivered_and_no_thread_is_there(path: Path, message: EmailMessage) -> None:
    before = threading.active_count()
    with waymail.sync.Outbox(path, carry=False) as outbox:
        ticket = outbox.submit(message)
        assert threading.active_count() == before
        assert not outbox.drain(0.05)
        with pytest.raises(TimeoutError):
            ticket.outcome(0.05)


def test_many_threads_submit_at_once(path: Path, running: Peer, message: EmailMessage) -> None:
    with waymail.sync.Outbox(path, f"smtp://{running.address}?tls=off") as outbox:
        threads = [threading.Thread(target=lambda: [outbox.submit(message) for _ in range(10)]) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert outbox.drain(20)
    assert len(running.messages) == 80


def test_what_failed_has_its_reply(path: Path, running: Peer, message: EmailMessage) -> None:
    with waymail.sync.Outbox(path, f"smtp://{running.address}?tls=off", notices=False) as outbox:
        outcome = outbox.submit(message, recipients="nobody@example.net").outcome(10)
    assert outcome.failed == {"nobody@example.net": waymail.Reply(550, "no such user", "5.1.1")}


def test_it_says_what_carry_may_be(path: Path) -> None:
    with pytest.raises(ValueError, match='carry is "thread"'):
        waymail.sync.Outbox(path, carry=True)  # type: ignore[arg-type]


def test_what_waits_is_told_with_what_was_last_said(tmp_path: Path) -> None:
    with SmtpServer() as server:
        server.script("RCPT", "451 4.7.1 later")
        with waymail.sync.Outbox(tmp_path / "outbox.db", server.url) as outbox:
            ticket = outbox.submit(b"Subject: x\n\n", sender="ann@example.org", recipients="bob@example.net")
            assert outbox.drain(10)
            [one] = outbox.waiting()
    assert (one.id, one.sender, one.recipient, one.attempts) == (ticket.id, "ann@example.org", "bob@example.net", 1)
    assert one.reply.startswith("451 4.7.1 later")
    assert one.next_at > 0
