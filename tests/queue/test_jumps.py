"""A clock on the wall that jumps: no mail is given up for it, none waits for hours that are over."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from waymail.mail.envelope import Body, Envelope, Recipient
from waymail.mail.outcome import Deferred
from waymail.queue.jumps import Jumps
from waymail.queue.retry import DAY, HOUR
from waymail.store.contract import Delivery, NewMessage, Settlement, State
from waymail.store.memory import MemoryStore
from waymail.testing.clock import JumpingClock
from waymail.testing.queue import TAKEN, Bench, ScriptedCarrier
from waymail.wire.replies import Reply

LATER = Deferred(Reply(451, "later", "4.3.0"))


def test_small_steps_are_no_jumps() -> None:
    jumps = Jumps()
    assert [jumps.look(1000.0 + 5 * turn, 5.01 * turn) for turn in range(1000)] == [0.0] * 1000
    assert jumps.slack(0) == 0


def test_time_that_never_was_is_slack_for_what_was_there_before_and_for_nothing_else() -> None:
    jumps = Jumps()
    jumps.look(1000, 0)
    assert jumps.look(1000 + DAY, 10) == pytest.approx(DAY - 10)
    assert jumps.slack(900) == pytest.approx(DAY - 10)
    assert jumps.slack(1000 + DAY) == 0


def test_a_clock_that_is_set_right_again_takes_the_slack_back() -> None:
    jumps = Jumps()
    jumps.look(1000, 0)
    jumps.look(1000 + DAY, 0)
    assert jumps.look(1000, 0) == -DAY
    assert jumps.slack(900) == 0


async def test_a_jump_by_a_year_gives_nothing_up() -> None:
    bench = Bench(ScriptedCarrier(answer=lambda _: LATER))
    async with bench.running():
        id = await bench.accept("x@a.example")
        await bench.pass_time(HOUR)
        bench.clock.jump_wall_clock(365 * DAY)
        await bench.pass_time(DAY, step=HOUR)
        assert await bench.state(id) == [State.QUEUED]
        new = await bench.accept("y@a.example")
        await bench.pass_time(5 * DAY, step=HOUR)
        assert await bench.state(id) == [State.FAILED], "its own five days are over"
        await bench.pass_time(HOUR)
        assert await bench.state(new) == [State.FAILED]


async def test_what_was_due_by_a_clock_that_was_a_day_ahead_is_tried_within_the_longest_wait() -> None:
    bench = Bench(ScriptedCarrier(answer=lambda _: LATER))
    async with bench.running():
        id = await bench.accept("x@a.example")
        await bench.settled()
        bench.clock.jump_wall_clock(-DAY)
        bench.carrier.answer = lambda _: TAKEN
        await bench.pass_time(HOUR)
        assert await bench.state(id) == [State.DELIVERED]


async def test_what_a_process_before_left_due_too_late_is_brought_forward_at_the_start() -> None:
    bench = Bench(ScriptedCarrier())
    envelope = Envelope(bench.ids.next(0), "ann@example.org", (Recipient("x@a.example"),), bench.clock.now() + DAY)
    await bench.store.accept(NewMessage(envelope, Body(b"x", 1), claim=False))
    async with bench.running():
        await bench.pass_time(HOUR)
        assert [address for _, address in bench.carrier.attempts] == ["x@a.example"]


async def test_a_destination_that_was_down_is_probed_when_it_would_have_been_though_the_clock_was_set_back() -> None:
    down = Deferred(Reply(451, "no connection", "4.4.1"), destination_down=True)
    carrier = ScriptedCarrier(answer=lambda _: down)
    bench = Bench(carrier)
    async with bench.running():
        await bench.accept("x@a.example")
        await bench.settled()
        bench.clock.jump_wall_clock(-365 * DAY)
        await bench.pass_time(10)
        carrier.answer = lambda _: TAKEN
        id = await bench.accept("y@a.example")
        await bench.pass_time(90)
        assert await bench.state(id) == [State.DELIVERED]


async def test_what_is_being_attempted_is_not_attempted_by_another_after_a_jump() -> None:
    carrier = ScriptedCarrier(hold=asyncio.Event())
    bench = Bench(carrier)
    async with bench.running():
        id = await bench.accept("x@a.example")
        bench.clock.jump_wall_clock(DAY)
        await bench.pass_time(60)
        assert len(carrier.attempts) == 1
        assert carrier.hold is not None
        carrier.hold.set()
        await bench.settled()
        assert await bench.state(id) == [State.DELIVERED]


class TardyStore(MemoryStore):
    """A settlement takes a second."""

    clock = JumpingClock()

    async def settle(self, settlement: Settlement) -> Sequence[Delivery]:
        await self.clock.sleep(1)
        return await super().settle(settlement)


async def test_what_is_put_off_while_the_clock_is_set_back_waits_no_longer_than_the_schedule_says() -> None:
    down = Deferred(Reply(451, "no connection", "4.4.1"), destination_down=True)
    carrier = ScriptedCarrier(answer=lambda _: down)
    clock = JumpingClock()
    store = TardyStore(now=clock.now, monotonic=clock.monotonic)
    store.clock = clock
    bench = Bench(carrier, store, clock=clock)
    async with bench.running():
        await bench.accept("x@a.example")
        await bench.pass_time(30, step=1)
        clock.jump_wall_clock(-30 * DAY)
        id = await bench.accept("y@a.example")
        carrier.answer = lambda _: TAKEN
        await bench.runner.lift(["elsewhere.example"])
        await bench.settled()  # the queue has looked at the clock before the settlement is over
        await bench.pass_time(HOUR)
        assert await bench.state(id) == [State.DELIVERED]
        await bench.runner.stop(grace=0)
        await bench.pass_time(2)
