"""Group commit: one thread owns the connection, and all who wait while a transaction runs share the next one.

Promises: when `submit`'s future has its result, the transaction that holds it is on disk. There is no artificial delay: a
batch is what was waiting when the previous one was done. A batch costs few statements, one fsync and one wake-up of the
loop, however many share it.

Fails: when a batch fails, all of it is rolled back and its items are tried one at a time, so that the one that is to blame
fails alone. The thread goes on whatever happens.

A caller that was cancelled while it waited: if its item was not begun, nothing happens; if it was, it may be committed.
`abandoned` is told either way.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")

MAX_BATCH = 256  # items of one transaction: bounds how long the last of them waits, and how large the log grows


class GroupCommit(Generic[Item]):
    """`apply` writes a batch inside a transaction and returns a result for each item; `committed` runs, in the writer's
    thread, after each transaction, and raises nothing; `failure` turns an exception into the one that the caller gets."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        *,
        apply: Callable[[Sequence[Item]], Sequence[Any]],
        committed: Callable[[], None],
        abandoned: Callable[[Item, bool, Any], None],
        failure: Callable[[Exception], Exception],
    ) -> None:
        self.commits = 0
        self._connection = connection
        self._apply = apply
        self._committed = committed
        self._abandoned = abandoned
        self._failure = failure
        self._loop = asyncio.get_running_loop()
        self._waiting: SimpleQueue[tuple[Item, asyncio.Future[Any]] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="waymail-store-writer", daemon=True)
        self._thread.start()

    def submit(self, item: Item) -> asyncio.Future[Any]:
        """Put an item into the next transaction. Call it on the loop only."""
        future: asyncio.Future[Any] = self._loop.create_future()
        self._waiting.put((item, future))
        return future

    async def stop(self) -> None:
        """Write what waits, and end. Nothing may be submitted any more."""
        self._waiting.put(None)
        await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        while True:
            batch = [self._waiting.get()]
            batch += [self._waiting.get() for _ in range(min(self._waiting.qsize(), MAX_BATCH - 1))]
            works = [work for work in batch if work is not None]
            wanted = [work for work in works if not work[1].cancelled()]
            results = self._write([item for item, _ in wanted]) if wanted else []
            try:
                self._loop.call_soon_threadsafe(self._report, works, wanted, results)
            except RuntimeError:  # the loop was closed: nobody is left who waits
                return
            if len(works) < len(batch):
                return

    def _write(self, items: Sequence[Item]) -> Sequence[Any]:
        try:
            return self._transact(items)
        except Exception as error:  # noqa: BLE001 - whatever it was, the callers are told and the thread goes on
            if len(items) == 1:
                return [self._failure(error)]
        return [result for item in items for result in self._write([item])]

    def _transact(self, items: Sequence[Item]) -> Sequence[Any]:
        execute = self._connection.execute
        try:
            execute("BEGIN IMMEDIATE")
            results = self._apply(items)
            execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                execute("ROLLBACK")
            raise
        self.commits += 1
        self._committed()
        return results

    def _report(
        self,
        works: Sequence[tuple[Item, asyncio.Future[Any]]],
        wanted: Sequence[tuple[Item, asyncio.Future[Any]]],
        results: Sequence[Any],
    ) -> None:
        """On the loop: everybody gets what became of his item."""
        for (item, future), result in zip(wanted, results, strict=True):
            if future.cancelled():
                self._abandoned(item, not isinstance(result, Exception), result)
            elif isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result(result)
        if len(wanted) < len(works):
            begun = {id(future) for _, future in wanted}
            for item, future in works:
                if id(future) not in begun:
                    self._abandoned(item, False, None)
