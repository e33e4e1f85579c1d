"""Carries messages from the store to their destinations: claims, groups, attempts, settles.

Promises: what was accepted is attempted at once where its destination takes it, and else by the schedule; an outcome is
settled in the store before it is forgotten; nothing is held in memory past `RunnerLimits.ready`, the rest waits in the
store. A failing store does not lose an outcome: settling is tried again until it succeeds or the process ends, and then
recovery repeats the attempt (at worst a duplicate).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Generic, Protocol, cast

from waymail.mail.envelope import Body, Envelope, Recipient
from waymail.mail.outcome import Deferred, Failed, Outcome
from waymail.net.clock import Clock
from waymail.queue.bounce import NoticeWriter
from waymail.queue.crowds import Crowds
from waymail.queue.jumps import Jumps
from waymail.queue.lanes import IS_BUSY, PROBE_SPREAD, D, Lanes, PutOff, Share
from waymail.queue.observer import NOBODY, Observer
from waymail.queue.plan import SLOW, DestinationState, RunnerLimits
from waymail.queue.results import log_results
from waymail.queue.retry import Rng, Schedule, Schedules
from waymail.queue.settle import Decision, attempt_event, decide
from waymail.store.contract import Delivery, Event, NewMessage, Pending, Selection, Settlement, StaleToken, Store, StoreError
from waymail.wire.replies import Reply

log = logging.getLogger("waymail.queue")

POLL = 5.0  # seconds: how late at most a change made by another process (a flush, a release) is noticed
REST = 1.0  # seconds at most without looking for what is due, after that took as long: however often there is room, half the time
SETTLE_RETRY = 1.0  # seconds between attempts to settle in a store that fails
CLAIM = 500  # recipients claimed at a time
LIFTED = 10_000  # domains that are flushed whose back-off is lifted
LOCATED = 50  # of them, those for which DNS is asked for that

SHUT_DOWN = Reply(451, "the server was stopped during the attempt", "4.3.2")
LOST_WAY = Reply(451, "internal error while finding the way", "4.3.0")


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
        schedule: Schedules | None = None,
        limits: RunnerLimits | None = None,
        observer: Observer = NOBODY,
    ) -> None:
        self._store = store
        self._observer = observer
        self._carrier = carrier
        self._notices = notices
        self._clock = clock
        self._rng = rng
        self._schedules = schedule or Schedule()
        self._jumps = Jumps()
        self._hasten_at: list[float] = []  # when to look for what is due too late, by the monotonic clock
        self._lanes: Lanes[D] = Lanes(limits or RunnerLimits(), self._schedules, rng)
        self._attempts: set[asyncio.Task[None]] = set()  # those that a stop may cut off: under way, not yet being settled
        self._locating: set[asyncio.Task[None]] = set()  # those that ask for a destination
        self._group: asyncio.TaskGroup | None = None
        self._wake = asyncio.Event()
        self._wakes_at = 0.0
        self._stopped = asyncio.Event()
        self._stopping = False
        self._overflowed = False
        self._crowds = Crowds()
        self._later: asyncio.Task[None] | None = None

    # --- what the server calls ---

    @property
    def has_room(self) -> bool:
        """Whether a message that is accepted now may be handed over in memory (`NewMessage.claim`)."""
        return self._lanes.room > 0 and not self._stopping

    def has_room_for(self, envelope: Envelope) -> bool:
        """The same of a message: not where others wait in the store for all of its destinations, unless it goes before them."""
        if self._crowds and envelope.options.priority <= 0:
            return self.has_room and not all(self._waits_in_store(one.domain) for one in envelope.recipients)
        return self.has_room

    def _waits_in_store(self, domain: str) -> bool:
        key = self._crowds.key(domain)
        return key is not None and not self._lanes.room_for(key, self._clock.now())

    def offer(self, delivery: Delivery) -> None:
        """Take a claimed delivery: its first attempt starts at once where its destination takes it."""
        if not delivery.pending:  # it was accepted without a claim: there was no room, or its sender wants it held
            if (due := delivery.envelope.released_at) <= delivery.envelope.accepted_at:
                # Where its destinations are crowded, it is claimed when one of them has room: no other end of an attempt matters.
                if not all(self._crowds.key(one.domain) for one in delivery.envelope.recipients):
                    self._overflowed = True
                    self._wake_if_relieved()
            elif due < self._wakes_at:
                self._wake.set()
            return
        self._take(delivery, is_new=True)
        self._start_attempts()

    def look(self) -> None:
        """Claim what is due now: somebody put something into the store."""
        self._wake.set()

    async def run(self) -> None:
        """Claim what is due, until `stop`; then until all that is known of outcomes has been settled."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            while not self._stopping:
                self._wake.clear()
                await self._look_at_clock()
                began = self._clock.monotonic()
                now = await self._claim_due()
                if (took := self._clock.monotonic() - began) > 0:
                    await self._sleep(min(took, REST), self._stopped)
                await self._sleep_until_due(now)

    async def stop(self, grace: float) -> None:
        """Start nothing more; wait up to `grace` seconds for attempts under way, then cut them off: they are settled as deferred
        and uncertain before `run` ends. What was not attempted stays claimed: closing the store hands it back."""
        self._stopping = True
        self._stopped.set()
        self._wake.set()
        for task in (*self._locating, *([self._later] if self._later else ())):
            task.cancel()
        if self._attempts:
            await asyncio.wait(self._attempts, timeout=grace)
        for task in list(self._attempts):
            task.cancel()

    def reconfigure(self, carrier: Carrier[D], notices: NoticeWriter, schedule: Schedules, limits: RunnerLimits) -> None:
        """Work with other parts from now on. Attempts under way end with the carrier that began them; what waits in memory finds
        its way anew; what waits in the store keeps the time that it was given."""
        self._carrier, self._notices, self._schedules = carrier, notices, schedule
        for share in self._lanes.reconfigure(limits, schedule):
            self._take(replace(share.delivery, pending=share.pending), is_new=share.is_new)
        self._start_attempts()
        self._wake.set()

    async def flush_domain(self, domain: str, below: bool = False) -> int:
        """Make due now what waits for recipients in `domain` (as `Recipient.domain` has it), with `below` also in those below it.
        The back-off of where it goes is lifted (RFC 1985 §5). What its sender wants held is left alone.

        Returns how many messages wait. Raises StoreError. It takes as long as the store needs, and a question to DNS at most.
        """
        selection = Selection(domain=domain, below=below)
        changed = await self._store.flush(selection, self._clock.now(), "etrn")
        await self.lift(changed.domains)
        return changed.messages

    async def lift(self, domains: Sequence[str]) -> None:
        """Somebody says that what waits for these domains is to be tried now: where it goes is probed, though it was down. It
        takes some questions to DNS at most, side by side."""
        people = [Recipient(f"postmaster@{domain}") for domain in domains[:LIFTED]]
        known = [self._carrier.known(one) for one in people]
        unknown = [one for one, destination in zip(people, known, strict=True) if destination is None]
        found = await asyncio.gather(*(self._carrier.locate(one) for one in unknown[:LOCATED]))
        for destination in (*known, *found):
            if destination is not None and not isinstance(destination, Deferred | Failed):
                self._lanes.lift(destination.key, self._clock.now())
        if people:
            self._wake.set()

    async def destination(self, domain: str) -> D | Deferred | Failed:
        """Where the mail for a domain goes, or why there is no way. It takes a question to DNS."""
        return await self._carrier.locate(Recipient(f"postmaster@{domain}"))

    def states(self) -> Sequence[DestinationState]:
        """The destinations that are busy, waited for, or down."""
        return self._lanes.states()

    # --- claiming ---

    async def _claim_due(self) -> float:
        """Claim what is due and finds room. Returns the time at which it was looked last."""
        now = self._clock.now()
        self._lanes.forget(now)
        while self.has_room:
            now = self._clock.now()
            rooms, limit = self._crowds.rooms(partial(self._lanes.room_for, now=now)), min(CLAIM, self._lanes.room)
            try:
                deliveries = await self._store.claim(now, limit, rooms)
            except StoreError as error:
                log.error("the queue cannot be read", extra={"fields": {"error": str(error)}})
                return now
            was_crowded = False
            if rooms:
                domains = [one.recipient.domain for delivery in deliveries for one in delivery.pending]
                was_crowded = len(domains) < limit and self._crowds.forget(rooms, domains)
            for delivery in deliveries:
                self._take(delivery, is_new=False)
            self._start_attempts()
            if not (deliveries or was_crowded):  # else others of the crowd have their turn
                self._overflowed = False
                return now
        self._overflowed = True
        return now

    async def _look_at_clock(self) -> None:
        """A clock that was wrong must not keep mail waiting, nor have it given up (`jumps`)."""
        now, elapsed = self._clock.now(), self._clock.monotonic()
        is_first = self._jumps.is_new
        jump = self._jumps.look(now, elapsed)
        if jump:
            log.warning("the clock has jumped", extra={"fields": {"seconds": round(jump)}})
        if is_first:
            self._hasten_at = [elapsed]
        if jump < 0:
            self._lanes.set_back(-jump)
            self._hasten_at = [elapsed, elapsed + POLL]  # what was on its way to the store has come there by then
        if not self._hasten_at or elapsed < self._hasten_at[0]:
            return
        try:
            hastened = await self._store.hasten(now + self._schedules.longest + PROBE_SPREAD)
        except StoreError as error:
            log.error("the queue cannot be written", extra={"fields": {"error": str(error)}})
            return
        del self._hasten_at[0]
        if hastened:
            log.warning("what was due too late is due sooner", extra={"fields": {"recipients": hastened}})

    async def _sleep_until_due(self, after: float) -> None:
        wait = POLL
        if self.has_room:
            try:
                due = await self._store.next_due(after)
            except StoreError:
                due = None
            if due is not None:
                wait = min(POLL, max(0.05, due - self._clock.now()))
        self._wakes_at = self._clock.now() + wait
        await self._sleep(wait, self._wake)

    async def _sleep(self, seconds: float, until: asyncio.Event) -> None:
        sleeping = asyncio.ensure_future(self._clock.sleep(seconds))
        woken = asyncio.ensure_future(until.wait())
        try:
            await asyncio.wait({sleeping, woken}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleeping.cancel()
            woken.cancel()

    # --- finding the way ---

    def _take(self, delivery: Delivery, *, is_new: bool) -> None:
        """Put the recipients of a delivery into the lanes of their destinations."""
        known: dict[str, tuple[D, list[Pending]]] = {}
        unknown: dict[str, list[Pending]] = {}
        for one in delivery.pending:
            destination = self._carrier.known(one.recipient)
            if destination is None:
                unknown.setdefault(one.recipient.domain, []).append(one)
            else:
                known.setdefault(destination.key, (destination, []))[1].append(one)
        for destination, pending in known.values():
            self._add(delivery, pending, destination, is_new=is_new)
        for pending in unknown.values():
            self._spawn_held(self._locate(delivery, pending, is_new=is_new), delivery, pending)

    async def _locate(self, delivery: Delivery, pending: Sequence[Pending], *, is_new: bool) -> None:
        """Ask where the mail of one domain goes; where it has no way, that is settled at once."""
        task = cast("asyncio.Task[None]", asyncio.current_task())
        self._locating.add(task)
        try:
            found = await self._found(delivery, pending[0].recipient)
        finally:
            self._locating.discard(task)
        if isinstance(found, Deferred | Failed):
            outcomes: dict[str, Outcome] = {one.recipient.address: found for one in pending}
            await self._record(delivery, pending, outcomes, pending[0].recipient.domain, 0.0)
        else:
            self._add(delivery, pending, found, is_new=is_new)
            self._start_attempts()

    async def _found(self, delivery: Delivery, recipient: Recipient) -> D | Deferred | Failed:
        """Where the carrier of the moment leads, and not one that was replaced while it was asked."""
        while True:
            carrier = self._carrier
            try:
                found = await carrier.locate(recipient)
            except Exception:
                log.exception("finding a destination failed", extra={"fields": {"id": delivery.envelope.id}})
                found = Deferred(LOST_WAY)
            if carrier is self._carrier:
                return found

    def _add(self, delivery: Delivery, pending: Sequence[Pending], destination: D, *, is_new: bool) -> None:
        share = Share(delivery, tuple(pending), destination, self._clock.now(), is_new)
        if (put_off := self._lanes.add(share, share.since)) is not None:
            self._note_crowd(put_off)
            self._spawn_put_off(put_off)

    def _note_crowd(self, put_off: PutOff[D]) -> None:
        """What is due already waits in the store for room at its destination."""
        if put_off.until <= put_off.share.since:
            for one in put_off.share.pending:
                self._crowds.add(put_off.share.destination.key, one.recipient.domain)

    async def _put_off(self, put_off: PutOff[D]) -> None:
        """Back to the store. It is no attempt, and told only once: when the message has just come."""
        share = put_off.share
        outcomes: dict[str, Outcome] = {one.recipient.address: Deferred(put_off.reply) for one in share.pending}
        now = self._clock.now()
        decision = decide(
            share.pending,
            outcomes,
            envelope=share.delivery.envelope,
            now=now,
            schedules=self._schedules,
            rng=self._rng,
            destination=share.destination.key,
            slack=self._jumps.slack(share.delivery.envelope.accepted_at),
            attempted=False,
            not_before=put_off.until,
        )
        addresses = [one.recipient.address for one in share.pending]
        following = decision.changes[0].next_at or put_off.until
        detail = {"destination": share.destination.key, "to": addresses, "next": following, "why": put_off.why}
        event = Event(now, "waiting", detail | {"reply": str(put_off.reply)})
        if put_off.reply is IS_BUSY:  # those are our own words: what the destination said last stands
            decision = replace(decision, changes=tuple(replace(one, reply="") for one in decision.changes))
        await self._settle(share.delivery, decision, (event,) if share.is_new or decision.failed else ())
        # Meanwhile a claim may have found nothing of it there, and attempts may have ended without a claim.
        self._note_crowd(put_off)
        self._wake_if_relieved(share.destination.key)

    # --- attempting ---

    def _start_attempts(self) -> None:
        if self._stopping:
            return
        for one in self._lanes.start(self._clock.now()):
            if isinstance(one, PutOff):
                self._spawn_put_off(one)
            else:
                task = self._spawn(self._attempt(one, self._carrier))
                self._attempts.add(task)
                task.add_done_callback(self._attempts.discard)
        if self._lanes.is_crowded and self._later is None:
            self._later = self._spawn(self._start_later())

    async def _start_later(self) -> None:
        """Attempts that go on for long give their places to others, also while none ends."""
        try:
            await self._clock.sleep(SLOW)
        except asyncio.CancelledError:
            return
        self._later = None
        self._start_attempts()

    async def _attempt(self, share: Share[D], carrier: Carrier[D]) -> None:
        recipients = [one.recipient for one in share.pending]
        began, started = self._clock.now(), self._clock.monotonic()
        try:
            outcomes = await carrier.deliver(share.destination, share.delivery.envelope, share.delivery.body, recipients)
        except asyncio.CancelledError:
            # It may have got as far as the final dot: say so, and let the next start try again.
            outcomes = {recipient.address: Deferred(SHUT_DOWN, uncertain=True) for recipient in recipients}
            cast("asyncio.Task[None]", asyncio.current_task()).uncancel()
        self._attempts.discard(cast("asyncio.Task[None]", asyncio.current_task()))
        seconds, key = self._clock.monotonic() - started, share.destination.key
        for put_off in self._lanes.finish(share, outcomes, began, self._clock.now()):
            self._spawn_put_off(put_off)
        self._start_attempts()
        self._wake_if_relieved(key)
        await self._record(share.delivery, share.pending, outcomes, key, seconds, self._lanes.back_off(key))

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
            envelope=envelope,
            now=now,
            schedules=self._schedules,
            rng=self._rng,
            destination=destination,
            slack=self._jumps.slack(envelope.accepted_at),
            not_before=not_before,
        )
        peer = next((outcome.peer for outcome in outcomes.values() if outcome.peer), None)
        event = attempt_event(decision, destination=destination, peer=peer, now=now, seconds=seconds, outcomes=outcomes)
        log_results(envelope.id, destination, decision, outcomes)
        await self._settle(delivery, decision, (event,))

    async def _settle(self, delivery: Delivery, decision: Decision, told: tuple[Event, ...]) -> None:
        """Write a decision down, with the events that tell it and the notices that it causes."""
        events, notices = told, tuple[NewMessage, ...]()
        if decision.reports:
            now, until = self._clock.now(), decision.retry_until
            more, notices = self._notices.tell(delivery.envelope, delivery.body, decision.reports, now=now, retry_until=until)
            events += more
        settlement = Settlement(delivery.envelope.id, delivery.token, decision.changes, events, notices)
        await self._observer.settling(delivery, settlement)
        for notice in await self._settle_for_sure(settlement):
            self.offer(notice)
        self._observer.settled(settlement)
        now = self._clock.now()  # what is due already waits for room
        if any(now < change.next_at < self._wakes_at for change in decision.changes):
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

    def _spawn_put_off(self, put_off: PutOff[D]) -> None:
        self._spawn_held(self._put_off(put_off), put_off.share.delivery, put_off.share.pending)

    def _spawn_held(self, work: Coroutine[Any, Any, None], delivery: Delivery, pending: Sequence[Pending]) -> None:
        """Do something for recipients that are in no lane; they count as held until it is done."""
        self._lanes.hold(delivery, pending)

        def done(_: asyncio.Task[None]) -> None:
            self._lanes.release(delivery, pending)
            self._wake_if_relieved()

        self._spawn(work).add_done_callback(done)

    def _wake_if_relieved(self, key: str = "") -> None:
        """Claim where that is worth the while. Where memory was full, a lane that has room again must wait until there is some
        for all, lest each end of an attempt makes a claim of its own."""
        if self._overflowed:
            is_worth_it = self._lanes.is_relieved
        else:
            is_worth_it = key in self._crowds and self._lanes.room_for(key, self._clock.now()) > 0
        if is_worth_it:
            self._wake.set()

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
