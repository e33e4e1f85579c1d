"""Who waits for whom, with a real store and in simulated time; `bench/fairness.py` is the same with 200,000 messages."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from waymail.store.sqlite import SqliteStore
from waymail.testing.clock import JumpingClock
from waymail.testing.crowd import Crowd


@pytest.fixture
async def clock() -> JumpingClock:
    return JumpingClock()


@pytest.fixture
async def store(clock: JumpingClock, tmp_path: Path) -> AsyncIterator[SqliteStore]:
    store = await SqliteStore.open(tmp_path, now=clock.now, monotonic=clock.monotonic)
    yield store
    await store.close()


async def test_dead_and_slow_destinations_hold_up_no_other_and_all_arrives_once(store: SqliteStore, clock: JumpingClock) -> None:
    crowd = Crowd(store, clock, destinations=200, messages=2_000, dead=0.1, slow=0.05)
    await crowd.run()
    assert crowd.finished_at["quick"] < 2, "alone they take half a second"
    assert len(crowd.delivered) == 2_000
    assert set(crowd.delivered.values()) == {1}
    assert await store.list() == []


async def test_ten_thousand_messages_for_a_slow_destination_delay_no_other_by_a_second(
    store: SqliteStore, clock: JumpingClock
) -> None:
    crowd = Crowd(store, clock, destinations=0, messages=0)
    crowd.kinds["slow.example"] = "slow"
    for number in range(50):
        crowd.kinds[f"{number}.example"] = "quick"
    async with crowd.running():
        await crowd.accept(["slow.example"] * 10_000)
        for number in range(50):
            began = clock.now()
            await crowd.accept([f"{number}.example"])
            await crowd.pass_time(lambda: not crowd.left["quick"])
            assert clock.now() - began < 1
            later = clock.now() + 5
            await crowd.pass_time(lambda: clock.now() >= later)  # noqa: B023 - it has passed before the next one
        assert 0 < 10_000 - crowd.left["slow"] < 2_000, "it is being served, and far from done"
        assert crowd.runner._lanes.recipients < 200, "the others wait in the store"
