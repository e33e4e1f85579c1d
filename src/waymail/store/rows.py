"""Values as rows, and rows as values: the one place that knows the columns.

Rows are made by the caller of the store, not by the writer thread: that leaves the writer nothing but to hand lists to
SQLite, and it was measured to be no dearer (the interpreter runs one of the two threads at a time in any case).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zlib import crc32

from waymail.mail.envelope import Body, Envelope, Origin, Recipient, decode_id, encode_id
from waymail.store.asked import asked, is_ordinary, options_of, recipient_of
from waymail.store.contract import Event, NewMessage, RecipientState, Refusal, Settlement, State, Story

# ASCII: a text with a lone surrogate (an octet that was no UTF-8) is escaped and survives.
_encode = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode

Row = tuple[Any, ...]
DIALOGUES = 5  # attempts of a message to a destination whose dialogues are kept; up to twice as many for a while
ORIGIN = 5  # fields of an `Origin` in the envelope's text; what the sender asked for follows them


@dataclass(frozen=True, slots=True)
class Accepting:
    """A message as the rows that accept it. `token` is 0 where it is not claimed; `in_file` where its body is in a file. One that
    was refused has no body, and nobody claims it."""

    id: int
    token: int
    in_file: bool
    message: Row
    recipients: list[Row]
    body: Row
    words: list[Row]
    events: Sequence[Row] = ()


@dataclass(frozen=True, slots=True)
class Settling:
    """A settlement as rows. `may_end` is true where it leaves a recipient that is no longer live; `thinned` has message and
    destination where dialogues of earlier attempts go."""

    id: int
    changes: list[Row]
    events: list[Row]
    may_end: bool
    notices: list[Accepting]
    thinned: list[Row]


def number_of(id: str) -> int:
    """The message number of a queue id. Raises ValueError where it is none."""
    number = decode_id(id)
    if number is None:
        raise ValueError(f"{id!r} is no queue id")
    return number


def word_of(text: str) -> int:
    """What a text is found by: a hash that knows neither case nor angle brackets. Hits are compared with the text itself."""
    return crc32(plain(text).encode("utf-8", "surrogatepass"))


def plain(text: str) -> str:
    """A Message-ID or an address as it is compared in searches."""
    return text.strip().removeprefix("<").removesuffix(">").lower()


def accepting(new: NewMessage, token: int, lease_until: float, slice: int, numbers: Iterator[int]) -> Accepting:
    """The rows of a new message, its words in `slice`; `numbers` gives its events theirs. Raises ValueError where the id is none,
    or nobody is to have it."""
    envelope, body = new.envelope, new.body
    id = _number_of(envelope)
    state, token = (State.ACTIVE, token) if new.is_claimed else (State.QUEUED, 0)
    recipients, words = _people(id, envelope, state, token, lease_until, "", slice)
    return Accepting(
        id,
        token,
        isinstance(body.content, Path),
        (id, envelope.accepted_at, envelope.sender, envelope.message_id, body.size, _envelope_text(envelope)),
        recipients,
        (id, body.prefix, None if isinstance(body.content, Path) else body.content),
        words,
        [event_row(id, next(numbers), event) for event in new.events] if new.events else (),
    )


def refusing(refusal: Refusal, slice: int, numbers: Iterator[int]) -> Accepting:
    """The rows of a message that was not taken. Raises as `accepting` does."""
    envelope, events = refusal.envelope, refusal.events
    id = _number_of(envelope)
    recipients, words = _people(id, envelope, refusal.state, 0, 0.0, refusal.reply, slice)
    message = (id, envelope.accepted_at, envelope.sender, envelope.message_id, refusal.size, _envelope_text(envelope))
    return Accepting(id, 0, False, message, recipients, (), words, [event_row(id, next(numbers), one) for one in events])


def _number_of(envelope: Envelope) -> int:
    if not envelope.recipients:
        raise ValueError(f"{envelope.id} has no recipients")
    return number_of(envelope.id)


def _people(
    id: int, envelope: Envelope, state: State, token: int, lease_until: float, reply: str, slice: int
) -> tuple[list[Row], list[Row]]:
    """The rows of the recipients, and of the words that the message is found by."""
    due, priority, step = envelope.released_at, envelope.options.priority, int(state)
    texts = {envelope.message_id, envelope.sender}
    recipients = []
    for number, one in enumerate(envelope.recipients):
        texts.add(one.address)
        if one.original is not None:
            texts.add(one.original)
        # An int: an IntEnum would go through sqlite3's adapters, ten times slower.
        recipients.append(
            (id, number, one.address, one.original, step, 0, due, token, lease_until, reply, 0, priority, one.domain)
        )
    texts.discard("")
    return recipients, [(slice, word, id) for word in {word_of(text) for text in texts}]


def settling(settlement: Settlement, numbers: Iterator[int], notices: list[Accepting]) -> Settling:
    """The rows of a settlement; `numbers` gives its events theirs."""
    id, token = number_of(settlement.id), settlement.token
    return Settling(
        id,
        [
            (id, one.number, int(one.state), one.attempts, one.next_at, one.reply, int(one.warned), token)
            for one in settlement.changes
        ],
        [event_row(id, next(numbers), event) for event in settlement.events],
        any(one.state > State.HELD for one in settlement.changes),
        notices,
        [(id, destination) for destination in thinned(settlement)],
    )


def thinned(settlement: Settlement) -> list[str]:
    """The destinations of which only the last `DIALOGUES` attempts keep what was said: it is looked at with every so many."""
    found = [event.detail.get("destination", "") for event in settlement.events if "dialogue" in event.detail]
    return found if found and any(one.attempts % DIALOGUES == 0 for one in settlement.changes) else []


def event_row(id: int, number: int, event: Event) -> Row:
    return (id, number, event.at, event.kind, _encode(event.detail))


def _envelope_text(envelope: Envelope) -> str:
    origin = envelope.origin
    ordinary = (envelope.body, origin.protocol, origin.helo, origin.address, origin.tls, origin.user)
    return _encode(ordinary if is_ordinary(envelope) else (*ordinary, asked(envelope)))


def envelope_of(message: Row, recipients: list[Row]) -> Envelope:
    """The envelope of a row of `message` and those of all its recipients."""
    id, accepted_at, sender, message_id, _, text = message
    body, *origin = json.loads(text)
    if len(origin) <= ORIGIN:
        people = tuple(Recipient(row[2], row[3]) for row in recipients)
        return Envelope(encode_id(id), sender, people, accepted_at, body, message_id, Origin(*origin))
    data = origin.pop()
    people = tuple(recipient_of(data, row[1], row[2], row[3]) for row in recipients)
    return Envelope(encode_id(id), sender, people, accepted_at, body, message_id, Origin(*origin), options_of(data))


def held_until(text: str) -> float:
    """Until when the sender had the message of this envelope's text held (RFC 4865), in seconds since the epoch; else 0."""
    if '"hold_until"' not in text or not isinstance(data := json.loads(text)[-1], dict):
        return 0.0
    return options_of(data).hold_until


def story_of(message: Row, recipients: list[Row], events: list[Row]) -> Story:
    """A story of rows; those of recipients have the columns of `read.RECIPIENTS`."""
    envelope = envelope_of(message, recipients)
    states = tuple(
        RecipientState(row[1], row[2], row[3], State(row[4]), row[5], row[6], row[7], bool(row[8])) for row in recipients
    )
    return Story(envelope, message[4], states, tuple(Event(at, kind, json.loads(detail)) for at, kind, detail in events))


def body_of(row: Row, size: int, file: Path) -> Body:
    """The body of a row of `body`; `file` is where it is when it is in a file."""
    _, prefix, content = row
    return Body(file if content is None else content, size, prefix)
