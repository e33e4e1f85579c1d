"""Idle connections, kept for the next transaction.

`choose` and `is_fit` decide; `IdleConnections` acts. A connection is used again only after a complete transaction, while it is
alive and has said nothing unasked, and neither too long nor too often: after that the destination's hosts are looked at afresh,
and no server is held on to. In an event loop there is one timer, which runs only while something is idle; in a thread there is
none, and what is idle for too long is closed when the next one comes to be kept.

That a connection is fit cannot be known for certain: the server may have closed it a moment ago. `attempt` replaces it then.
"""

from __future__ import annotations

import threading
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar
from weakref import WeakSet

from waymail.client.connection import Connection
from waymail.client.io import Cancellable, Io


@dataclass(frozen=True, slots=True)
class Pool:
    """How many connections a client opens at most (`max`), and how long it keeps one: for so many `messages`, until it is so many
    seconds old (`age`), or has been unused for so many (`idle`: well below the 5 minutes after which servers hang up, RFC 5321
    §4.5.3.2.7). Raises ValueError for a bound that permits nothing."""

    max: int = 10
    messages: int = 1000
    age: float = 300.0
    idle: float = 15.0

    def __post_init__(self) -> None:
        if self.max < 1 or self.messages < 1:
            raise ValueError("a pool has one connection at least, and each of them one message")

    @property
    def limits(self) -> PoolLimits:
        return PoolLimits(self.max, self.max, self.idle, self.age, self.messages)


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """Bounds of what is kept idle. How many connections are used at once is bounded elsewhere: by the client's places, and in
    delivery by the queue."""

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
    """A connection that has been idle since then (by `Io.now`)."""

    connection: C
    since: float


def is_fit(entry: Idle[C], now: float, limits: PoolLimits) -> bool:
    """Whether one more transaction may use the connection."""
    connection = entry.connection
    return connection.is_usable and now - entry.since < limits.idle_seconds and may_go_on(connection, now, limits)


def may_go_on(connection: Reusable, now: float, limits: PoolLimits) -> bool:
    """Whether the connection is neither too old nor has had too many transactions for one more."""
    # RFC 9422 §4: MAILMAX is how many transactions the server takes in one session.
    most = limits.messages if connection.most_messages is None else min(connection.most_messages, limits.messages)
    return connection.messages < most and now - connection.opened_at < limits.age_seconds


def choose(idle: Sequence[Idle[C]], now: float, limits: PoolLimits) -> int:
    """The index of the connection to use, -1 for none: the fit one that was used last. Those behind it are not fit."""
    for at in range(len(idle) - 1, -1, -1):
        if is_fit(idle[at], now, limits):
            return at
    return -1


class IdleConnections:
    """Idle connections by key. Safe to be used by several threads; no lock is held while octets travel."""

    def __init__(self, limits: PoolLimits, io: Io) -> None:
        self._limits = limits
        self._io = io
        self._idle: dict[Hashable, list[Idle[Connection]]] = {}
        self._count = 0
        self._lock = threading.Lock()
        self._sweeper: Cancellable | None = None
        self._is_closed = False
        self._leaving: WeakSet[Connection] = WeakSet()  # those that wait for the answer to QUIT, perhaps

    def __len__(self) -> int:
        """How many connections are idle."""
        return self._count

    def take(self, key: Hashable) -> Connection | None:
        """A connection for another transaction, where there is one. It is the caller's until he puts it back."""
        if not self._count:
            return None
        while True:
            with self._lock:
                idle = self._idle.get(key)
                if not idle:
                    return None
                at = choose(idle, self._io.now(), self._limits)
                found = idle[at].connection if at >= 0 else None
                unfit = idle[at + 1 :]
                at = max(at, 0)
                self._count -= len(idle) - at
                del idle[at:]
            for entry in unfit:
                self._leave(entry.connection)
            if found is None or found.is_still_usable():
                return found
            self._leave(found)

    def put(self, key: Hashable, connection: Connection) -> None:
        """Give a connection back after a transaction; it is kept where it can be used again, and closed otherwise."""
        entry = Idle(connection, self._io.now())
        if not is_fit(entry, entry.since, self._limits) or not self._has_kept(key, entry):
            self._leave(connection)
        elif self._sweeper is None:
            self._sweeper = self._io.later(self._limits.idle_seconds, self._sweep)
            if self._sweeper is None:
                self.sweep()

    def _has_kept(self, key: Hashable, entry: Idle[Connection]) -> bool:
        with self._lock:
            idle = self._idle.setdefault(key, [])
            if self._is_closed or len(idle) >= self._limits.idle_per_key or self._count >= self._limits.idle_total:
                return False
            idle.append(entry)
            self._count += 1
            return True

    def may_go_on(self, connection: Connection) -> bool:
        """Whether a connection that is in use may have one more transaction."""
        return may_go_on(connection, self._io.now(), self._limits)

    def sweep(self) -> None:
        """Close what is not fit any more."""
        now = self._io.now()
        left: list[Connection] = []
        with self._lock:
            for key, idle in list(self._idle.items()):
                fit = [entry for entry in idle if is_fit(entry, now, self._limits)]
                left += [entry.connection for entry in idle if entry not in fit]
                self._count -= len(idle) - len(fit)
                if fit:
                    self._idle[key] = fit
                else:
                    del self._idle[key]
        for connection in left:
            self._leave(connection)

    def _sweep(self) -> None:
        self.sweep()
        self._sweeper = self._io.later(self._limits.idle_seconds, self._sweep) if self._idle else None

    async def close(self) -> None:
        """Say QUIT on all idle connections, and wait for the end of these and of those where it was said before, some seconds at
        most. What is put back later is closed."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        await self._io.each(connection.quit() for connection in (*self._emptied(), *self._leaving))

    def forget(self) -> None:
        """Close this process's ends of all idle connections, without a word: they are another process's, which forked us."""
        self._lock = threading.Lock()  # whoever held it is not in this process
        for connection in self._emptied():
            connection.abort()

    def _leave(self, connection: Connection) -> None:
        connection.leave()
        self._leaving.add(connection)

    def _emptied(self) -> list[Connection]:
        with self._lock:
            self._is_closed = True
            idle = [entry.connection for entries in self._idle.values() for entry in entries]
            self._idle.clear()
            self._count = 0
        return idle
