"""Listening for connections of which something has to be known before a protocol can have them: what a proxy says of the client
(the PROXY protocol), what TLS comes to that begins with the first octet (RFC 8314 §3), or both, in this order.

A listening loop that does the handshake itself tells nobody of a client until it is over, and of those that never finish
nothing at all. Here whoever is connected is shown to `admit` first, under the address that counts; and what became of the
connection is told to the protocol in either case: `connection_made`, or `connection_lost` with the reason. A proxy that does not
say who its client is gets cut off and logged; so does one that does not say it in time.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import ssl
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Protocol

from waymail.net import proxy
from waymail.net.streams import TLS_SHUTDOWN_TIMEOUT, Bound, bind, normal_address

log = logging.getLogger("waymail.net")

PAUSE = 0.5  # seconds to wait when the system has no room for more connections
HEADER_TIMEOUT = 5.0  # seconds for a proxy's header; proxy-protocol.txt §2 asks for 3 at least
_EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}

Spawn = Callable[[Coroutine[Any, Any, None]], "asyncio.Task[None]"]
Admit = Callable[[str, str], asyncio.Protocol | None]


class Addresses(Protocol):
    """A set of IP addresses."""

    def __contains__(self, address: str, /) -> bool: ...


class Door:
    """Accepts connections at an address until `close`.

    `admit` is given the client's IP address, and that of the proxy that the connection came through or "", and gives the protocol
    for it, or None to refuse it. From `proxies`, and nobody else, a PROXY header is read, which then must be there.
    `context` gives the TLS context of the moment; None leaves the connection in clear. `timeout` is for a handshake, in seconds,
    and for a header where that is shorter. At most `most_waiting` headers are waited for at a time. `spawn` starts tasks.
    """

    def __init__(
        self,
        admit: Admit,
        *,
        timeout: float,
        spawn: Spawn,
        context: Callable[[], ssl.SSLContext] | None = None,
        proxies: Addresses = (),
        most_waiting: int = 1_000,
    ) -> None:
        self._admit = admit
        self._context = context
        self._proxies = proxies
        self._timeout = timeout
        self.most_waiting = most_waiting
        self._waiting = 0
        self._spawn = spawn
        self._sockets: list[socket.socket] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._accepting: list[asyncio.Task[None]] = []
        self.addresses: tuple[str, ...] = ()

    async def open(self, address: str) -> None:
        """Listen at "host:port", as `streams.listen` does. Raises AddressProblem, ListenFailed."""
        bound = await bind(address)
        self.serve(bound)
        bound.close()

    def serve(self, bound: Bound) -> None:
        """Accept what comes to `bound`, which is left open."""
        for sock in bound.copies():
            sock.setblocking(False)
            self._sockets.append(sock)
            self._accepting.append(self._start(self._accept(sock)))
        self.addresses = bound.addresses

    def close(self) -> None:
        """Accept nobody more, and cut off the headers and handshakes that are under way. Safe to call twice."""
        self.shut()
        for task in list(self._tasks):
            task.cancel()

    def shut(self) -> None:
        """Accept nobody more; headers and handshakes that are under way go on."""
        for task in self._accepting:
            task.cancel()
        # Not kept: in a task that was cancelled a connection may be left that was accepted and is to be closed.
        self._accepting.clear()
        for sock in self._sockets:
            sock.close()

    @property
    def is_busy(self) -> bool:
        """Whether somebody stands in the door whom no protocol knows of yet."""
        return bool(self._tasks)

    def _start(self, work: Coroutine[Any, Any, None], abandoned: Callable[[], None] = lambda: None) -> asyncio.Task[None]:
        """`abandoned` is called instead where the work is cut off before it has begun, so that it cannot clean up itself."""
        task = self._spawn(work)
        self._tasks.add(task)

        def done(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            if task.cancelled():
                work.close()
                abandoned()

        task.add_done_callback(done)
        return task

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
            try:
                self._let_in(connection, normal_address(str(peer[0])))
            except Exception:
                connection.close()
                log.exception("a connection met a bug")  # which must not keep out all that come after it

    def _let_in(self, connection: socket.socket, address: str) -> None:
        if address not in self._proxies:
            if (protocol := self._admit(address, "")) is not None:
                self._start(self._connect(connection, protocol, address), partial(_drop, connection, protocol, None))
            else:
                connection.close()
        elif self._waiting < self.most_waiting:
            self._waiting += 1
            self._start(self._come_through(connection, address), connection.close)
        else:
            connection.close()
            log.warning("too many connections of proxies without a header", extra={"fields": {"proxy": address}})

    async def _come_through(self, connection: socket.socket, address: str) -> None:
        """A connection of the proxy at `address`."""
        try:
            async with asyncio.timeout(min(HEADER_TIMEOUT, self._timeout)):
                header = await _read_header(connection)
        except (OSError, proxy.ProxyProblem, asyncio.CancelledError) as error:
            connection.close()
            if not isinstance(error, asyncio.CancelledError):
                text = "no PROXY header in time" if isinstance(error, TimeoutError) else str(error)
                log.warning("a proxy did not say who its client is", extra={"fields": {"proxy": address, "error": text}})
            return
        finally:
            self._waiting -= 1
        client = header.source or address
        log.debug("connection through a proxy", extra={"fields": {"proxy": address, "peer": client, "port": header.port}})
        protocol = self._admit(client, address)
        if protocol is None:
            connection.close()
        else:
            await self._connect(connection, protocol, client)

    async def _connect(self, connection: socket.socket, protocol: asyncio.Protocol, client: str) -> None:
        options: dict[str, Any] = {}
        if self._context is not None:
            options["ssl"] = self._context()
            options["ssl_handshake_timeout"] = self._timeout
            options["ssl_shutdown_timeout"] = TLS_SHUTDOWN_TIMEOUT
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await asyncio.get_running_loop().connect_accepted_socket(lambda: protocol, connection, **options)
        except (OSError, asyncio.CancelledError) as error:  # ssl.SSLError and the timeout are OSErrors
            if isinstance(error, (ssl.SSLError, TimeoutError)):  # not: the client has gone again
                fields = {"peer": client, "error": str(error) or "not done in time"}
                log.info("TLS handshake failed", extra={"fields": fields})
            _drop(connection, protocol, error if isinstance(error, Exception) else None)


def _drop(connection: socket.socket, protocol: asyncio.Protocol, reason: Exception | None) -> None:
    connection.close()
    protocol.connection_lost(reason)


async def _read_header(connection: socket.socket) -> proxy.Header:
    """A PROXY header, and not an octet more: what follows it is read by somebody else. Raises OSError, ProxyProblem."""
    received = b""
    while True:
        await _readable(connection)
        try:
            ahead = connection.recv(proxy.MOST_OF_VERSION_2, socket.MSG_PEEK)
        except (BlockingIOError, InterruptedError):
            continue
        if not ahead:
            raise proxy.ProxyProblem("the connection was closed before its PROXY header")
        header = proxy.parse(received + ahead)
        mine = len(ahead) if header is None else header.length - len(received)
        received += connection.recv(mine)
        if header is not None:
            return header


async def _readable(sock: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(sock.fileno(), ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(sock.fileno())
