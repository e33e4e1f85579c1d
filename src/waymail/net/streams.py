"""TCP and Unix-domain connections, TLS on them, and listening: the only place that opens a socket.

Protocols, not streams: what arrives is handed to an `asyncio.Protocol` at once. Works the same under uvloop. Everything
that waits takes a timeout in seconds. Failure is one of `ConnectFailed`, `TlsFailed`, `ListenFailed`: `text` may be shown
to anybody, the exception that caused it (`__cause__`) is for the operator. Small writes go out at once (TCP_NODELAY, which
asyncio and uvloop set by themselves): replies are gathered by their writer.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import ssl
import sys
from collections.abc import Callable
from typing import Any, TypeVar

P = TypeVar("P", bound=asyncio.BaseProtocol)

TLS_SHUTDOWN_TIMEOUT = 5.0  # seconds that a closed connection waits for the other side's close_notify
_SAME_PORT_TRIES = 20


class StreamError(Exception):
    """What went wrong with a connection. `text` is fit for a reply, a notice or a log."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


class ConnectFailed(StreamError):
    """No connection came about. `why` is the cause in a word or two, "" where there is none: it names nothing of this machine."""

    def __init__(self, text: str, why: str = "") -> None:
        super().__init__(text)
        self.why = why


class TlsFailed(StreamError):
    """The connection came about, but not TLS on it. `certificate` is true where the peer's certificate was the reason."""

    def __init__(self, text: str, *, certificate: bool = False) -> None:
        super().__init__(text)
        self.certificate = certificate


class ListenFailed(StreamError):
    """The address cannot be listened on; `text` says what to do about it."""


class AddressProblem(ValueError):
    """A text that is no "host:port"."""


async def connect(
    factory: Callable[[], P],
    host: str,
    port: int,
    *,
    timeout: float,
    tls: ssl.SSLContext | None = None,
    server_hostname: str | None = None,
    source: str | None = None,
) -> tuple[asyncio.Transport, P]:
    """Connect to an IP address or to a name that the system resolves, and give the connection to `factory()`.

    `timeout` (seconds) covers resolving, connecting and the handshake. With `tls` it speaks TLS from the first octet (RFC
    8314 §3), expecting `server_hostname` (default: `host`). `source` is the local IP address to connect from.
    Raises ConnectFailed, TlsFailed.
    """
    options: dict[str, Any] = {"local_addr": (source, 0)} if source else {}
    return await _connected(
        asyncio.get_running_loop().create_connection(
            factory, host, port, **options, **_tls_options(tls, server_hostname or host, timeout)
        ),
        format_address(host, port) + (f" from {source}" if source else ""),
        timeout,
    )


async def adopt(
    factory: Callable[[], P],
    sock: socket.socket,
    where: str,
    *,
    timeout: float,
    tls: ssl.SSLContext | None = None,
    server_hostname: str | None = None,
) -> tuple[asyncio.Transport, P]:
    """The same over a socket that is connected already, which failures call `where`. Raises ConnectFailed, TlsFailed."""
    sock.setblocking(False)
    return await _connected(
        asyncio.get_running_loop().create_connection(factory, sock=sock, **_tls_options(tls, server_hostname or "", timeout)),
        where,
        timeout,
    )


async def connect_unix(
    factory: Callable[[], P],
    path: str,
    *,
    timeout: float,
    tls: ssl.SSLContext | None = None,
    server_hostname: str | None = None,
) -> tuple[asyncio.Transport, P]:
    """The same over a Unix-domain socket (LMTP). Raises ConnectFailed, TlsFailed."""
    return await _connected(
        asyncio.get_running_loop().create_unix_connection(factory, path, **_tls_options(tls, server_hostname or "", timeout)),
        path,
        timeout,
    )


async def start_tls(
    transport: asyncio.Transport,
    protocol: asyncio.Protocol,
    context: ssl.SSLContext,
    *,
    server_side: bool,
    server_hostname: str | None = None,
    timeout: float,
) -> asyncio.Transport:
    """Speak TLS from here on (RFC 3207 §4), within `timeout` seconds. Returns the transport to use instead of `transport`.

    Octets that the protocol has received already are its own to drop; it should have paused reading when it knew that TLS
    comes next. Raises TlsFailed; the connection is closed then.
    """
    if transport.is_closing():
        raise TlsFailed("TLS handshake: the connection was closed")
    try:
        async with asyncio.timeout(timeout):
            secure = await asyncio.get_running_loop().start_tls(
                transport,
                protocol,
                context,
                server_side=server_side,
                server_hostname=server_hostname,
                ssl_handshake_timeout=timeout + 1,  # ours comes first, and is told from a closed connection
                ssl_shutdown_timeout=TLS_SHUTDOWN_TIMEOUT,
            )
    except OSError as error:  # ssl.SSLError and the timeout are some, too
        transport.abort()
        raise tls_failure(error, timeout) from error
    except asyncio.CancelledError:
        transport.abort()
        raise
    # uvloop gives a transport also for a connection that was cut off meanwhile
    if secure is None or secure.get_extra_info("ssl_object") is None:
        raise TlsFailed("TLS handshake: the connection was closed")
    return secure


class Bound:
    """Sockets that listen, whoever accepts what comes. They can go from one who accepts to the next: whoever connects in between
    waits, and is not refused. `closed` is called when they are closed."""

    def __init__(
        self, sockets: list[socket.socket], addresses: tuple[str, ...], closed: Callable[[], None] = lambda: None
    ) -> None:
        self._sockets = sockets
        self._closed = closed
        self.addresses = addresses

    def copies(self) -> list[socket.socket]:
        """The same sockets once more. Closing a copy leaves the others open."""
        return [sock.dup() for sock in self._sockets]

    def close(self) -> None:
        """Listen no more. Safe to call twice."""
        for sock in self._sockets:
            sock.close()
        self._closed()


class Listener:
    """What listens. `addresses` are the real ones ("127.0.0.1:2525", "[::1]:2525"), also where port 0 was asked for."""

    def __init__(
        self, servers: list[asyncio.Server], addresses: tuple[str, ...], closed: Callable[[], None] = lambda: None
    ) -> None:
        """`closed` is called when nobody is accepted any more."""
        self._servers = servers
        self._closed = closed
        self.addresses = addresses

    @property
    def port(self) -> int:
        return parse_address(self.addresses[0])[1]

    def close(self) -> None:
        """Accept no more connections; those that exist go on. Safe to call twice."""
        for server in self._servers:
            server.close()
        self._closed()


async def listen(
    factory: Callable[[], asyncio.BaseProtocol],
    address: str,
    *,
    tls: ssl.SSLContext | None = None,
    backlog: int = 1024,
    reuse_port: bool = False,
) -> Listener:
    """Listen on "host:port" and give each connection to a new `factory()`.

    An IPv6 address listens on IPv6 alone, so that "0.0.0.0:25" and "[::]:25" stand side by side; a name ("localhost:2525")
    listens on all its addresses, with the same port. Port 0 takes a free one. With `tls`, connections speak TLS from the
    first octet. `reuse_port` lets several processes share the port (SO_REUSEPORT). Raises AddressProblem, ListenFailed.
    """
    return await serve(factory, await bind(address, backlog, reuse_port=reuse_port), tls=tls, backlog=backlog, keep=False)


async def serve(
    factory: Callable[[], asyncio.BaseProtocol],
    bound: Bound,
    *,
    tls: ssl.SSLContext | None = None,
    backlog: int = 1024,
    keep: bool = True,
) -> Listener:
    """Accept what comes to `bound`, as `listen` does. With `keep` that is left open when the listener is closed."""
    loop = asyncio.get_running_loop()
    options: dict[str, Any] = {"ssl": tls, "ssl_shutdown_timeout": TLS_SHUTDOWN_TIMEOUT} if tls else {}
    servers = []
    for sock in bound.copies():
        is_unix = sock.family == socket.AF_UNIX
        create = loop.create_unix_server if is_unix else loop.create_server
        # From Python 3.13 on a loop removes the name of a Unix socket, also where another goes on with it; `net.unix` does that.
        own: dict[str, Any] = {"cleanup_socket": False} if is_unix and sys.version_info >= (3, 13) else {}
        servers.append(await create(factory, sock=sock, backlog=backlog, **options, **own))
    return Listener(servers, bound.addresses, (lambda: None) if keep else bound.close)


async def bind(address: str, backlog: int = 1024, *, reuse_port: bool = False) -> Bound:
    """The sockets of `listen`, one for each address of a name. Nobody accepts yet. Raises AddressProblem, ListenFailed."""
    loop = asyncio.get_running_loop()
    host, port = parse_address(address)
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise ListenFailed(f"cannot listen on {address}: {host} does not resolve to an address") from error
    sockets = _listening([(family, sockaddr) for family, _, _, _, sockaddr in found], address, backlog, reuse_port)
    return Bound(sockets, tuple(format_address(*sock.getsockname()[:2]) for sock in sockets))


def parse_address(text: str, default_port: int | None = None) -> tuple[str, int]:
    """Host and port of "host:port", "192.0.2.1:25" or "[2001:db8::1]:25"; without the port where there is a default for it.

    Raises AddressProblem, which says what is wrong.
    """
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket:
            raise AddressProblem(f"{text!r}: the closing bracket is missing")
        if rest and not rest.startswith(":"):
            raise AddressProblem(f"{text!r}: after the bracket comes a colon and the port")
        port = rest[1:] if rest else None
    elif text.count(":") > 1:
        if default_port is None:
            raise AddressProblem(f"{text!r}: an IPv6 address with a port is written in brackets, as in [::]:25")
        host, port = text, None
    else:
        host, colon, digits = text.partition(":")
        port = digits if colon else None
    if not host:
        raise AddressProblem(f"{text!r}: the host is missing; for all addresses write 0.0.0.0:25 or [::]:25")
    if port is None:
        if default_port is None:
            raise AddressProblem(f"{text!r}: the port is missing, as in {format_address(host, 25)}")
        return host, default_port
    if not (port.isascii() and port.isdigit() and int(port) <= 65535):
        raise AddressProblem(f"{text!r}: the port is a number from 0 to 65535, not {port!r}")
    return host, int(port)


def format_address(host: str, port: int) -> str:
    """The text that `parse_address` reads: IPv6 addresses in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def normal_address(address: str) -> str:
    """An IP address as policy should see it: IPv4 in IPv6's clothes ("::ffff:192.0.2.1") plain, and without a zone ("%eth0")."""
    if address.startswith("::ffff:") and "." in address:
        return address[7:]
    return address.partition("%")[0]


def peer_address(transport: asyncio.BaseTransport) -> str:
    """The other side's IP address, or "" for a Unix-domain socket and for a connection that is gone already."""
    peer = transport.get_extra_info("peername")
    return normal_address(peer[0]) if isinstance(peer, tuple) else ""


async def _connected(connecting: Any, where: str, timeout: float) -> tuple[asyncio.Transport, Any]:
    try:
        async with asyncio.timeout(timeout):
            transport, protocol = await connecting
            return transport, protocol
    except ssl.SSLError as error:
        raise tls_failure(error, timeout) from error
    except (OSError, ValueError) as error:  # asyncio's timeout is one too
        raise connect_failure(where, error, timeout) from error


def _tls_options(tls: ssl.SSLContext | None, server_hostname: str, timeout: float) -> dict[str, Any]:
    if tls is None:
        return {}
    return {
        "ssl": tls,
        "server_hostname": server_hostname,
        "ssl_handshake_timeout": timeout + 1,
        "ssl_shutdown_timeout": TLS_SHUTDOWN_TIMEOUT,
    }


def connect_failure(where: str, error: OSError | ValueError, timeout: float) -> ConnectFailed:
    """What to raise where connecting to `where` ended with `error`. A ValueError is that of a name that can be none."""
    return ConnectFailed(f"connect to {where}: {_reason(error, timeout)}", _in_short(error))


def _reason(error: OSError | ValueError, timeout: float) -> str:
    """In words, without what only concerns this machine."""
    if isinstance(error, TimeoutError) and error.errno is None:
        return f"no connection within {timeout:g} s"
    if isinstance(error, socket.gaierror | ValueError):
        return "the name does not resolve to an address"
    if "path too long" in str(error):
        return "the path of a socket has 107 octets at most"  # and Python gives no number
    if error.errno is not None:
        return os.strerror(error.errno)
    if isinstance(error, ConnectionError):
        return "the connection was closed"
    return "no address could be reached"  # asyncio tried several and gives no single number


def _in_short(error: OSError | ValueError) -> str:
    if isinstance(error, TimeoutError):  # ETIMEDOUT is one, too
        return "timed out"
    if isinstance(error, socket.gaierror | ValueError):
        return "the name does not resolve"
    if isinstance(error, ConnectionError):
        return "refused" if isinstance(error, ConnectionRefusedError) else "closed at once"
    return "no route" if error.errno in (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EHOSTDOWN) else ""


def tls_failure(error: Exception, timeout: float) -> TlsFailed:
    """What to raise where a handshake ended with `error`."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return TlsFailed(f"TLS handshake: certificate not accepted: {error.verify_message}", certificate=True)
    if isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError):
        if error.reason == "WRONG_VERSION_NUMBER":
            return TlsFailed("TLS handshake: the other side does not speak TLS at this port")
        return TlsFailed(f"TLS handshake: {(error.reason or 'failed').lower().replace('_', ' ')}")
    if isinstance(error, TimeoutError):
        return TlsFailed(f"TLS handshake: not done within {timeout:g} s")
    if isinstance(error, ConnectionError | ssl.SSLEOFError):
        return TlsFailed("TLS handshake: the connection was closed")
    return TlsFailed(f"TLS handshake: {error}")


def _listening(found: list[tuple[int, Any]], address: str, backlog: int, reuse_port: bool) -> list[socket.socket]:
    """A listening socket for each address; where port 0 was asked for, all on the same free port."""
    for tries_left in range(_SAME_PORT_TRIES, 0, -1):
        sockets: list[socket.socket] = []
        free_port = 0
        try:
            for family, sockaddr in dict.fromkeys(found):
                wanted = (sockaddr[0], sockaddr[1] or free_port, *sockaddr[2:])
                sockets.append(_listening_socket(family, wanted, backlog, reuse_port))
                free_port = sockets[0].getsockname()[1]
        except OSError as error:
            for sock in sockets:
                sock.close()
            if found[0][1][1] == 0 and error.errno == errno.EADDRINUSE and tries_left > 1:
                continue
            raise _listen_failure(address, error) from error
        return sockets
    raise AssertionError("unreachable")


def _listening_socket(family: int, sockaddr: Any, backlog: int, reuse_port: bool) -> socket.socket:
    # asyncio sets TCP_NODELAY on accepted connections only where the listening socket names its protocol.
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a restart need not wait for old connections to fade
        if reuse_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.setblocking(False)
        sock.bind(sockaddr)
        sock.listen(backlog)  # only here does Linux refuse the second of two that bound at the same moment
    except OSError:
        sock.close()
        raise
    return sock


def _listen_failure(address: str, error: OSError) -> ListenFailed:
    port = parse_address(address)[1]
    fixes = {
        errno.EADDRINUSE: "another program listens there already: stop it (`ss -ltnp` shows it), or choose another address",
        errno.EACCES: f"port {port} needs a privilege: grant CAP_NET_BIND_SERVICE (systemd: AmbientCapabilities=), "
        f"lower net.ipv4.ip_unprivileged_port_start, or choose a port above 1023",
        errno.EADDRNOTAVAIL: "this machine has no such address: choose one that `ip address` shows, or 0.0.0.0 for all",
    }
    return ListenFailed(f"cannot listen on {address}: {fixes.get(error.errno or 0, error.strerror or str(error))}")
