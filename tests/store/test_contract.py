"""Both stores against the one contract suite, and against its part about operators also where they work beside the store."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from waymail.store import operate
from waymail.store.apart import steer
from waymail.store.contract import OPERATOR, Changed, Selection, Store
from waymail.store.deposit import Depositor
from waymail.store.memory import MemoryStore, Tables
from waymail.store.sqlite import SqliteStore
from waymail.testing.store_cases import LEASE, START, Place
from waymail.testing.store_contract import StoreContract
from waymail.testing.store_operators import OperatorContract


class SqlitePlace:
    kind = SqliteStore

    def __init__(self, directory: Path) -> None:
        self.time = START
        self._directory = directory

    async def open(self) -> SqliteStore:
        return await self.kind.open(self._directory, lease=LEASE, now=lambda: self.time)

    async def crash(self, store: Store) -> None:
        assert isinstance(store, SqliteStore)
        await store.abort()


class SteeredApart(SqliteStore):
    """Steered as by another process, beside the one that delivers."""

    async def hold(self, selection: Selection, now: float, by: str = OPERATOR) -> Changed:
        return await self._steered(operate.HOLD, selection, now, by)

    async def release(self, selection: Selection, now: float, by: str = OPERATOR) -> Changed:
        return await self._steered(operate.RELEASE, selection, now, by)

    async def flush(self, selection: Selection, now: float, by: str = OPERATOR) -> Changed:
        return await self._steered(operate.FLUSH, selection, now, by)

    async def remove(self, selection: Selection, now: float, by: str = OPERATOR) -> Changed:
        return await self._steered(operate.REMOVE, selection, now, by)

    async def _steered(self, move: operate.Move, selection: Selection, now: float, by: str) -> Changed:
        depositor = await asyncio.to_thread(Depositor, self._place)
        try:
            return await asyncio.to_thread(steer, depositor, move, selection, now, by)
        finally:
            depositor.close()


class SteeredPlace(SqlitePlace):
    kind = SteeredApart


class MemoryPlace:
    def __init__(self) -> None:
        self.time = START
        self._tables = Tables()

    async def open(self) -> MemoryStore:
        return MemoryStore(lease=LEASE, now=lambda: self.time, tables=self._tables)

    async def crash(self, store: Store) -> None:
        """Nothing has to be done: the tables stand as the last call left them."""


class TestSqlite(StoreContract):
    @pytest.fixture
    def place(self, tmp_path: Path) -> Place:
        return SqlitePlace(tmp_path / "queue")


class TestSteeredApart(OperatorContract):
    @pytest.fixture
    def place(self, tmp_path: Path) -> Place:
        return SteeredPlace(tmp_path / "queue")


class TestMemory(StoreContract):
    @pytest.fixture
    def place(self) -> Place:
        return MemoryPlace()
