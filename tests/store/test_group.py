"""The group commit by itself, with a table of numbers."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from waymail.store.group import MAX_BATCH, GroupCommit


class Numbers:
    """Writes numbers; `gate` holds the writer inside a transaction."""

    def __init__(self) -> None:
        self.connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        self.connection.execute("CREATE TABLE number (value INTEGER PRIMARY KEY)")
        self.gate = threading.Event()
        self.gate.set()
        self.batches: list[int] = []
        self.abandoned: list[tuple[int, bool]] = []
        self.group: GroupCommit[int] = GroupCommit(
            self.connection,
            apply=self._apply,
            committed=lambda: None,
            abandoned=lambda item, is_committed, result: self.abandoned.append((item, is_committed)),
            failure=lambda error: ValueError(str(error)),
        )

    def _apply(self, items: Sequence[int]) -> Sequence[Any]:
        self.gate.wait()
        self.batches.append(len(items))
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
    rest = [numbers.group.submit(item) for item in range(1, 101)]
    numbers.gate.set()
    await asyncio.gather(first, *rest)
    assert numbers.batches == [1, 100]
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


async def test_stopping_writes_what_waits(numbers: Numbers) -> None:
    waiting = [numbers.group.submit(item) for item in range(20)]
    await numbers.group.stop()
    await asyncio.gather(*waiting)
    assert numbers.written() == list(range(20))


def _until(condition: Any) -> None:
    while not condition():
        pass
