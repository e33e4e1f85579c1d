"""Idle connections, kept for the next transaction.

`choose` and `is_fit` decide; `Pool` acts. A connection is used again only after a complete transaction, while it is alive and has
said nothing unasked, and neither too long nor too often: after that the destination's hosts are looked at afresh, and no
server is held on to. There is one timer, and it runs only while something is idle.

That a connection is fit cannot be known for certain: the server may have closed it a moment ago. `attempt` replaces it then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from waymail.client.connection import Connection


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """Bounds of a pool. `connections` is how many a `Client` opens at most; delivery is bounded by the queue instead.

    `idle_seconds` is kept well below the 5 minutes after which servers hang up (RFC 5321 §4.5.3.2.7).
    """

    connections: int = 10
    idle_per_key: int = 20
    idle_total: int = 500
    idle_seconds: float = 15.0
    age_seconds: float = 300.0
    messages: int = 1000


class Reusable(Protocol):
    """What is looked at in a connection."""

    @property
    def is_usable(self) -> bool: ...
    @property
    def opened_at(self) -> float: ...
    @property
    def messages(self) -> int: ...
    @property
    def most_messages(self) -> int | None: ...


C = TypeVar("C", bound=Reusable)


@dataclass(frozen=True, slots=True)
class Idle(Generic[C]):
    """A connection that has been idle since then (loop time)."""

    connection: C
    since: float


def is_fit(entry: Idle[C], now: float, limits: PoolLimits) -> bool:
    """Whether one more transaction may use the connection."""
    connection = entry.connection
    # RFC 9422 §4: MAILMAX is how many transactions the server takes in one session.
    most = limits.messages if connection.most_messages is None else min(connection.most_messages, limits.messages)
    return (
        connection.is_usable
        and connection.messages < most
        and now - entry.since < limits.idle_seconds
        and now - connection.opened_at < limits.age_seconds
    )


def choose(idle: Sequence[Idle[C]], now: float, limits: PoolLimits) -> int:
    """The index of the connection to use, -1 for none: the fit one that was used last. Those behind it are not fit."""
    for at in range(len(idle) - 1, -1, -1):
        if is_fit(idle[at], now, limits):
            return at
    return -1


class Pool:
    """Idle connections by key. All of it happens in one loop, and nothing waits but `close`."""

    def __init__(self, limits: PoolLimits = PoolLimits()) -> None:
        self._limits = limits
        self._idle: dict[Hashable, list[Idle[Connection]]] = {}
        self._count = 0
        self._sweeper: asyncio.TimerHandle | None = None
        self._is_closed = False

    def __len__(self) -> int:
        """How many connections are idle."""
        return self._count

    def take(self, key: Hashable) -> Connection | None:
        """A connection for another transaction, where there is one. It is the caller's until he puts it back."""
        idle = self._idle.get(key)
        if not idle:
            return None
        at = choose(idle, asyncio.get_running_loop().time(), self._limits)
        found = idle[at].connection if at >= 0 else None
        for entry in idle[at + 1 :]:
            entry.connection.leave()
        at = max(at, 0)
        self._count -= len(idle) - at
        del idle[at:]
        return found

    def put(self, key: Hashable, connection: Connection) -> None:
        """Give a connection back after a transaction; it is kept where it can be used again, and closed otherwise."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        idle = self._idle.setdefault(key, [])
        entry = Idle(connection, now)
        is_full = len(idle) >= self._limits.idle_per_key or self._count >= self._limits.idle_total
        if self._is_closed or is_full or not is_fit(entry, now, self._limits):
            connection.leave()
            return
        idle.append(entry)
        self._count += 1
        if self._sweeper is None:
            self._sweeper = loop.call_later(self._limits.idle_seconds, self._sweep)

    def sweep(self) -> None:
        """Close what is not fit any more."""
        now = asyncio.get_running_loop().time()
        for key, idle in list(self._idle.items()):
            fit = [entry for entry in idle if is_fit(entry, now, self._limits)]
            for entry in idle:
                if entry not in fit:
                    entry.connection.leave()
            self._count -= len(idle) - len(fit)
            if fit:
                self._idle[key] = fit
            else:
                del self._idle[key]

    def _sweep(self) -> None:
        self.sweep()
        loop = asyncio.get_running_loop()
        self._sweeper = loop.call_later(self._limits.idle_seconds, self._sweep) if self._idle else None

    async def close(self) -> None:
        """Say QUIT on all idle connections and wait for their end, some seconds at most. What is put back later is closed."""
        self._is_closed = True
        if self._sweeper is not None:
            self._sweeper.cancel()
        idle = [entry.connection for entries in self._idle.values() for entry in entries]
        self._idle.clear()
        self._count = 0
        await asyncio.gather(*(connection.quit() for connection in idle))
