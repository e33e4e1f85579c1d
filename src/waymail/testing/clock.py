"""A clock that stands still until it is told to jump."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Awaitable
from contextlib import suppress
from itertools import count
from threading import Lock
from typing import TypeVar

T = TypeVar("T")

_REAL = 0.005  # seconds between two steps


class JumpingClock:
    """A `waymail.net.clock.Clock` for tests. `start` is the wall clock's first value, in seconds since the epoch.

    clock = JumpingClock()
    await clock.wait_for_sleepers()
    await clock.advance(3600)      # whoever slept for an hour or less has woken up and run

    Those two belong to the event loop of the sleepers; from another thread, `clock.skip(3600)`.
    """

    def __init__(self, start: float = 1_800_000_000.0) -> None:
        self._start = start
        self._passed = 0.0
        self._order = count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._fell_asleep = asyncio.Event()
        self._lock = Lock()  # held while the heap changes

    def now(self) -> float:
        return self._start + self._passed

    def monotonic(self) -> float:
        return self._passed

    @property
    def sleepers(self) -> int:
        """How many wait for the clock."""
        return sum(not sleeper.done() for _, _, sleeper in self._sleepers)

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        waker: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        with self._lock:
            heapq.heappush(self._sleepers, (self._passed + seconds, next(self._order), waker))
        self._fell_asleep.set()
        await waker

    async def wait_for_sleepers(self, number: int = 1) -> None:
        """Return when at least `number` wait for the clock: then advancing it is no race."""
        while self.sleepers < number:
            self._fell_asleep.clear()
            await self._fell_asleep.wait()

    async def advance(self, seconds: float) -> None:
        """Let that much time pass. Sleepers wake in the order of their times, each seeing its own time on the clock, and
        have run until they wait again when this returns."""
        end = self._passed + seconds
        while (waker := self._next(end)) is not None:
            if not waker.done():
                waker.set_result(None)
                await _let_others_run()
        self._passed = end
        await _let_others_run()

    async def advance_until(self, work: Awaitable[T], *, step: float = 60.0) -> T:
        """Let time pass, `step` seconds at once, until `work` is done; returns or raises what it does. Between two steps what
        waits for the real world (a socket, a disk) has its time: for programs like an outbox, which wait for both."""
        task = asyncio.ensure_future(work)
        try:
            while not task.done():
                await self.advance(step)
                await asyncio.wait([task], timeout=_REAL)
            return task.result()
        finally:
            task.cancel()

    def skip(self, seconds: float) -> None:
        """Let that much time pass, from any thread, for sleepers in whatever loops. It waits for nobody: they wake up soon."""
        end = self._passed + seconds
        while (waker := self._next(end)) is not None:
            with suppress(RuntimeError):  # its loop has ended
                waker.get_loop().call_soon_threadsafe(_wake, waker)
        self._passed = end

    def _next(self, end: float) -> asyncio.Future[None] | None:
        """The next sleeper who wakes up until `end`, whose time it is then."""
        with self._lock:
            if not self._sleepers or self._sleepers[0][0] > end:
                return None
            self._passed, _, waker = heapq.heappop(self._sleepers)
            return waker

    async def advance_to_next(self) -> bool:
        """Let time pass until somebody wakes up. False, at once, where nobody sleeps."""
        while self._sleepers and self._sleepers[0][2].done():
            heapq.heappop(self._sleepers)
        if not self._sleepers:
            return False
        await self.advance(self._sleepers[0][0] - self._passed)
        return True

    def jump_wall_clock(self, seconds: float) -> None:
        """Set the wall clock forwards or backwards, as an operator or NTP does; no time passes."""
        self._start += seconds


def _wake(waker: asyncio.Future[None]) -> None:
    if not waker.done():
        waker.set_result(None)


async def _let_others_run() -> None:
    for _ in range(5):  # a woken task may need some turns (a task group, a lock) until it waits again
        await asyncio.sleep(0)
