"""The queue's memory: a lane for every destination, with what waits there. Decides what may wait, start, or must go back.

A share of a message waits in its lane only where it is likely to start soon. Otherwise it is put off: it goes back to the
store and is claimed again later. That is so

    while the destination is down           until it is probed
    while the destination is being probed   one message probes; the others wait for what it meets
    where the lane is full                  a slow destination must not take the memory of the others
    where it has waited long                so that no lease runs out on what is held here
    where its sender wants it held          until then (RFC 4865)
    where the time that he set is over      that is settled without an attempt (RFC 2852)

Within a lane the higher priority (RFC 6710) starts first, and the older within a priority. The deque of a lane is for those of
priority 0, and all there is where nobody asked for another.

Every share that was added leaves in exactly one way: `add` puts it off, `start` hands it out or puts it off, `finish` puts it
off, or takes it back when its attempt is over.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from heapq import heappop, heappush
from itertools import count
from typing import Generic, Protocol, TypeVar

from waymail.mail.envelope import NO_OPTIONS
from waymail.mail.outcome import Deferred, Outcome
from waymail.queue.plan import DestinationState, RunnerLimits, plan
from waymail.queue.retry import HOUR, Rng, Schedule, is_overdue
from waymail.queue.settle import OVERDUE
from waymail.store.contract import Delivery, Pending
from waymail.values import value
from waymail.wire.replies import Reply

LONGEST_WAIT = 600.0  # seconds in a lane; with the longest attempt it stays below a claim's lease
PROBE_WAIT = 10.0  # seconds until those who may not probe ask again
PROBE_SPREAD = 6.0  # seconds over which those who wait for a back-off come again
BUSY_WAIT = 20.0  # seconds until those who found their lane full ask again
FORGET = 6 * HOUR  # after its last back-off, a destination that nobody writes to any more is forgotten

IS_BUSY = Reply(451, "many messages wait for this destination", "4.3.2")
UNREACHED = Reply(451, "the destination could not be reached", "4.4.1")
IS_HELD = Reply(451, "its sender wants it held", "4.3.0")


class Destination(Protocol):
    """Where a message goes next. The queue knows it by its key alone."""

    @property
    def key(self) -> str: ...


D = TypeVar("D", bound=Destination)


@value
class Share(Generic[D]):
    """The recipients of a claimed delivery that have one destination. `since` is when it came into memory; `is_new` whether it
    was accepted just now, and not claimed from the store."""

    delivery: Delivery
    pending: tuple[Pending, ...]
    destination: D
    since: float
    is_new: bool


def weight(delivery: Delivery) -> int:
    """The octets that a delivery takes in memory: those of the body, where it is not in a file."""
    body = delivery.body
    return body.size if isinstance(body.content, bytes) else len(body.prefix)


@value
class PutOff(Generic[D]):
    """A share that goes back to the store until `until`, since `why`; `reply` is what is known of the destination."""

    share: Share[D]
    until: float
    reply: Reply
    why: str


class Lanes(Generic[D]):
    """The lanes of all destinations. `now` is seconds since the epoch."""

    def __init__(self, limits: RunnerLimits, schedule: Schedule, rng: Rng) -> None:
        self._limits = limits
        self._schedule = schedule
        self._rng = rng
        self._states: dict[str, DestinationState] = {}
        self._waiting: dict[str, deque[Share[D]]] = {}  # the lanes in which somebody waits
        self._ranked: dict[str, list[tuple[int, int, Share[D]]]] = {}  # a heap for those of the lane that have a priority
        self._order = count()
        self._active = 0  # attempts under way
        self.recipients = 0  # held, waiting or being attempted
        self.octets = 0

    @property
    def room(self) -> int:
        """How many more recipients may be held."""
        return self._limits.ready - self.recipients if self.octets < self._limits.ready_octets else 0

    @property
    def is_relieved(self) -> bool:
        """Whether there is so much room again that claiming is worth the while."""
        return self.recipients <= self._limits.ready // 2 and self.octets <= self._limits.ready_octets // 2

    def hold(self, delivery: Delivery, pending: Sequence[Pending]) -> None:
        """Count recipients that are in memory and in no lane: on the way into one, or back to the store."""
        self.recipients += len(pending)
        self.octets += weight(delivery)

    def release(self, delivery: Delivery, pending: Sequence[Pending]) -> None:
        """They are in memory no more."""
        self.recipients -= len(pending)
        self.octets -= weight(delivery)

    def states(self) -> Sequence[DestinationState]:
        """The destinations that are busy, waited for, down, or were so lately."""
        return list(self._states.values())

    def add(self, share: Share[D], now: float) -> PutOff[D] | None:
        """Let a share wait in its lane, or put it off."""
        key, bound, priority = share.destination.key, self._limits.waiting, 0
        options = share.delivery.envelope.options
        if options is not NO_OPTIONS:
            if options.hold_until > now:  # an operator's release or flush does not go past it
                return PutOff(share, options.hold_until, IS_HELD, "its sender wants it held until then")
            if (overdue := _overdue(share, now)) is not None:
                return overdue
            priority = options.priority
            bound *= 2 if priority > 0 else 1  # a lane that is full of others keeps out nobody who goes before them
        state = self._states.get(key)
        if state is None:
            state = self._states[key] = DestinationState(key)
        if state.is_down(now):
            return self._behind_a_probe(share, state)
        if state.is_probing(now) and state.waiting + state.active:
            return PutOff(share, now + PROBE_WAIT * (1 + self._rng.random()), state.last_reply or UNREACHED, "one message probes")
        if state.waiting >= bound:
            return PutOff(share, now + BUSY_WAIT * (1 + self._rng.random()), IS_BUSY, "many messages wait for the destination")
        lane = self._waiting.setdefault(key, deque())
        if priority:
            heappush(self._ranked.setdefault(key, []), (-priority, next(self._order), share))
        else:
            lane.append(share)
        state.waiting += 1
        self.hold(share.delivery, share.pending)
        return None

    def start(self, now: float) -> Iterator[Share[D] | PutOff[D]]:
        """The shares whose attempts begin now; and those that have waited too long."""
        if not self._waiting:
            return
        keys = sorted(self._waiting, key=self._rank) if self._ranked else self._waiting
        for state in plan(now, [self._states[key] for key in keys], self._limits, self._active):
            share = self._next(state)
            if share.delivery.envelope.options is not NO_OPTIONS and (overdue := _overdue(share, now)) is not None:
                self.release(share.delivery, share.pending)
                yield overdue
                continue
            if now - share.since > LONGEST_WAIT:
                self.release(share.delivery, share.pending)
                yield PutOff(share, now, IS_BUSY, "it has waited long for its turn")
                continue
            state.active += 1
            self._active += 1
            yield share

    def finish(self, share: Share[D], outcomes: Mapping[str, Outcome], started: float, now: float) -> Sequence[PutOff[D]]:
        """An attempt that began at `started` is over. Where it shows that the destination is down, all who wait are put off."""
        state = self._states[share.destination.key]
        state.active -= 1
        self._active -= 1
        self.release(share.delivery, share.pending)
        troubles = [one for one in outcomes.values() if isinstance(one, Deferred) and one.destination_down]
        if not troubles:
            state.came_up()
            if not (state.waiting or state.active):
                del self._states[state.key]
            return ()
        state.took_down(troubles[0].reply, started, now, self._rng, self._schedule)
        put_off = []
        while state.waiting:
            waiting = self._next(state)
            self.release(waiting.delivery, waiting.pending)
            put_off.append(self._behind_a_probe(waiting, state))
        return put_off

    def back_off(self, key: str) -> float:
        """When whoever took a destination down may come again: after those who wait for it, lest one message that it does not
        bear is the probe each time. 0 where it is not down."""
        state = self._states.get(key)
        return state.down_until + PROBE_SPREAD if state is not None and state.failures else 0.0

    def lift(self, key: str, now: float) -> None:
        """Somebody says that a destination is back: it is probed at once."""
        state = self._states.get(key)
        if state is not None:
            state.down_until = min(state.down_until, now)

    def reconfigure(self, limits: RunnerLimits, schedule: Schedule) -> Sequence[Share[D]]:
        """Go by other bounds and times. What waits leaves its lane, for it may go elsewhere now: it is to be added again."""
        self._limits, self._schedule = limits, schedule
        waiting = []
        for key in list(self._waiting):
            state = self._states[key]
            while state.waiting:
                share = self._next(state)
                self.release(share.delivery, share.pending)
                waiting.append(share)
        return waiting

    def forget(self, now: float) -> None:
        """Drop what is known of destinations that nobody has written to for long."""
        for state in self.states():
            if not (state.waiting or state.active) and now > state.down_until + FORGET:
                del self._states[state.key]

    def _next(self, state: DestinationState) -> Share[D]:
        lane = self._waiting[state.key]
        ranked = self._ranked.get(state.key) if self._ranked else None
        share = heappop(ranked)[2] if ranked and (ranked[0][0] < 0 or not lane) else lane.popleft()
        state.waiting -= 1
        if ranked is not None and not ranked:
            del self._ranked[state.key]
        if not (lane or ranked):
            del self._waiting[state.key]
        return share

    def _rank(self, key: str) -> int:
        """By what lanes are sorted: those with the most urgent message first."""
        ranked = self._ranked.get(key)
        return 0 if not ranked or (ranked[0][0] > 0 and self._waiting[key]) else ranked[0][0]

    def _behind_a_probe(self, share: Share[D], state: DestinationState) -> PutOff[D]:
        # A little apart, so that one of them comes first and probes.
        until = state.down_until + 1 + (PROBE_SPREAD - 2) * self._rng.random()
        return PutOff(share, until, state.last_reply or UNREACHED, "the destination is down; one message will probe it")


def _overdue(share: Share[D], now: float) -> PutOff[D] | None:
    """What becomes of a share whose time is over: it is settled, and where it may be tried further, it is due again at once."""
    if not is_overdue(share.delivery.envelope, share.pending, now):
        return None
    return PutOff(share, now, OVERDUE, "the time that its sender set is over")
