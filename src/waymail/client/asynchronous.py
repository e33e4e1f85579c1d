"""The client's steps over asyncio: its connection, and its time, threads and turns.

The connection is a raw `asyncio.Protocol`: the commands of a group leave in one write, and one future waits for all their
replies. There is no task and no timer per command: one timer per connection wakes up at the earliest deadline and sees
whether it has moved meanwhile.
"""

from __future__ import annotations

import asyncio
import inspect
import ssl
from collections.abc import Callable, Coroutine, Iterable
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast

from waymail.client.connection import Connection
from waymail.client.io import Cancellable, Io, Places
from waymail.client.line import why_lost
from waymail.client.target import Host, Token
from waymail.client.transaction import Timeouts
from waymail.lookups import Lookups
from waymail.net import streams
from waymail.net.drive import drive
from waymail.net.network import DIRECT, Network
from waymail.wire.client import Response
from waymail.wire.commands import Quit
from waymail.wire.errors import CommandOrder
from waymail.wire.replies import Reply

if TYPE_CHECKING:
    from waymail.net.resolver import Resolver

P = ParamSpec("P")
T = TypeVar("T")


class AsyncConnection(Connection, asyncio.Protocol):
    """A connection in an event loop."""

    def __init__(self, host: str, timeouts: Timeouts) -> None:
        self._loop = asyncio.get_running_loop()
        super().__init__(host, timeouts)
        self._transport = cast(asyncio.Transport, None)
        self._waiter: asyncio.Future[None] | None = None
        self._room: asyncio.Future[None] | None = None  # waits for the transport to take more
        self._closed: asyncio.Future[None] | None = None
        self._is_full = self._is_lost = self._is_leaving = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = self._deadline = 0.0
        self._step = 0.0

    def now(self) -> float:
        return self._loop.time()

    async def offload(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await asyncio.to_thread(function, *args, **kwargs)

    # --- what is known of the two ends

    @property
    def tls(self) -> ssl.SSLObject | ssl.SSLSocket | None:
        found = self._transport.get_extra_info("ssl_object")
        return found if isinstance(found, ssl.SSLObject) else None

    @property
    def remote(self) -> tuple[str, int]:
        address = self._transport.get_extra_info("peername")
        return (str(address[0]), int(address[1])) if isinstance(address, tuple) else ("", 0)

    @property
    def local(self) -> str:
        address = self._transport.get_extra_info("sockname")
        return str(address[0]) if isinstance(address, tuple) else ""

    def is_still_usable(self) -> bool:
        return self.is_usable  # whatever comes is heard at once

    # --- reading and writing

    async def replies(self, seconds: float) -> list[Response]:
        if self.core.pending and self.trouble is None:
            self._waiter = self._loop.create_future()
            self._expect_within(seconds)
            try:
                await self._waiter
            finally:
                self._waiter = None
        return self._take()

    async def start_tls(self, context: ssl.SSLContext, server_hostname: str, timeout: float) -> None:
        self._transport = await streams.start_tls(
            self._transport, self, context, server_side=False, server_hostname=server_hostname, timeout=timeout
        )

    def put(self, octets: bytes) -> bool:
        if self.trouble is not None:
            return False
        # A transport that is closed already, of which we shall hear in a moment, may raise (uvloop's does).
        if not self._transport.is_closing():
            self._transport.write(octets)
        return True

    async def write(self, octets: bytes) -> bool:
        self.put(octets)
        if self._is_full and self.trouble is None:
            self._room = self._loop.create_future()
            self._expect_within(self.timeouts.block)
            try:
                await self._room
            finally:
                self._room = None
        return self.trouble is None

    # --- the end

    def leave(self) -> None:
        if self._is_lost or self._is_leaving:
            return
        if not self.is_usable:
            self._transport.abort()
            return
        try:
            octets = self.core.send(Quit())
        except CommandOrder:  # content is due, or a challenge waits for its response
            self.abort()
            return
        self._is_leaving = True
        self.put(octets)
        self._troubled("we said QUIT")
        self._limit = inf
        self._expect_within(self.timeouts.quit)

    async def quit(self, deadline: float = inf) -> None:
        self.leave()
        if self._is_leaving and not self._is_lost:
            self._limit = deadline
            self._expect_within(self.timeouts.quit)
            self._closed = self._closed or self._loop.create_future()
            await self._closed

    def end(self, why: str, reply: Reply | None = None) -> None:
        self._troubled(why, reply)
        if self._timer is not None:
            self._timer.cancel()  # where a TLS handshake failed, nobody calls connection_lost
        self._transport.abort()
        self._wake()

    def _wake(self) -> None:
        for future in (self._waiter, self._room):
            if future is not None and not future.done():
                future.set_result(None)

    # --- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.describe()

    def data_received(self, data: bytes) -> None:
        if self.trouble is not None:
            if self._is_leaving:
                self._transport.close()
            return
        has_answered = self._receive(data)
        if self.core.pending:
            if has_answered:
                self._wait(self._for_next(self._step))
        elif self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def pause_writing(self) -> None:
        self._is_full = True

    def resume_writing(self) -> None:
        self._is_full = False
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_lost = True
        if self._timer is not None:
            self._timer.cancel()
        self._troubled(why_lost(exc))
        self._wake()
        if self._closed is not None and not self._closed.done():
            self._closed.set_result(None)

    # --- the timer

    def _expect_within(self, seconds: float) -> None:
        """A reply must be complete within `seconds`, and the next one within as many again, but never past the limit. A part of
        a reply gains no time: a server that says an octet now and then would keep us for years."""
        self._step = seconds
        self._wait(seconds)

    def _wait(self, seconds: float) -> None:
        self._deadline = min(self._loop.time() + seconds, self._limit)
        if self._timer is None or self._timer_at > self._deadline:
            if self._timer is not None:
                self._timer.cancel()
            self._timer_at = self._deadline
            self._timer = self._loop.call_at(self._deadline, self._look_at_clock)

    def _look_at_clock(self) -> None:
        self._timer = None
        if self._waiter is None and self._room is None and not self._is_leaving:
            return
        if self._loop.time() < self._deadline:
            self._timer_at = self._deadline
            self._timer = self._loop.call_at(self._deadline, self._look_at_clock)
        else:
            self.is_late = True
            self.end("no answer in time")


class AsyncPlaces(Places):
    """Places in an event loop."""

    def __init__(self, count: int) -> None:
        self._free = asyncio.Semaphore(count)

    async def take(self, deadline: float) -> bool:
        if not self._free.locked() or deadline == inf:
            await self._free.acquire()
            return True
        try:
            async with asyncio.timeout_at(deadline):
                await self._free.acquire()
        except TimeoutError:
            return False
        return True

    def give_back(self) -> None:
        self._free.release()


class AsyncIo(Io):
    """The world as an event loop sees it: the one that runs, whichever that is."""

    def __init__(self, network: Network = DIRECT) -> None:
        self.network = network
        self._resolver: Resolver | None = None

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def offload(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await asyncio.to_thread(function, *args, **kwargs)

    async def token(self, provider: Token, seconds: float) -> str:
        if isinstance(provider, str):
            return provider
        async with asyncio.timeout(seconds):
            found = provider() if inspect.iscoroutinefunction(provider) else await asyncio.to_thread(provider)
            return found if isinstance(found, str) else await found

    async def dial(
        self, host: Host, address: str | None, *, context: ssl.SSLContext | None, timeouts: Timeouts, seconds: float
    ) -> Connection:
        factory = partial(AsyncConnection, host.name, timeouts)
        if host.path:
            _, connection = await streams.connect_unix(factory, host.path, timeout=seconds)
        else:
            _, connection = await self.network.connect(
                factory,
                address or host.name,
                host.port,
                timeout=seconds,
                tls=context,
                server_hostname=host.name if context else None,
            )
        return connection

    async def look_up(self, lookups: Lookups[T], seconds: float) -> T:
        from waymail.net.resolver import Resolver  # dnspython takes time to import, and few need it

        if self._resolver is None:
            self._resolver = Resolver(self.network.resolvers or None)
        return await drive(lookups, self._resolver, deadline=seconds)

    def places(self, count: int) -> Places:
        return AsyncPlaces(count)

    def later(self, seconds: float, function: Callable[[], object]) -> Cancellable | None:
        return asyncio.get_running_loop().call_later(seconds, function)

    async def each(self, steps: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
        return await asyncio.gather(*steps)
