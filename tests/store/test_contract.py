"""Both stores against the one contract suite."""

from __future__ import annotations

from pathlib import Path

import pytest

from waymail.store.contract import Store
from waymail.store.memory import MemoryStore, Tables
from waymail.store.sqlite import SqliteStore
from waymail.testing.store_cases import LEASE, START, Place
from waymail.testing.store_contract import StoreContract


class SqlitePlace:
    def __init__(self, directory: Path) -> None:
        self.time = START
        self._directory = directory

    async def open(self) -> SqliteStore:
        return await SqliteStore.open(self._directory, lease=LEASE, now=lambda: self.time)

    async def crash(self, store: Store) -> None:
        assert isinstance(store, SqliteStore)
        await store.abort()


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


class TestMemory(StoreContract):
    @pytest.fixture
    def place(self) -> Place:
        return MemoryPlace()
