"""The store of a single node: SQLite in a directory or a file (`place`), written by one process, durable before any call returns.
Small changes are executed on the loop and committed in the writer's thread (`group`).

    directory/queue.sqlite   the database (`schema` has its tables), with its write-ahead log beside it
    directory/bodies/        the bodies above 64 KiB (`body`)
    directory/lock           held by the process that writes (`lock`); others may only add messages (`deposit`)

Promises what `contract` promises. Fails with StoreError, whose text tells the operator what to do where something can be done.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

from waymail.mail.envelope import Body, decode_id, encode_id
from waymail.store import damage, moving, operate, read, recover, schema, select, statements
from waymail.store.body import BodyFiles, FileSpool
from waymail.store.checkpoint import Checkpointer
from waymail.store.chores import Chores
from waymail.store.contract import (
    ALL,
    EVERYTHING,
    OPERATOR,
    Backlog,
    Changed,
    Delivery,
    NewMessage,
    Packed,
    Pending,
    Refusal,
    Selection,
    Settlement,
    StoreError,
    StoreFull,
    Story,
)
from waymail.store.disk import SYSTEM, Disk
from waymail.store.due import Turns
from waymail.store.group import GroupCommit
from waymail.store.lock import ProcessLock
from waymail.store.operate import Operations
from waymail.store.place import Place, place_of
from waymail.store.read import SqliteReader
from waymail.store.rows import Accepting, Row, Settling, accepting, number_of, refusing, settling

log = logging.getLogger("waymail.store")

FEW = 20  # recipients of an item that is small enough for the loop


@dataclass(frozen=True, slots=True)
class Claiming:
    """A claim of `due` as it goes to the writer."""

    due: Sequence[Row]
    token: int
    lease_until: float


@dataclass(frozen=True, slots=True)
class Taking:
    """A claim of what an operator chose."""

    found: Sequence[select.Found]
    token: int
    lease_until: float


Action = Callable[[sqlite3.Connection], Any]
Item = Accepting | Settling | Claiming | Taking | Action


class SqliteStore:
    """A durable queue in a directory. Make it with `open`; all calls come from the loop that opened it."""

    def __init__(
        self,
        place: Place,
        files: BodyFiles,
        lock: ProcessLock,
        connections: Sequence[sqlite3.Connection],
        lease: float,
        now: Callable[[], float],
        monotonic: Callable[[], float],
    ) -> None:
        """For `open`: three connections, for the writer, the reader and the checkpointer."""
        self._place = place
        self._lock = lock
        self._lease = lease
        self._now = now
        self._elapsed = monotonic  # leases count by it: no jump of the wall clock ends one
        self._files = files
        self._connection, reading, copying = connections
        self._connection.text_factory = damage.decode
        opening: int = self._connection.execute("UPDATE opening SET number = number + 1 RETURNING number").fetchone()[0]
        self._numbers = count(opening << 40)  # of tokens and of events
        self._arrivals = count((opening << 24) * schema.WORD_SLICE)  # of messages: gives the slice for their words
        self._kept = recover.recover(self._connection, self._files, self._numbers, now())
        files.sync_names()
        self._ended: list[int] = []  # body files that the transaction under way makes superfluous
        self._lapse_at = monotonic() + lease  # no lease can be over before that
        self._closed = False
        self._threads = ThreadPoolExecutor(4, "waymail-store-body")
        self._reader = SqliteReader(reading, place)
        self._operations = Operations(self._reader, self._submit, self._numbers, self._end_files)
        self._chores = Chores(self._reader, self._submit)
        self._checkpointer = Checkpointer(copying)
        self._turns = Turns()
        self._choosing = asyncio.Lock()  # two that choose at once would choose the same

    @classmethod
    async def open(
        cls,
        where: Path | Place,
        *,
        lease: float = 3600.0,
        now: Callable[[], float],
        monotonic: Callable[[], float] | None = None,
        disk: Disk = SYSTEM,
        patience: float = 0.0,
    ) -> SqliteStore:
        """Open the store at `where`, which is made where it is missing, and recover from however the last process ended.

        `lease` is in seconds: a claim that is not settled by then is given to others. `now` gives seconds since the epoch;
        `monotonic` seconds that no change of the clock touches, where there is such a clock.
        `disk` is where it is kept: a test gives one that crashes (`waymail.testing.disk`).
        Raises StoreError where another process has it open for longer than `patience` seconds, the database is damaged or too
        new, or the disk refuses.
        """
        store = await asyncio.to_thread(cls._open, place_of(where), lease, now, monotonic or now, disk, patience)
        store._connection.execute("PRAGMA busy_timeout = 0")  # the loop must not wait for a lock; the writer's thread does
        store._writer = GroupCommit(
            store._connection,
            apply=store._apply,
            overwrite=partial(schema.overwrite, store._connection),
            is_small=_is_small,
            committed=store._committed,
            abandoned=store._abandoned,
            failure=store._failure,
        )
        return store

    _writer: GroupCommit[Item]

    @classmethod
    def _open(
        cls,
        place: Place,
        lease: float,
        now: Callable[[], float],
        monotonic: Callable[[], float],
        disk: Disk,
        patience: float,
    ) -> SqliteStore:
        files = BodyFiles(place, disk)
        try:
            files.make()
        except OSError as error:
            raise StoreError(f"{error.filename} cannot be made: {error.strerror}") from error
        lock = ProcessLock(place, patience)
        connections: list[sqlite3.Connection] = []
        try:
            connections.append(schema.connect(place, vfs=disk.vfs))
            schema.prepare(connections[0], place)
            connections.append(schema.connect(place, read_only=True, vfs=disk.vfs))
            connections.append(schema.connect(place, vfs=disk.vfs))
            return cls(place, files, lock, connections, lease, now, monotonic)
        except BaseException as error:
            for connection in connections:
                connection.close()
            lock.release()
            if isinstance(error, sqlite3.Error | OSError):
                raise schema.unreadable(error, place) from error
            raise

    @property
    def commits(self) -> int:
        """How many transactions were committed."""
        return self._writer.commits

    def spool(self, id: str) -> FileSpool:
        """As `Store.spool`."""
        return FileSpool(number_of(id), self._files, self._kept)

    async def accept(self, message: NewMessage) -> Delivery:
        """As `Store.accept`."""
        token = next(self._numbers)
        row = accepting(message, token, self._elapsed() + self._lease, self._slice(), self._numbers)
        if row.in_file:
            await self._keep_file(row.id, message.body)
        try:
            await self._submit(row)
        except StoreError:
            if row.in_file:
                self._kept.discard(row.id)
            raise
        return _delivery(message, token)

    async def refused(self, refusal: Refusal) -> None:
        """As `Store.refused`."""
        await self._submit(refusing(refusal, self._slice(), self._numbers), urgent=False)

    async def _keep_file(self, id: int, body: Body) -> None:
        """The file is on the disk before the row that names it. Others' commits do not wait for that."""
        if body.content != self._files.path(id):
            raise StoreError(f"{body.content!r} is not where this store keeps the body: spool it with `Store.spool`")
        self._kept.add(id)
        try:
            await asyncio.get_running_loop().run_in_executor(self._threads, self._files.sync, id)
        except BaseException:
            self._kept.discard(id)
            raise

    async def claim(self, now: float, limit: int, rooms: Mapping[str, int] = ALL) -> Sequence[Delivery]:
        """As `Store.claim`."""
        if self._elapsed() >= self._lapse_at:
            await self._release_lapsed(now)
        async with self._choosing:
            due = await self._reader.run(self._turns.pick, now, limit, rooms)
            if not due:
                return ()
            item = Claiming(due, next(self._numbers), self._elapsed() + self._lease)
            claimed: list[Row] = await self._submit(item)
        return await self._claimed(claimed, item.token) if claimed else ()

    async def _claimed(self, claimed: Sequence[Row], token: int) -> Sequence[Delivery]:
        try:
            deliveries, damaged = await self._reader.deliveries(claimed, token)
            self._kept.update(number_of(one.envelope.id) for one in deliveries if isinstance(one.body.content, Path))
            if damaged:
                await self._submit(partial(recover.hold, damaged=damaged, numbers=self._numbers, now=self._now()))
            return deliveries
        except BaseException:
            self._hand_back([id for id, _ in claimed], token)
            raise

    async def _release_lapsed(self, now: float) -> None:
        elapsed = self._elapsed()
        lapsed, earliest = await self._reader.run(read.lapsed, elapsed)
        if lapsed:

            def act(connection: sqlite3.Connection) -> None:
                released = statements.release_lapsed(connection, lapsed, now, elapsed)
                recover.tell(connection, released, "recovered", self._numbers, now, {"uncertain": True})

            await self._submit(act)
        self._lapse_at = min(elapsed + self._lease, earliest or float("inf"))

    async def settle(self, settlement: Settlement) -> Sequence[Delivery]:
        """As `Store.settle`."""
        lease_until = self._elapsed() + self._lease if settlement.notices else 0.0
        notices = [
            accepting(notice, next(self._numbers), lease_until, self._slice(), self._numbers) for notice in settlement.notices
        ]
        for row in notices:
            if row.in_file:
                raise ValueError("a notice's body must be in memory")
        await self._submit(settling(settlement, self._numbers, notices), urgent=bool(notices))
        return [
            _delivery(notice, row.token) for notice, row in zip(settlement.notices, notices, strict=True) if notice.is_claimed
        ]

    async def next_due(self, after: float = 0.0) -> float | None:
        """As `Store.next_due`."""
        return await self._reader.next_due(after)

    async def list(self, limit: int = 1000, selection: Selection = EVERYTHING) -> Sequence[Story]:
        """As `Store.list`."""
        return await self._reader.list(limit, selection)

    async def get(self, id: str) -> Story | None:
        """As `Store.get`."""
        return await self._reader.get(id)

    async def find(self, text: str, limit: int = 100) -> Sequence[Story]:
        """As `Store.find`."""
        return await self._reader.find(text, limit)

    async def body(self, id: str) -> Body | None:
        """As `Store.body`."""
        return await self._reader.body(id)

    async def waiting(self, limit: int = 1000, domain: str = "") -> Backlog:
        """As `Store.waiting`."""
        return await self._reader.waiting(limit, domain)

    async def hold(self, selection: Selection, now: float, by: str = OPERATOR) -> Changed:
        """As `Store.hold`."""
        return await self._operations.apply(operate.HOLD, selection, now, by)

    async def release(self, selection: Selection, now: float, by: str = OPERATOR) -> Changed:
        """As `Store.release`."""
        return await self._operations.apply(operate.RELEASE, selection, now, by)

    async def flush(self, selection: Selection, now: float, by: str = OPERATOR) -> Changed:
        """As `Store.flush`."""
        return await self._operations.apply(operate.FLUSH, selection, now, by)

    async def remove(self, selection: Selection, now: float, by: str = OPERATOR) -> Changed:
        """As `Store.remove`."""
        return await self._operations.apply(operate.REMOVE, selection, now, by)

    async def take(self, selection: Selection, now: float) -> AsyncIterator[Sequence[Delivery]]:
        """As `Store.take`."""
        async for found in self._operations.pages(selection, operate.REMOVE.states):
            item = Taking(found, next(self._numbers), self._elapsed() + self._lease)
            taken: list[Row] = await self._submit(item)
            if taken:
                yield await self._claimed(taken, item.token)

    async def ids(self, after: str = "", limit: int = 500) -> Sequence[str]:
        """As `Store.ids`."""
        found = await self._reader.run(moving.ids, -1 if (number := decode_id(after)) is None else number, limit)
        return [encode_id(id) for id in found]

    async def pack(self, ids: Sequence[str], now: float, *, hold: bool = False) -> Sequence[Packed]:
        """As `Store.pack`."""
        chosen = moving.numbers_of(ids)
        if not hold:
            return await self._reader.run(moving.pack, chosen, self._files)
        act = partial(moving.hold, ids=chosen, files=self._files, numbers=self._numbers, now=now)
        packed: Sequence[Packed] = await self._submit(act)
        return packed

    async def put_back(self, packed: Sequence[Packed], now: float) -> None:
        """As `Store.put_back`."""
        await self._submit(partial(moving.put_back, packed=packed, numbers=self._numbers, now=now))

    async def hand_over(self, ids: Sequence[str], now: float, why: str) -> Sequence[str]:
        """As `Store.hand_over`."""

        def act(connection: sqlite3.Connection) -> list[int]:
            gone = moving.hand_over(connection, moving.numbers_of(ids), why, self._numbers, now)
            self._end_files(connection, gone)
            return gone

        return [encode_id(id) for id in await self._submit(act)]

    async def unpack(self, packed: Packed) -> bool:
        """As `Store.unpack`."""
        row = moving.unpacking(packed, self._slice())
        if row.in_file:
            await self._keep_file(row.id, packed.body)
        taken: bool = False
        try:
            taken = await self._submit(partial(moving.unpack, row=row, events=packed.story.events, numbers=self._numbers))
        finally:
            if row.in_file and not taken:
                self._kept.discard(row.id)
        return taken

    async def hasten(self, latest: float) -> int:
        """As `Store.hasten`."""
        return await self._chores.hasten(latest)

    async def forget(self, before: float) -> int:
        """As `Store.forget`."""
        return await self._chores.forget(before)

    async def shrink(self, size: int) -> int:
        """As `Store.shrink`."""
        return await self._chores.shrink(size)

    def check(self) -> None:
        """As `Store.check`."""
        if self._checkpointer.failed:
            raise StoreError(f"a sync of {self._place.database} failed: look at the disk, and start the server anew")

    async def close(self) -> None:
        """As `Store.close`. Safe to call twice."""
        if self._closed:
            return
        try:
            handed_back = self._submit(partial(statements.hand_back_all, now=self._now()))
            self._closed = True
            await handed_back
        except StoreFull as error:  # nothing is lost: the next start finds the claims and recovers them
            log.warning("what was not attempted could not be handed back", extra={"fields": {"error": str(error)}})
        finally:
            self._closed = True
            await self._end()

    async def abort(self) -> None:
        """End as a crash would: claims stay claimed, and the next start recovers. For tests of what comes after."""
        if not self._closed:
            self._closed = True
            await self._end()

    async def _end(self) -> None:
        await self._writer.stop()
        await self._reader.close()
        await asyncio.to_thread(self._threads.shutdown)
        await asyncio.to_thread(self._checkpointer.stop)
        await asyncio.to_thread(self._connection.close)
        if not self._checkpointer.failed:  # then the log is still open, and nobody else may open it before the process ends
            self._lock.release()

    # --- on the loop ---

    def _submit(self, item: Item, *, urgent: bool = True) -> asyncio.Future[Any]:
        if self._closed:
            raise StoreError(f"the {self._place.name} is closed")
        self.check()
        return self._writer.submit(item, urgent=urgent)

    def _slice(self) -> int:
        return next(self._arrivals) // schema.WORD_SLICE

    def _hand_back(self, ids: Sequence[int], token: int) -> None:
        if ids and not self._closed:
            self._writer.submit(partial(statements.hand_back, ids=list(set(ids)), token=token, now=self._now()))

    def _abandoned(self, item: Item, is_committed: bool, result: Any) -> None:
        """Whoever waited was cancelled: what it would have been given to deliver goes back to the queue."""
        if isinstance(item, Accepting):
            if is_committed and item.token:
                self._hand_back([item.id], item.token)
            elif not is_committed and item.in_file:
                self._kept.discard(item.id)
                self._threads.submit(self._files.remove, [item.id])
        elif isinstance(item, Settling) and is_committed:
            for notice in item.notices:
                if notice.token:
                    self._hand_back([notice.id], notice.token)
        elif isinstance(item, Claiming | Taking) and is_committed:
            self._hand_back([id for id, _ in result], item.token)

    # --- in a transaction: on the loop or in the writer's thread, see `group` ---

    def _apply(self, items: Sequence[Item]) -> Sequence[Any]:
        connection = self._connection
        self._ended.clear()
        settled = [item for item in items if isinstance(item, Settling)]
        accepted = [item for item in items if isinstance(item, Accepting)]
        statements.accept(connection, [*accepted, *(notice for item in settled for notice in item.notices)])
        statements.settle(connection, settled)
        self._end_files(connection, [item.id for item in settled if item.may_end])
        if len(settled) + len(accepted) == len(items):
            return [None] * len(items)
        return [self._act(connection, item) for item in items]

    def _act(self, connection: sqlite3.Connection, item: Item) -> Any:
        if isinstance(item, Accepting | Settling):
            return None
        if isinstance(item, Claiming):
            return statements.claim(connection, item.due, item.token, item.lease_until)
        if isinstance(item, Taking):
            return operate.take(connection, item.found, item.token, item.lease_until)
        return item(connection)

    def _end_files(self, connection: sqlite3.Connection, ids: Sequence[int]) -> None:
        in_file = [id for id in ids if id in self._kept]
        if in_file:
            self._ended += set(in_file) - statements.live(connection, in_file)

    def _committed(self) -> None:
        self._checkpointer.finish(self._connection)
        self._checkpointer.wake()
        if self._ended:
            self._kept.difference_update(self._ended)
            self._threads.submit(self._files.remove, list(self._ended))

    def _failure(self, error: Exception) -> Exception:
        if isinstance(error, StoreError):
            return error
        failure = schema.unreadable(error, self._place)
        failure.__cause__ = error
        return failure


def _is_small(item: Item) -> bool:
    """Whether it may be executed on the loop: a message or settlement with few recipients, and nothing that searches."""
    if isinstance(item, Accepting):
        return len(item.recipients) <= FEW
    return isinstance(item, Settling) and len(item.changes) <= FEW and not item.notices and not item.thinned


def _delivery(message: NewMessage, token: int) -> Delivery:
    """What the caller of accept gets: everything claimed, or nothing."""
    is_claimed = message.is_claimed
    recipients = message.envelope.recipients if is_claimed else ()
    pending = tuple(Pending(number, recipient) for number, recipient in enumerate(recipients))
    return Delivery(message.envelope, message.body, pending, token if is_claimed else 0)
