"""Rows that are not what a store writes: because somebody changed the database, restored half of it, or took a file away.

One damaged message must not stand in the way of the others, nor vanish: it is shown as far as it can be read, nobody gets it to
deliver, and `recover.hold` sets it aside. `Damaged` says what is wrong with it, for the log and the trace.

Not noticed: what is changed and still makes sense, and that a message's last recipients are gone.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from waymail.mail.envelope import Body, Envelope, Recipient, encode_id
from waymail.store import rows
from waymail.store.contract import Delivery, Event, Pending, RecipientState, State, Story
from waymail.store.rows import Row

STATES = frozenset(map(int, State))
_UNREADABLE = (ValueError, TypeError, LookupError, AttributeError)  # what comes of taking such rows for ours


class Damaged(Exception):
    """Why a message cannot be delivered."""


def decode(text: bytes) -> str:
    """A text of the database, though it be no UTF-8: by itself, sqlite3 fails the whole statement. `delivery_of` refuses it."""
    return text.decode("utf-8", "surrogateescape")


def delivery_of(
    message: Row | None, recipients: Sequence[Row], claimed: Sequence[int], body: Row | None, file: Path, token: int
) -> Delivery:
    """What was claimed of a message, of the rows that `read` selects. Raises Damaged."""
    if message is None:
        raise Damaged("its envelope is missing")
    if body is None:
        raise Damaged("its body is missing")
    if [row[1] for row in recipients] != list(range(len(recipients))):
        raise Damaged("one of its recipients is missing")
    try:
        _check_columns(message, recipients)
        envelope = rows.envelope_of(message, list(recipients))
        origin = envelope.origin
        texts = [envelope.body, origin.protocol, origin.helo, origin.address, origin.tls, origin.user]
        "".join(texts)  # fails where one is none
        people = envelope.recipients
        pending = tuple(Pending(number, people[number], recipients[number][5], bool(recipients[number][8])) for number in claimed)
    except _UNREADABLE as error:
        raise Damaged("its envelope cannot be read") from error
    content = rows.body_of(body, message[4], file)
    _check(content)
    return Delivery(envelope, content, pending, token)


def story_of(message: Row | None, recipients: list[Row], events: list[Row]) -> Story:
    """A story, of the same rows; of damaged ones as far as they can be read."""
    try:
        if message is not None:
            _check_columns(message, recipients)
            return rows.story_of(message, recipients, events)
    except _UNREADABLE:
        pass
    id, at, sender, message_id, size, text = message or (recipients[0][0], 0.0, "", "", 0, "")
    recipients = [(*row[:2], _text(row[2]), None if row[3] is None else _text(row[3]), *row[4:]) for row in recipients]
    message = (id, _number(at), _text(sender), _text(message_id), _number(size), text)
    try:
        envelope = rows.envelope_of(message, recipients)
    except _UNREADABLE:
        envelope = Envelope(encode_id(id), message[2], tuple(Recipient(row[2], row[3]) for row in recipients), message[1])
    states = tuple(
        RecipientState(row[1], row[2], row[3], _state(row[4]), _number(row[5]), _number(row[6]), _text(row[7]), bool(row[8]))
        for row in recipients
    )
    events = [(_number(at), _text(kind), detail) for at, kind, detail in events]
    return Story(envelope, message[4], states, tuple(Event(at, kind, _detail(detail)) for at, kind, detail in events))


def _check_columns(message: Row, recipients: Sequence[Row]) -> None:
    """Whether texts are texts and numbers are numbers: SQLite takes either in a column. Raises one of _UNREADABLE."""
    texts = [*message[2:4], *(row[2] for row in recipients), *(row[3] or "" for row in recipients)]
    "".join(texts).encode()
    sum((message[1], message[4], *(number for row in recipients for number in row[5:7])))


def _number(value: Any) -> Any:
    return value if isinstance(value, int | float) else 0


def _text(value: Any) -> str:
    return decode(value) if isinstance(value, bytes) else str(value)


def _check(body: Body) -> None:
    """Whether all of it is there. Raises Damaged."""
    try:
        size = body.content.stat().st_size if isinstance(body.content, Path) else len(body.content)
        size += len(body.prefix)
    except FileNotFoundError as error:
        raise Damaged("its body file is missing") from error
    except OSError as error:
        raise Damaged(f"its body file cannot be read: {error.strerror}") from error
    except TypeError as error:
        raise Damaged("its body cannot be read") from error
    if size != body.size:
        raise Damaged(f"its body has {size} octets, and should have {body.size}")


def _state(value: Any) -> State:
    return State(value) if value in STATES else State.HELD


def _detail(text: Any) -> dict[str, Any]:
    try:
        detail = json.loads(text)
    except _UNREADABLE:
        detail = None
    return detail if isinstance(detail, dict) else {"why": "the event cannot be read"}
