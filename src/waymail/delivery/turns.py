"""Turns: so many at a time. Who has none in time goes without, before his attempt is cut off and nobody knows its outcome."""

from __future__ import annotations

import asyncio

BUDGET = 1_500.0  # seconds in which the deliveries of one attempt begin; what follows may take `routes.LONGEST`


class Turns:
    """`count` turns at a time."""

    def __init__(self, count: int, *, budget: float = BUDGET) -> None:
        self.count = count
        self._budget = budget
        self._slots = asyncio.Semaphore(count)

    def until(self) -> float:
        """When an attempt that begins now gets its last turn, by the clock of the loop."""
        return asyncio.get_running_loop().time() + self._budget

    async def take(self, until: float | None) -> bool:
        """Whether there was a turn in time (None: whenever it comes). It has to be given back."""
        try:
            async with asyncio.timeout_at(until):
                await self._slots.acquire()
        except TimeoutError:
            return False
        return True

    def give_back(self) -> None:
        """The next one may go."""
        self._slots.release()
