"""Which attempts to start now: destinations, their concurrency and their back-off. Decides only; the runner acts.

A destination (a host set, or the local mailboxes) is in one of three conditions:

    up        up to `per_destination` attempts at a time
    down      an attempt failed because of the destination itself (no connection, no greeting, 421): nothing is tried
              before `down_until`, whoever the message is from; each further failure lengthens the wait by the schedule
    probing   `down_until` is over: exactly one attempt goes out. Its success brings the destination up, its
              failure takes it down again

So a dead destination costs one attempt per interval however many messages wait for it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from waymail.queue.retry import Rng, Schedule, next_attempt
from waymail.wire.replies import Reply


@dataclass(frozen=True, slots=True)
class RunnerLimits:
    """Bounds of the queue runner.

    `per_destination` and `total` count attempts under way. The others bound what is held in memory, waiting or being
    attempted: `ready` recipients and `ready_octets` of bodies in all, and `waiting` messages for one destination, so that a
    slow one does not take the room of all. Past them messages wait in the store.
    """

    per_destination: int = 20
    total: int = 500
    ready: int = 10_000
    ready_octets: int = 134_217_728
    waiting: int = 1_000


@dataclass(slots=True)
class DestinationState:
    """What the queue knows of a destination at this moment. `last_reply` is what took it down, at `down_since`."""

    key: str
    waiting: int = 0
    active: int = 0
    failures: int = 0
    down_since: float = 0.0
    down_until: float = 0.0
    last_reply: Reply | None = None

    def is_down(self, now: float) -> bool:
        return self.failures > 0 and now < self.down_until

    def is_probing(self, now: float) -> bool:
        return self.failures > 0 and now >= self.down_until

    def took_down(self, reply: Reply, started: float, now: float, rng: Rng, schedule: Schedule) -> None:
        """An attempt that began at `started` failed because of the destination. Attempts that ran side by side count once."""
        self.last_reply = reply
        if not self.failures or started > self.down_since:
            self.failures += 1
            self.down_since = now
            self.down_until = next_attempt(self.failures, now, rng, schedule)

    def came_up(self) -> None:
        """An attempt reached the destination, whatever it said of the message."""
        self.failures = 0
        self.last_reply = None


def slots(state: DestinationState, now: float, limits: RunnerLimits) -> int:
    """How many more attempts may go to the destination now."""
    if state.is_down(now):
        return 0
    allowed = 1 if state.failures else limits.per_destination
    return max(0, min(state.waiting, allowed - state.active))


def plan(now: float, ready: Iterable[DestinationState], limits: RunnerLimits, active: int) -> list[DestinationState]:
    """The attempts to start, one entry each, in order. Destinations take turns, so that none waits for another's queue.

    `active` is the number of attempts under way in all.
    """
    room = limits.total - active
    turns = [(state, slots(state, now, limits)) for state in ready]
    starts: list[DestinationState] = []
    while room > 0 and turns:
        turns = [(state, free) for state, free in turns if free > 0]
        for state, _ in turns[:room]:
            starts.append(state)
        room -= len(turns)
        turns = [(state, free - 1) for state, free in turns]
    return starts
