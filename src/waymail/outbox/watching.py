"""Waits until a message has come to its end, in whichever process that happens.

SQLite tells for a microsecond's work whether anything was committed since the last look, so looking often costs little: after
20 ms at first, then less and less often, up to every 250 ms. In the process that delivers nobody has to look.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TypeVar

from waymail.mail.envelope import decode_id
from waymail.outbox.outcome import Outcome, outcome_of
from waymail.store import read, schema
from waymail.store.contract import EVERYTHING, StoreError, Story
from waymail.store.due import next_due
from waymail.store.look import tolerantly
from waymail.store.place import Place
from waymail.store.read import SqliteReader
from waymail.store.statements import chunks, rows

T = TypeVar("T")

FIRST, GROWTH, LONGEST = 0.02, 1.5, 0.25  # seconds until the next look, how it grows, and how long it gets
SHARE = 4.0  # times as long as a look took, nobody looks again

LIVE = "SELECT DISTINCT message FROM recipient WHERE message IN (VALUES {rows}) AND state <= 2"
ATTEMPTED = "SELECT EXISTS (SELECT 1 FROM body CROSS JOIN recipient ON recipient.message = body.message WHERE state = 1)"


class Forgotten(LookupError):
    """The outbox does not know the message: it was never submitted there, or it ended longer ago than its history is kept."""

    def __init__(self, id: str) -> None:
        super().__init__(f"the outbox knows no message {id}: its history may be kept no longer")


def ended(connection: sqlite3.Connection, ids: Sequence[int]) -> dict[int, Story | None]:
    """Those of the messages that have come to their end, with their stories; None for what is not known."""
    live: set[int] = set()
    for chunk in chunks(ids):
        live.update(row[0] for row in connection.execute(rows(LIVE, 1, len(chunk)), chunk))
    done = [id for id in ids if id not in live]
    return {id: next(iter(read.stories(connection, [id], with_events=True)), None) for id in done}


def is_busy(connection: sqlite3.Connection, now: float) -> bool:
    """Whether anything is due, or being attempted."""
    due = next_due(connection, 0.0)
    return (due is not None and due <= now) or bool(connection.execute(ATTEMPTED).fetchone()[0])


def changes(connection: sqlite3.Connection) -> int:
    """A number that is another one once somebody else has committed something."""
    number: int = connection.execute("PRAGMA data_version").fetchone()[0]
    return number


def final(id: str, story: Story | None) -> Outcome:
    """The outcome of a message that `ended` found. Raises Forgotten."""
    outcome = None if story is None else outcome_of(story)
    if outcome is None:
        raise Forgotten(id)
    return outcome


def number_of(id: str) -> int:
    """Raises Forgotten for what is no id."""
    number = decode_id(id)
    if number is None:
        raise Forgotten(id)
    return number


class Watch:
    """For an event loop: all that wait share one look."""

    def __init__(self, reader: SqliteReader) -> None:
        self._reader = reader
        self._waiting: dict[int, set[asyncio.Future[Story | None]]] = {}
        self._settled: set[int] = set()  # what this process settled, or what is new, since the last look
        self._poked = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def settled(self, id: str) -> None:
        """Something of this message is on disk."""
        number = decode_id(id)
        if number in self._waiting:
            self._settled.add(number)
            self._poked.set()

    async def outcome(self, id: str) -> Outcome:
        """What became of a message, once it has come to its end. Raises StoreError, Forgotten."""
        number = number_of(id)
        future: asyncio.Future[Story | None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(number, set()).add(future)
        self._settled.add(number)
        self._poked.set()
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._look())
        try:
            return final(id, await future)
        finally:
            waiting = self._waiting.get(number, set())
            waiting.discard(future)
            if not waiting:
                self._waiting.pop(number, None)

    async def idle(self, now: Callable[[], float]) -> None:
        """Return when nothing is due and nothing is being attempted. Raises StoreError."""
        pause = FIRST
        while await self._reader.run(is_busy, now()):
            await asyncio.sleep(pause)
            pause = min(pause * GROWTH, LONGEST)

    async def close(self) -> None:
        """End: who waits still, waits no longer."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        self._fail(StoreError("the outbox was closed: what became of the message can be asked once it is open again"))

    async def _look(self) -> None:
        seen, pause = -1, FIRST
        while self._waiting:
            began = time.monotonic()
            some, self._settled = [*self._settled], set()
            self._poked.clear()
            try:
                version = await self._reader.run(changes)
                pause = FIRST if version != seen else min(pause * GROWTH, LONGEST)
                if version != seen and not some:
                    some = list(self._waiting)
                    seen = version
                found = await self._reader.run(ended, some)
            except Exception as error:  # noqa: BLE001 - who waits is told
                self._fail(error)
                return
            for number, story in found.items():
                for future in self._waiting.get(number, ()):
                    if not future.done():
                        future.set_result(story)
            await self._sleep(max(pause, SHARE * (time.monotonic() - began)))

    async def _sleep(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._poked.wait()

    def _fail(self, error: Exception) -> None:
        for futures in self._waiting.values():
            for future in futures:
                if not future.done():
                    future.set_exception(error)


class BlockingWatch:
    """For threads: each looks for itself. Raises StoreError where the outbox cannot be read."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._connection = schema.open_to_read(place)
        self._lock = threading.Lock()

    def story(self, id: str) -> Story | None:
        """One message; None where it is not known."""
        number = decode_id(id)
        return None if number is None else self._read(lambda connection: read.story(connection, number))

    def stories(self, limit: int) -> Sequence[Story]:
        """The oldest messages that are under way."""
        return self._read(lambda connection: read.live_stories(connection, limit, EVERYTHING))

    def outcome(self, id: str, timeout: float | None) -> Outcome:
        """What became of a message, once it has come to its end. Raises StoreError, Forgotten, TimeoutError."""
        number = number_of(id)
        found = self._wait(lambda connection: ended(connection, [number]), timeout)
        if not found:
            raise TimeoutError(f"message {id} is still under way")
        return final(id, found[number])

    def idle(self, now: Callable[[], float], timeout: float | None) -> bool:
        """Whether within that time there was a moment when nothing was due and nothing was being attempted."""
        return bool(self._wait(lambda connection: not is_busy(connection, now()), timeout))

    def close(self) -> None:
        """End."""
        with self._lock:
            self._connection.close()

    def _wait(self, look: Callable[[sqlite3.Connection], T], timeout: float | None) -> T | None:
        """What `look` finds, once it finds something; None where that takes too long."""
        until = None if timeout is None else time.monotonic() + timeout
        pause = FIRST
        while not (found := self._read(look)):
            left = pause if until is None else min(pause, until - time.monotonic())
            if left <= 0:
                return None
            time.sleep(left)
            pause = min(pause * GROWTH, LONGEST)
        return found

    def _read(self, look: Callable[[sqlite3.Connection], T]) -> T:
        with self._lock:
            try:
                return tolerantly(self._connection, look)
            except sqlite3.Error as error:
                raise schema.unreadable(error, self._place) from error
