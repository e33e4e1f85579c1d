"""Group commit: all who wait while a transaction is being written share the next one.

Promises: when `submit`'s future has its result, the transaction that holds it is on disk. A batch is what was waiting when
the previous one was done; it costs few statements, one fsync and a change of threads, however many share it.

When a batch begins: in the next turn of the loop for an urgent item, so there is no artificial delay for anybody who waits;
and for patient items, on whose result nobody outside waits, with the next urgent one, or `PATIENCE` later. So settlements
mostly ride with accepts, which halves the number of commits. (Making urgent ones wait for each other, too, as
PostgreSQL's commit_delay does, was measured to cost more than it saved.)

Who does what: statements only change pages in memory and take microseconds, the COMMIT writes them and waits for the disk.
So a batch of small items is executed on the loop and committed in the writer's thread; a batch with a large item goes to
the thread as a whole. Executed in the thread, each statement of a batch would have to win the interpreter's lock back from
the busy loop: measured, that cost more than the disk (docs/decisions/0001). Loop and thread never use the connection at
the same time: the one hands the batch to the other and waits.

Fails: when a batch fails, all of it is rolled back and its items are tried one at a time, in the thread, so that the one
that is to blame fails alone. The thread goes on whatever happens.

A COMMIT that failed may have written all of its transaction, and only the sync failed. SQLite forgets it then, but whoever reads
the log after a crash would find it there and take it for committed. The next transaction overwrites it: where no item of the
batch made one, an empty one is made before anybody is told that it failed.

A caller that was cancelled while it waited: if its item was not begun, nothing happens; if it was, it may be committed.
`abandoned` is told either way.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

from waymail.store.patience import patiently

log = logging.getLogger("waymail.store")

Item = TypeVar("Item")

MAX_BATCH = 64  # items of one transaction: bounds how long the loop is busy with it, and how long the last item waits
PATIENCE = 0.015  # seconds

Work = tuple[Item, asyncio.Future[Any]]


class GroupCommit(Generic[Item]):
    """`apply` executes a batch inside a transaction and returns a result for each item; `overwrite` changes something inside a
    transaction without any effect; `is_small` says which items take
    microseconds; `committed` runs, in the writer's thread, after each transaction, and raises nothing; `failure` turns an
    exception into the one that the caller gets."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        *,
        apply: Callable[[Sequence[Item]], Sequence[Any]],
        overwrite: Callable[[], object],
        is_small: Callable[[Item], bool],
        committed: Callable[[], None],
        abandoned: Callable[[Item, bool, Any], None],
        failure: Callable[[Exception], Exception],
    ) -> None:
        self.commits = 0
        self._connection = connection
        self._apply = apply
        self._overwrite = overwrite
        self._is_small = is_small
        self._committed = committed
        self._abandoned = abandoned
        self._failure = failure
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[Work[Item]] = deque()
        self._urgent = 0  # how many of those that wait
        self._is_writing = False  # whether the thread has a batch
        self._in_doubt = False  # whether a transaction that failed may stand in the log
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0
        self._idle = asyncio.Event()
        self._idle.set()
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="waymail-store-writer", daemon=True)
        self._thread.start()

    # --- on the loop ---

    def submit(self, item: Item, *, urgent: bool = True) -> asyncio.Future[Any]:
        """Put an item into the next transaction."""
        future: asyncio.Future[Any] = self._loop.create_future()
        self._waiting.append((item, future))
        self._urgent += urgent
        self._idle.clear()
        if not self._is_writing:
            self._schedule()
        return future

    def _schedule(self) -> None:
        """See to it that a batch begins in time for those that wait."""
        wait = 0.0 if self._urgent or len(self._waiting) >= MAX_BATCH else PATIENCE
        due = self._loop.time() + wait
        if self._timer is not None:
            if self._due <= due:
                return
            self._timer.cancel()
        self._due = due
        self._timer = self._loop.call_later(wait, self._begin)

    async def stop(self) -> None:
        """Write what waits, and end. Nothing may be submitted any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._begin()
        await self._idle.wait()
        self._jobs.put(None)
        await asyncio.to_thread(self._thread.join)

    def _begin(self) -> None:
        """Take what waits, execute it where it is small, and leave the rest to the thread."""
        self._timer = None
        works = self._next_batch()
        if not works:
            self._idle.set()
            return
        self._is_writing = True
        items = [item for item, _ in works]
        if not all(map(self._is_small, items)):
            self._jobs.put(partial(self._write_in_thread, works))
            return
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            results = self._apply(items)
        except Exception:  # noqa: BLE001 - the thread finds out whose fault it is
            self._roll_back()
            self._jobs.put(partial(self._write_in_thread, works))
        else:
            self._jobs.put(partial(self._commit_in_thread, works, results))

    def _next_batch(self) -> list[Work[Item]]:
        works: list[Work[Item]] = []
        # Who is urgent is not kept for each: past MAX_BATCH all that is left counts as urgent.
        while self._waiting and len(works) < MAX_BATCH:
            item, future = self._waiting.popleft()
            if future.cancelled():
                self._abandoned(item, False, None)
            else:
                works.append((item, future))
        self._urgent = len(self._waiting)
        return works

    def _report(self, works: Sequence[Work[Item]], results: Sequence[Any]) -> None:
        """Everybody gets what became of his item; the next batch is due."""
        self._is_writing = False
        for (item, future), result in zip(works, results, strict=True):
            if future.cancelled():
                self._abandoned(item, not isinstance(result, Exception), result)
            elif isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result(result)
        if self._waiting:
            self._schedule()
        else:
            self._idle.set()

    # --- in the writer's thread ---

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                job()
            except Exception:
                log.exception("the store's writer met a bug")

    def _commit_in_thread(self, works: Sequence[Work[Item]], results: Sequence[Any]) -> None:
        try:
            self._commit()
        except Exception:  # noqa: BLE001 - as in _begin
            self._roll_back()
            results = self._write([item for item, _ in works])
        self._hand_back(works, results)

    def _write_in_thread(self, works: Sequence[Work[Item]]) -> None:
        self._hand_back(works, self._write([item for item, _ in works]))

    def _hand_back(self, works: Sequence[Work[Item]], results: Sequence[Any]) -> None:
        if self._in_doubt:
            self._end_doubt()
        try:
            self._loop.call_soon_threadsafe(self._report, works, results)
        except RuntimeError:  # the loop was closed: nobody is left who waits
            return

    def _write(self, items: Sequence[Item]) -> Sequence[Any]:
        """Results, or exceptions in their place."""
        try:
            return self._transact(items)
        except Exception as error:  # noqa: BLE001 - whatever it was, the callers are told and the thread goes on
            if len(items) == 1:
                return [self._failure(error)]
        return [result for item in items for result in self._write([item])]

    def _transact(self, items: Sequence[Item]) -> Sequence[Any]:
        try:
            self._begin_patiently()
            results = self._apply(items)
            self._commit()
        except BaseException:
            self._roll_back()
            raise
        return results

    def _end_doubt(self) -> None:
        """What failed is not to be found after a crash. Where this fails, too, it is tried again with the next batch."""
        try:
            self._begin_patiently()
            self._overwrite()
            self._commit()
        except Exception as error:  # noqa: BLE001 - the disk still fails: the callers are told what they would be told in any case
            self._roll_back()
            log.error("what could not be written could not be revoked, either", extra={"fields": {"error": str(error)}})

    def _begin_patiently(self) -> None:
        """Another process may be writing. The connection itself does not wait, for the loop uses it, too."""
        patiently(partial(self._connection.execute, "BEGIN IMMEDIATE"))

    def _commit(self) -> None:
        try:
            self._connection.execute("COMMIT")
        except BaseException:
            self._in_doubt = True
            raise
        self._in_doubt = False
        self.commits += 1
        try:
            self._committed()
        except Exception:
            log.exception("what follows a commit met a bug")  # committed it is

    def _roll_back(self) -> None:
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        except sqlite3.Error:
            log.exception("a transaction could not be rolled back")
