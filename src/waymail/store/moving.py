"""The statements that take live messages out of one SQLite store and into another: of `transfer`, what is in transactions."""

# ruff: noqa: S608 - statements are put together of constants alone

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import replace

from waymail.mail.envelope import decode_id
from waymail.store import read, recover, statements
from waymail.store.body import BodyFiles
from waymail.store.contract import Event, NewMessage, Packed, State
from waymail.store.rows import Accepting, Row, accepting, body_of, event_row, number_of
from waymail.store.statements import chunks, rows, write

IDS = "SELECT message FROM body WHERE message > ? ORDER BY message LIMIT ?"
HOLD = f"UPDATE recipient SET state = 2 {statements.THESE} AND state = 0"
RESTORE = (
    "UPDATE recipient SET state = 0, next_at = new.column3 FROM (VALUES {rows}) AS new"
    " WHERE message = new.column1 AND number = new.column2 AND state = 2 RETURNING message, number, address"
)
REVIVE = (
    "UPDATE recipient SET state = new.column3, attempts = new.column4, next_at = new.column5, reply = new.column6,"
    " warned = new.column7 FROM (VALUES {rows}) AS new WHERE message = new.column1 AND number = new.column2 AND state = 5"
)
# Only what waits for nobody but an operator: whatever else is live was let go after it was packed.
ALL_HELD = (
    "SELECT message FROM body WHERE message IN (VALUES {rows}) AND NOT EXISTS"
    " (SELECT 1 FROM recipient WHERE recipient.message = body.message AND state < 2)"
)
LAST_EVENT = "SELECT kind FROM event WHERE message = ? ORDER BY at DESC, number DESC LIMIT 1"
# What the events say.
WHILE_EXPORTED: dict[str, object] = {"why": "it is being exported"}
GIVEN_UP: dict[str, object] = {"why": "the export was given up"}


def ids(connection: sqlite3.Connection, after: int, limit: int) -> list[int]:
    """The live messages behind `after`."""
    return [row[0] for row in connection.execute(IDS, (after, limit))]


def pack(connection: sqlite3.Connection, ids: Sequence[int], files: BodyFiles) -> list[Packed]:
    """Those of these messages that are live, with all that is known of them."""
    bodies: dict[int, Row] = {}
    for chunk in chunks(ids):
        bodies |= {row[0]: row for row in connection.execute(rows(read.BODIES, 1, len(chunk)), chunk)}
    packed = []
    for story in read.stories(connection, [id for id in ids if id in bodies], with_events=True):
        id = number_of(story.envelope.id)
        packed.append(Packed(story, body_of(bodies[id], story.size, files.path(id))))
    return packed


def hold(
    connection: sqlite3.Connection, ids: Sequence[int], files: BodyFiles, numbers: Iterator[int], now: float
) -> list[Packed]:
    """`pack`, and hold what is QUEUED of the messages of which nothing is being attempted. It keeps the time that it was due."""
    packed = pack(connection, ids, files)
    held = [
        (number_of(one.story.envelope.id), recipient.number, recipient.address)
        for one in packed
        if not one.is_attempted
        for recipient in one.story.recipients
        if recipient.state is State.QUEUED
    ]
    write(connection, HOLD, [row[:2] for row in held])
    recover.tell(connection, held, "held", numbers, now, WHILE_EXPORTED)
    return packed


def put_back(connection: sqlite3.Connection, packed: Sequence[Packed], numbers: Iterator[int], now: float) -> None:
    """What `hold` held and is held still waits again, for the time that it waited for."""
    table = [
        (number_of(one.story.envelope.id), recipient.number, recipient.next_at)
        for one in packed
        for recipient in one.story.recipients
        if recipient.state is State.QUEUED
    ]
    restored: list[Row] = []
    for chunk in chunks(table):
        values = [value for row in chunk for value in row]
        restored += connection.execute(rows(RESTORE, 3, len(chunk)), values).fetchall()
    recover.tell(connection, restored, "released", numbers, now, GIVEN_UP)


def hand_over(connection: sqlite3.Connection, ids: Sequence[int], why: str, numbers: Iterator[int], now: float) -> list[int]:
    """The messages that are wholly HELD are no longer this store's. Returns them."""
    gone = [row[0] for chunk in chunks(ids) for row in connection.execute(rows(ALL_HELD, 1, len(chunk)), chunk)]
    moved = statements.move(connection, gone, (State.HELD,), State.REMOVED, now)
    write(connection, statements.DELETE_BODY, [(id,) for id in gone])
    recover.tell(connection, moved, "exported", numbers, now, {"why": why})
    return gone


def unpacking(packed: Packed, slice: int) -> Accepting:
    """The rows of a message that comes from another store. Raises ValueError where the id is none, or nobody is to have it."""
    row = accepting(NewMessage(packed.story.envelope, packed.body, claim=False), 0, 0.0, slice, iter(()))
    recipients = [
        (*made[:4], int(one.state), one.attempts, one.next_at, 0, 0.0, one.reply, int(one.warned), *made[11:])
        for made, one in zip(row.recipients, packed.story.recipients, strict=True)
    ]
    return replace(row, recipients=recipients)


def unpack(connection: sqlite3.Connection, row: Accepting, events: Sequence[Event], numbers: Iterator[int]) -> bool:
    """Insert a message, or bring one back that was exported from here. Returns False where it is there already."""
    known = connection.execute("SELECT 1 FROM message WHERE id = ?", (row.id,)).fetchone() is not None
    if not known:
        statements.accept(connection, [row])
    elif _was_exported(connection, row.id):
        columns = [(one[0], one[1], *one[4:7], *one[9:11]) for one in row.recipients if one[4] <= State.HELD]
        if not write(connection, REVIVE, columns):
            return False
        write(connection, statements.INSERT_BODY, [row.body])
    else:
        return False
    there = {(one.at, one.kind) for story in read.stories(connection, [row.id], with_events=True) for one in story.events}
    told = [event_row(row.id, next(numbers), event) for event in events if (event.at, event.kind) not in there]
    write(connection, statements.INSERT_EVENT, told)
    return True


def _was_exported(connection: sqlite3.Connection, id: int) -> bool:
    is_live = connection.execute("SELECT 1 FROM body WHERE message = ?", (id,)).fetchone() is not None
    last = connection.execute(LAST_EVENT, (id,)).fetchone()
    return not is_live and last == ("exported",)


def numbers_of(ids: Sequence[str]) -> list[int]:
    """The numbers of queue ids in their order; what is none is left out."""
    return sorted({number for id in ids if (number := decode_id(id)) is not None})
