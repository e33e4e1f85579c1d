"""When to try again (RFC 5321 §4.5.4.1): plain arithmetic on the clock that is given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

MINUTE = 60.0
HOUR = 60 * MINUTE
DAY = 24 * HOUR


class Rng(Protocol):
    """The part of random.Random that the queue uses."""

    def random(self) -> float: ...


@dataclass(frozen=True, slots=True)
class Schedule:
    """The retry schedule; all in seconds.

    `intervals` are the waits after the first, second, ... failed attempt; the last one repeats. `expire` is the age at which
    a message is given up (RFC 5321 §4.5.4.1: at least 4 to 5 days). `delay_warning` is the age at which the sender is told
    that the message is late, None for never. `jitter` is the fraction by which a wait is lengthened or shortened at random,
    so that what failed together is not retried together.
    """

    intervals: tuple[float, ...] = (MINUTE, 5 * MINUTE, 15 * MINUTE, 30 * MINUTE, HOUR, 2 * HOUR, 4 * HOUR)
    expire: float = 5 * DAY
    delay_warning: float | None = 4 * HOUR
    jitter: float = 0.1


def interval(failures: int, schedule: Schedule) -> float:
    """The wait after `failures` failed attempts in a row (1 or more), without jitter."""
    return schedule.intervals[min(failures, len(schedule.intervals)) - 1]


def next_attempt(failures: int, now: float, rng: Rng, schedule: Schedule) -> float:
    """The time of the next attempt after `failures` failed ones, the last of them at `now`."""
    return now + interval(failures, schedule) * (1 + schedule.jitter * (2 * rng.random() - 1))


def is_expired(accepted_at: float, now: float, schedule: Schedule) -> bool:
    """Whether a message has had its time."""
    return now >= accepted_at + schedule.expire


def wants_warning(accepted_at: float, now: float, schedule: Schedule) -> bool:
    """Whether a message is so late that its sender should know."""
    return schedule.delay_warning is not None and now >= accepted_at + schedule.delay_warning
