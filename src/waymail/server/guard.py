"""Slows down whoever guesses passwords: by network address, and by user name where many addresses guess one user.

A failure raises the level of its address (an IPv4 address, an IPv6 /64), which sinks again by `failures` in each `window`. The
higher the level, the longer the wait before the next refusal: 2 s, doubled for each failure, 30 s at most. At `failures` the
address is refused for `block` seconds. A user name has a level of its own, which only slows: nobody can lock a user out by
guessing. Addresses from which the user logged in lately are not even slowed.

Promises: memory is bounded, the oldest is forgotten first; an address without failures is never refused; the clock is an
argument, and one that runs backwards does no harm. No I/O here.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass
from typing import Protocol

from waymail.server.networks import client_of

FIRST_DELAY, MOST_DELAY = 2.0, 30.0  # seconds
REMEMBER_SUCCESS = 30 * 86_400.0  # seconds
MOST = 65_536  # addresses, names, and pairs of them
MOST_NAME = 320  # characters: a guesser's names may be as long as a line of AUTH, and each is remembered


class Exempt(Protocol):
    """A set of addresses."""

    def __contains__(self, address: str, /) -> bool: ...


@dataclass(frozen=True, slots=True)
class GuardLimits:
    """Times in seconds."""

    failures: int = 30  # of one address, within `window`: then it is refused
    window: float = 600.0
    block: float = 900.0
    user_failures: int = 10  # of one user, within `window`: then strangers are slowed


@dataclass(slots=True)
class _Level:
    height: float = 0.0
    at: float = 0.0
    blocked_until: float = 0.0


class Guard:
    """What was failed lately. `exempt` addresses are neither slowed nor refused."""

    def __init__(self, limits: GuardLimits = GuardLimits(), *, exempt: Exempt = (), most: int = MOST) -> None:
        self._limits = limits
        self._exempt = exempt
        self._most = most
        self._addresses: OrderedDict[str, _Level] = OrderedDict()
        self._users: OrderedDict[str, _Level] = OrderedDict()
        self._succeeded: OrderedDict[tuple[str, str], float] = OrderedDict()

    def go_on_from(self, other: Guard) -> None:
        """Take over what another one has counted, whose limits were different."""
        self._addresses, self._users, self._succeeded = other._addresses, other._users, other._succeeded

    def delay(self, address: str, now: float, user: str = "") -> float:
        """Seconds to wait before a failure is told."""
        if address in self._exempt:
            return 0.0
        height = self._height(self._addresses.get(client_of(address)), now, self._limits.failures)
        own = _doubled(height)
        return max(own, self.user_delay(address, user, now))

    def user_delay(self, address: str, user: str, now: float) -> float:
        """Seconds to wait before any answer about this user, a success included: 0 unless many have failed with his name."""
        level = self._users.get(user[:MOST_NAME])
        if level is None or address in self._exempt:
            return 0.0
        excess = self._height(level, now, self._limits.user_failures) - self._limits.user_failures + 1.0
        until = self._succeeded.get((client_of(address), user))
        if excess <= 0 or (until is not None and now < until):
            return 0.0
        return _doubled(excess)

    def is_blocked(self, address: str, now: float) -> float | None:
        """Seconds for which this address is still refused; None where it is not."""
        level = self._addresses.get(client_of(address))
        if level is None or now >= level.blocked_until or address in self._exempt:
            return None
        return min(level.blocked_until - now, self._limits.block)

    def failed(self, address: str, user: str, now: float) -> bool:
        """Count a failure; `user` is "" where none was named. True where the address is refused from now on."""
        if address in self._exempt:
            return False
        if user:
            self._raise(self._users, user[:MOST_NAME], now, self._limits.user_failures, most=4.0 * self._limits.user_failures)
        level = self._raise(self._addresses, client_of(address), now, self._limits.failures, most=self._limits.failures)
        if level.height < self._limits.failures:
            return False
        level.height = self._limits.failures / 2  # once it is let in again, half as many tries lead here
        level.blocked_until = now + self._limits.block
        return True

    def succeeded(self, address: str, user: str, now: float) -> None:
        """Remember where a user logs in from. The level of the address stays: else a guesser with an account could lower it."""
        key = (client_of(address), user)
        self._succeeded[key] = now + REMEMBER_SUCCESS
        self._succeeded.move_to_end(key)
        while len(self._succeeded) > self._most:
            self._succeeded.popitem(last=False)

    def __len__(self) -> int:
        return max(len(self._addresses), len(self._users), len(self._succeeded))

    def _raise(self, levels: OrderedDict[str, _Level], key: str, now: float, per_window: int, most: float) -> _Level:
        level = levels.pop(key, None) or _Level()
        level.height = min(self._height(level, now, per_window) + 1.0, most)
        level.at = now
        levels[key] = level
        while len(levels) > self._most:
            levels.popitem(last=False)
        return level

    def _height(self, level: _Level | None, now: float, per_window: int) -> float:
        if level is None:
            return 0.0
        return max(0.0, level.height - max(0.0, now - level.at) * per_window / self._limits.window)


def _doubled(height: float) -> float:
    """The wait at a level of failures."""
    return min(FIRST_DELAY * math.pow(2.0, min(height, 16.0) - 1.0), MOST_DELAY) if height > 0 else 0.0
