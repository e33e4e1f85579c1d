"""The queue's engine, with a clock that jumps and a carrier that does as it is told."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from waymail.mail.envelope import Body, Envelope, Recipient
from waymail.mail.outcome import Deferred, Failed
from waymail.queue.retry import DAY, HOUR
from waymail.store.contract import Delivery, NewMessage, Settlement, State, StoreError
from waymail.store.memory import MemoryStore
from waymail.testing.queue import TAKEN, Bench, Place, ScriptedCarrier
from waymail.wire.replies import Reply

OK = TAKEN
LATER = Deferred(Reply(451, "try again later", "4.2.0"))
REFUSED = Deferred(Reply(451, "connection refused", "4.4.1"), destination_down=True)
NEVER = Failed(Reply(550, "no such user", "5.1.1"))


async def test_what_is_offered_is_attempted_at_once_and_settled() -> None:
    bench = Bench(ScriptedCarrier())
    async with bench.running():
        id = await bench.accept("x@a.example", "y@b.example")
        await bench.settled()
        assert await bench.state(id) == [State.DELIVERED, State.DELIVERED]
        assert sorted(address for _, address in bench.carrier.attempts) == ["x@a.example", "y@b.example"]


async def test_recipients_of_one_destination_go_in_one_attempt() -> None:
    bench = Bench(ScriptedCarrier())
    async with bench.running():
        await bench.accept("x@a.example", "y@a.example", "z@a.example")
        await bench.settled()
        assert bench.carrier.most_at_once == 1
        assert len(bench.carrier.attempts) == 3


async def test_a_deferral_is_tried_again_by_the_schedule_and_by_nothing_else() -> None:
    bench = Bench(ScriptedCarrier(answer=lambda _: LATER))
    async with bench.running():
        start = bench.clock.now()
        await bench.accept("x@a.example")
        await bench.pass_time(1500, step=10)
        waits = [round(at - start) for at, _ in bench.carrier.attempts]
        assert waits[0] == 0
        assert [abs(wait - due) <= 10 for wait, due in zip(waits[1:], (60, 360, 1260), strict=True)] == [True] * 3


async def test_a_destination_that_is_down_costs_one_attempt_an_interval_however_many_wait() -> None:
    bench = Bench(ScriptedCarrier(answer=lambda _: REFUSED), per_destination=5)
    async with bench.running():
        for number in range(100):
            await bench.accept(f"x{number}@down.example")
        await bench.settled()
        assert len(bench.carrier.attempts) <= 5
        first = len(bench.carrier.attempts)
        await bench.pass_time(59)
        assert len(bench.carrier.attempts) == first
        await bench.pass_time(250)
        assert len(bench.carrier.attempts) == first + 1, "one message probes"


async def test_all_waiting_messages_arrive_when_the_destination_is_back() -> None:
    down = True
    bench = Bench(ScriptedCarrier(answer=lambda _: REFUSED if down else OK))
    async with bench.running():
        ids = [await bench.accept(f"x{number}@down.example") for number in range(50)]
        await bench.settled()
        down = False
        await bench.pass_time(200)
        for id in ids:
            assert await bench.state(id) == [State.DELIVERED]


async def test_a_down_destination_delays_no_other() -> None:
    bench = Bench(ScriptedCarrier(answer=lambda r: REFUSED if r.domain == "down.example" else OK), per_destination=2)
    async with bench.running():
        for number in range(50):
            await bench.accept(f"x{number}@down.example")
        id = await bench.accept("x@up.example")
        await bench.settled()
        assert await bench.state(id) == [State.DELIVERED]


async def test_a_failure_is_told_to_the_sender_in_a_dsn_from_the_null_path() -> None:
    bench = Bench(ScriptedCarrier(answer=lambda r: NEVER if r.domain == "a.example" else OK))
    async with bench.running():
        id = await bench.accept("x@a.example")
        await bench.settled()
        assert await bench.state(id) == [State.FAILED]
        assert await bench.kinds(id) == ["attempt", "bounced"]
        assert bench.carrier.attempts[-1][1] == "ann@example.org"
        notices = [story for story in await bench.store.find("ann@example.org") if story.envelope.sender == ""]
        assert [story.envelope.recipients[0].address for story in notices] == ["ann@example.org"]


async def test_the_null_sender_is_never_told() -> None:
    bench = Bench(ScriptedCarrier(answer=lambda _: NEVER))
    async with bench.running():
        id = await bench.accept("x@a.example", sender="")
        await bench.settled()
        assert await bench.state(id) == [State.FAILED]
        assert bench.carrier.attempts == [(bench.clock.now(), "x@a.example")]


async def test_a_dsn_that_fails_makes_no_dsn() -> None:
    bench = Bench(ScriptedCarrier(answer=lambda _: NEVER))
    async with bench.running():
        await bench.accept("x@a.example")
        await bench.settled()
        assert [address for _, address in bench.carrier.attempts] == ["x@a.example", "ann@example.org"]


async def test_a_message_that_expires_is_given_up_and_its_sender_told_once() -> None:
    bench = Bench(ScriptedCarrier(answer=lambda r: LATER if r.domain == "a.example" else OK))
    async with bench.running():
        id = await bench.accept("x@a.example")
        await bench.pass_time(5 * DAY + HOUR, step=1800)
        assert await bench.state(id) == [State.FAILED]
        kinds = await bench.kinds(id)
        assert kinds[-1] == "bounced"
        assert kinds.count("delayed") == 1
        assert [address for _, address in bench.carrier.attempts].count("ann@example.org") == 2


async def test_a_message_expires_also_while_its_destination_is_down() -> None:
    bench = Bench(ScriptedCarrier(answer=lambda r: REFUSED if r.domain == "down.example" else OK))
    async with bench.running():
        ids = [await bench.accept(f"x{number}@down.example") for number in range(5)]
        await bench.pass_time(5 * DAY + HOUR, step=1800)
        for id in ids:
            assert await bench.state(id) == [State.FAILED]


async def test_a_recipient_without_a_way_is_settled_and_the_others_go() -> None:
    bench = Bench(ScriptedCarrier(lost={"nowhere.example": NEVER, "dark.example": LATER}))
    async with bench.running():
        id = await bench.accept("x@nowhere.example", "y@a.example", "z@dark.example")
        await bench.settled()
        assert await bench.state(id) == [State.FAILED, State.DELIVERED, State.QUEUED]


async def test_past_the_memory_share_messages_wait_in_the_store_and_all_arrive() -> None:
    carrier = ScriptedCarrier(hold=asyncio.Event())
    bench = Bench(carrier, ready=10, per_destination=2)
    async with bench.running():
        ids = [await bench.accept(f"x@{number}.example") for number in range(100)]
        assert not bench.runner.has_room
        assert carrier.hold is not None
        carrier.hold.set()
        await bench.pass_time(60, step=5)
        for id in ids:
            assert await bench.state(id) == [State.DELIVERED]
        assert len(bench.carrier.attempts) == 100, "none twice"


async def test_no_more_attempts_at_once_than_the_limits_say() -> None:
    carrier = ScriptedCarrier(hold=asyncio.Event())
    bench = Bench(carrier, per_destination=3, total=5)
    async with bench.running():
        for number in range(20):
            await bench.accept(f"x@{number % 7}.example")
        await bench.settled()
        assert carrier.most_at_once == 5
        assert carrier.hold is not None
        carrier.hold.set()
        await bench.settled()
        assert len(carrier.attempts) == 20


async def test_stopping_settles_what_was_cut_off_as_uncertain_and_starts_nothing_more() -> None:
    carrier = ScriptedCarrier(hold=asyncio.Event())
    bench = Bench(carrier, per_destination=1)
    async with bench.running():
        cut_off, waiting = await bench.accept("x@a.example"), await bench.accept("y@a.example")
        await bench.settled()
        await bench.runner.stop(grace=0.01)
    assert [address for _, address in carrier.attempts] == ["x@a.example"]
    story = await bench.store.get(cut_off)
    assert story is not None
    assert story.recipients[0].state == State.QUEUED
    assert story.events[-1].detail["results"][0]["uncertain"] is True
    assert await bench.state(waiting) == [State.ACTIVE], "closing the store hands it back"


class FailingStore(MemoryStore):
    failures = 3

    async def settle(self, settlement: Settlement) -> Sequence[Delivery]:
        if self.failures:
            self.failures -= 1
            raise StoreError("the disk is full")
        return await super().settle(settlement)


async def test_an_outcome_is_settled_again_until_the_store_takes_it() -> None:
    carrier = ScriptedCarrier()
    bench = Bench(carrier)
    bench.store = bench.runner._store = FailingStore(now=bench.clock.now)
    async with bench.running():
        id = await bench.accept("x@a.example")
        await bench.settled()
        assert await bench.state(id) == [State.ACTIVE]
        await bench.pass_time(10, step=1)
        assert await bench.state(id) == [State.DELIVERED]
    assert len(carrier.attempts) == 1


async def test_a_slow_destination_does_not_take_the_memory_of_the_others() -> None:
    carrier = ScriptedCarrier(hold=asyncio.Event())
    bench = Bench(carrier, ready=20, waiting=5, per_destination=1)
    async with bench.running():
        for number in range(40):
            await bench.accept(f"x{number}@slow.example")
        await bench.settled()
        await bench.accept("x@quick.example")
        await bench.settled()
        assert [address for _, address in carrier.attempts] == ["x0@slow.example", "x@quick.example"]
        assert carrier.hold is not None
        carrier.hold.set()
        await bench.pass_time(300, step=10)
        assert len(carrier.attempts) == 41, "each once"


async def test_waiting_for_a_destination_that_is_down_is_told_once_and_is_no_attempt() -> None:
    bench = Bench(ScriptedCarrier(answer=lambda _: REFUSED), per_destination=1)
    async with bench.running():
        await bench.accept("probe@down.example")
        await bench.settled()
        id = await bench.accept("x@down.example")
        await bench.pass_time(2000)
        kinds = await bench.kinds(id)
        assert kinds[0] == "waiting"
        assert kinds.count("waiting") == 1


class GatedStore(MemoryStore):
    """A store whose settlements wait for `gate`."""

    gate: asyncio.Event

    async def settle(self, settlement: Settlement) -> Sequence[Delivery]:
        await self.gate.wait()
        return await super().settle(settlement)


async def test_stopping_at_once_loses_no_outcome_that_is_known_and_not_yet_settled() -> None:
    carrier = ScriptedCarrier()
    bench = Bench(carrier)
    store = bench.store = bench.runner._store = GatedStore(now=bench.clock.now)
    store.gate = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(bench.runner.run())
        await asyncio.sleep(0)
        id = await bench.accept("x@a.example")
        await bench.settled()
        assert await bench.state(id) == [State.ACTIVE]
        await bench.runner.stop(grace=0)
        store.gate.set()
    assert await bench.state(id) == [State.DELIVERED]
    assert len(carrier.attempts) == 1


@dataclass
class SlowToFind(ScriptedCarrier):
    """Knows no destination, and takes its time to find one."""

    asked: int = 0
    found: asyncio.Event = field(default_factory=asyncio.Event)

    def known(self, recipient: Recipient) -> Place | None:
        return None

    async def locate(self, recipient: Recipient) -> Place | Deferred | Failed:
        self.asked += 1
        await self.found.wait()
        return Place(recipient.domain)


async def test_messages_whose_way_is_being_asked_for_count_as_held_in_memory() -> None:
    carrier = SlowToFind()
    bench = Bench(carrier, ready=10)
    for number in range(100):
        now = bench.clock.now()
        envelope = Envelope(bench.ids.next(now), "", (Recipient(f"x@{number}.example"),), now)
        await bench.store.accept(NewMessage(envelope, Body(b"Subject: x\r\n\r\n", 14), claim=False))
    async with bench.running():
        await bench.pass_time(60)
        assert carrier.asked == 10
        assert not bench.runner.has_room
        carrier.found.set()
        await bench.pass_time(120, step=5)
        assert len(carrier.attempts) == 100
        assert bench.runner.has_room
