"""One connection of a test's server: octets in and out, TLS, and how it ends."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

_LINGER = 2.0  # seconds that a client has for closing after the last reply
_ENOUGH = 1024 * 1024  # octets that wait to be read


class Gone(Exception):
    """The connection is over."""


class Channel(asyncio.Protocol):
    """`serve` is run for as long as the connection lasts."""

    def __init__(self, serve: Callable[[Channel], Coroutine[Any, Any, None]]) -> None:
        self.received = bytearray()  # what came and was not used yet
        self.task: asyncio.Task[None] | None = None
        self._serve = serve
        self._transport: asyncio.Transport | None = None
        self._arrived = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self._gone = asyncio.Event()

    # --- what asyncio calls ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # a stream's transport is one
        self.task = asyncio.get_running_loop().create_task(self._serve(self))

    def data_received(self, data: bytes) -> None:
        self.received += data
        self._arrived.set()
        if len(self.received) > _ENOUGH:
            self._used.pause_reading()

    def eof_received(self) -> None:
        self._over()

    def connection_lost(self, exc: Exception | None) -> None:
        self._over()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    # --- what the session calls ---

    @property
    def tls(self) -> str:
        """The version of TLS, "" for none."""
        secured: ssl.SSLObject | None = self._used.get_extra_info("ssl_object")
        return (secured.version() or "") if secured else ""

    async def more(self) -> None:
        """Return when something has come besides what is in `received`. Raises Gone."""
        self._arrived.clear()
        self._used.resume_reading()
        if self._gone.is_set():
            raise Gone
        await self._arrived.wait()
        if self._gone.is_set() and not self.received:
            raise Gone

    async def say(self, octets: bytes) -> None:
        """Send. Raises Gone."""
        self._used.write(octets)
        if not self._writable.is_set():
            await self._writable.wait()
        if self._used.is_closing():
            raise Gone

    async def pause(self, seconds: float) -> None:
        """Raises Gone where the client does not wait for so long."""
        if not seconds:
            return
        try:
            await asyncio.wait_for(self._gone.wait(), seconds)
        except TimeoutError:
            return
        raise Gone

    async def hang(self) -> None:
        """Neither read nor say anything, until the server is closed."""
        self._used.pause_reading()
        await asyncio.get_running_loop().create_future()

    async def start_tls(self, context: ssl.SSLContext) -> None:
        """The handshake. What came in clear behind STARTTLS is never read (RFC 3207 §4.2). Raises OSError, ssl.SSLError among
        them."""
        self.received.clear()
        self._transport = await asyncio.get_running_loop().start_tls(self._used, self, context, server_side=True)
        if self._transport is None:
            raise ConnectionResetError("the client has gone")

    async def end(self) -> None:
        """The last reply was said: let the client close, who is to read it first."""
        if self._used.can_write_eof() and not self._used.is_closing():
            self._used.write_eof()
        else:
            self._used.close()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._gone.wait(), _LINGER)

    def drop(self) -> None:
        """Close at once, whatever waits to be sent."""
        if self._transport is not None:
            self._transport.abort()

    @property
    def _used(self) -> asyncio.Transport:
        if self._transport is None:
            raise Gone
        return self._transport

    def _over(self) -> None:
        self._gone.set()
        self._arrived.set()
        self._writable.set()
