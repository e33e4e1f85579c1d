"""The way of a received message into the queue: an id, a place for its octets, the store, the runner."""

from __future__ import annotations

import logging
from typing import Protocol

from waymail.mail.envelope import Body, Envelope, QueueIds
from waymail.net.clock import Clock
from waymail.server.limits import MINUTE
from waymail.server.networks import network_of
from waymail.server.rates import Rates
from waymail.server.room import Room
from waymail.store.contract import Delivery, Event, NewMessage, Refusal, Spool, Store, StoreError, StoreFull
from waymail.wire.replies import Reply

log = logging.getLogger("waymail.server")

REFUSED = 600  # messages a minute that are kept in the history though they were not taken
REFUSED_OF_NETWORK = 60  # and of one network

# RFC 3463 §3.4: X.3.0, other or undefined mail system status. Nothing was stored, so the client keeps it.
NOT_STORED = Reply(451, "the message could not be stored, try again later", "4.3.0")
# RFC 5321 §4.5.3.1.10 has the text; RFC 3463 §3.4: X.3.1, mail system full.
DISK_FULL = Reply(452, "insufficient system storage", "4.3.1")


class Queue(Protocol):
    """The part of `queue.runner.Runner` that a server needs."""

    def has_room_for(self, envelope: Envelope) -> bool: ...

    def offer(self, delivery: Delivery) -> None: ...

    async def flush_domain(self, domain: str, below: bool) -> int: ...


class Taking(Protocol):
    """What sessions put messages into: `Intake`, or what stands for it in a program that embeds the server."""

    @property
    def room(self) -> Room: ...

    def now(self) -> float: ...

    def new_id(self) -> str: ...

    def spool(self, id: str) -> Spool: ...

    async def flush(self, domain: str, *, below: bool) -> int | None: ...

    async def take(self, envelope: Envelope, body: Body, spool: Spool, events: tuple[Event, ...] = ()) -> Reply: ...

    async def record(self, refusal: Refusal) -> None: ...


class Intake:
    """Where sessions put messages. Shared by all listeners. Without a `room` the disk is taken to be large."""

    def __init__(self, store: Store, queue: Queue, ids: QueueIds, clock: Clock, room: Room | None = None) -> None:
        self._store = store
        self._queue = queue
        self._ids = ids
        self._clock = clock
        self.room = room or Room(None, None)
        # History has a bound: what strangers are refused must not push the stories of delivered mail out of it.
        self._refused, self._refused_of_network = Rates(REFUSED, MINUTE), Rates(REFUSED_OF_NETWORK, MINUTE)

    def now(self) -> float:
        """Seconds since the epoch."""
        return self._clock.now()

    def new_id(self) -> str:
        return self._ids.next(self._clock.now())

    def spool(self, id: str) -> Spool:
        return self._store.spool(id)

    async def flush(self, domain: str, *, below: bool) -> int | None:
        """Try at once what waits for a domain, and for those below it. How many messages that are; None where the store fails."""
        try:
            return await self._queue.flush_domain(domain, below)
        except StoreError as error:
            log.error("the queue cannot be read", extra={"fields": {"error": str(error)}})
            return None

    async def take(self, envelope: Envelope, body: Body, spool: Spool, events: tuple[Event, ...] = ()) -> Reply:
        """Store the message, with what its history begins with, and hand it to the queue. The reply is a 250 only when it is on
        disk (RFC 5321 §6.1)."""
        try:
            delivery = await self._store.accept(NewMessage(envelope, body, self._queue.has_room_for(envelope), events))
        except StoreError as error:
            log.error("a message was not stored", extra={"fields": {"id": envelope.id, "error": str(error)}})
            spool.discard()
            return not_stored(error)
        try:
            if log.isEnabledFor(logging.DEBUG):
                log.debug("accepted", extra={"fields": _summary(envelope, body)})
            self._queue.offer(delivery)
        except Exception:
            # It is stored: the client must not send it again. When its lease is over, the store hands it out.
            log.exception("a stored message met a bug", extra={"fields": {"id": envelope.id}})
        return Reply(250, f"queued as {envelope.id}", "2.0.0")

    async def record(self, refusal: Refusal) -> None:
        """Keep in the history that a message was not taken. Of too many, or where it cannot be written, only the log has it."""
        now = self._clock.monotonic()
        network = network_of(refusal.envelope.origin.address)
        if not (self._refused_of_network.allows(network, now) and self._refused.allows("", now)):
            return
        try:
            await self._store.refused(refusal)
        except StoreError as error:
            fields = {"id": refusal.envelope.id, "reply": refusal.reply, "error": str(error)}
            log.error("the history does not have what was refused", extra={"fields": fields})


def not_stored(error: StoreError) -> Reply:
    """What a client is told whose message could not be stored."""
    return DISK_FULL if isinstance(error, StoreFull) else NOT_STORED


def _summary(envelope: Envelope, body: Body) -> dict[str, object]:
    origin = envelope.origin
    summary: dict[str, object] = {"id": envelope.id, "from": envelope.sender, "to": [r.address for r in envelope.recipients]}
    summary |= {"size": body.size, "peer": origin.address, "with": origin.protocol}
    if envelope.options.priority:
        summary["priority"] = envelope.options.priority  # RFC 6710 §4.1 (3)
    return summary | ({"user": origin.user} if origin.user else {})
