"""What a queue store promises, and the values that go in and out of it.

**A call that changes something has made it durable when it returns.** Callers simply await; a store gathers all who wait
into one transaction and one fsync (group commit). If the write fails, the call raises `StoreError` and nothing of it
happened.

**A claimed recipient belongs to one claimer.** A claim carries a fencing token and a lease; settling with a token that is no
longer the recipient's raises `StaleToken` and changes nothing. So a claimer that was away too long can never overwrite
the work of the one that took over. A claim whose lease is over is QUEUED again, with a "recovered" event, when anybody claims.

**A call whose caller is cancelled** happened or did not; what it would have given its caller to deliver is QUEUED again.

The states of a recipient:

    QUEUED ──claim──▶ ACTIVE ──settle──▶ DELIVERED | FAILED          HELD ◀─hold─ QUEUED, HELD ─release─▶ QUEUED
       ▲                 │                                           REMOVED ◀─remove─ QUEUED | HELD | ACTIVE
       └──settle (deferred), lease over, process gone────┘

The body is kept until no recipient is QUEUED, ACTIVE or HELD; envelope, recipients and events stay as history.

Where the process can die, and what the next start does about it:

    when                                        on disk                       what recovery does
    1  while the message comes in               perhaps a body file, no row   sweeps the file; the client saw no 250, it resends
    2  after the body file's sync, before the   body file, no row             the same
       commit of accept
    3  after accept's commit, before the 250    ACTIVE rows                   delivers; the client may resend: a duplicate,
                                                                              never a loss
    4  after the 250, before the first attempt  ACTIVE rows                   makes them QUEUED, due now; delivers
    5  during an attempt, before the final dot  ACTIVE rows                   the same; the next hop dropped its half
    6  after the next hop's 250, before settle  ACTIVE rows                   the same; the next hop gets it twice, and the
                                                                              trace says "uncertain"
    7  during settle's commit                   as before, or as after: one transaction holds outcomes, events and notices
    8  after settle's commit, before the body   body file, no live recipient  sweeps the file
       file is removed
    9  after a deferral                         QUEUED rows with a time       waits for the time; it counts from the wall clock

Damage from outside, a live message whose body file is gone, is not lost silently: it is HELD, with a "damaged" event.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import field
from enum import IntEnum
from typing import Any, Protocol

from waymail.mail.envelope import NO_OPTIONS, Body, Envelope, Recipient
from waymail.values import value


class StoreError(Exception):
    """The store could not write or read: disk full, I/O error, damaged file. Nothing of the call happened."""


class StoreFull(StoreError):
    """The disk has no room left."""


class StaleToken(StoreError):
    """The recipients were claimed by somebody else meanwhile, or removed by an operator."""


class State(IntEnum):
    """Where a recipient stands. The first three are live: the message still owes them something."""

    QUEUED = 0
    ACTIVE = 1
    HELD = 2
    DELIVERED = 3
    FAILED = 4
    REMOVED = 5

    @property
    def is_live(self) -> bool:
        return self <= State.HELD


@value
class Event:
    """One thing that happened to a message. `at` is seconds since the epoch; `detail` is plain JSON data.

    Kinds and their details, as the queue writes them ("accepted" is never stored: it is read off the envelope):

        attempt    destination, host, address, tls, ms (duration), results: [{to: [address, ...], outcome: "delivered" |
                   "deferred" | "failed", reply: "250 2.0.0 ...", uncertain?: true, next?: seconds since the epoch, why?: text,
                   place?: the folder where it was delivered}],
                   dialogue?: [line, ...] where not all was delivered; of a message's attempts to one destination the last
                   five to ten keep it
        bounced    notice (queue id of the DSN), to: [address, ...], why
        delayed    notice, to
        confirmed  notice, to, why: the sender asked to be told of "delivered", "relayed" or "expanded"
        waiting    to, destination, reply, next, why: nothing was attempted, the destination is down or busy
        recovered  to: [address, ...], uncertain: true; the process ended while these were being attempted
        held | released | removed | flushed    to
        damaged    to, why; the body is gone, the recipients are HELD until an operator decides
    """

    at: float
    kind: str
    detail: Mapping[str, Any]


@value
class NewMessage:
    """A message to accept. With `claim` the recipients come back ACTIVE, claimed by the caller, for a first attempt at once;
    without it they are QUEUED and due now. What its sender wants held (RFC 4865) is QUEUED in any case, and due then."""

    envelope: Envelope
    body: Body
    claim: bool = True

    @property
    def is_claimed(self) -> bool:
        """Whether the recipients come back claimed."""
        envelope = self.envelope
        return self.claim and (envelope.options is NO_OPTIONS or envelope.released_at <= envelope.accepted_at)


@value
class Pending:
    """One recipient that was claimed. `number` is its index in `envelope.recipients`; `attempts` those made so far."""

    number: int
    recipient: Recipient
    attempts: int = 0
    warned: bool = False


@value
class Delivery:
    """A message with the recipients of it that one claim gave. `token` goes back with the settlement."""

    envelope: Envelope
    body: Body
    pending: tuple[Pending, ...]
    token: int


@value
class Change:
    """One recipient's new state. `next_at` is when it is due again, where it is QUEUED; `reply` what was last said of it."""

    number: int
    state: State
    attempts: int
    reply: str
    next_at: float = 0.0
    warned: bool = False


@value
class Settlement:
    """What became of some recipients of a claimed delivery, the events that tell it, and the notices (DSNs) that it causes:
    one transaction. Recipients of the claim that are not named stay claimed."""

    id: str
    token: int
    changes: tuple[Change, ...]
    events: tuple[Event, ...] = ()
    notices: tuple[NewMessage, ...] = ()


@value
class RecipientState:
    """A recipient as the store has it, for lists and traces."""

    number: int
    address: str
    original: str | None
    state: State
    attempts: int
    next_at: float
    reply: str


@value
class Story:
    """A message as the store has it. `events` is in the order of time, and empty in lists."""

    envelope: Envelope
    size: int
    recipients: tuple[RecipientState, ...]
    events: tuple[Event, ...] = field(default=())


@value
class Flushed:
    """What waits for some domains: how many messages, and for which of the domains."""

    messages: int
    domains: tuple[str, ...]


class Spool(Protocol):
    """Takes a message's octets while they come in. Memory up to a bound, a file above it."""

    def write(self, chunk: bytes) -> None:
        """Raises StoreError where the disk does not take it."""

    def finish(self) -> Body:
        """The body; durable only once `accept` has returned."""

    def discard(self) -> None:
        """The message is not wanted after all. Safe to call at any time, and twice."""


class Store(Protocol):
    """A durable queue. Every method raises StoreError where the store cannot be written or read."""

    def spool(self, id: str) -> Spool:
        """A place for the octets of the message that will have the queue id `id`."""

    async def accept(self, message: NewMessage) -> Delivery:
        """Take responsibility for a message: it is on disk when this returns. A body in a file is one that `spool` made.

        Raises StoreError also where the id is taken; ValueError where it is none, or there are no recipients."""

    async def claim(self, now: float, limit: int, skip: Collection[str] = ()) -> Sequence[Delivery]:
        """Claim up to `limit` recipients that are due at `now`, none in a domain of `skip` (as `Recipient.domain` has it): those of
        the highest priority (RFC 6710) first, within a priority the oldest due first; those of one message in one Delivery.

        Where more is due than `limit`, domains take turns within the priority 0, from claim to claim. Nothing is returned only
        where nothing else is due."""

    async def settle(self, settlement: Settlement) -> Sequence[Delivery]:
        """Record outcomes, events and notices. Returns a claim for each notice that was to be claimed. Raises StaleToken."""

    async def next_due(self, after: float = 0.0) -> float | None:
        """When the first QUEUED recipient that is due later than `after` is so, in seconds since the epoch; None for none."""

    async def list(self, limit: int = 1000) -> Sequence[Story]:
        """The messages that have a live recipient, oldest first, without events."""

    async def get(self, id: str) -> Story | None:
        """One message with its events, live or done; None where there is none."""

    async def find(self, text: str, limit: int = 100) -> Sequence[Story]:
        """Messages by queue id, Message-ID (with or without angle brackets) or sender's or recipient's address, newest first;
        without regard to case, and without events. An address that an alias led away from finds the message too."""

    async def body(self, id: str) -> Body | None:
        """The body of a message that is still live."""

    async def hold(self, ids: Sequence[str], now: float) -> int:
        """Queued recipients of these messages wait until released. Returns how many recipients changed, as do the next three."""

    async def release(self, ids: Sequence[str], now: float) -> int:
        """Held recipients are queued again, due now."""

    async def flush(self, ids: Sequence[str], now: float) -> int:
        """Queued recipients that are due later are due now."""

    async def flush_domain(self, domain: str, now: float, *, below: bool = False) -> Flushed:
        """Queued recipients in `domain` (as `Recipient.domain` has it), with `below` also in the domains below it, are due
        now. What its sender wants held is left alone. It may take long; others do not wait for it."""

    async def remove(self, ids: Sequence[str], now: float) -> int:
        """Live recipients are given up without notice to anybody."""

    async def forget(self, before: float) -> int:
        """Delete the history of messages that were accepted before `before`, in seconds since the epoch, and are no longer
        live. Returns how many messages were deleted. It may take long; others do not wait for it."""

    async def shrink(self, size: int) -> int:
        """Where what is kept takes more than `size` octets: delete the history of the oldest messages that are no longer live,
        until it takes less than nine tenths of that, or nothing but live messages is left. Returns how many were deleted. It
        may take long; others do not wait for it. A store that cannot tell its size deletes nothing."""

    async def close(self) -> None:
        """Wait for what was asked to be durable, and end. Claims are handed back: ACTIVE becomes QUEUED, due now."""
