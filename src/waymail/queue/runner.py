"""Carries messages from the store to their destinations: claims, groups, attempts, settles.

Promises: what was accepted is attempted at once where its destination takes it, and else by the schedule; an outcome is
settled in the store before it is forgotten; nothing is held in memory past `RunnerLimits.ready`, the rest waits in the
store. A failing store does not lose an outcome: settling is tried again until it succeeds or the process ends, and then
recovery repeats the attempt (at worst a duplicate).
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, Generic, Literal, Protocol, TypeVar

from waymail.mail.envelope import Body, Envelope, Recipient
from waymail.mail.outcome import Deferred, Failed, Outcome
from waymail.net.clock import Clock
from waymail.queue.bounce import NoticeWriter
from waymail.queue.plan import DestinationState, RunnerLimits, plan
from waymail.queue.retry import Rng, Schedule
from waymail.queue.settle import Decision, Report, attempt_event, decide
from waymail.store.contract import Delivery, Event, NewMessage, Pending, Settlement, StaleToken, Store, StoreError
from waymail.values import value
from waymail.wire.replies import Reply

log = logging.getLogger("waymail.queue")

POLL = 5.0  # seconds: how late at most a change made by another process (a flush, a release) is noticed
SETTLE_RETRY = 1.0  # seconds between attempts to settle in a store that fails
CLAIM = 500  # recipients claimed at a time

SHUT_DOWN = Reply(451, "the server was stopped during the attempt", "4.3.2")
LOST_WAY = Reply(451, "internal error while finding the way", "4.3.0")


class Destination(Protocol):
    """Where a message goes next. The queue knows it by its key alone."""

    @property
    def key(self) -> str: ...


D = TypeVar("D", bound=Destination)


class Carrier(Protocol[D]):
    """Finds destinations and attempts deliveries: what stands above the queue."""

    def known(self, recipient: Recipient) -> D | None:
        """The recipient's destination, where it is known without asking anybody."""

    async def locate(self, recipient: Recipient) -> D | Deferred | Failed:
        """The recipient's destination, or why there is none."""

    async def deliver(
        self, destination: D, envelope: Envelope, body: Body, recipients: Sequence[Recipient]
    ) -> Mapping[str, Outcome]:
        """One attempt. Returns an outcome for every recipient, by address; raises nothing but CancelledError."""


@value
class Share(Generic[D]):
    """The recipients of a claimed delivery that have one destination."""

    delivery: Delivery
    pending: tuple[Pending, ...]
    destination: D


class Runner(Generic[D]):
    """The queue's engine. `offer` what was accepted; `run` until `stop`."""

    def __init__(
        self,
        store: Store,
        carrier: Carrier[D],
        notices: NoticeWriter,
        *,
        clock: Clock,
        rng: Rng,
        schedule: Schedule | None = None,
        limits: RunnerLimits | None = None,
    ) -> None:
        self._store = store
        self._carrier = carrier
        self._notices = notices
        self._clock = clock
        self._rng = rng
        self._schedule = schedule or Schedule()
        self._limits = limits or RunnerLimits()
        self._states: dict[str, DestinationState] = {}
        self._queues: dict[str, deque[Share[D]]] = {}
        self._held = 0  # recipients in memory, waiting or being attempted
        self._active = 0  # attempts under way
        self._queued = 0  # shares that wait for their destination
        self._attempts: set[asyncio.Task[None]] = set()
        self._group: asyncio.TaskGroup | None = None
        self._wake = asyncio.Event()
        self._wakes_at = 0.0
        self._stopping = False
        self._overflowed = False

    # --- what the server calls ---

    @property
    def has_room(self) -> bool:
        """Whether a message that is accepted now may be handed over in memory (`NewMessage.claim`)."""
        return self._held < self._limits.ready and not self._stopping

    def offer(self, delivery: Delivery) -> None:
        """Take a claimed delivery: its first attempt starts at once where its destination takes it."""
        if not delivery.pending:  # it was accepted without a claim: there was no room
            self._overflowed = True
            return
        self._held += len(delivery.pending)
        known: dict[str, tuple[D, list[Pending]]] = {}
        unknown: list[Pending] = []
        for one in delivery.pending:
            destination = self._carrier.known(one.recipient)
            if destination is None:
                unknown.append(one)
            else:
                known.setdefault(destination.key, (destination, []))[1].append(one)
        for destination, pending in known.values():
            self._enqueue(Share(delivery, tuple(pending), destination))
        if unknown:
            self._spawn(self._locate(delivery, unknown))
        self._start_attempts()

    async def run(self) -> None:
        """Claim what is due, until `stop`. Raises StoreError only if the store cannot be read at the start."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            while not self._stopping:
                self._wake.clear()
                await self._claim_due()
                await self._sleep_until_due()

    async def stop(self, grace: float) -> None:
        """Start nothing more; wait up to `grace` seconds for attempts under way, then cut them off and settle them as
        deferred and uncertain. What was not attempted stays claimed: closing the store hands it back."""
        self._stopping = True
        self._wake.set()
        if self._attempts:
            await asyncio.wait(self._attempts, timeout=grace)
        cut_off = list(self._attempts)
        for task in cut_off:
            task.cancel()
        if cut_off:
            await asyncio.wait(cut_off, timeout=grace)

    def states(self) -> Sequence[DestinationState]:
        """The destinations that are busy, waited for, or down."""
        return list(self._states.values())

    # --- claiming ---

    async def _claim_due(self) -> None:
        while self.has_room:
            limit = min(CLAIM, self._limits.ready - self._held)
            try:
                deliveries = await self._store.claim(self._clock.now(), limit)
            except StoreError as error:
                log.error("the queue cannot be read", extra={"fields": {"error": str(error)}})
                return
            for delivery in deliveries:
                self.offer(delivery)
            if sum(len(delivery.pending) for delivery in deliveries) < limit:
                self._overflowed = False
                return

    async def _sleep_until_due(self) -> None:
        wait = POLL
        if self.has_room:
            try:
                due = await self._store.next_due()
            except StoreError:
                due = None
            if due is not None:
                wait = min(POLL, max(0.05, due - self._clock.now()))
        self._wakes_at = self._clock.now() + wait
        sleeping = asyncio.ensure_future(self._clock.sleep(wait))
        woken = asyncio.ensure_future(self._wake.wait())
        try:
            await asyncio.wait({sleeping, woken}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleeping.cancel()
            woken.cancel()

    # --- finding the way ---

    async def _locate(self, delivery: Delivery, pending: Sequence[Pending]) -> None:
        """Ask where each recipient's mail goes; who has no way is settled at once."""
        known: dict[str, tuple[D, list[Pending]]] = {}
        for one in pending:
            try:
                found = await self._carrier.locate(one.recipient)
            except Exception:
                log.exception("finding a destination failed", extra={"fields": {"id": delivery.envelope.id}})
                found = Deferred(LOST_WAY)
            if isinstance(found, Deferred | Failed):
                self._held -= 1
                await self._record(delivery, [one], {one.recipient.address: found}, one.recipient.domain, 0.0)
            else:
                known.setdefault(found.key, (found, []))[1].append(one)
        for destination, members in known.values():
            self._enqueue(Share(delivery, tuple(members), destination))
        self._start_attempts()

    def _enqueue(self, share: Share[D]) -> None:
        state = self._states.get(share.destination.key)
        if state is None:
            state = self._states[share.destination.key] = DestinationState(share.destination.key)
            self._queues[state.key] = deque()
        if state.is_down(self._clock.now()):
            self._spawn(self._put_off(share, state))
        else:
            self._queues[state.key].append(share)
            state.waiting += 1
            self._queued += 1

    async def _put_off(self, share: Share[D], state: DestinationState) -> None:
        """The destination is down: the message waits in the store, not in memory, and its own attempts are not counted."""
        self._held -= len(share.pending)
        reply = state.last_reply or LOST_WAY
        outcomes: dict[str, Outcome] = {one.recipient.address: Deferred(reply) for one in share.pending}
        decision = decide(
            share.pending,
            outcomes,
            accepted_at=share.delivery.envelope.accepted_at,
            now=self._clock.now(),
            schedule=self._schedule,
            rng=self._rng,
            attempted=False,
            # A little apart, so that the one that probes is one, and the others find out what it met.
            not_before=state.down_until + 1 + 4 * self._rng.random(),
        )
        event = Event(self._clock.now(), "attempt", {"destination": state.key, "ms": 0, "results": list(decision.results)})
        await self._settle(share.delivery, decision, event)

    # --- attempting ---

    def _start_attempts(self) -> None:
        if self._stopping or not self._queued:
            return
        waiting = [self._states[key] for key, queue in self._queues.items() if queue]
        for state in plan(self._clock.now(), waiting, self._limits, self._active):
            share = self._queues[state.key].popleft()
            state.waiting -= 1
            self._queued -= 1
            state.active += 1
            self._active += 1
            task = self._spawn(self._attempt(share, state))
            self._attempts.add(task)
            task.add_done_callback(self._attempts.discard)

    async def _attempt(self, share: Share[D], state: DestinationState) -> None:
        envelope = share.delivery.envelope
        recipients = [one.recipient for one in share.pending]
        started = self._clock.monotonic()
        try:
            outcomes = await self._carrier.deliver(share.destination, envelope, share.delivery.body, recipients)
        except asyncio.CancelledError:
            # It may have got as far as the final dot: say so, and let the next start try again.
            outcomes = {recipient.address: Deferred(SHUT_DOWN, uncertain=True) for recipient in recipients}
            if (task := asyncio.current_task()) is not None:
                task.uncancel()
        seconds = self._clock.monotonic() - started
        state.active -= 1
        self._active -= 1
        self._held -= len(share.pending)
        self._judge(state, outcomes)
        self._start_attempts()
        await self._record(share.delivery, share.pending, outcomes, state.key, seconds, state.down_until)

    def _judge(self, state: DestinationState, outcomes: Mapping[str, Outcome]) -> None:
        """What the attempt says of the destination; when it is down, those who wait for it go back to the store."""
        troubles = [one for one in outcomes.values() if isinstance(one, Deferred) and one.destination_down]
        if troubles:
            state.took_down(troubles[0].reply, self._clock.now(), self._rng, self._schedule)
            queue = self._queues[state.key]
            while queue:
                state.waiting -= 1
                self._queued -= 1
                self._spawn(self._put_off(queue.popleft(), state))
        else:
            state.came_up()
            if state.is_idle:
                del self._states[state.key], self._queues[state.key]
        if self._overflowed and self._held <= self._limits.ready // 2:
            self._wake.set()

    # --- settling ---

    async def _record(
        self,
        delivery: Delivery,
        pending: Sequence[Pending],
        outcomes: Mapping[str, Outcome],
        destination: str,
        seconds: float,
        not_before: float = 0.0,
    ) -> None:
        now = self._clock.now()
        envelope = delivery.envelope
        decision = decide(
            pending,
            outcomes,
            accepted_at=envelope.accepted_at,
            now=now,
            schedule=self._schedule,
            rng=self._rng,
            not_before=not_before,
        )
        peer = next((outcome.peer for outcome in outcomes.values() if outcome.peer), None)
        event = attempt_event(decision, destination=destination, peer=peer, now=now, seconds=seconds)
        for one in outcomes.values():
            if isinstance(one, Deferred) and one.cause:
                log.warning("deferred", extra={"fields": {"id": envelope.id, "reply": str(one.reply), "cause": one.cause}})
        if log.isEnabledFor(logging.INFO):
            for result in decision.results:
                log.info(result["outcome"], extra={"fields": {"id": envelope.id, "destination": destination, **result}})
        await self._settle(delivery, decision, event)

    async def _settle(self, delivery: Delivery, decision: Decision, event: Event) -> None:
        events, notices = self._tell(delivery, decision, event)
        settlement = Settlement(delivery.envelope.id, delivery.token, decision.changes, events, notices)
        for notice in await self._settle_for_sure(settlement):
            self.offer(notice)
        if any(change.next_at and change.next_at < self._wakes_at for change in decision.changes):
            self._wake.set()

    async def _settle_for_sure(self, settlement: Settlement) -> Sequence[Delivery]:
        """Settle, again and again if the store fails: the outcome is known here and nowhere else."""
        fields = {"id": settlement.id}
        while True:
            try:
                return await self._store.settle(settlement)
            except StaleToken:
                log.warning("somebody else settled it", extra={"fields": fields})
                return ()
            except StoreError as error:
                if self._stopping:
                    log.error("not settled: the next start repeats it", extra={"fields": fields})
                    return ()
                log.error("settling failed, trying again", extra={"fields": fields | {"error": str(error)}})
                await self._clock.sleep(SETTLE_RETRY)

    def _tell(self, delivery: Delivery, decision: Decision, event: Event) -> tuple[tuple[Event, ...], tuple[NewMessage, ...]]:
        """The events and the notices that go with a decision."""
        if not (decision.failed or decision.delayed):
            return (event,), ()
        events, notices = [event], []
        now, envelope = event.at, delivery.envelope
        retry_until = envelope.accepted_at + self._schedule.expire
        told: tuple[tuple[Literal["failed", "delayed"], str, Sequence[Report]], ...] = (
            ("failed", "bounced", decision.failed),
            ("delayed", "delayed", decision.delayed),
        )
        for action, kind, reports in told:
            if not reports:
                continue
            notice = self._notices.write(action, envelope, delivery.body, reports, now=now, retry_until=retry_until)
            detail: dict[str, object] = {"to": [report.pending.recipient.address for report in reports]}
            if notice is not None:
                notices.append(notice)
                detail["notice"] = notice.envelope.id
            else:
                detail["why"] = "the message is from the null sender: nobody is told"
            events.append(Event(now, kind, detail))
        return tuple(events), tuple(notices)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        if self._group is None:
            work.close()
            raise RuntimeError("Runner.run must be running")
        return self._group.create_task(_contained(work))


async def _contained(work: Coroutine[Any, Any, None]) -> None:
    """A bug that one message meets must not stop the others: its recipients stay claimed until the lease is over."""
    try:
        await work
    except Exception:
        log.exception("a delivery ended in a bug")
