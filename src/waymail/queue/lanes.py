"""The queue's memory: a lane for every destination, with what waits there. Decides what may wait, start, or must go back.

A share of a message waits in its lane only where it is likely to start soon. Otherwise it is put off: it goes back to the
store and is claimed again later. That is so

    while the destination is down           until it is probed
    while the destination is being probed   one message probes; the others wait in the store for what it meets
    where the lane is full                  a slow destination must not take the memory of the others
    where it has waited long                so that no lease runs out on what is held here
    where its sender wants it held          until then (RFC 4865)
    where the time that he set is over      that is settled without an attempt (RFC 2852)

What finds its lane full, or another one probing, stays due: whoever claims takes of its domain as many as `room_for` says.

A lane is full when it has its part of the room that is left, and that of a destination which is slow, or of which nothing is
known yet, when there is somebody behind each attempt: so there is always room for one that comes anew.

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
from waymail.mail.outcome import Deferred, Delivered, Outcome
from waymail.queue.plan import PART, SLOW, DestinationState, RunnerLimits, Turns, allowed, slots
from waymail.queue.retry import HOUR, MINUTE, Rng, Schedules, is_overdue
from waymail.queue.settle import OVERDUE
from waymail.store.contract import Delivery, Pending
from waymail.values import value
from waymail.wire.replies import Reply

LONGEST_WAIT = 600.0  # seconds in a lane; with the longest attempt it stays below a claim's lease
PROBE_SPREAD = 6.0  # seconds over which those who wait for a back-off come again
KNOWN = 4  # this part of the places for slow attempts is for destinations that are known to be slow
RELIEF = 16  # this part of the room is worth a claim
IDLE = MINUTE  # for which a destination that is up and quick is remembered
FORGET = 6 * HOUR  # the same of one that is not

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

    def __init__(self, limits: RunnerLimits, schedule: Schedules, rng: Rng) -> None:
        self._limits = limits
        self._schedule = schedule
        self._rng = rng
        self._states: dict[str, DestinationState] = {}
        self._waiting: dict[str, deque[Share[D]]] = {}  # the lanes in which somebody waits
        self._ranked: dict[str, list[tuple[int, int, Share[D]]]] = {}  # a heap for those of the lane that have a priority
        self._order = count()
        self._quick, self._slow = Turns(), Turns()  # the lanes from which an attempt may start
        # Attempts under way, by the identity of their shares: since when, and to where. Those that take long are in `_long`.
        self._young: dict[int, tuple[float, DestinationState]] = {}
        self._long: set[int] = set()
        self._forget_at = 0.0
        self.recipients = 0  # held, waiting or being attempted
        self.octets = 0

    @property
    def room(self) -> int:
        """How many more recipients may be held."""
        return self._limits.ready - self.recipients if self.octets < self._limits.ready_octets else 0

    @property
    def is_relieved(self) -> bool:
        """Whether there is so much room again that claiming is worth the while."""
        return self.room >= max(1, self._limits.ready // RELIEF)

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

    @property
    def is_crowded(self) -> bool:
        """Whether somebody waits for the end of attempts: as they grow old, others may start."""
        return bool(self._waiting)

    def room_for(self, key: str, now: float) -> int:
        """How much of what waits in the store for this destination had better be claimed now: nothing while its lane is more than
        half full, so that it is filled by much at a time."""
        state = self._states.get(key)
        if state is None or state.is_down(now):  # where it is down, each is put off until it is probed
            return self._limits.waiting
        if state.is_probing(now):
            return 0 if state.waiting + state.active else 1
        most = self._most(state)
        return 0 if state.waiting > most // 2 else most - state.waiting

    def add(self, share: Share[D], now: float) -> PutOff[D] | None:
        """Let a share wait in its lane, or put it off."""
        key, priority = share.destination.key, 0
        options = share.delivery.envelope.options
        if options is not NO_OPTIONS:
            if options.hold_until > now:  # an operator's release or flush does not go past it
                return PutOff(share, options.hold_until, IS_HELD, "its sender wants it held until then")
            if (overdue := _overdue(share, now)) is not None:
                return overdue
            priority = options.priority
        state = self._states.get(key)
        if state is None:
            state = self._states[key] = DestinationState(key)
        if state.is_down(now):
            return self._behind_a_probe(share, state)
        if state.is_probing(now) and state.waiting + state.active:
            return PutOff(share, now, state.last_reply or UNREACHED, "one message probes the destination, the others wait")
        if state.waiting and self._is_full(state, priority):
            return PutOff(share, now, IS_BUSY, "many messages wait for the destination")
        lane = self._waiting.setdefault(key, deque())
        if priority:
            heappush(self._ranked.setdefault(key, []), (-priority, next(self._order), share))
        else:
            lane.append(share)
        state.waiting += 1
        self.hold(share.delivery, share.pending)
        self._queue_up(state, now)
        return None

    def start(self, now: float) -> Iterator[Share[D] | PutOff[D]]:
        """The shares whose attempts begin now; and those that have waited too long."""
        if not self._waiting:
            return
        if self._young and now - next(iter(self._young.values()))[0] >= SLOW:
            self._let_others_go_on(now)
        while (state := self._whose_turn()) is not None:
            share = self._next(state)
            put_off = self._too_late(share, now)
            if put_off is not None:
                self.release(share.delivery, share.pending)
            else:
                state.active += 1
                if state.is_slow:
                    self._long.add(id(share))
                else:
                    self._young[id(share)] = now, state
            if state.waiting:
                self._queue_up(state, now)
            yield put_off or share

    def _whose_turn(self) -> DestinationState | None:
        if self._quick and len(self._young) < self._limits.total:
            return self._states[self._quick.take()]
        if self._slow and self._free > 0:
            return self._states[self._slow.take()]
        return None

    def _let_others_go_on(self, now: float) -> None:
        """Attempts that take long are counted apart from now on, as far as there is room for them."""
        aged = []
        for one, (since, state) in self._young.items():
            if now - since < SLOW:
                break
            aged.append(one)
            if not state.is_slow:
                self._set_pace(state, now, is_slow=True)
        for one in aged[: max(0, self._limits.slow - len(self._long))]:
            del self._young[one]
            self._long.add(one)

    def _set_pace(self, state: DestinationState, now: float, *, is_slow: bool) -> None:
        state.is_slow = is_slow
        (self._quick if is_slow else self._slow).drop(state.key)
        self._queue_up(state, now)

    def _queue_up(self, state: DestinationState, now: float) -> None:
        """See to it that it is the destination's turn in time, if anything may start there."""
        turns = self._slow if state.is_slow else self._quick
        if slots(state, now, self._limits, self._free if state.is_slow else 0):
            turns.put(state.key, self._rank(state.key) if self._ranked else 0)
        else:
            turns.drop(state.key)

    @property
    def _free(self) -> int:
        """The places left for attempts to destinations that are slow. Most of those for slow attempts are kept for the ones that
        turn out to be so; but nobody waits while fewer are under way in all than there may be."""
        under_way = len(self._young) + len(self._long)
        return max(self._limits.slow // KNOWN - len(self._long), self._limits.total - under_way)

    def _most(self, state: DestinationState) -> int:
        """How many may wait in its lane."""
        limits = self._limits
        if state.is_slow:
            return min(limits.waiting, 2 * allowed(state, limits, self._free))
        few = 2 * allowed(state, limits, 0)
        return min(limits.waiting, max(few, self.room // PART) if state.proven else few)

    def _is_full(self, state: DestinationState, priority: int) -> bool:
        """Whether no more may wait in its lane. One that is full of others keeps out nobody who goes first."""
        most = self._most(state)
        return state.waiting >= (2 * most if priority > 0 else most)

    @staticmethod
    def _too_late(share: Share[D], now: float) -> PutOff[D] | None:
        if share.delivery.envelope.options is not NO_OPTIONS and (overdue := _overdue(share, now)) is not None:
            return overdue
        if abs(now - share.since) > LONGEST_WAIT:  # a clock that was set back tells nothing
            return PutOff(share, now, IS_BUSY, "it has waited long for its turn")
        return None

    def finish(self, share: Share[D], outcomes: Mapping[str, Outcome], started: float, now: float) -> Sequence[PutOff[D]]:
        """An attempt that began at `started` is over. Where it shows that the destination is down, all who wait are put off."""
        state = self._states[share.destination.key]
        state.active -= 1
        state.used_at = now
        if self._young.pop(id(share), None) is None:
            self._long.discard(id(share))
        self.release(share.delivery, share.pending)
        if state.is_slow is not (now - started >= SLOW):
            self._set_pace(state, now, is_slow=not state.is_slow)
        trouble, delivered = None, False
        for one in outcomes.values():
            if type(one) is Delivered:
                delivered = True
            else:
                if isinstance(one, Deferred) and one.destination_down:
                    trouble = one
                if not state.replies or state.replies[-1] != (now, one.reply):
                    state.replies.append((now, one.reply))
        if trouble is None:
            state.came_up(delivered=delivered)
            if state.waiting:
                self._queue_up(state, now)
            return ()
        state.took_down(trouble.reply, started, now, self._rng, self._schedule)
        put_off = []
        while state.waiting:
            waiting = self._next(state)
            self.release(waiting.delivery, waiting.pending)
            put_off.append(self._behind_a_probe(waiting, state))
        self._queue_up(state, now)
        return put_off

    def back_off(self, key: str) -> float:
        """When whoever took a destination down may come again: after those who wait for it, lest one message that it does not
        bear is the probe each time. 0 where it is not down."""
        state = self._states.get(key)
        return state.down_until + PROBE_SPREAD if state is not None and state.failures else 0.0

    def lift(self, key: str, now: float) -> None:
        """Somebody says that a destination is back: it is probed at once, and where it is not, its back-off begins anew. Asking
        often must not make it long."""
        state = self._states.get(key)
        if state is not None:
            state.down_until = min(state.down_until, now)
            state.failures = min(state.failures, 1)

    def set_back(self, seconds: float) -> None:
        """The wall clock was set back by so much. What is known of destinations keeps its distance from now: none is down for
        longer than the schedule said."""
        for state in self._states.values():
            state.down_since -= seconds
            state.down_until -= seconds
            state.troubled_since -= seconds
            state.used_at -= seconds
        self._young = {one: (since - seconds, state) for one, (since, state) in self._young.items()}
        self._forget_at -= seconds

    def reconfigure(self, limits: RunnerLimits, schedule: Schedules) -> Sequence[Share[D]]:
        """Go by other bounds and times. What waits leaves its lane, for it may go elsewhere now: it is to be added again."""
        self._limits, self._schedule = limits, schedule
        waiting = []
        for key in list(self._waiting):
            state = self._states[key]
            while state.waiting:
                share = self._next(state)
                self.release(share.delivery, share.pending)
                waiting.append(share)
        self._quick, self._slow = Turns(), Turns()
        return waiting

    def forget(self, now: float) -> None:
        """Drop what is known of destinations that nobody has written to for long. Looks once a minute."""
        if now < self._forget_at:
            return
        self._forget_at = now + MINUTE
        for state in self.states():
            is_well = not (state.failures or state.is_slow or state.replies)
            until = state.used_at + IDLE if is_well else max(state.down_until, state.used_at) + FORGET
            if not (state.waiting or state.active) and now > until:
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
