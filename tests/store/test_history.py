"""History that is bounded by size: what goes, what stays, and who waits for it."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from waymail.store import statements
from waymail.store.chores import FORGET_BATCH
from waymail.store.contract import State
from waymail.store.schema import FILE
from waymail.store.sqlite import SqliteStore
from waymail.testing.store_cases import LEASE, START, Messages, delivered, states

MANY = 3 * FORGET_BATCH


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    store = await SqliteStore.open(tmp_path / "queue", lease=LEASE, now=lambda: START)
    yield store
    await store.close()


async def fill(store: SqliteStore, messages: Messages, many: int) -> list[str]:
    """So many messages that were delivered, one a second; their ids."""
    new = [messages.new(at=START + number, message_id=f"<{number}@example.org>") for number in range(many)]
    deliveries = await asyncio.gather(*(store.accept(one) for one in new))
    await asyncio.gather(*(store.settle(delivered(one)) for one in deliveries))
    return [one.envelope.id for one in new]


def asked(tmp_path: Path, statement: str) -> int:
    with closing(sqlite3.connect(tmp_path / "queue" / FILE)) as connection:
        return int(connection.execute(statement).fetchone()[0])


def used(tmp_path: Path) -> int:
    with closing(sqlite3.connect(tmp_path / "queue" / FILE)) as connection:
        return statements.used(connection)


async def test_the_oldest_finished_messages_go_until_the_database_is_small_enough(store: SqliteStore, tmp_path: Path) -> None:
    messages = Messages()
    live = await store.accept(messages.new(at=START - 10))
    ids = await fill(store, messages, MANY)
    before = used(tmp_path)
    assert await store.shrink(before) == 0
    bound = before * 4 // 5
    assert await store.shrink(bound) == FORGET_BATCH - 1  # the first batch has the one that is live
    assert used(tmp_path) < 0.9 * bound
    assert await states(store, live.envelope.id) == [State.ACTIVE]
    kept = [id for id in ids if await store.get(id) is not None]
    assert kept == ids[FORGET_BATCH - 1 :]
    assert asked(tmp_path, "SELECT count(*) FROM word WHERE message NOT IN (SELECT id FROM message)") == 0
    assert len(await store.find(f"<{MANY - 1}@example.org>")) == 1


async def test_live_mail_stays_however_large_it_is(store: SqliteStore) -> None:
    messages = Messages()
    live = [await store.accept(messages.new()) for _ in range(20)]
    await fill(store, messages, 30)
    assert await store.shrink(1) == 30
    assert await store.shrink(1) == 0
    assert len(await store.list()) == len(live)


async def test_freed_pages_are_used_again(store: SqliteStore, tmp_path: Path) -> None:
    messages = Messages()
    await fill(store, messages, MANY)
    await store.shrink(1)
    pages = asked(tmp_path, "PRAGMA page_count")
    await fill(store, messages, MANY // 2)
    assert asked(tmp_path, "PRAGMA page_count") <= pages


async def test_mail_is_accepted_between_the_batches(store: SqliteStore) -> None:
    messages = Messages()
    await fill(store, messages, MANY)
    shrinking = asyncio.ensure_future(store.shrink(1))
    accepted = 0
    while not shrinking.done():
        await store.accept(messages.new())
        accepted += 1
    assert await shrinking == MANY
    assert accepted >= MANY // FORGET_BATCH
