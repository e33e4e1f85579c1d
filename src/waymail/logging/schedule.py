"""When a mail of what was logged goes out. Times are seconds of a clock that never goes back; nothing here asks one."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

_HOUR = 3600.0
_AGAIN = 60.0  # after the first failure; twice as long after each further one, up to an hour


@dataclass(slots=True)
class Schedule:
    """A mail goes `gather` seconds after the first record for it, `digest` seconds after the mail before it, and at most `hourly`
    times in any hour."""

    gather: float
    digest: float
    hourly: int
    failures: int = 0  # one after the other, up to now
    _since: float | None = None
    _not_before: float = float("-inf")
    _again_from: float = float("-inf")
    _sent: deque[float] = field(default_factory=deque)

    @property
    def due(self) -> float | None:
        """When the next mail goes, None while nothing waits for it."""
        return None if self._since is None else max(self._since + self.gather, self._not_before)

    def waiting(self, now: float) -> None:
        """Something waits for a mail: since now, unless it did before."""
        if self._since is None:
            self._since = now

    def taken(self) -> None:
        """All that waited is about to be mailed."""
        self._since = None

    def sent(self, now: float) -> None:
        """It was mailed, or will never be."""
        self.failures = 0
        self._sent.append(now)
        self._not_before = now + self.digest
        if len(self._sent) >= self.hourly:
            self._not_before = max(self._not_before, self._sent.popleft() + _HOUR)

    def failed(self, now: float, took: float = 0.0) -> None:
        """It could not be mailed, which took so many seconds to find out, and waits again."""
        self._not_before = now + min(_AGAIN * 2**self.failures, _HOUR)
        self._again_from = now + took
        self.failures = min(self.failures + 1, 16)

    def allows_last(self, now: float) -> bool:
        """Whether one more attempt is made at the end, back-off or not: unless the last one has just failed, and took longer than
        the time since. So a silent server is not waited for once more by who has just waited for it."""
        return not self.failures or now >= self._again_from
