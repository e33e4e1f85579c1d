"""When the clock on the wall jumps, as it does when a machine wakes up, or is set right after its start.

The queue lives by the wall clock, for its times must outlast a restart. Two things must not follow from a jump: that mail is
given up whose time was never there, and that mail waits for hours that were over long ago. So the wall clock is held against one
that only goes on, and after a jump

    forward     messages that were there before have that much more time until they are late, and until they are given up
    backward    what is due later than any schedule could have said is due then

What was due at a certain hour is due at that hour still: that is what the clock was set for.
"""

from __future__ import annotations

LEAST = 60.0  # seconds; smaller steps are those of a clock that is being kept right
REMEMBERED = 100


class Jumps:
    """Notices jumps. Times of the wall clock are in seconds since the epoch, the others in seconds since any moment."""

    def __init__(self) -> None:
        self._offset: float | None = None
        self._forward: list[tuple[float, float]] = []  # the wall clock's time before the jump, and how far it went

    @property
    def is_new(self) -> bool:
        """Whether nobody has looked yet."""
        return self._offset is None

    def look(self, now: float, monotonic: float) -> float:
        """Hold the clocks against each other. Returns how far the wall clock has jumped since the last look, in seconds; 0 for
        what is no jump."""
        offset = now - monotonic
        jump = 0.0 if self._offset is None else offset - self._offset
        self._offset = offset
        if abs(jump) < LEAST:
            return 0.0
        if jump > 0:
            self._forward = [*self._forward[-REMEMBERED:], (now - jump, jump)]
        else:
            # A clock that was wrong is right again: the time that it had lost is not to be given twice.
            self._forward = [(at, far + jump) for at, far in self._forward if far + jump > 0]
        return jump

    def slack(self, accepted_at: float) -> float:
        """The seconds that a message did not have, although the clock says so."""
        if not self._forward:
            return 0.0
        return sum(far for at, far in self._forward if accepted_at <= at)
