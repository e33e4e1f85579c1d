"""A runner that is given other parts while it runs."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from waymail.mail.envelope import Body, Envelope, Recipient
from waymail.mail.outcome import Deferred, Failed
from waymail.queue.bounce import NoticeWriter
from waymail.queue.plan import RunnerLimits
from waymail.queue.retry import Schedule
from waymail.store.contract import NewMessage, State
from waymail.testing.queue import Bench, Place, ScriptedCarrier
from waymail.wire.replies import Reply


def reconfigure(bench: Bench, carrier: ScriptedCarrier, schedule: Schedule | None = None) -> None:
    notices = NoticeWriter("mail.example.org", bench.ids.next)
    bench.runner.reconfigure(carrier, notices, schedule or bench.schedule, RunnerLimits(per_destination=1))


async def test_an_attempt_under_way_ends_with_its_carrier_and_what_waits_goes_with_the_new_one() -> None:
    old, new = ScriptedCarrier(hold=asyncio.Event()), ScriptedCarrier()
    bench = Bench(old, per_destination=1)
    async with bench.running():
        first, second, third = [await bench.accept(f"{name}@a.example") for name in ("x", "y", "z")]
        await bench.settled()
        reconfigure(bench, new)
        await bench.settled()
        assert old.hold is not None
        old.hold.set()
        await bench.settled()
        for id in (first, second, third):
            assert await bench.state(id) == [State.DELIVERED]
    assert [address for _, address in old.attempts] == ["x@a.example"]
    assert [address for _, address in new.attempts] == ["y@a.example", "z@a.example"]


@dataclass
class Elsewhere(ScriptedCarrier):
    """Has another name for the destination, which no other carrier knows."""

    seen: list[str] = field(default_factory=list)

    def known(self, recipient: Recipient) -> Place | None:
        return Place(f"other:{recipient.domain}")

    async def deliver(self, destination, envelope, body, recipients):  # type: ignore[no-untyped-def]
        self.seen.append(destination.key)
        return await super().deliver(destination, envelope, body, recipients)


@dataclass
class Slow(ScriptedCarrier):
    found: asyncio.Event = field(default_factory=asyncio.Event)

    def known(self, recipient: Recipient) -> Place | None:
        return None

    async def locate(self, recipient: Recipient) -> Place | Deferred | Failed:
        await self.found.wait()
        return Place(recipient.domain)


@dataclass
class Moved(Elsewhere):
    async def locate(self, recipient: Recipient) -> Place | Deferred | Failed:
        return Place(f"other:{recipient.domain}")


async def test_who_is_asked_for_the_way_while_it_is_replaced_does_not_decide() -> None:
    old, new = Slow(), Moved()
    bench = Bench(old)
    async with bench.running():
        id = await bench.accept("x@a.example")
        await bench.settled()
        reconfigure(bench, new)
        old.found.set()
        await bench.settled()
        assert await bench.state(id) == [State.DELIVERED]
    assert new.seen == ["other:a.example"]


async def test_an_attempt_that_was_about_to_begin_stays_with_the_carrier_that_knows_its_destination() -> None:
    old, new = ScriptedCarrier(), Elsewhere()
    bench = Bench(old)
    async with bench.running():
        now = bench.clock.now()
        envelope = Envelope(bench.ids.next(now), "", (Recipient("x@a.example"),), now)
        bench.runner.offer(await bench.store.accept(NewMessage(envelope, Body(b"Subject: x\r\n\r\n", 14))))
        reconfigure(bench, new)
        await bench.settled()
        assert await bench.state(envelope.id) == [State.DELIVERED]
    assert [address for _, address in old.attempts] == ["x@a.example"]
    assert new.seen == []


async def test_another_schedule_counts_from_the_next_attempt() -> None:
    carrier = ScriptedCarrier(answer=lambda _: Deferred(Reply(451, "later", "4.2.0")))
    bench = Bench(carrier)
    async with bench.running():
        await bench.accept("x@a.example")
        await bench.settled()
        reconfigure(bench, carrier, Schedule(intervals=(7,), expire=1000.0, delay_warning=None, jitter=0.0))
        await bench.pass_time(100, step=1)
        times = [at for at, _ in carrier.attempts]
    assert 59 <= times[1] - times[0] <= 62, "it had been given its time before"
    assert 6 <= times[2] - times[1] <= 9


async def test_a_stop_does_not_wait_for_who_is_asked_for_the_way() -> None:
    carrier = Slow()
    bench = Bench(carrier)
    async with asyncio.timeout(5):
        async with bench.running():
            id = await bench.accept("x@a.example")
            await bench.settled()
    assert await bench.state(id) == [State.ACTIVE], "claimed: closing the store hands it back"
