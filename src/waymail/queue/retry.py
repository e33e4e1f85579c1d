"""When to try again (RFC 5321 §4.5.4.1), and until when: plain arithmetic on the clock that is given.

One schedule is for all; rules put others in its place for some domains, destinations, or kinds of failure (`RuledSchedules`).

The time of a message begins when it was accepted, or when its sender lets it go (RFC 4865). Where he set a time for its delivery
(RFC 2852), that ends its stay in the queue ("R"), or is when he is told that it is late ("N").
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from waymail.mail.envelope import Envelope
from waymail.store.contract import Pending
from waymail.wire.replies import Reply

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

    def of(self, domain: str, destination: str, reply: Reply) -> Schedule:
        """Itself: it is for all."""
        return self

    @property
    def longest(self) -> float:
        """As `Schedules.longest`."""
        return max(self.intervals) * (1 + self.jitter)


class Schedules(Protocol):
    """Finds the schedule for what was deferred."""

    def of(self, domain: str, destination: str, reply: Reply) -> Schedule:
        """The schedule where a host of `destination` (its key) said `reply` of a recipient in `domain` ("": of none)."""

    @property
    def longest(self) -> float:
        """The longest wait between two attempts that any schedule has, in seconds."""


@dataclass(frozen=True, slots=True)
class Rule:
    """When another schedule is for a deferred recipient. What is empty is no condition; `replies` are beginnings of the reply: of
    its code ("421", "45"), of its enhanced status code ("4.2.2", "4.7"), or any text that is in it, without regard to case.

    `domains` are "example.org", or "*.example.org" for those below it; each is the recipient's domain or one of the hosts of the
    destination, so that a rule for "*.mail.example" is for whoever has his mail there.
    """

    schedule: Schedule
    domains: tuple[str, ...] = ()
    replies: tuple[str, ...] = ()

    def fits(self, domain: str, destination: str, reply: Reply) -> bool:
        """Whether the schedule of the rule applies."""
        if self.replies and not any(_says(reply, wanted) for wanted in self.replies):
            return False
        return not self.domains or any(_is_in(name, self.domains) for name in (domain, *_hosts(destination)))


@dataclass(frozen=True, slots=True)
class RuledSchedules:
    """The first rule that fits gives the schedule, `otherwise` where none does."""

    rules: tuple[Rule, ...]
    otherwise: Schedule

    def of(self, domain: str, destination: str, reply: Reply) -> Schedule:
        """As `Schedules.of`."""
        for rule in self.rules:
            if rule.fits(domain, destination, reply):
                return rule.schedule
        return self.otherwise

    @property
    def longest(self) -> float:
        """As `Schedules.longest`."""
        return max([self.otherwise.longest, *(rule.schedule.longest for rule in self.rules)])


def _says(reply: Reply, wanted: str) -> bool:
    if wanted.replace(".", "").isdigit():
        # Whole parts: "4.7.1" is not the beginning of "4.7.12".
        return f"{reply.status}.".startswith(f"{wanted}.") if "." in wanted else str(reply.code).startswith(wanted)
    return wanted.lower() in reply.text.lower()


def _is_in(name: str, patterns: Sequence[str]) -> bool:
    return any(name == one or (one.startswith("*.") and name.endswith(one[1:])) for one in patterns)


def _hosts(destination: str) -> list[str]:
    """The names in the key of a destination: hosts, each with its port where that is not 25; or a URL, whose host counts."""
    names = (part.rpartition("//")[2] for part in destination.split(","))
    return [name.rpartition(":")[0] if name.rpartition(":")[2].isdigit() else name for name in names]


def interval(failures: int, schedule: Schedule) -> float:
    """The wait after `failures` failed attempts in a row (1 or more), without jitter."""
    return schedule.intervals[min(failures, len(schedule.intervals)) - 1]


def next_attempt(failures: int, now: float, rng: Rng, schedule: Schedule) -> float:
    """The time of the next attempt after `failures` failed ones, the last of them at `now`."""
    return now + interval(failures, schedule) * (1 + schedule.jitter * (2 * rng.random() - 1))


def ends_at(envelope: Envelope, schedule: Schedule, slack: float = 0.0) -> float:
    """When a message is given up. `slack` is the time in seconds that it did not have, although the clock says so."""
    end, by = envelope.released_at + schedule.expire + slack, envelope.options.deliver_by
    # RFC 2852 §4.1: the time that the sender set makes the stay shorter, never longer.
    return min(end, by.until) if by is not None and by.mode == "R" else end


def late_at(envelope: Envelope, schedule: Schedule, slack: float = 0.0) -> float | None:
    """When the sender is told that a message is late; None for never. `slack` as in `ends_at`."""
    by = envelope.options.deliver_by
    if by is not None and by.mode == "N" and by.until > envelope.accepted_at:
        return by.until  # RFC 2852 §4.1.3: then, and not when we would think that it is late
    return None if schedule.delay_warning is None else envelope.released_at + schedule.delay_warning + slack


def is_overdue(envelope: Envelope, pending: Iterable[Pending], now: float) -> bool:
    """Whether the time that the sender set (RFC 2852) is over, and that must be settled before any attempt: the message is given
    up ("R"), or he is told ("N"). A message that was late when it came has been told of by whoever sent it on."""
    by = envelope.options.deliver_by
    if by is None or now < by.until:
        return False
    return by.mode == "R" or (by.until > envelope.accepted_at and not all(one.warned for one in pending))
