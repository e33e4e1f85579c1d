"""Tells a program what became of its messages: the functions on_delivered, on_failed and on_deferred.

Each is called before the settlement that it tells of is on disk, so at least once: where the process ends in
between, the attempt is repeated, and so is the call. A function that raises, or takes longer than `PATIENCE`, is logged; the
message goes on as if it had not. Notices that the outbox itself sends are not told of.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any, Literal

from waymail.outbox.outcome import OutboxEvent, doubted, reply_of
from waymail.store.contract import Change, Delivery, Settlement, State

log = logging.getLogger("waymail.outbox")

PATIENCE = 10.0  # seconds
NOTICES = ("notice", "double-bounce")  # the protocols of their origins

Listener = Callable[[OutboxEvent], Awaitable[object] | object]
Kind = Literal["delivered", "failed", "deferred"]
KINDS: Mapping[State, Kind] = {State.DELIVERED: "delivered", State.FAILED: "failed", State.QUEUED: "deferred"}


class Telling:
    """An observer of the queue (`queue.observer`). `settled` is called with the id of a message of which something is on disk. A
    plain listener is called in a thread, so that it may block."""

    def __init__(
        self, listeners: Mapping[Kind, Listener | None], settled: Callable[[str], None], patience: float = PATIENCE
    ) -> None:
        self._listeners = {kind: listener for kind, listener in listeners.items() if listener is not None}
        self._settled = settled
        self._patience = patience

    async def settling(self, delivery: Delivery, settlement: Settlement) -> None:
        """As `Observer.settling`."""
        if not self._listeners or delivery.envelope.origin.protocol in NOTICES:
            return
        for event in events(delivery, settlement):
            if (listener := self._listeners.get(event.kind)) is not None:
                await self._tell(listener, event)

    def settled(self, settlement: Settlement) -> None:
        """As `Observer.settled`."""
        self._settled(settlement.id)

    async def _tell(self, listener: Listener, event: OutboxEvent) -> None:
        fields: dict[str, Any] = {"id": event.id, "event": event.kind, "recipient": event.recipient}
        try:
            async with asyncio.timeout(self._patience):
                if _is_async(listener):
                    await listener(event)  # type: ignore[misc]
                else:
                    found = await asyncio.to_thread(listener, event)
                    if inspect.isawaitable(found):
                        await found
        except TimeoutError:
            log.error("a function for the outbox's events took too long", extra={"fields": fields})
        except Exception:
            log.exception("a function for the outbox's events failed", extra={"fields": fields})


def events(delivery: Delivery, settlement: Settlement) -> Iterator[OutboxEvent]:
    """What a settlement means for each recipient. What was put off without an attempt is not told."""
    envelope = delivery.envelope
    was_attempted = any(event.kind == "attempt" for event in settlement.events)
    uncertain = {address for event in settlement.events for address in doubted(event)}
    for change in settlement.changes:
        kind = KINDS.get(change.state)
        if kind is None or (kind == "deferred" and not was_attempted):
            continue
        address = envelope.recipients[change.number].address
        yield _event(kind, delivery, change, address, uncertain=address in uncertain)


def _event(kind: Kind, delivery: Delivery, change: Change, address: str, *, uncertain: bool) -> OutboxEvent:
    envelope = delivery.envelope
    next_at = change.next_at if kind == "deferred" else 0.0
    return OutboxEvent(
        kind,
        envelope.id,
        envelope.message_id,
        envelope.sender,
        address,
        reply_of(change.reply),
        change.attempts,
        next_at,
        uncertain,
    )


def _is_async(listener: Listener) -> bool:
    return inspect.iscoroutinefunction(listener) or inspect.iscoroutinefunction(getattr(listener, "__call__", None))  # noqa: B004
