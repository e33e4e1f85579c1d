"""A disk that fails at one write or sync, at some, or at all of them until it is repaired: no answer of the store is a lie.

`WAYMAIL_CRASH_SEEDS` is how often chance decides what a failed sync has brought to the disk; above 1 every operation is tried.
"""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

from waymail.store import schema
from waymail.store.contract import Delivery, NewMessage, State, StoreError
from waymail.store.sqlite import SqliteStore
from waymail.testing.disk import CrashingDisk
from waymail.testing.disk_image import Act, Loss, lay_out
from waymail.testing.store_cases import START, Messages, delivered, octets

SEEDS = range(int(os.environ.get("WAYMAIL_CRASH_SEEDS", "1")))
BIG = b"0123456789abcdef" * 4200  # octets: in a file
FOR_EVER = 10**6
SOON = 12  # operations: in these, another transaction comes to stand where the one that was refused is in the log


@dataclass
class Said:
    """What a store said about each message: that it has it, that it does not, that it is settled; and after how many operations
    of the disk it said so. What it was asked and has not answered yet is true or is not."""

    messages: dict[str, NewMessage] = field(default_factory=dict)
    accepted: dict[str, int] = field(default_factory=dict)
    refused: dict[str, int] = field(default_factory=dict)
    settling: set[str] = field(default_factory=set)
    settled: dict[str, int] = field(default_factory=dict)


class Run:
    """A store on a disk that fails, and what it said."""

    def __init__(self, disk: CrashingDisk, store: SqliteStore) -> None:
        self.disk = disk
        self.store = store
        self.said = Said()
        self._messages = Messages()

    async def accept(self, content: bytes = b"") -> Delivery | None:
        new = self._messages.new(content=b"Subject: hello\r\n\r\n" + content)
        id = new.envelope.id
        self.said.messages[id] = new
        spool = self.store.spool(id)
        try:
            assert isinstance(new.body.content, bytes)
            spool.write(new.body.content)
            delivery = await self.store.accept(NewMessage(new.envelope, spool.finish()))
        except StoreError:
            spool.discard()
            self.said.refused[id] = self.disk.point
            return None
        self.said.accepted[id] = self.disk.point
        return delivery

    async def settle(self, delivery: Delivery | None) -> None:
        if delivery is None:
            return
        id = delivery.envelope.id
        self.said.settling.add(id)
        try:
            await self.store.settle(delivered(delivery))
        except StoreError:
            return  # whoever asked does so again: here nobody does, and it may show as settled after a crash or not
        self.said.settled[id] = self.disk.point

    async def lead(self) -> None:
        """All that a message goes through, small and large, alone and with others."""
        small = await self.accept()
        large = await self.accept(BIG)
        await self.settle(small)
        several = await asyncio.gather(self.accept(), self.accept(), self.accept(BIG))
        await asyncio.gather(self.settle(large), self.settle(several[0]), self.accept())


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Path]:
    folder = Path("/dev/shm") / f"waymail-{os.getpid()}" if os.access("/dev/shm", os.W_OK) else tmp_path / "memory"
    folder.mkdir()
    yield folder
    shutil.rmtree(folder)


@asynccontextmanager
async def running(memory: Path) -> AsyncIterator[Run]:
    disk = CrashingDisk(memory / "disk")
    run = Run(disk, await SqliteStore.open(disk.root / "queue", now=lambda: START, disk=disk))
    try:
        yield run
    finally:
        await run.store.abort()
        disk.close()
        shutil.rmtree(memory / "disk")


@pytest.mark.parametrize(("error", "times", "stride"), [(errno.EIO, 1, 1), (errno.EIO, 2, 2), (errno.ENOSPC, FOR_EVER, 3)])
async def test_whichever_write_fails_the_store_said_what_is_so(memory: Path, error: int, times: int, stride: int) -> None:
    at, failed = 0, 1
    while failed:
        async with running(memory) as run:
            run.disk.fail(at, error, times=times)
            await run.lead()
            failed = run.disk.repair()
            assert await run.accept() is not None, "it goes on when the disk does"
            if times == FOR_EVER:  # what was refused could not be revoked before
                run.said.refused = dict.fromkeys(run.said.refused, run.disk.point)
            await run.settle(await run.accept(BIG))
            await assert_true(run.store, run.said, run.disk.point)
            await run.store.abort()
            try:
                await assert_true_after_a_crash(run, memory)
            except BaseException as problem:
                problem.add_note(f"operation {at} and {times - 1} more failed")
                raise
        at += stride if len(SEEDS) == 1 else 1
    assert at > 50


async def test_what_was_refused_because_its_sync_failed_does_not_appear_after_a_crash(memory: Path) -> None:
    """All of the transaction stands in the log by then, its commit included."""
    async with running(memory) as run:
        log = "queue/queue.sqlite-wal"
        run.disk.fail(0, act=Act.SYNC, path=log, times=2)  # the commit's, and that of its repetition
        assert await run.accept() is None
        assert run.disk.repair() == 2
        refused_at = run.disk.point
        assert [one.act for one in run.disk.operations if one.path == log].count(Act.FAILED_SYNC) == 2
        for crash in run.disk.crashes(refused_at, seeds=range(20)):
            lay_out(crash.image, memory / "after")
            store = await SqliteStore.open(memory / "after" / "queue", now=lambda: START)
            assert await store.list() == []
            await store.close()
            shutil.rmtree(memory / "after")
        assert await run.accept() is not None


async def test_whichever_write_fails_at_the_start_what_is_accepted_afterwards_is_there(memory: Path) -> None:
    """SQLite does not say where the name of its log could not be synced."""
    at, failed = 0, 1
    while failed:
        disk = CrashingDisk(memory / "disk")
        disk.fail(at)
        try:
            store = await SqliteStore.open(disk.root / "queue", now=lambda: START, disk=disk)
        except StoreError:
            failed = disk.repair()
            store = await SqliteStore.open(disk.root / "queue", now=lambda: START, disk=disk)
        else:
            failed = disk.repair()
        run = Run(disk, store)
        assert await run.accept() is not None
        await assert_true_after_a_crash(run, memory)
        await store.abort()
        disk.close()
        shutil.rmtree(memory / "disk")
        at += 1
    assert at > 30


async def assert_true(store: SqliteStore, said: Said, point: int) -> None:
    """What the store has is what it had said after `point` operations."""
    for id, new in said.messages.items():
        story = await store.get(id)
        if said.refused.get(id, FOR_EVER) <= point:
            assert story is None, f"{id} was refused and is there"
        if said.accepted.get(id, FOR_EVER) > point:
            continue
        assert story is not None, f"{id} was accepted and is lost"
        assert story.envelope == new.envelope
        if said.settled.get(id, FOR_EVER) <= point:
            assert story.recipients[0].state is State.DELIVERED
        elif id not in said.settling:
            assert story.recipients[0].state.is_live
        if story.recipients[0].state.is_live:
            assert (body := await store.body(id)) is not None
            assert octets(body) == new.body.content


async def assert_true_after_a_crash(run: Run, memory: Path) -> None:
    """Whether the process dies soon after the first refusal, or the power goes at the end."""
    since = min(run.said.refused.values(), default=run.disk.point)
    deaths = run.disk.crashes(since, since + SOON, losses=[Loss.NOTHING])
    for crash in (*deaths, *run.disk.crashes(run.disk.point, seeds=SEEDS)):
        lay_out(crash.image, memory / "after")
        store = await SqliteStore.open(memory / "after" / "queue", now=lambda: START)
        await assert_true(store, run.said, crash.point)
        await store.close()
        shutil.rmtree(memory / "after")


async def test_after_a_failed_sync_of_the_database_nothing_is_taken_and_the_next_start_has_all(memory: Path) -> None:
    """After a failed sync the system takes for written what it could not write, and so does SQLite: of a copy that was made in
    two parts and synced once, it makes the second part again, and not the first. Then it starts the log over."""
    async with running(memory) as run:
        reading = schema.connect(run.disk.root / "queue", read_only=True, vfs=run.disk.vfs)
        await run.accept(b"x" * 20_000)
        reading.execute("BEGIN")
        reading.execute("SELECT count(*) FROM message").fetchall()
        await run.accept(b"y" * 20_000)
        copy = partial(run.store._checkpointer.copy, run.store._connection)
        copy()  # what the reader sees; what is behind that has to wait for the reader
        reading.close()
        run.disk.fail(0, path="queue/queue.sqlite", act=Act.SYNC)
        copy()
        assert run.disk.repair() == 1
        copy()
        assert await run.accept() is None
        with pytest.raises(StoreError, match="start the server anew"):
            await run.store.close()
        await assert_true_after_a_crash(run, memory)


def test_a_process_that_ends_after_a_failed_sync_leaves_the_log(tmp_path: Path) -> None:
    program = """
import sqlite3, sys
from waymail.store.checkpoint import Checkpointer
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA journal_mode = WAL")
connection.execute("CREATE TABLE number (n)")
checkpointer = Checkpointer(connection)
checkpointer._give_up()  # stands for the failed sync
checkpointer.stop()
"""
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "database")], timeout=30, check=True)
    assert (tmp_path / "database-wal").exists()
