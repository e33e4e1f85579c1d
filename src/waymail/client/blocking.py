"""The client's steps over blocking sockets: their connection, and time, threads and turns where there is no event loop.

Nothing here suspends: each wait is a system call with a timeout, in the thread of whoever called. So `run` brings a coroutine
of the client to its end by starting it. There is no loop and no further thread (docs/decisions/0019).
"""

from __future__ import annotations

import inspect
import socket
import ssl
import threading
import time
from collections.abc import Callable, Coroutine, Iterable
from math import inf
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from waymail.client.connection import Connection
from waymail.client.errors import AuthenticationFailed
from waymail.client.io import Cancellable, Io, Places
from waymail.client.line import why_lost
from waymail.client.target import Host, Token
from waymail.client.transaction import Timeouts
from waymail.lookups import Lookups
from waymail.net import blocking
from waymail.net.network import DIRECT, Network
from waymail.wire.client import Response
from waymail.wire.commands import Quit
from waymail.wire.errors import CommandOrder
from waymail.wire.replies import Reply

if TYPE_CHECKING:
    from waymail.net.blocking_resolver import BlockingResolver

P = ParamSpec("P")
T = TypeVar("T")

_READ = 16_384  # octets at a time; replies are short
_NOTHING_YET = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


def run(steps: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that awaits nothing but a `BlockingIo` and its connections. Raises what it raises."""
    try:
        steps.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    steps.close()
    raise RuntimeError("a step of the client waits for an event loop, and there is none")


class BlockingConnection(Connection):
    """A connection over a blocking socket. Whatever it says or awaits, it is the calling thread that waits."""

    def __init__(self, host: str, timeouts: Timeouts, sock: socket.socket) -> None:
        super().__init__(host, timeouts)
        self._sock = sock
        self.describe()

    def now(self) -> float:
        return time.monotonic()

    async def offload(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return function(*args, **kwargs)

    # --- what is known of the two ends

    @property
    def tls(self) -> ssl.SSLObject | ssl.SSLSocket | None:
        return self._sock if isinstance(self._sock, ssl.SSLSocket) else None

    @property
    def remote(self) -> tuple[str, int]:
        return _end(self._sock.getpeername)

    @property
    def local(self) -> str:
        return _end(self._sock.getsockname)[0]

    def is_still_usable(self) -> bool:
        if self.is_usable:
            self._look()
        return self.is_usable

    # --- reading

    async def replies(self, seconds: float) -> list[Response]:
        if self.core.pending and self.trouble is None:
            self._await_replies(seconds)
        return self._take()

    def _await_replies(self, seconds: float) -> None:
        """A reply must be complete within `seconds`, and the next one within as many again, but never past the limit. A part of a
        reply gains no time: a server that says an octet now and then would keep us for years."""
        deadline = min(time.monotonic() + seconds, self._limit)
        while self.core.pending and self.trouble is None:
            left = deadline - time.monotonic()
            if self._hear(left) and left < seconds:
                deadline = min(time.monotonic() + self._for_next(seconds), self._limit)

    def _hear(self, seconds: float) -> bool:
        """Take what comes next, within `seconds`. Whether a reply was complete."""
        try:
            if seconds <= 0:
                raise TimeoutError
            self._sock.settimeout(seconds)
            data = self._sock.recv(_READ)
        except TimeoutError as error:
            self.is_late = True
            self.end("no answer in time" if error.errno is None else why_lost(error))
            return False
        except OSError as error:
            self.end(why_lost(error))
            return False
        if not data:
            self.end(why_lost(None))
            return False
        return self._receive(data)

    def _look(self) -> None:
        """Take what has come already. In TLS that may be something that is not said to us."""
        try:
            self._sock.settimeout(0)
            data = self._sock.recv(_READ)
        except _NOTHING_YET:
            return
        except OSError as error:
            self.end(why_lost(error))
            return
        if data:
            self._receive(data)
        else:
            self.end(why_lost(None))

    # --- writing

    def put(self, octets: bytes) -> bool:
        if self.trouble is not None:
            return False
        deadline = min(time.monotonic() + self.timeouts.block, self._limit)
        left = memoryview(octets)
        try:
            while left:
                seconds = deadline - time.monotonic()
                if seconds <= 0:
                    raise TimeoutError
                self._sock.settimeout(seconds)
                left = left[self._sock.send(left) :]
        except OSError as error:
            self._look()  # it may have said why
            self.end("took nothing in time" if isinstance(error, TimeoutError) and error.errno is None else why_lost(error))
            return False
        return True

    async def write(self, octets: bytes) -> bool:
        if self.put(octets):
            self._look()  # it need not read all of it: see `Line._receive`
        return self.trouble is None

    async def start_tls(self, context: ssl.SSLContext, server_hostname: str, timeout: float) -> None:
        self._sock = blocking.start_tls(self._sock, context, server_hostname=server_hostname, timeout=timeout)

    # --- the end

    def leave(self) -> None:
        self._quit(self._limit)

    async def quit(self, deadline: float = inf) -> None:
        self._quit(deadline)

    def _quit(self, deadline: float) -> None:
        if not self.is_usable:
            self.abort()
            return
        try:
            octets = self.core.send(Quit())
        except CommandOrder:  # content is due, or a challenge waits for its response
            self.abort()
            return
        self._limit = time.monotonic() + self.timeouts.quit
        if self.put(octets):
            self._limit = min(self._limit, deadline)
            self._await_replies(self.timeouts.quit)
        self.end("we said QUIT")

    def end(self, why: str, reply: Reply | None = None) -> None:
        self._troubled(why, reply)
        self._sock.close()


def _end(name: Callable[[], object]) -> tuple[str, int]:
    try:
        address = name()
    except OSError:  # it is gone already
        return "", 0
    return (str(address[0]), int(address[1])) if isinstance(address, tuple) else ("", 0)


class BlockingPlaces(Places):
    """Places for threads."""

    def __init__(self, count: int) -> None:
        self._free = threading.Semaphore(count)

    async def take(self, deadline: float) -> bool:
        if deadline == inf:
            return self._free.acquire()
        return self._free.acquire(timeout=min(max(0.0, deadline - time.monotonic()), threading.TIMEOUT_MAX))

    def give_back(self) -> None:
        self._free.release()


class BlockingIo(Io):
    """The world as a thread sees it."""

    def __init__(self, network: Network = DIRECT) -> None:
        self.network = network
        self._resolver: BlockingResolver | None = None

    def now(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        time.sleep(max(0.0, seconds))  # noqa: ASYNC251 - there is no loop

    async def offload(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return function(*args, **kwargs)

    async def token(self, provider: Token, seconds: float) -> str:
        found = provider if isinstance(provider, str) else provider()
        if isinstance(found, str):
            return found
        if inspect.iscoroutine(found):
            found.close()
        raise AuthenticationFailed(
            f"the function that gives the token returned {type(found).__name__}: without an event loop it has to return the token"
        )

    async def dial(
        self, host: Host, address: str | None, *, context: ssl.SSLContext | None, timeouts: Timeouts, seconds: float
    ) -> Connection:
        if host.path:
            sock = blocking.connect_unix(host.path, timeout=seconds)
        else:
            sock = self.network.connect_blocking(
                address or host.name, host.port, timeout=seconds, tls=context, server_hostname=host.name if context else None
            )
        return BlockingConnection(host.name, timeouts, sock)

    async def look_up(self, lookups: Lookups[T], seconds: float) -> T:
        from waymail.net.blocking_resolver import BlockingResolver, drive  # dnspython takes time to import, and few need it

        if self._resolver is None:
            self._resolver = BlockingResolver(self.network.resolvers)
        return drive(lookups, self._resolver, deadline=seconds)

    def places(self, count: int) -> Places:
        return BlockingPlaces(count)

    def later(self, seconds: float, function: Callable[[], object]) -> Cancellable | None:
        return None

    async def each(self, steps: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
        return [await step for step in steps]
