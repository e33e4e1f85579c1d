"""What the start of a store does about the way the last one ended: the right-hand column of the table in `contract`."""

# ruff: noqa: S608 - statements are put together of constants alone

from __future__ import annotations

import logging
import sqlite3
from collections import defaultdict
from collections.abc import Iterator, Mapping

from waymail.mail.envelope import encode_id
from waymail.store import statements
from waymail.store.body import BodyFiles
from waymail.store.contract import Event, State
from waymail.store.damage import STATES
from waymail.store.rows import Row, event_row

log = logging.getLogger("waymail.store")

GONE = "its recipients are missing"

# In one pass over what is live: what was claimed, and what no store writes.
LEFT = (
    "SELECT body.message, number, address, state FROM body LEFT JOIN recipient ON recipient.message = body.message"
    f" WHERE state = 1 OR typeof(next_at) <> 'real' OR state NOT IN ({', '.join(map(str, STATES))}) ORDER BY body.message, number"
)
NO_STATE = f"UPDATE recipient SET state = 2 WHERE message = ? AND state NOT IN ({', '.join(map(str, STATES))})"
IS_LIVE = "SELECT 1 FROM recipient WHERE message = ? AND state <= 2 LIMIT 1"
# What stands in for rows that are gone. An envelope without a text is damaged.
NO_BODY = "INSERT OR IGNORE INTO body (message, prefix, content) VALUES (?, x'', NULL)"
NO_ENVELOPE = "INSERT OR IGNORE INTO message (id, accepted_at, sender, message_id, size, envelope) VALUES (?, ?, '', '', 0, '')"


def recover(connection: sqlite3.Connection, files: BodyFiles, numbers: Iterator[int], now: float) -> set[int]:
    """Bring the store to a state from which the queue can go on. `numbers` are for events. Returns the messages whose body
    is in a file."""
    connection.execute("BEGIN IMMEDIATE")
    in_file = {row[0] for row in connection.execute("SELECT message FROM body WHERE content IS NULL")}
    present = files.present()
    left = connection.execute(LEFT).fetchall()
    _requeue(connection, [row[:3] for row in left if row[3] == State.ACTIVE], numbers, now)
    damaged = dict.fromkeys(sorted(in_file - present), "its body file is missing")
    damaged.update({row[0]: "a recipient is in no state" for row in left if row[3] not in STATES})
    damaged.update({row[0]: "a recipient is due at no time" for row in left if row[3] == State.QUEUED})
    damaged.update({row[0]: GONE for row in left if row[1] is None})
    needed = {id for id in present - in_file if connection.execute(IS_LIVE, (id,)).fetchone()}
    damaged.update(dict.fromkeys(sorted(needed - statements.live(connection, list(needed))), "its body is missing"))
    connection.executemany(NO_BODY, [(id,) for id in needed])
    hold(connection, damaged, numbers, now)
    connection.execute("COMMIT")
    # States 1, 2 and 8 of the table: a file that no live message needs.
    files.remove(present - in_file - needed)
    return in_file | needed


def _requeue(connection: sqlite3.Connection, claimed: list[Row], numbers: Iterator[int], now: float) -> None:
    """States 4, 5 and 6: what was claimed may have been attempted, and is tried again."""
    if not claimed:
        return
    statements.write(connection, statements.MOVE, [row[:2] for row in claimed], before=(int(State.QUEUED), now))
    tell(connection, claimed, "recovered", numbers, now, {"uncertain": True})
    log.info("recovered", extra={"fields": {"recipients": len(claimed)}})


def hold(connection: sqlite3.Connection, damaged: Mapping[int, str], numbers: Iterator[int], now: float) -> None:
    """Nobody can deliver these messages, for the reason given for each, and they must not vanish unnoticed: an operator
    decides. What was removed meanwhile is left alone."""
    for id, why in damaged.items():
        held = statements.move(connection, [id], (State.QUEUED, State.ACTIVE), State.HELD, now)
        held += connection.execute(f"{NO_STATE} RETURNING message, number, address", (id,)).fetchall()
        if held:
            # What is live has these rows, or nobody would find it.
            connection.execute(NO_BODY, (id,))
            connection.execute(NO_ENVELOPE, (id, now))
            tell(connection, held, "damaged", numbers, now, {"why": why})
        if held or why == GONE:
            text = "a message is damaged: it is held" if held else "a message is damaged, and nobody is left to get it"
            log.error(text, extra={"fields": {"id": encode_id(id), "why": why}})


def tell(
    connection: sqlite3.Connection, moved: list[Row], kind: str, numbers: Iterator[int], now: float, detail: dict[str, object]
) -> None:
    """Write an event for each message of `moved`, which holds (message, number, address)."""
    addresses: dict[int, list[str]] = defaultdict(list)
    for id, _, address in moved:
        addresses[id].append(address)
    events = [event_row(id, next(numbers), Event(now, kind, {"to": to, **detail})) for id, to in addresses.items()]
    statements.write(connection, statements.INSERT_EVENT, events)
