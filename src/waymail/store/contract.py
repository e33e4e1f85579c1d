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
       ▲                 │                                           REMOVED ◀─remove─ QUEUED | HELD
       └──settle (deferred), lease over, process gone────┘

What was not taken at all stands in the history as well, with recipients that are REFUSED from the beginning (`refused`).

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
    10 after `refused`'s commit, before the     REFUSED rows, no body         nothing: nobody waits for it; the client saw no
       client has the reply                                                   reply, asks again and is refused again

Damage from outside (`damage`), as where a body file is gone, is not lost silently, nor does it stop others: the message is HELD,
with a "damaged" event, at the start or when it is claimed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import field
from enum import IntEnum
from types import MappingProxyType
from typing import Any, Protocol

from waymail.mail.envelope import NO_OPTIONS, Body, Envelope, Recipient
from waymail.values import value

ALL: Mapping[str, int] = MappingProxyType({})  # of `Store.claim`: no domain has a bound of its own


class StoreError(Exception):
    """The store could not write or read: disk full, I/O error, damaged file. Nothing of the call happened."""


class StoreFull(StoreError):
    """The disk has no room left."""


class StaleToken(StoreError):
    """The recipients were claimed by somebody else meanwhile."""


class State(IntEnum):
    """Where a recipient stands. The first three are live: the message still owes them something."""

    QUEUED = 0
    ACTIVE = 1
    HELD = 2
    DELIVERED = 3
    FAILED = 4
    REMOVED = 5
    REFUSED = 6

    @property
    def is_live(self) -> bool:
        return self <= State.HELD


@value
class Event:
    """One thing that happened to a message. `at` is seconds since the epoch; `detail` is plain JSON data.

    Kinds and their details, as the queue writes them ("accepted" is never stored: it is read off the envelope):

        judged     action: "accept" | "mark" | "quarantine" | "defer" | "reject" | "discard", rule: the one that decided,
                   reply, override?: why it is not what the sender's domain asks for, checks: {name: {result, reason, ...} or
                   several of those}, dns: [[name, type, status, [record, ...], authentic], ...]: what was asked, and answered
        attempt    destination, host, address, tls, ms (duration), results: [{to: [address, ...], outcome: "delivered" |
                   "deferred" | "failed", reply: "250 2.0.0 ...", uncertain?: true, next?: seconds since the epoch, why?: text,
                   place?: the folder of a mailbox on this machine}],
                   dialogue?: [line, ...] where not all was delivered; of a message's attempts to one destination the last
                   five to ten keep it
        bounced    notice (queue id of the DSN), to: [address, ...], why
        delayed    notice, to
        confirmed  notice, to, why: the sender asked to be told of "delivered", "relayed" or "expanded"
        waiting    to, destination, reply, next, why: nothing was attempted, the destination is down or busy
        recovered  to: [address, ...], uncertain: true; the process ended while these were being attempted
        held | released | removed | flushed    to, by: "operator", or "etrn" where a host asked for its mail (RFC 1985)
        returned   to, by, reply: an operator gave them up, and the sender is told
        exported   to, why: they went to another store, in a file; what comes from one says so:
        imported   to, why
        damaged    to, why: envelope or body is not what was accepted; the recipients are HELD until an operator decides
    """

    at: float
    kind: str
    detail: Mapping[str, Any]


@value
class NewMessage:
    """A message to accept. With `claim` the recipients come back ACTIVE, claimed by the caller, for a first attempt at once;
    without it they are QUEUED and due now. What its sender wants held (RFC 4865) is QUEUED in any case, and due then. `events`
    are what its history begins with."""

    envelope: Envelope
    body: Body
    claim: bool = True
    events: tuple[Event, ...] = ()

    @property
    def is_claimed(self) -> bool:
        """Whether the recipients come back claimed."""
        envelope = self.envelope
        return self.claim and (envelope.options is NO_OPTIONS or envelope.released_at <= envelope.accepted_at)


@value
class Refusal:
    """A message that was not taken. `reply` is what the client was told, `size` how many octets had come. `state` is REFUSED, or
    REMOVED where the client was told that it was taken."""

    envelope: Envelope
    reply: str
    events: tuple[Event, ...] = ()
    size: int = 0
    state: State = State.REFUSED


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
    """One recipient's new state. `next_at` is when it is due again, where it is QUEUED; `reply` what was last said of it,
    "" where nothing was said: what was said before stands."""

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
    warned: bool = False


@value
class Story:
    """A message as the store has it. `events` is in the order of time, and empty in lists."""

    envelope: Envelope
    size: int
    recipients: tuple[RecipientState, ...]
    events: tuple[Event, ...] = field(default=())


@value
class Packed:
    """A live message as it goes from one store to another: all that there is of it. See `waymail.store.transfer`."""

    story: Story
    body: Body

    @property
    def is_attempted(self) -> bool:
        """Whether a recipient is being attempted: then it goes nowhere."""
        return any(one.state is State.ACTIVE for one in self.story.recipients)


@value
class Selection:
    """Which recipients an operator means: those for which all that is given holds. Nothing given means none; `everything`, all.

    `ids` are queue ids. `sender` is the reverse-path ("" the null path), `recipient` an address, or one that an alias led
    away from; both are compared as `Store.find` does. `domain` is that of the recipient, as `Recipient.domain` has it, with
    `below` also those below it; `domains` are several. `older`: accepted before that time, in seconds since the epoch.
    `states` leaves only recipients in one of them, and is no reason to be selected.
    """

    ids: tuple[str, ...] = ()
    sender: str | None = None
    recipient: str = ""
    domain: str = ""
    below: bool = False
    domains: frozenset[str] = frozenset()
    older: float | None = None
    states: tuple[State, ...] = ()
    everything: bool = False

    @property
    def is_empty(self) -> bool:
        """Whether it selects nothing."""
        given = self.ids or self.recipient or self.domain or self.domains or self.everything
        return not given and self.sender is None and self.older is None

    def among(self, states: Sequence[State]) -> tuple[State, ...]:
        """Those of `states` that it leaves."""
        return tuple(state for state in states if not self.states or state in self.states)


@value
class Changed:
    """What an operator's command did: to how many recipients of how many messages, in which domains. `active` of the selected
    ones are being attempted and were left alone: of those that were found by message. By domain or age they are not found."""

    recipients: int = 0
    messages: int = 0
    domains: tuple[str, ...] = ()
    active: int = 0


@value
class Waiting:
    """What waits for a domain: how many recipients, the time at which the oldest of their messages was accepted, when the next
    one is due (0.0 where all are held), and what was last said of one of them ("" for nothing)."""

    domain: str
    queued: int
    held: int
    oldest: float
    next_at: float
    reply: str


@value
class Backlog:
    """All that waits: in how many domains, how many recipients, and those domains for which most do."""

    domains: int = 0
    queued: int = 0
    held: int = 0
    largest: tuple[Waiting, ...] = ()


EVERYTHING = Selection(everything=True)
OPERATOR = "operator"


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

    async def refused(self, refusal: Refusal) -> None:
        """Keep in the history that a message was not taken: nobody is to deliver it. It waits for others, to share their
        transaction.

        Raises StoreError also where the id is taken; ValueError where it is none, or there are no recipients."""

    async def claim(self, now: float, limit: int, rooms: Mapping[str, int] = ALL) -> Sequence[Delivery]:
        """Claim up to `limit` recipients that are due at `now`, of no more messages for the domains in `rooms` (as
        `Recipient.domain` has them) than it says.

        The highest priority (RFC 6710) goes first, within a priority the oldest due; those of one message are in one Delivery.

        Where more is due than `limit`, domains take turns within the priority 0, from claim to claim. Nothing is returned only
        where nothing else is due."""

    async def settle(self, settlement: Settlement) -> Sequence[Delivery]:
        """Record outcomes, events and notices. Returns a claim for each notice that was to be claimed. Raises StaleToken."""

    async def next_due(self, after: float = 0.0) -> float | None:
        """When the first QUEUED recipient that is due later than `after` is so, in seconds since the epoch; None for none."""

    async def list(self, limit: int = 1000, selection: Selection = EVERYTHING) -> Sequence[Story]:
        """The messages that have a live recipient of the selection, oldest first, without events. By domain, by state, or by the
        null path, those are not found that are being attempted."""

    async def get(self, id: str) -> Story | None:
        """One message with its events, live or done; None where there is none."""

    async def find(self, text: str, limit: int = 100) -> Sequence[Story]:
        """Messages by queue id, Message-ID (with or without angle brackets) or sender's or recipient's address, newest first;
        without regard to case, and without events. An address that an alias led away from finds the message too."""

    async def body(self, id: str) -> Body | None:
        """The body of a message that is still live."""

    async def waiting(self, limit: int = 1000, domain: str = "") -> Backlog:
        """What is QUEUED or HELD, by domain, the largest `limit` of them by name; only that for `domain` where it is given."""

    # What an operator does with a selection. It may take long, in transactions of some hundred recipients; others do not wait
    # for it. `by` is who asked, for the event.

    async def hold(self, selection: Selection, now: float, by: str = OPERATOR) -> Changed:
        """Queued recipients wait until released."""

    async def release(self, selection: Selection, now: float, by: str = OPERATOR) -> Changed:
        """Held recipients are queued again, due now."""

    async def flush(self, selection: Selection, now: float, by: str = OPERATOR) -> Changed:
        """Queued recipients are due now; those that were so before are counted, too. What its sender wants held (RFC 4865) is
        left alone."""

    async def remove(self, selection: Selection, now: float, by: str = OPERATOR) -> Changed:
        """Queued and held recipients are given up without notice to anybody."""

    def take(self, selection: Selection, now: float) -> AsyncIterator[Sequence[Delivery]]:
        """Claim queued and held recipients, some hundred at a time; the next when those are asked for."""

    # What moves messages from one store to another (`waymail.store.transfer`).

    async def ids(self, after: str = "", limit: int = 500) -> Sequence[str]:
        """The queue ids behind `after` of messages that have a live recipient, in order."""

    async def pack(self, ids: Sequence[str], now: float, *, hold: bool = False) -> Sequence[Packed]:
        """Those of these messages that have a live recipient, oldest first. With `hold`, the queued recipients of those of which
        nobody is being attempted are held from now on; what returns says how they stood before."""

    async def put_back(self, packed: Sequence[Packed], now: float) -> None:
        """What `pack` held and nobody released since is QUEUED again, due when it was."""

    async def hand_over(self, ids: Sequence[str], now: float, why: str) -> Sequence[str]:
        """Messages of which all live recipients are held are no longer this store's: the recipients are REMOVED. Returns the ids
        of those."""

    async def unpack(self, packed: Packed) -> bool:
        """Take in a message that another store packed, as it stands there; a body in a file is one that `spool` made. One that
        was handed over from here comes back. Returns False, and nothing happens, where the id is taken.

        Raises ValueError where the id is none, or there are no recipients."""

    async def hasten(self, latest: float) -> int:
        """Queued recipients that are due later than `latest` are due then: no schedule sets such times, a clock did that was
        wrong. What its sender wants held is left alone. Returns how many changed. It may take long; others do not wait for it."""

    async def forget(self, before: float) -> int:
        """Delete the history of messages that were accepted before `before`, in seconds since the epoch, and are no longer
        live. Returns how many messages were deleted. It may take long; others do not wait for it."""

    async def shrink(self, size: int) -> int:
        """Where what is kept takes more than `size` octets: delete the history of the oldest messages that are no longer live,
        until it takes less than nine tenths of that, or nothing but live messages is left. Returns how many were deleted. It
        may take long; others do not wait for it. A store that cannot tell its size deletes nothing."""

    def check(self) -> None:
        """Raises StoreError where all that changes something does, until another process opens the store anew."""

    async def close(self) -> None:
        """Wait for what was asked to be durable, and end. Claims are handed back: ACTIVE becomes QUEUED, due now."""
