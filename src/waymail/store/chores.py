"""What is done to the whole store now and then, in many small transactions, so that no message waits long behind it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from waymail.store import statements
from waymail.store.read import SqliteReader

HASTEN_BATCH = 500  # recipients that one transaction brings forward
FORGET_BATCH = 500  # messages deleted by one transaction
SHRUNK = 0.9  # of the size that was asked for: where it is passed, so much is left


class Chores:
    """`submit` gives an action on the connection to the writer, for a transaction of its own."""

    def __init__(self, reader: SqliteReader, submit: Callable[[Any], Awaitable[Any]]) -> None:
        self._reader = reader
        self._submit = submit

    async def hasten(self, latest: float) -> int:
        """As `Store.hasten`."""
        hastened = 0
        while changed := await self._submit(partial(statements.hasten, latest=latest, limit=HASTEN_BATCH)):
            hastened += changed
        return hastened

    async def forget(self, before: float) -> int:
        """As `Store.forget`."""
        forgotten = 0
        after: int | None = -1
        while after is not None:
            batch = partial(statements.forget, before=before, after_id=after, limit=FORGET_BATCH)
            deleted, after = await self._submit(batch)
            forgotten += deleted
        await self._forget_words(before)
        return forgotten

    async def shrink(self, size: int) -> int:
        """As `Store.shrink`."""
        forgotten = 0
        after: int | None = -1
        bound = float(size)
        while after is not None and await self._reader.run(statements.used) > bound:
            bound = size * SHRUNK
            batch = partial(statements.forget, before=float("inf"), after_id=after, limit=FORGET_BATCH)
            deleted, after = await self._submit(batch)
            forgotten += deleted
            if deleted:
                oldest = float("inf") if after is None else await self._reader.run(statements.accepted_after, after)
                await self._forget_words(oldest)
        return forgotten

    async def _forget_words(self, before: float) -> None:
        slice: int | None = -1
        while slice is not None:
            slice = await self._submit(partial(statements.forget_words, before=before, after_slice=slice))
