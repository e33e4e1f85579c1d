"""What the tests of a store start from: a place to open it in, messages to put in, outcomes to settle."""

# ruff: noqa: S101 - these are for tests

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

import pytest

from waymail.mail.envelope import NO_OPTIONS, Body, Envelope, Options, Origin, QueueIds, Recipient
from waymail.store.contract import Change, Delivery, Event, NewMessage, Settlement, State, Store, Story

LEASE = 600.0  # seconds: open your store with this
START = 1_800_000_000.0
ORIGIN = Origin("ESMTPSA", "laptop.example.org", "192.0.2.7", "TLSv1.3 TLS_AES_256_GCM_SHA384 unverified", "ann")
CONTENT = b"Subject: hello\r\n\r\nHow are you?\r\n"


class Place(Protocol):
    """Where a store is, so that it can be opened again. `time` is what its clock says; the suite sets it."""

    time: float

    async def open(self) -> Store: ...

    async def crash(self, store: Store) -> None:
        """End the store as the death of its process would."""


class Messages:
    """Makes what the tests put in."""

    def __init__(self) -> None:
        self._ids = QueueIds(7)

    def new(
        self,
        *recipients: str | Recipient,
        at: float = START,
        sender: str = "ann@example.org",
        message_id: str = "",
        content: bytes = CONTENT,
        claim: bool = True,
        options: Options = NO_OPTIONS,
    ) -> NewMessage:
        everybody = tuple(Recipient(one) if isinstance(one, str) else one for one in recipients or ("bob@example.net",))
        id = self._ids.next(at)
        envelope = Envelope(id, sender, everybody, at, "8BITMIME", message_id, ORIGIN, options)
        return NewMessage(envelope, Body(content, len(content)), claim)


def outcome(delivery: Delivery, *changes: Change, events: Sequence[Event] = (), notices: Sequence[NewMessage] = ()) -> Settlement:
    return Settlement(delivery.envelope.id, delivery.token, changes, tuple(events), tuple(notices))


def delivered(delivery: Delivery, *, at: float = START, notices: Sequence[NewMessage] = ()) -> Settlement:
    """All of a delivery was delivered."""
    changes = [Change(one.number, State.DELIVERED, one.attempts + 1, "250 2.0.0 taken") for one in delivery.pending]
    to = [one.recipient.address for one in delivery.pending]
    event = Event(at, "attempt", {"destination": "example.net", "results": [{"to": to, "outcome": "delivered"}]})
    return outcome(delivery, *changes, events=[event], notices=notices)


def deferred(delivery: Delivery, until: float, *, warned: bool = False) -> Settlement:
    """All of a delivery was deferred."""
    changes = [Change(one.number, State.QUEUED, one.attempts + 1, "451 4.2.0 busy", until, warned) for one in delivery.pending]
    return outcome(delivery, *changes)


async def states(store: Store, id: str) -> list[State]:
    story = await store.get(id)
    assert story is not None
    return [one.state for one in story.recipients]


async def kinds(store: Store, id: str) -> list[str]:
    story = await store.get(id)
    assert story is not None
    return [event.kind for event in story.events]


def octets(body: Body) -> bytes:
    return b"".join(body.chunks())


async def story_of(store: Store, message: Delivery | NewMessage) -> Story:
    story = await store.get(message.envelope.id)
    assert story is not None
    return story


class StoreCase:
    """The fixtures of the contract suites."""

    @pytest.fixture
    def place(self) -> Place:
        raise TypeError("a suite for a store overrides the fixture `place`")

    @pytest.fixture
    async def store(self, place: Place) -> AsyncIterator[Store]:
        store = await place.open()
        yield store
        await store.close()

    @pytest.fixture
    def messages(self) -> Messages:
        return Messages()
