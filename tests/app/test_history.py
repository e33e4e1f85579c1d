from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from waymail.app.config.schema import History
from waymail.app.history import INTERVAL, HistoryBound
from waymail.store.sqlite import SqliteStore
from waymail.testing.clock import JumpingClock
from waymail.testing.store_cases import LEASE, START, Messages, delivered

DAY = 86_400.0


async def finished(store: SqliteStore, at: float, messages: Messages) -> str:
    delivery = await store.accept(messages.new(at=at))
    await store.settle(delivered(delivery, at=at))
    return delivery.envelope.id


def bounds(**keys: str) -> History:
    return History.model_validate(keys)


async def test_what_is_older_than_keep_goes_and_no_sooner(tmp_path: Path) -> None:
    clock, messages = JumpingClock(START + 30 * DAY), Messages()
    store = await SqliteStore.open(tmp_path / "queue", lease=LEASE, now=clock.now)
    old = await finished(store, START - 1, messages)
    live = (await store.accept(messages.new(at=START - 1))).envelope.id
    young = await finished(store, START + 1, messages)
    await HistoryBound(store, bounds(keep="off"), clock).apply()
    assert await store.get(old) is not None
    await HistoryBound(store, bounds(), clock).apply()
    assert [await store.get(id) is not None for id in (old, live, young)] == [False, True, True]
    await store.close()


async def test_a_database_above_the_bound_loses_its_oldest_messages_and_the_log_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock, messages = JumpingClock(START), Messages()
    store = await SqliteStore.open(tmp_path / "queue", lease=LEASE, now=clock.now)
    ids = [await finished(store, START, messages) for _ in range(20)]
    with caplog.at_level(logging.WARNING):
        await HistoryBound(store, bounds(size="off"), clock).apply()
        await HistoryBound(store, bounds(size="1GB"), clock).apply()
        assert await store.get(ids[0]) is not None
        assert not caplog.records
        await HistoryBound(store, bounds(size="1B"), clock).apply()
    assert await store.get(ids[0]) is None
    assert "above history.size" in caplog.text
    await store.close()


async def test_it_is_looked_at_every_hour_also_where_the_store_failed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    clock, messages = JumpingClock(START), Messages()
    store = await SqliteStore.open(tmp_path / "queue", lease=LEASE, now=clock.now)
    id = await finished(store, START, messages)
    running = asyncio.ensure_future(HistoryBound(store, bounds(keep="90m"), clock).run())
    await clock.wait_for_sleepers()
    await clock.advance(INTERVAL)
    await clock.wait_for_sleepers()
    assert await store.get(id) is not None
    await clock.advance(INTERVAL)
    await clock.wait_for_sleepers()
    assert await store.get(id) is None
    await store.close()
    await clock.advance(INTERVAL)
    assert "could not be removed" in caplog.text
    assert not running.done()
    running.cancel()
