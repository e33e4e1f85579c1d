"""Reading the store, over a connection and a thread of its own: a read never waits behind the writer, nor the other way round.

`SqliteReader` is also what another process uses to look into the store while the server runs.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby, islice
from operator import itemgetter
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from waymail.mail.envelope import Body, decode_id
from waymail.store import schema, select
from waymail.store.body import BodyFiles
from waymail.store.contract import EVERYTHING, Backlog, Delivery, Selection, StoreError, Story
from waymail.store.damage import Damaged, delivery_of, story_of
from waymail.store.due import next_due
from waymail.store.look import tolerantly
from waymail.store.place import Place
from waymail.store.rows import Row, body_of, plain, word_of
from waymail.store.statements import chunks, rows

T = TypeVar("T")
P = ParamSpec("P")

MESSAGES = "SELECT id, accepted_at, sender, message_id, size, envelope FROM message WHERE id IN (VALUES {rows})"
RECIPIENTS = (
    "SELECT message, number, address, original, state, attempts, next_at, reply, warned FROM recipient"
    " WHERE message IN (VALUES {rows}) ORDER BY message, number"
)
BODIES = "SELECT message, prefix, content FROM body WHERE message IN (VALUES {rows})"
# Slice by slice from the newest on: the recursive part steps from one slice to the one before it. No ORDER BY, for which SQLite
# would gather all hits first: somebody may have sent a million messages, and the last twenty are asked for.
WITH_WORD = """
WITH RECURSIVE slices (slice) AS (
    SELECT max(slice) FROM word
    UNION ALL SELECT (SELECT max(word.slice) FROM word WHERE word.slice < slices.slice) FROM slices WHERE slice IS NOT NULL)
SELECT slices.slice, message FROM slices CROSS JOIN word ON word.slice = slices.slice AND word = ?
"""


class SqliteReader:
    """The reading half of a store. Raises StoreError where the database cannot be read."""

    def __init__(self, connection: sqlite3.Connection, where: Path | Place) -> None:
        self._connection = connection
        self._where = where
        self._files = BodyFiles(where)
        self._thread = ThreadPoolExecutor(1, "waymail-store-reader")

    @classmethod
    async def open(cls, where: Path | Place) -> SqliteReader:
        """Look into the store at `where`, also while a server has it open.

        Raises StoreError where there is none, or a newer waymail wrote it.
        """
        return cls(await asyncio.to_thread(schema.open_to_read, where), where)

    async def close(self) -> None:
        """End. Safe to call twice."""
        self._thread.shutdown(wait=False)
        await asyncio.to_thread(self._thread.shutdown)
        self._connection.close()

    async def run(self, read: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `read(connection, ...)` in the reader's thread."""
        try:
            return await asyncio.get_running_loop().run_in_executor(
                self._thread, tolerantly, self._connection, lambda connection: read(connection, *args, **kwargs)
            )
        except sqlite3.Error as error:
            raise schema.unreadable(error, self._where) from error
        except RuntimeError as error:  # the executor was shut down
            raise StoreError("the store is closed") from error

    async def next_due(self, after: float = 0.0) -> float | None:
        """As `Store.next_due`."""
        return await self.run(next_due, after)

    async def list(self, limit: int = 1000, selection: Selection = EVERYTHING) -> Sequence[Story]:
        """As `Store.list`."""
        return await self.run(live_stories, limit, selection)

    async def waiting(self, limit: int = 1000, domain: str = "") -> Backlog:
        """As `Store.waiting`."""
        return await self.run(select.waiting, limit, domain)

    async def get(self, id: str) -> Story | None:
        """As `Store.get`."""
        number = decode_id(id)
        return None if number is None else await self.run(story, number)

    async def find(self, text: str, limit: int = 100) -> Sequence[Story]:
        """As `Store.find`."""
        return await self.run(find, text, limit)

    async def body(self, id: str) -> Body | None:
        """As `Store.body`."""
        number = decode_id(id)
        return None if number is None else await self.run(body, number, self._files)

    async def deliveries(self, claimed: Sequence[tuple[int, int]], token: int) -> tuple[Sequence[Delivery], dict[int, str]]:
        """What was claimed, in order, and the messages that cannot be delivered, each with why: damaged, or removed meanwhile."""
        return await self.run(deliveries, claimed, token, self._files)


def live_stories(connection: sqlite3.Connection, limit: int, selection: Selection) -> list[Story]:
    return stories(connection, select.oldest(connection, selection, limit))


def story(connection: sqlite3.Connection, id: int) -> Story | None:
    found = stories(connection, [id], with_events=True)
    return found[0] if found else None


def find(connection: sqlite3.Connection, text: str, limit: int) -> list[Story]:
    wanted = plain(text)
    if not wanted:
        return []
    number = decode_id(wanted)
    found = stories(connection, [] if number is None else [number])
    hits = with_word(connection, text)
    while len(found) < limit and (some := list(islice(hits, limit))):
        found += [one for one in stories(connection, some) if _has(one, wanted)]  # a hash may be another text's too
    return found[:limit]


def with_word(connection: sqlite3.Connection, text: str) -> Iterator[int]:
    """The messages that may be found by a text, those that came last to this store first."""
    for _, hits in groupby(connection.execute(WITH_WORD, (word_of(text),)), itemgetter(0)):
        yield from sorted((message for _, message in hits), reverse=True)


def _has(story: Story, wanted: str) -> bool:
    texts = [story.envelope.message_id, story.envelope.sender]
    for one in story.recipients:
        texts += (one.address, one.original or "")
    return any(plain(text) == wanted for text in texts)


def stories(connection: sqlite3.Connection, ids: Sequence[int], *, with_events: bool = False) -> list[Story]:
    """The stories of these messages, in the order of `ids`; those that are not there are left out."""
    messages = {row[0]: row for row in _select(connection, MESSAGES, ids)}
    recipients = _by_message(_select(connection, RECIPIENTS, ids))
    events: dict[int, list[Row]] = defaultdict(list)
    for id in ids if with_events else ():
        events[id] = connection.execute(
            "SELECT at, kind, detail FROM event WHERE message = ? ORDER BY at, number", (id,)
        ).fetchall()
    return [story_of(messages.get(id), recipients[id], events[id]) for id in ids if id in messages or recipients[id]]


def body(connection: sqlite3.Connection, id: int, files: BodyFiles) -> Body | None:
    row = connection.execute(
        "SELECT message, prefix, content, size FROM body JOIN message ON message.id = message WHERE message = ?", (id,)
    ).fetchone()
    return None if row is None else body_of(row[:3], row[3], files.path(id))


def deliveries(
    connection: sqlite3.Connection, claimed: Sequence[tuple[int, int]], token: int, files: BodyFiles
) -> tuple[list[Delivery], dict[int, str]]:
    numbers: dict[int, list[int]] = defaultdict(list)
    for id, number in claimed:
        numbers[id].append(number)
    ids = list(numbers)
    messages = {row[0]: row for row in _select(connection, MESSAGES, ids)}
    recipients = _by_message(_select(connection, RECIPIENTS, ids))
    bodies = {row[0]: row for row in _select(connection, BODIES, ids)}
    made: list[Delivery] = []
    damaged: dict[int, str] = {}
    for id in ids:
        try:
            made.append(delivery_of(messages.get(id), recipients[id], numbers[id], bodies.get(id), files.path(id), token))
        except Damaged as why:
            damaged[id] = str(why)
    return made, damaged


def lapsed(connection: sqlite3.Connection, now: float) -> tuple[list[Row], float | None]:
    """The claims whose lease is over, and when the next one will be."""
    claims = "FROM body CROSS JOIN recipient ON recipient.message = body.message WHERE state = 1"
    over = connection.execute(
        f"SELECT recipient.message, number {claims} AND lease_until <= ?",
        (now,),
    ).fetchall()
    row = connection.execute(f"SELECT min(lease_until) {claims} AND lease_until > ?", (now,)).fetchone()
    return over, row[0]


def _select(connection: sqlite3.Connection, statement: str, ids: Sequence[int]) -> Iterable[Row]:
    for chunk in chunks(ids):
        yield from connection.execute(rows(statement, 1, len(chunk)), chunk)


def _by_message(found: Iterable[Row]) -> dict[int, list[Any]]:
    grouped: dict[int, list[Any]] = defaultdict(list)
    for row in found:
        grouped[row[0]].append(row)
    return grouped
