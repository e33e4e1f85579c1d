"""From what a program submits to what the store takes."""

from __future__ import annotations

import math
import secrets
import sqlite3
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from email.message import Message
from functools import partial
from typing import SupportsFloat

from waymail.client.arguments import check_type
from waymail.client.prepare import Mail, Preparation, message_id_of, prepare
from waymail.mail.envelope import NO_OPTIONS, Envelope, QueueIds, Recipient
from waymail.store.contract import NewMessage, StoreError

MOST_OCTETS = 256 * 1024 * 1024  # of a message: it is in memory while it is submitted
COLLISIONS = 5  # in a row: then something else must be wrong
LARGE = 256 * 1024  # octets from which on its preparation is in the way of an event loop


class Writer:
    """Makes messages for the store. Any thread may use it. `now` gives seconds since the epoch."""

    def __init__(self, how: Preparation, now: Callable[[], float]) -> None:
        self._how = how
        self._now = now
        self._ids = QueueIds(secrets.randbits(11))
        self._lock = threading.Lock()

    def is_slow(self, mail: Mail) -> bool:
        """Whether `write` takes long enough to be in the way of an event loop."""
        message: object = mail.message  # not yet looked at
        is_large = len(message) > LARGE if isinstance(message, bytes) else isinstance(message, Message) and message.is_multipart()
        return self._how.is_slow or is_large

    def write(self, mail: Mail, at: datetime | float | None = None) -> NewMessage:
        """A message with an id of its own, completed and signed, to be delivered not before `at`. Raises ValueError and
        TypeError."""
        release = _moment(at)
        now = self._now()
        id = self._next_id(now)
        # Another process may make the same queue id in the same microsecond, and gets another one then; this stays.
        unique = partial("{}.{}".format, id, secrets.token_hex(4))
        message, addresses = prepare(mail, self._how, now=now, unique=unique)
        if message.body.size > MOST_OCTETS:
            raise ValueError(f"the message has {message.body.size} octets: {MOST_OCTETS} at most can be submitted")
        people = {one.address: one for one in message.recipients} if message.recipients else {}
        options = message.options
        if release > now:
            options = replace(options, hold_until=release)
        envelope = Envelope(
            id,
            message.sender,
            tuple(people.get(address) or Recipient(address) for address in dict.fromkeys(addresses)),
            now,
            message.body_type,
            message_id_of(message.body),
            options=NO_OPTIONS if options == NO_OPTIONS else options,
        )
        return NewMessage(envelope, message.body)

    def again(self, new: NewMessage) -> NewMessage:
        """The same with another id, where that was taken."""
        return replace(new, envelope=replace(new.envelope, id=self._next_id(self._now())))

    def _next_id(self, now: float) -> str:
        with self._lock:
            return self._ids.next(now)


def persist(new: NewMessage, take: Callable[[NewMessage], None], writer: Writer) -> str:
    """Let `take` put the message on disk, with another id where its own is taken. Returns the id. Raises StoreError."""
    for left in reversed(range(COLLISIONS)):
        try:
            take(new)
        except StoreError as error:
            if not (left and is_collision(error)):
                raise
            new = writer.again(new)
        else:
            break
    return new.envelope.id


def is_collision(error: StoreError) -> bool:
    """Whether a message could not be written because another process took the same queue id in the same microsecond, and has a
    row of that id, or only a file yet."""
    return isinstance(error.__cause__, sqlite3.IntegrityError | FileExistsError)


def _moment(at: datetime | float | None) -> float:
    """In seconds since the epoch; 0 for now."""
    if at is None:
        return 0.0
    if isinstance(at, datetime):
        if at.tzinfo is None:
            raise ValueError("at is a time without a time zone: say which, as in datetime.now(UTC) + timedelta(hours=1)")
        return at.timestamp()
    what = "at is a datetime, as datetime.now(UTC) + timedelta(hours=1), or seconds since the epoch"
    check_type(at, SupportsFloat, what)
    if not math.isfinite(at):
        raise ValueError("at is a datetime, or seconds since the epoch")
    return float(at)
