"""When to try again (RFC 5321 §4.5.4.1), and until when: plain arithmetic on the clock that is given.

The time of a message begins when it was accepted, or when its sender lets it go (RFC 4865). Where he set a time for its delivery
(RFC 2852), that ends its stay in the queue ("R"), or is when he is told that it is late ("N").
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from waymail.mail.envelope import Envelope
from waymail.store.contract import Pending

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


def ends_at(envelope: Envelope, schedule: Schedule) -> float:
    """When a message is given up."""
    end, by = envelope.released_at + schedule.expire, envelope.options.deliver_by
    # RFC 2852 §4.1: the time that the sender set makes the stay shorter, never longer.
    return min(end, by.until) if by is not None and by.mode == "R" else end


def late_at(envelope: Envelope, schedule: Schedule) -> float | None:
    """When the sender is told that a message is late; None for never."""
    by = envelope.options.deliver_by
    if by is not None and by.mode == "N" and by.until > envelope.accepted_at:
        return by.until  # RFC 2852 §4.1.3: then, and not when we would think that it is late
    return None if schedule.delay_warning is None else envelope.released_at + schedule.delay_warning


def is_overdue(envelope: Envelope, pending: Iterable[Pending], now: float) -> bool:
    """Whether the time that the sender set (RFC 2852) is over, and that must be settled before any attempt: the message is given
    up ("R"), or he is told ("N"). A message that was late when it came has been told of by whoever sent it on."""
    by = envelope.options.deliver_by
    if by is None or now < by.until:
        return False
    return by.mode == "R" or (by.until > envelope.accepted_at and not all(one.warned for one in pending))
