"""What the start of a store does about the way the last one ended: the right-hand column of the table in `contract`."""

from __future__ import annotations

import logging
import sqlite3
from collections import defaultdict
from collections.abc import Iterator

from waymail.mail.envelope import encode_id
from waymail.store import statements
from waymail.store.body import BodyFiles
from waymail.store.contract import Event, State
from waymail.store.rows import Row, event_row

log = logging.getLogger("waymail.store")

CLAIMED = (
    "SELECT recipient.message, number, address FROM body CROSS JOIN recipient ON recipient.message = body.message"
    " WHERE state = 1 ORDER BY recipient.message, number"
)


def recover(connection: sqlite3.Connection, files: BodyFiles, numbers: Iterator[int], now: float) -> set[int]:
    """Bring the store to a state from which the queue can go on. `numbers` are for events. Returns the messages whose body
    is in a file."""
    connection.execute("BEGIN IMMEDIATE")
    in_file = {row[0] for row in connection.execute("SELECT message FROM body WHERE content IS NULL")}
    present = files.present()
    _requeue(connection, numbers, now)
    _hold_damaged(connection, files, sorted(in_file - present), numbers, now)
    connection.execute("COMMIT")
    # States 1, 2 and 8 of the table: a file that no live message needs.
    files.remove(present - in_file)
    return in_file


def _requeue(connection: sqlite3.Connection, numbers: Iterator[int], now: float) -> None:
    """States 4, 5 and 6: what was claimed may have been attempted, and is tried again."""
    claimed = connection.execute(CLAIMED).fetchall()
    if not claimed:
        return
    statements.write(connection, statements.MOVE, [row[:2] for row in claimed], before=(int(State.QUEUED), now))
    tell(connection, claimed, "recovered", numbers, now, {"uncertain": True})
    log.info("recovered", extra={"fields": {"recipients": len(claimed)}})


def _hold_damaged(connection: sqlite3.Connection, files: BodyFiles, ids: list[int], numbers: Iterator[int], now: float) -> None:
    """Somebody took a body file away. Nobody can deliver the message, and it must not vanish unnoticed: an operator decides."""
    held = statements.move(connection, ids, (State.QUEUED, State.ACTIVE), State.HELD, now)
    for id in sorted({row[0] for row in held}):
        fields = {"id": encode_id(id), "file": str(files.path(id))}
        log.error("the body of a message is missing: it is held", extra={"fields": fields})
    tell(connection, held, "damaged", numbers, now, {"why": "its body file is missing"})


def tell(
    connection: sqlite3.Connection, moved: list[Row], kind: str, numbers: Iterator[int], now: float, detail: dict[str, object]
) -> None:
    """Write an event for each message of `moved`, which holds (message, number, address)."""
    addresses: dict[int, list[str]] = defaultdict(list)
    for id, _, address in moved:
        addresses[id].append(address)
    events = [event_row(id, next(numbers), Event(now, kind, {"to": to, **detail})) for id, to in addresses.items()]
    statements.write(connection, statements.INSERT_EVENT, events)
