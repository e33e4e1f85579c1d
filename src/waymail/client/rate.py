"""At most so many messages in so many seconds: `Rate` says how many, `Pace` whose turn is when.

It holds exactly, for every stretch of time of that length, and does not smooth: as many as may go, go at once.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from math import inf, isfinite


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `messages` in any `per` seconds. Raises ValueError for numbers that make no rate."""

    messages: int
    per: float = 1.0

    def __post_init__(self) -> None:
        if self.messages < 1 or not (self.per > 0 and isfinite(self.per)):
            raise ValueError("a rate is so many messages (at least one) in so many seconds (more than none)")


class Pace:
    """Gives turns by a rate, to any number of tasks and threads. `now` is of a clock that only goes forward."""

    def __init__(self, rate: Rate) -> None:
        self._per = rate.per
        self._turns: deque[float] = deque(maxlen=rate.messages)
        self._lock = threading.Lock()

    def turn(self, now: float, until: float = inf) -> float | None:
        """In how many seconds it is the caller's turn. None where that would be after `until`: then he has none, and takes none
        from the others."""
        with self._lock:
            is_full = len(self._turns) == self._turns.maxlen
            at = max(now, self._turns[0] + self._per) if is_full else now
            if at > until:
                return None
            self._turns.append(at)
            return at - now
