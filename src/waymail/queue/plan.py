"""Which attempts may start: destinations, their concurrency, their back-off, and whose turn it is. Decides only; the runner acts.

A destination (a host set, or the local mailboxes) is in one of three conditions:

    up        one attempt at first, and with each success one more at a time, up to `per_destination`
    down      an attempt failed because of the destination itself (no connection, no greeting, 421): nothing is tried
              before `down_until`, whoever the message is from; each further failure lengthens the wait by the schedule
    probing   `down_until` is over: exactly one attempt goes out. Its success brings the destination up, its
              failure takes it down again

So a dead destination costs one attempt per interval however many messages wait for it.

Destinations take turns (`Turns`), so that none waits for another's queue. And none waits for another's attempts: one that goes on
for more than `SLOW` seconds gives its place to others and is counted apart, and so is each further one to a destination that
was slow the last time. Those that are slow share the places for them: each may have a part of what is free. So hundreds of hosts
that let us wait for minutes hold up nobody but each other.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from waymail.queue.retry import Rng, Schedules, next_attempt
from waymail.wire.replies import Reply

SLOW = 1.0  # seconds
FIRST = 1  # attempts at a time to a destination of which nothing is known
PART = 8  # of what is free, one destination may have this part
PROVEN = 1_000  # successes after which no more are counted
REPLIES = 5  # that are remembered of a destination


@dataclass(frozen=True, slots=True)
class RunnerLimits:
    """Bounds of the queue runner.

    `per_destination` and `total` count attempts under way; `slow` those that take long, which `total` does not count. The others
    bound what is held in memory, waiting or being attempted: `ready` recipients and `ready_octets` of bodies in all, and
    `waiting` messages for one destination. Past them messages wait in the store.
    """

    per_destination: int = 20
    total: int = 500
    slow: int = 1_000
    ready: int = 10_000
    ready_octets: int = 134_217_728
    waiting: int = 1_000


@dataclass(slots=True)
class DestinationState:
    """What the queue knows of a destination at this moment. `last_reply` is what took it down the last time, at `down_since`;
    `failures` counts those that the back-off goes by. People are told since when it has been so, `troubled_since`, and how often
    it `failed` in all, whatever a flush made of the back-off. `proven` counts successes, as far as they matter; `is_slow` says
    that its last attempt took long; `replies` are the last ones that were no success, with their times."""

    key: str
    waiting: int = 0
    active: int = 0
    failures: int = 0
    down_since: float = 0.0
    down_until: float = 0.0
    troubled_since: float = 0.0
    failed: int = 0
    last_reply: Reply | None = None
    proven: int = 0
    is_slow: bool = False
    used_at: float = 0.0
    replies: deque[tuple[float, Reply]] = field(default_factory=lambda: deque(maxlen=REPLIES))

    def is_down(self, now: float) -> bool:
        return self.failures > 0 and now < self.down_until

    def is_probing(self, now: float) -> bool:
        return self.failures > 0 and now >= self.down_until

    def took_down(self, reply: Reply, started: float, now: float, rng: Rng, schedules: Schedules) -> None:
        """An attempt that began at `started` failed because of the destination. Attempts that ran side by side count once."""
        self.last_reply, self.proven = reply, 0
        if not self.failures or started > self.down_since:
            if not self.failures:
                self.troubled_since, self.failed = now, 0
            self.failures += 1
            self.failed += 1
            self.down_since = now
            self.down_until = next_attempt(self.failures, now, rng, schedules.of("", self.key, reply))

    def came_up(self, *, delivered: bool) -> None:
        """An attempt reached the destination, whatever it said of the message."""
        self.failures = 0
        self.last_reply = None
        if delivered and self.proven < PROVEN:
            self.proven += 1


def allowed(state: DestinationState, limits: RunnerLimits, free: int) -> int:
    """How many attempts at a time may go to a destination that is not down; `free` are the places left for slow ones."""
    if state.failures:
        return 1
    if state.is_slow:
        return max(1, min(limits.per_destination, free // PART))
    return min(limits.per_destination, FIRST + state.proven)


def slots(state: DestinationState, now: float, limits: RunnerLimits, free: int) -> int:
    """How many more attempts may go to the destination now; `free` as in `allowed`."""
    if not state.waiting or state.is_down(now):
        return 0
    return max(0, min(state.waiting, allowed(state, limits, free) - state.active))


class Turns:
    """The destinations to which an attempt may start, by their keys: the most urgent first (RFC 6710), among equals in turn."""

    def __init__(self) -> None:
        self._by_rank: dict[int, dict[str, None]] = {}
        self._ranks: dict[str, int] = {}

    def __bool__(self) -> bool:
        return bool(self._ranks)

    def put(self, key: str, rank: int = 0) -> None:
        """An attempt to `key` may start; the lowest rank is the most urgent. One that is there keeps its turn."""
        known = self._ranks.get(key)
        if known == rank:
            return
        if known is not None:
            self.drop(key)
        self._ranks[key] = rank
        self._by_rank.setdefault(rank, {})[key] = None

    def drop(self, key: str) -> None:
        """No attempt to `key` may start now. Nothing happens where that is so already."""
        rank = self._ranks.pop(key, None)
        if rank is not None:
            self._drop_from(rank, key)

    def take(self) -> str:
        """The key whose turn it is: it is dropped, and comes last when it is put again. Raises IndexError where there is none."""
        if not self._ranks:
            raise IndexError("it is nobody's turn")
        rank = 0 if len(self._by_rank) == 1 and 0 in self._by_rank else min(self._by_rank)
        key = next(iter(self._by_rank[rank]))
        del self._ranks[key]
        self._drop_from(rank, key)
        return key

    def _drop_from(self, rank: int, key: str) -> None:
        keys = self._by_rank[rank]
        del keys[key]
        if not keys:
            del self._by_rank[rank]
