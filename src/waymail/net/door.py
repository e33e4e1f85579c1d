"""Listening for connections that speak TLS from the first octet (RFC 8314 §3), with a say before the handshake.

A listening loop that does the handshake itself tells nobody of a client until it is over, and of those that never finish
nothing at all. Here whoever is connected is shown to `admit` first, and what became of the handshake is told to the protocol
in either case: `connection_made`, or `connection_lost` with the reason.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import ssl
from collections.abc import Callable, Coroutine
from typing import Any

from waymail.net.streams import TLS_SHUTDOWN_TIMEOUT, format_address, listening_sockets, normal_address

log = logging.getLogger("waymail.net")

PAUSE = 0.5  # seconds to wait when the system has no room for more connections
_EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}

Spawn = Callable[[Coroutine[Any, Any, None]], "asyncio.Task[None]"]


class TlsDoor:
    """Accepts connections at an address until `close`.

    `admit` is given the client's IP address, and gives the protocol for it, or None to refuse it. `context` gives the TLS
    context of the moment, `timeout` is for a handshake, in seconds. `spawn` starts tasks.
    """

    def __init__(
        self,
        admit: Callable[[str], asyncio.Protocol | None],
        *,
        context: Callable[[], ssl.SSLContext],
        timeout: float,
        spawn: Spawn,
    ) -> None:
        self._admit = admit
        self._context = context
        self._timeout = timeout
        self._spawn = spawn
        self._sockets: list[socket.socket] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self.addresses: tuple[str, ...] = ()

    async def open(self, address: str) -> None:
        """Listen at "host:port", as `streams.listen` does. Raises AddressProblem, ListenFailed."""
        self._sockets = await listening_sockets(address)
        for sock in self._sockets:
            sock.setblocking(False)
            self._start(self._accept(sock))
        self.addresses = tuple(format_address(*sock.getsockname()[:2]) for sock in self._sockets)

    def close(self) -> None:
        """Accept nobody more, and cut off the handshakes that are under way. Safe to call twice."""
        for task in list(self._tasks):
            task.cancel()
        for sock in self._sockets:
            sock.close()

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._spawn(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _accept(self, sock: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, peer = await loop.sock_accept(sock)
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    log.warning("a connection could not be accepted", extra={"fields": {"error": str(error)}})
                    await asyncio.sleep(PAUSE)
                continue  # or else the client has gone again
            protocol = self._admit(normal_address(str(peer[0])))
            if protocol is None:
                connection.close()  # it has not understood clear text yet: there is nothing to say to it
            else:
                self._start(self._shake_hands(connection, protocol))

    async def _shake_hands(self, connection: socket.socket, protocol: asyncio.Protocol) -> None:
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: protocol,
                connection,
                ssl=self._context(),
                ssl_handshake_timeout=self._timeout,
                ssl_shutdown_timeout=TLS_SHUTDOWN_TIMEOUT,
            )
        except (OSError, asyncio.CancelledError) as error:  # ssl.SSLError and the timeout are OSErrors
            connection.close()
            protocol.connection_lost(error if isinstance(error, Exception) else None)
