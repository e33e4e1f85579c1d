"""The clock as a value: what waits or expires takes a `Clock`, so that a test can make days pass at once.

`SystemClock` is the real one; `waymail.testing.clock.JumpingClock` moves only when told to.
"""

from __future__ import annotations

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """Tells the time and waits."""

    def now(self) -> float:
        """Wall clock, in seconds since the epoch. It may jump, also backwards."""

    def monotonic(self) -> float:
        """Seconds since some moment in the past; never goes back. For deadlines and ages."""

    async def sleep(self, seconds: float) -> None:
        """Return when that much time has passed; at the next turn of the loop where `seconds` is 0 or less."""


class SystemClock:
    """The machine's clock."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
