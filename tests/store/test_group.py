"""The group commit by itself, with a table of numbers."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from waymail.store.group import MAX_BATCH, GroupCommit

SMALL = 10_000  # numbers from here on are executed on the loop


class Numbers:
    """Writes numbers; `gate` holds the writer inside a transaction."""

    def __init__(self, connection: sqlite3.Connection | None = None) -> None:
        self.connection = connection or sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        self.connection.execute("CREATE TABLE number (value INTEGER PRIMARY KEY)")
        self.gate = threading.Event()
        self.gate.set()
        self.batches: list[int] = []
        self.threads: list[bool] = []
        self.abandoned: list[tuple[int, bool]] = []
        self.group: GroupCommit[int] = GroupCommit(
            self.connection,
            apply=self._apply,
            overwrite=lambda: None,
            is_small=lambda item: item >= SMALL,
            committed=lambda: None,
            abandoned=lambda item, is_committed, result: self.abandoned.append((item, is_committed)),
            failure=lambda error: ValueError(str(error)),
        )

    def _apply(self, items: Sequence[int]) -> Sequence[Any]:
        self.gate.wait()
        self.batches.append(len(items))
        self.threads.append(threading.current_thread() is threading.main_thread())
        for item in items:
            self.connection.execute("INSERT INTO number VALUES (?)", (item,))
        return [item * 2 for item in items]

    def written(self) -> list[int]:
        return [row[0] for row in self.connection.execute("SELECT value FROM number ORDER BY value")]


@pytest.fixture
async def numbers() -> AsyncIterator[Numbers]:
    numbers = Numbers()
    yield numbers
    numbers.gate.set()
    await numbers.group.stop()
    numbers.connection.close()


async def test_everybody_gets_his_own_result(numbers: Numbers) -> None:
    assert await asyncio.gather(*(numbers.group.submit(item) for item in range(50))) == [item * 2 for item in range(50)]


async def test_all_that_waits_while_a_transaction_runs_is_the_next_one(numbers: Numbers) -> None:
    numbers.gate.clear()
    first = numbers.group.submit(0)
    await asyncio.to_thread(_until, lambda: numbers.connection.in_transaction)
    rest = [numbers.group.submit(item) for item in range(1, 51)]
    numbers.gate.set()
    await asyncio.gather(first, *rest)
    assert numbers.batches == [1, 50]
    assert numbers.group.commits == 2


async def test_a_batch_is_bounded(numbers: Numbers) -> None:
    numbers.gate.clear()
    first = numbers.group.submit(0)
    await asyncio.to_thread(_until, lambda: numbers.connection.in_transaction)
    rest = [numbers.group.submit(item) for item in range(1, MAX_BATCH + 11)]
    numbers.gate.set()
    await asyncio.gather(first, *rest)
    assert numbers.batches == [1, MAX_BATCH, 10]


async def test_the_one_that_fails_fails_alone(numbers: Numbers) -> None:
    numbers.gate.clear()
    waiting = [numbers.group.submit(item) for item in (1, 2, 1, 3)]
    numbers.gate.set()
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert [result if isinstance(result, int) else type(result) for result in results] == [2, 4, ValueError, 6]
    assert numbers.written() == [1, 2, 3]
    assert await numbers.group.submit(4) == 8


async def test_who_gives_up_before_his_turn_writes_nothing(numbers: Numbers) -> None:
    numbers.gate.clear()
    begun = numbers.group.submit(1)
    await asyncio.to_thread(_until, lambda: numbers.connection.in_transaction)
    waiting = numbers.group.submit(2)
    begun.cancel()
    waiting.cancel()
    numbers.gate.set()
    await numbers.group.submit(3)
    assert numbers.written() == [1, 3]
    assert numbers.abandoned == [(1, True), (2, False)]


async def test_small_items_are_executed_on_the_loop_and_large_ones_in_the_thread(numbers: Numbers) -> None:
    assert await numbers.group.submit(SMALL) == 2 * SMALL
    assert await numbers.group.submit(1) == 2
    results = await asyncio.gather(numbers.group.submit(SMALL + 1), numbers.group.submit(2))
    assert list(results) == [2 * SMALL + 2, 4]
    assert numbers.threads == [True, False, False]


async def test_a_small_item_that_fails_fails_alone(numbers: Numbers) -> None:
    waiting = [numbers.group.submit(SMALL + item) for item in (1, 2, 1, 3)]
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert [result - 2 * SMALL if isinstance(result, int) else type(result) for result in results] == [2, 4, ValueError, 6]
    assert numbers.written() == [SMALL + 1, SMALL + 2, SMALL + 3]
    assert await numbers.group.submit(SMALL + 4) == 2 * SMALL + 8


async def test_a_lock_of_another_process_is_waited_for_without_holding_up_the_loop(tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / "db", isolation_level=None)
    numbers = Numbers(sqlite3.connect(tmp_path / "db", isolation_level=None, check_same_thread=False, timeout=0))
    other.execute("BEGIN IMMEDIATE")
    waiting = numbers.group.submit(SMALL)
    for _ in range(10):
        await asyncio.sleep(0.005)
    assert not waiting.done()
    other.execute("COMMIT")
    assert await waiting == 2 * SMALL
    await numbers.group.stop()
    numbers.connection.close()
    other.close()


async def test_stopping_writes_what_waits(numbers: Numbers) -> None:
    waiting = [numbers.group.submit(item) for item in range(20)]
    await numbers.group.stop()
    await asyncio.gather(*waiting)
    assert numbers.written() == list(range(20))


def _until(condition: Any) -> None:
    while not condition():
        pass
