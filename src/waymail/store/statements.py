"""The statements that change the store. They run inside a transaction that `group` began: on the loop for small batches, else in
the writer's thread.

The interpreter's lock is given up and taken again around every execution of a statement, and in the writer's thread, while
the loop is busy, each taking can last some milliseconds. So what all callers of a batch want of one table is one statement with
many rows, not one statement a row: a batch of accepts and settlements takes nine executions, of whatever size up to CHUNK.
"""

# ruff: noqa: S608 - statements are put together of constants alone

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any

from waymail.store.contract import StaleToken, State
from waymail.store.rows import DIALOGUES, Accepting, Row, Settling

CHUNK = 32  # rows of one execution: each size up to it is a statement of its own, prepared once

INSERT_MESSAGE = "INSERT INTO message (id, accepted_at, sender, message_id, size, envelope) VALUES {rows}"
INSERT_RECIPIENT = (
    "INSERT INTO recipient (message, number, address, original, state, attempts, next_at, token, lease_until, reply, warned,"
    " priority, domain)"
    " VALUES {rows}"
)
INSERT_BODY = "INSERT INTO body (message, prefix, content) VALUES {rows}"
INSERT_WORD = "INSERT INTO word (slice, word, message) VALUES {rows}"
INSERT_EVENT = "INSERT INTO event (message, number, at, kind, detail) VALUES {rows}"
CHANGE_RECIPIENT = (
    "UPDATE recipient SET state = new.column3, attempts = new.column4, next_at = new.column5,"
    " reply = iif(new.column6 = '', recipient.reply, new.column6),"
    " warned = new.column7 FROM (VALUES {rows}) AS new WHERE message = new.column1 AND number = new.column2"
    " AND token = new.column8 AND state = 1"
)
THIN = (
    "UPDATE event SET detail = json_remove(detail, '$.dialogue') WHERE message = ?1 AND number IN"
    " (SELECT number FROM event WHERE message = ?1 AND kind = 'attempt' AND json_extract(detail, '$.destination') = ?2"
    f" AND json_type(detail, '$.dialogue') IS NOT NULL ORDER BY number DESC LIMIT -1 OFFSET {DIALOGUES})"
)
DELETE_BODY = (
    "DELETE FROM body WHERE message IN (VALUES {rows}) AND NOT EXISTS"
    " (SELECT 1 FROM recipient WHERE recipient.message = body.message AND state <= 2)"
)
SELECT_LIVE = "SELECT message FROM body WHERE message IN (VALUES {rows})"
# A join, not "(message, number) IN (VALUES ...)": for that SQLite would walk through an index, or through the whole table.
THESE = "FROM (VALUES {rows}) AS these WHERE message = these.column1 AND number = these.column2"
CLAIM = f"UPDATE recipient SET state = 1, token = ?, lease_until = ? {THESE} AND state = 0 RETURNING message, number"
HAND_BACK = "UPDATE recipient SET state = 0, next_at = ? WHERE message IN (VALUES {rows}) AND state = 1 AND token = ?"
MOVE = f"UPDATE recipient SET state = ?, next_at = ? {THESE}"
# What its sender wants held (RFC 4865) is due when he said. Two statements, for each of the indices that begin with a time is for
# one of them.
HASTEN = tuple(
    "UPDATE recipient SET next_at = ?1 FROM (SELECT message AS one, number AS place"
    f" FROM recipient INDEXED BY {index} JOIN message ON id = message WHERE state = 0 AND {priority} AND next_at > ?1"
    " AND instr(envelope, '\"hold_until\"') = 0 LIMIT ?2) WHERE message = one AND number = place"
    for index, priority in (("recipient_due", "priority = 0"), ("recipient_ranked", "priority <> 0"))
)
RELEASE_LAPSED = (
    f"UPDATE recipient SET state = 0, next_at = ? {THESE} AND state = 1 AND lease_until <= ? RETURNING message, number, address"
)


@lru_cache(maxsize=1024)
def rows(statement: str, columns: int, count: int) -> str:
    """`statement` for `count` rows of `columns` values."""
    return statement.format(rows=", ".join(["(" + ", ".join("?" * columns) + ")"] * count))


def chunks(items: Sequence[Any], size: int = CHUNK) -> Iterator[Sequence[Any]]:
    if len(items) <= size:
        if items:
            yield items
        return
    for at in range(0, len(items), size):
        yield items[at : at + size]


def write(connection: sqlite3.Connection, statement: str, table: Sequence[Row], before: Row = (), after: Row = ()) -> int:
    """Execute `statement` for all rows of `table`; `before` and `after` are its other values. Returns the rows changed."""
    changed = 0
    for chunk in chunks(table):
        text = rows(statement, len(chunk[0]), len(chunk))
        changed += connection.execute(text, (*before, *chain.from_iterable(chunk), *after)).rowcount
    return changed


def accept(connection: sqlite3.Connection, accepted: Sequence[Accepting]) -> None:
    """Insert messages. Raises sqlite3.IntegrityError where an id is there already."""
    write(connection, INSERT_MESSAGE, [one.message for one in accepted])
    write(connection, INSERT_RECIPIENT, _flat(one.recipients for one in accepted))
    write(connection, INSERT_BODY, [one.body for one in accepted if one.body])
    write(connection, INSERT_WORD, _flat(one.words for one in accepted))
    write(connection, INSERT_EVENT, _flat(one.events for one in accepted if one.events))


def settle(connection: sqlite3.Connection, settled: Sequence[Settling]) -> None:
    """Write changes and events, and drop the bodies that nobody waits for.

    Raises StaleToken where a recipient is not the settling claimer's any more. Whose it was is found by trying one at a time.
    """
    changes = _flat(one.changes for one in settled)
    if write(connection, CHANGE_RECIPIENT, changes) != len(changes):
        raise StaleToken("the recipients were claimed by another, or removed, before their outcome was settled")
    write(connection, INSERT_EVENT, _flat(one.events for one in settled))
    for one in settled:
        if one.thinned:
            connection.executemany(THIN, one.thinned)
    write(connection, DELETE_BODY, [(one.id,) for one in settled if one.may_end])


def live(connection: sqlite3.Connection, ids: Sequence[int]) -> set[int]:
    """Those of `ids` that still have a body."""
    found: set[int] = set()
    for chunk in chunks(ids):
        found.update(row[0] for row in connection.execute(rows(SELECT_LIVE, 1, len(chunk)), chunk))
    return found


def claim(connection: sqlite3.Connection, due: Sequence[Row], token: int, lease_until: float) -> list[Row]:
    """Claim those of `due`, (message, number), that are still QUEUED. Returns them in the same order."""
    claimed: set[Row] = set()
    for chunk in chunks(due):
        text = rows(CLAIM, 2, len(chunk))
        claimed.update(connection.execute(text, (token, lease_until, *chain.from_iterable(chunk))).fetchall())
    return [one for one in due if one in claimed]


def hasten(connection: sqlite3.Connection, latest: float, limit: int) -> int:
    """Up to `limit` QUEUED recipients that are due later than `latest` are due then. Returns how many."""
    return sum(connection.execute(statement, (latest, limit)).rowcount for statement in HASTEN)


def release_lapsed(connection: sqlite3.Connection, lapsed: Sequence[Row], now: float, elapsed: float) -> list[Row]:
    """Claims whose lease is over are QUEUED, due now: (message, number, address). `lapsed` was read outside of this
    transaction: what changed since is left alone. Leases count by `elapsed`."""
    released: list[Row] = []
    for chunk in chunks(lapsed):
        text = rows(RELEASE_LAPSED, 2, len(chunk))
        released += connection.execute(text, (now, *chain.from_iterable(chunk), elapsed)).fetchall()
    return released


def hand_back(connection: sqlite3.Connection, ids: Sequence[int], token: int, now: float) -> None:
    """What `token` still claims of these messages is QUEUED, due now: nobody attempted it."""
    write(connection, HAND_BACK, [(id,) for id in ids], before=(now,), after=(token,))


def hand_back_all(connection: sqlite3.Connection, now: float) -> None:
    connection.execute(
        "UPDATE recipient SET state = 0, next_at = ? WHERE message IN (SELECT message FROM body) AND state = 1", (now,)
    )


def move(connection: sqlite3.Connection, ids: Sequence[int], states: Sequence[State], to: State, now: float) -> list[Row]:
    """Bring the recipients of these messages that are in one of `states` to another. Returns (message, number, address)."""
    moved: list[Row] = []
    marks = ", ".join(str(int(state)) for state in states)
    for chunk in chunks(ids):
        moved += connection.execute(
            f"SELECT message, number, address FROM recipient WHERE message IN ({', '.join('?' * len(chunk))})"
            f" AND state IN ({marks})",
            chunk,
        ).fetchall()
    write(connection, MOVE, [row[:2] for row in moved], before=(int(to), now))
    return moved


def forget(connection: sqlite3.Connection, before: float, after_id: int, limit: int) -> tuple[int, int | None]:
    """Delete the done ones among the next `limit` messages with an id above `after_id` that were accepted before `before`.
    Returns how many were deleted, and the id to go on with, or None at the end."""
    found = connection.execute(
        "SELECT id, accepted_at, EXISTS (SELECT 1 FROM body WHERE message = id) FROM message WHERE id > ? ORDER BY id LIMIT ?",
        (after_id, limit),
    ).fetchall()
    done = [(id,) for id, at, is_live in found if at < before and not is_live]
    for statement in (
        "DELETE FROM event WHERE message IN (VALUES {rows})",
        "DELETE FROM recipient WHERE message IN (VALUES {rows})",
        "DELETE FROM message WHERE id IN (VALUES {rows})",
    ):
        write(connection, statement, done)
    # Ids rise with time: past a run of messages that are all newer nothing older follows.
    is_over = len(found) < limit or all(at >= before for _, at, _ in found)
    return len(done), None if is_over else found[-1][0]


def forget_words(connection: sqlite3.Connection, before: float, after_slice: int) -> int | None:
    """Delete, in the slice that follows `after_slice`, the words of messages that are gone. Returns that slice, or None where
    there is none or it has only messages that are newer than `before`: then nothing older follows."""
    (slice,) = connection.execute("SELECT min(slice) FROM word WHERE slice > ?", (after_slice,)).fetchone()
    if slice is None:
        return None
    deleted = connection.execute(
        "DELETE FROM word WHERE slice = ? AND NOT EXISTS (SELECT 1 FROM message WHERE id = word.message)", (slice,)
    ).rowcount
    (has_old,) = connection.execute(
        "SELECT EXISTS (SELECT 1 FROM word JOIN message ON id = word.message WHERE slice = ? AND accepted_at < ?)",
        (slice, before),
    ).fetchone()
    return slice if deleted or has_old else None


def used(connection: sqlite3.Connection) -> int:
    """The octets of the database that hold something: its file may be longer, and has room for more then."""
    (octets,) = connection.execute(
        "SELECT (page_count - freelist_count) * page_size FROM pragma_page_count, pragma_freelist_count, pragma_page_size"
    ).fetchone()
    return int(octets)


def accepted_after(connection: sqlite3.Connection, id: int) -> float:
    """When the message that follows `id` was accepted; infinity where none follows."""
    row = connection.execute("SELECT accepted_at FROM message WHERE id > ? ORDER BY id LIMIT 1", (id,)).fetchone()
    return float("inf") if row is None else float(row[0])


def _flat(tables: Iterable[Sequence[Row]]) -> list[Row]:
    return list(chain.from_iterable(tables))
