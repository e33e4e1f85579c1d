from __future__ import annotations

import asyncio

import pytest

from waymail.net.clock import Clock
from waymail.testing.clock import JumpingClock
from waymail.testing.loop import LoopThread


@pytest.fixture
def clock() -> JumpingClock:
    return JumpingClock(start=1000.0)


async def test_sleepers_wake_in_the_order_of_their_times_and_see_their_own_time(clock: JumpingClock) -> None:
    woken: list[tuple[str, float]] = []

    async def sleeper(name: str, seconds: float, on: Clock) -> None:
        await on.sleep(seconds)
        woken.append((name, on.now()))

    async with asyncio.TaskGroup() as group:
        for name, seconds in [("hour", 3600), ("minute", 60), ("day", 86400)]:
            group.create_task(sleeper(name, seconds, clock))
        await clock.wait_for_sleepers(3)
        await clock.advance(3600)
        assert woken == [("minute", 1060.0), ("hour", 4600.0)]
        assert clock.sleepers == 1
        await clock.advance(86400)
    assert woken[2] == ("day", 87400.0)


async def test_a_sleeper_that_sleeps_again_within_the_jump_wakes_again(clock: JumpingClock) -> None:
    woken: list[float] = []

    async def ticking() -> None:
        for _ in range(3):
            await clock.sleep(10)
            woken.append(clock.monotonic())

    async with asyncio.TaskGroup() as group:
        group.create_task(ticking())
        await clock.wait_for_sleepers()
        await clock.advance(35)
    assert woken == [10, 20, 30]


async def test_a_cancelled_sleeper_does_not_stop_the_clock(clock: JumpingClock) -> None:
    task = asyncio.create_task(clock.sleep(10))
    await clock.wait_for_sleepers()
    task.cancel()
    await clock.advance(20)
    assert clock.monotonic() == 20
    assert task.cancelled()


async def test_the_wall_clock_may_jump_back_while_no_time_passes(clock: JumpingClock) -> None:
    clock.jump_wall_clock(-500)
    assert (clock.now(), clock.monotonic()) == (500.0, 0.0)


async def test_a_sleep_of_nothing_returns(clock: JumpingClock) -> None:
    await clock.sleep(0)
    await clock.sleep(-1)
    assert clock.sleepers == 0


def test_time_may_pass_for_sleepers_in_the_loop_of_another_thread(clock: JumpingClock) -> None:
    loop = LoopThread("sleepers")
    loop.start()
    asleep = asyncio.run_coroutine_threadsafe(clock.sleep(3600), loop.loop)
    others = asyncio.run_coroutine_threadsafe(clock.sleep(3601), loop.loop)
    loop.run(clock.wait_for_sleepers(2))
    clock.skip(3600)
    asleep.result(timeout=5)
    assert (others.done(), clock.now()) == (False, 4600.0)
    loop.stop()
    clock.skip(1)
    assert clock.sleepers == 0


async def test_time_passes_until_something_is_done(clock: JumpingClock) -> None:
    async def three_naps() -> float:
        for _ in range(3):
            await clock.sleep(90)
        return clock.now()

    assert 1270 <= await clock.advance_until(three_naps(), step=100) <= 1500
    with pytest.raises(ZeroDivisionError):
        await clock.advance_until(fails())


async def fails() -> None:
    raise ZeroDivisionError
