from __future__ import annotations

import asyncio
import logging
import time
from datetime import UTC, datetime
from email.message import EmailMessage
from pathlib import Path

import pytest

import waymail
from waymail.testing.peer import DROP, END, Peer

CLOSED = "smtp://127.0.0.1:1?tls=off"  # nobody listens there


def url(peer: Peer) -> str:
    return f"smtp://{peer.address}?tls=off"


async def test_what_is_submitted_is_delivered_completed_and_its_outcome_told(
    path: Path, peer: Peer, message: EmailMessage
) -> None:
    async with waymail.Outbox(path, url(peer)) as outbox:
        assert outbox.is_carrying
        ticket = await outbox.submit(message)
        outcome = await ticket.outcome(10)
    assert outcome.delivered == {"bob@example.net": "250 2.0.0 taken as 1"}
    assert outcome.is_delivered
    (received,) = peer.messages
    assert b"\r\nMessage-ID: <" in b"\r\n" + received.content
    assert received.mail.startswith(b"MAIL FROM:<ann@example.org>")


async def test_each_recipient_has_an_outcome_and_the_functions_are_called_for_it(path: Path, peer: Peer) -> None:
    delivered: list[waymail.OutboxEvent] = []
    failed: list[waymail.OutboxEvent] = []

    async def on_failed(event: waymail.OutboxEvent) -> None:
        failed.append(event)

    async with waymail.Outbox(path, url(peer), notices=False, on_delivered=delivered.append, on_failed=on_failed) as outbox:
        ticket = await outbox.submit(b"\r\nhello\r\n", sender="a@b.example", recipients=["bob@c.example", "nobody@c.example"])
        outcome = await ticket.outcome(10)
    assert outcome.failed == {"nobody@c.example": waymail.Reply(550, "no such user", "5.1.1")}
    assert list(outcome.delivered) == ["bob@c.example"]
    assert [(one.id, one.recipient, one.reply.code, one.attempts) for one in delivered] == [(ticket.id, "bob@c.example", 250, 1)]
    assert [(one.sender, one.recipient, one.reply.enhanced) for one in failed] == [("a@b.example", "nobody@c.example", "5.1.1")]
    assert len(peer.messages) == 1  # no notice


async def test_the_sender_gets_a_notice_unless_nobody_wants_one(path: Path, peer: Peer) -> None:
    async with waymail.Outbox(path, url(peer), hostname="app.example.org") as outbox:
        ticket = await outbox.submit(b"\r\nhello\r\n", sender="a@b.example", recipients="nobody@c.example")
        await ticket.outcome(10)
        assert await outbox.drain(10)
    (notice,) = peer.messages
    assert notice.rcpt == [b"RCPT TO:<a@b.example>"]
    assert b"no such user" in notice.content
    assert b"app.example.org" in notice.content


async def test_what_is_deferred_is_told_of_and_tried_again(path: Path, message: EmailMessage) -> None:
    said = iter([b"451 4.7.1 later\r\n"])
    deferred: list[waymail.OutboxEvent] = []
    async with (
        Peer([("RCPT", lambda line: next(said, None))]) as peer,
        waymail.Outbox(path, url(peer), retry=(0.05,), on_deferred=deferred.append) as outbox,
    ):
        outcome = await (await outbox.submit(message)).outcome(10)
    assert outcome.is_delivered
    assert [(one.reply.code, one.attempts) for one in deferred] == [(451, 1)]
    assert deferred[0].next_at > 0


async def test_a_lost_reply_makes_the_recipient_uncertain(path: Path, message: EmailMessage) -> None:
    said = iter([DROP])
    async with (
        Peer([(END.decode(), lambda line: next(said, None))]) as peer,
        waymail.Outbox(path, url(peer), retry=(0.05,)) as outbox,
    ):
        outcome = await (await outbox.submit(message)).outcome(10)
    assert list(outcome.delivered) == ["bob@example.net"]
    assert outcome.uncertain == ("bob@example.net",)


async def test_a_function_that_raises_or_hangs_does_not_stop_the_mail(
    path: Path, peer: Peer, message: EmailMessage, caplog: pytest.LogCaptureFixture
) -> None:
    def on_delivered(event: waymail.OutboxEvent) -> None:
        raise OSError("the database of the program is away")

    async with waymail.Outbox(path, url(peer), on_delivered=on_delivered) as outbox:
        assert (await (await outbox.submit(message)).outcome(10)).is_delivered
    assert "a function for the outbox's events failed" in caplog.text


async def test_a_message_waits_until_its_time(path: Path, peer: Peer, message: EmailMessage) -> None:
    async with waymail.Outbox(path, url(peer)) as outbox:
        later = await outbox.submit(message, at=datetime.now(UTC).replace(year=2100))
        now = await outbox.submit(message, at=time.time() - 5)
        assert (await now.outcome(10)).is_delivered
        with pytest.raises(TimeoutError):
            await later.outcome(0.05)
        soon = await outbox.submit(message, at=time.time() + 0.2)
        assert (await soon.outcome(10)).is_delivered
    assert len(peer.messages) == 2
    assert not [line for _, line in peer.transcript if b"HOLD" in line]


async def test_what_is_not_delivered_goes_with_the_next_start(path: Path, peer: Peer, message: EmailMessage) -> None:
    async with waymail.Outbox(path, CLOSED) as outbox:
        ticket = await outbox.submit(message)
        assert await outbox.drain(10)  # the attempt failed, and the next is not due
    async with waymail.Outbox(path, url(peer), carry=False) as outbox:
        again = await outbox.ticket(ticket.id)
        assert again == ticket
        assert await outbox.ticket("0000000000000") is None
        assert await outbox.ticket("nonsense") is None
    with pytest.raises(RuntimeError, match="not open"):
        await outbox.submit(message)


async def test_a_second_one_only_deposits_and_takes_over_when_the_first_ends(
    path: Path, peer: Peer, message: EmailMessage
) -> None:
    async with waymail.Outbox(path, url(peer)) as second_opened_later_closed:
        pass
    first = waymail.Outbox(path, url(peer))
    second = waymail.Outbox(path, url(peer))
    async with first, second:
        assert (first.is_carrying, second.is_carrying) == (True, False)
        ticket = await second.submit(message)
        assert (await ticket.outcome(10)).is_delivered
        await first.close()
        ticket = await second.submit(message)
        assert (await ticket.outcome(10)).is_delivered
        assert second.is_carrying
    assert not second_opened_later_closed.is_carrying
    assert len(peer.messages) == 2


async def test_a_large_message_is_delivered_whoever_takes_it(path: Path, peer: Peer) -> None:
    content = b"Subject: large\r\n\r\n" + b"0123456789\r\n" * 20_000
    async with waymail.Outbox(path, url(peer)) as outbox, waymail.Outbox(path, carry=False) as other:
        for one in (outbox, other):
            ticket = await one.submit(content, sender="", recipients="bob@example.net")
            assert (await ticket.outcome(10)).is_delivered
    assert [content in one.content for one in peer.messages] == [True, True]
    assert list(path.with_name("outbox.db-bodies").iterdir()) == []


async def test_many_submit_at_once(path: Path, peer: Peer, message: EmailMessage) -> None:
    async with waymail.Outbox(path, url(peer)) as outbox, waymail.Outbox(path, carry=False) as other:
        tickets = await asyncio.gather(*((outbox, other)[turn % 2].submit(message) for turn in range(100)))
        outcomes = await asyncio.gather(*(ticket.outcome(20) for ticket in tickets))
    assert all(one.is_delivered for one in outcomes)
    assert len({ticket.id for ticket in tickets}) == len(peer.messages) == 100


async def test_what_makes_no_sense_is_refused_before_anything_is_written(path: Path, message: EmailMessage) -> None:
    for wrong in ({"retry": ()}, {"expire": 0}, {"keep": -1}, {"auth": ("ann", "secret")}, {"per_destination": 0}, {"grace": -1}):
        with pytest.raises(ValueError, match=r"retry|seconds|auth|or more"):
            waymail.Outbox(path, **wrong)
    async with waymail.Outbox(path, CLOSED, carry=False) as outbox:
        with pytest.raises(ValueError, match="time zone"):
            await outbox.submit(message, at=datetime(2100, 1, 1))  # noqa: DTZ001 - that is what is wrong
        with pytest.raises(ValueError, match="no address"):
            await outbox.submit(message, recipients=["bob@example.net\r\nDATA"])
        with pytest.raises(LookupError, match="knows no message"):
            await waymail.Ticket("nonsense", outbox._opened()).outcome()
        assert await outbox.drain(1)


async def test_a_file_that_cannot_be_used_is_an_error_that_names_it(tmp_path: Path, message: EmailMessage) -> None:
    (tmp_path / "text").write_bytes(b"This is no database. " * 500)
    with pytest.raises(waymail.StoreError, match="text is damaged"):
        await waymail.Outbox(tmp_path / "text", CLOSED).__aenter__()
    with pytest.raises(waymail.StoreError, match=r"there is no folder .*text for outbox\.db"):
        await waymail.Outbox(tmp_path / "text" / "outbox.db", CLOSED).__aenter__()
    with pytest.raises(waymail.StoreError, match="is a folder: say which file in it"):
        await waymail.Outbox(tmp_path, CLOSED).__aenter__()


async def test_the_file_is_for_its_owner_alone(path: Path) -> None:
    async with waymail.Outbox(path, CLOSED):
        assert [one.stat().st_mode & 0o077 for one in path.parent.iterdir()] == [0] * len(list(path.parent.iterdir()))


async def test_another_event_loop_is_told_to_open_its_own(path: Path, message: EmailMessage) -> None:
    async with waymail.Outbox(path, CLOSED, carry=False) as outbox:

        def elsewhere() -> None:
            asyncio.run(_submit(outbox, message))

        with pytest.raises(RuntimeError, match="another event loop"):
            await asyncio.to_thread(elsewhere)


async def _submit(outbox: waymail.Outbox, message: EmailMessage) -> None:
    await outbox.submit(message)


async def test_a_failing_password_defers_and_says_so_in_the_log_only(
    path: Path, peer: Peer, message: EmailMessage, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    deferred: list[waymail.OutboxEvent] = []
    auth = waymail.Credentials("ann", "hunter2", cleartext=True)
    async with waymail.Outbox(path, url(peer), auth=auth, on_deferred=deferred.append) as outbox:
        await outbox.submit(message)
        assert await outbox.drain(10)
    assert [one.reply.code for one in deferred] == [454]
    assert "hunter2" not in caplog.text
