from __future__ import annotations

import asyncio
import threading
from email.message import EmailMessage
from pathlib import Path

import pytest

import waymail
import waymail.sync
from waymail.mail.envelope import Body, Envelope, Recipient
from waymail.outbox.telling import Telling
from waymail.store.contract import Change, Delivery, Pending, Settlement, State
from waymail.testing import FakeInternet
from waymail.testing.clock import JumpingClock

BOB = Recipient("bob@example.net")
DELIVERY = Delivery(Envelope("0000000000001", "ann@example.org", (BOB,), 0.0), Body(b"", 0), (Pending(0, BOB),), 1)
SETTLEMENT = Settlement("0000000000001", 1, (Change(0, State.DELIVERED, 1, "250 2.0.0 ok"),), ())


@pytest.mark.parametrize("kind", ["async", "plain"])
async def test_nobody_waits_for_a_function_that_hangs(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    called: list[str] = []
    over = threading.Event()

    async def hangs(event: waymail.OutboxEvent) -> None:
        called.append(event.recipient)
        await asyncio.Event().wait()

    def blocks(event: waymail.OutboxEvent) -> None:
        called.append(event.recipient)
        over.wait(20)

    listener = hangs if kind == "async" else blocks
    telling = Telling({"delivered": listener}, settled=lambda id: None, patience=0.05)
    try:
        async with asyncio.timeout(10):
            await telling.settling(DELIVERY, SETTLEMENT)
    finally:
        over.set()
    assert called == ["bob@example.net"]
    assert "took too long" in caplog.text


async def test_each_domain_gets_its_mail_directly(path: Path, fake_internet: FakeInternet, message: EmailMessage) -> None:
    first, second = fake_internet.domain("one.example"), fake_internet.domain("two.example")
    async with waymail.Outbox(path, "mx:", network=fake_internet.network, hostname="shop.example.com", notices=False) as outbox:
        ticket = await outbox.submit(message, recipients=["a@one.example", "b@two.example", "c@nowhere.example"])
        outcome = await ticket.outcome(20)
    assert set(outcome.delivered) == {"a@one.example", "b@two.example"}
    assert list(outcome.failed) == ["c@nowhere.example"]
    assert [one.recipients for one in (*first.messages, *second.messages)] == [("a@one.example",), ("b@two.example",)]


async def test_what_ended_is_forgotten_after_its_time_and_what_waits_is_not(
    path: Path, fake_internet: FakeInternet, message: EmailMessage
) -> None:
    fake_internet.domain("one.example")
    clock = JumpingClock()
    world = {"network": fake_internet.network, "hostname": "shop.example.com", "clock": clock, "keep": 86400.0}
    async with waymail.Outbox(path, "mx:", **world) as outbox:  # type: ignore[arg-type]
        ended = await outbox.submit(message, recipients="a@one.example")
        waits = await outbox.submit(message, recipients="a@one.example", at=clock.now() + 10 * 86400)
        assert (await ended.outcome(20)).is_delivered
        assert await outbox.ticket(ended.id)
        await clock.advance(90_000)

        async def gone() -> None:
            while await outbox.ticket(ended.id):  # noqa: ASYNC110 - nothing tells of it
                await asyncio.sleep(0.01)

        async with asyncio.timeout(20):
            await clock.advance_until(gone(), step=600)
        assert await outbox.ticket(waits.id)


def test_the_hours_of_a_blocking_outbox_can_be_skipped(path: Path, fake_internet: FakeInternet, message: EmailMessage) -> None:
    fake_internet.domain("one.example").script("RCPT", "451 4.7.1 later", times=1)
    clock, deferred = JumpingClock(), threading.Event()
    with waymail.sync.Outbox(
        path,
        network=fake_internet.network,
        hostname="shop.example.com",
        clock=clock,
        on_deferred=lambda event: deferred.set(),
    ) as outbox:
        ticket = outbox.submit(message, recipients="a@one.example")
        assert deferred.wait(20)
        with pytest.raises(TimeoutError):
            ticket.outcome(0.1)
        for _ in range(200):
            clock.skip(600)
            try:
                outcome = ticket.outcome(0.1)
                break
            except TimeoutError:
                continue
        assert outcome.is_delivered
