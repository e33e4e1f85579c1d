"""What a person does with the queue: hold, release, flush, remove and return what he chose, with a running server or without.

Promises: what returns is on disk. Where the queue runs, what is to be tried now is, and a destination that was down is probed.
Recipients that are being attempted are left alone. Raises StoreError.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol, get_args

from waymail.mail.explanation import GIVEN_UP
from waymail.mail.outcome import Failed, Outcome
from waymail.net.clock import Clock
from waymail.queue.bounce import NoticeWriter
from waymail.queue.retry import Rng, Schedule
from waymail.queue.settle import decide
from waymail.store.contract import OPERATOR, Changed, Delivery, Event, Selection, Settlement, StaleToken, Store
from waymail.wire.replies import Reply

Action = Literal["hold", "release", "flush", "remove"]
ACTIONS: tuple[Action, ...] = get_args(Action)


class Queue(Protocol):
    """The part of `queue.runner.Runner` that is needed here."""

    def offer(self, delivery: Delivery) -> None: ...

    async def lift(self, domains: Sequence[str]) -> None: ...


class Operators:
    """`queue` is None where no server runs: then notices wait in the store, and what is due is attempted by the next start."""

    def __init__(self, store: Store, notices: NoticeWriter, *, clock: Clock, rng: Rng, queue: Queue | None = None) -> None:
        self._store = store
        self._notices = notices
        self._clock = clock
        self._rng = rng
        self._queue = queue

    async def act(self, action: Action, selection: Selection) -> Changed:
        """Hold, release, flush or remove."""
        now, store = self._clock.now(), self._store
        acts = {"hold": store.hold, "release": store.release, "flush": store.flush, "remove": store.remove}
        changed = await acts[action](selection, now)
        if self._queue is not None and action in ("release", "flush"):
            await self._queue.lift(changed.domains)
        return changed

    async def bounce(self, selection: Selection, reason: str = "") -> Changed:
        """Return to their senders: each recipient fails, and who is to be told of a failure is told, with the reason."""
        # RFC 3463 §3.1: X.0.0, for there is no class for what a person decides.
        reply = Reply(554, f"{GIVEN_UP}: {reason}" if reason else GIVEN_UP, "5.0.0")
        recipients, messages, domains = 0, set[str](), set[str]()
        async for deliveries in self._store.take(selection, self._clock.now()):
            for delivery in deliveries:
                if await self._give_up(delivery, reply):
                    recipients += len(delivery.pending)
                    messages.add(delivery.envelope.id)
                    domains.update(one.recipient.domain for one in delivery.pending)
        return Changed(recipients, len(messages), tuple(sorted(domains)))

    async def _give_up(self, delivery: Delivery, reply: Reply) -> bool:
        """Whether it was still ours."""
        now, envelope = self._clock.now(), delivery.envelope
        outcomes: dict[str, Outcome] = {one.recipient.address: Failed(reply) for one in delivery.pending}
        decision = decide(
            delivery.pending,
            outcomes,
            envelope=envelope,
            now=now,
            schedules=Schedule(),
            rng=self._rng,
            attempted=False,
        )
        event = Event(now, "returned", {"to": list(outcomes), "by": OPERATOR, "reply": str(reply)})
        events, notices = self._notices.tell(envelope, delivery.body, decision.reports, now=now, retry_until=now)
        settlement = Settlement(envelope.id, delivery.token, decision.changes, (event, *events), notices)
        try:
            told = await self._store.settle(settlement)
        except StaleToken:
            return False
        if self._queue is not None:
            for notice in told:
                self._queue.offer(notice)
        return True
