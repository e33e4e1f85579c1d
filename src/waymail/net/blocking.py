"""Connections for programs without an event loop: what `net.streams` does, over blocking sockets.

The same arguments, and the same failures with the same texts: `ConnectFailed` and `TlsFailed`. A socket that is returned has a
timeout set (what was given), which whoever goes on with it replaces. Small writes go out at once (TCP_NODELAY).
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

from waymail.net.streams import connect_failure, format_address, tls_failure

S = TypeVar("S", bound=socket.socket)


def connect(
    host: str,
    port: int,
    *,
    timeout: float,
    tls: ssl.SSLContext | None = None,
    server_hostname: str | None = None,
    source: str | None = None,
) -> socket.socket:
    """Connect to an IP address, or to a name that the system resolves: to its addresses one after the other.

    `timeout` (seconds) covers connecting and the handshake; how long the system may take to resolve a name is a matter of
    resolv.conf. With `tls` it speaks TLS from the first octet (RFC 8314 §3), expecting `server_hostname` (default: `host`), and
    returns an `ssl.SSLSocket`. `source` is the local IP address to connect from. Raises ConnectFailed, TlsFailed.
    """
    until = time.monotonic() + timeout
    where = format_address(host, port) + (f" from {source}" if source else "")
    try:
        found = socket.getaddrinfo(host, port, family_of(source), socket.SOCK_STREAM)
    except (OSError, ValueError) as error:
        raise connect_failure(where, error, timeout) from error
    last: OSError = TimeoutError()
    for family, _, _, _, address in found:
        try:
            sock = _connected(family, address, until, source)
        except OSError as error:
            last = error
            continue
        return _secured(sock, tls, server_hostname or host, until, timeout)
    raise connect_failure(where, last, timeout) from last


def connect_unix(
    path: str, *, timeout: float, tls: ssl.SSLContext | None = None, server_hostname: str | None = None
) -> socket.socket:
    """The same over a Unix-domain socket. Raises ConnectFailed, TlsFailed."""
    until = time.monotonic() + timeout
    try:
        sock = _connected(socket.AF_UNIX, path, until)
    except (OSError, ValueError) as error:
        raise connect_failure(path, error, timeout) from error
    return _secured(sock, tls, server_hostname or "", until, timeout)


def start_tls(sock: socket.socket, context: ssl.SSLContext, *, server_hostname: str | None, timeout: float) -> ssl.SSLSocket:
    """Speak TLS from here on (RFC 3207 §4), within `timeout` seconds. `sock` is of no more use: use what is returned.

    Raises TlsFailed; the connection is closed then.
    """
    with closed_on_failure(sock):
        try:
            secure = context.wrap_socket(sock, server_hostname=server_hostname or None, do_handshake_on_connect=False)
        except (OSError, ValueError) as error:
            raise tls_failure(error, timeout) from error
    with closed_on_failure(secure):
        try:
            secure.settimeout(timeout)
            secure.do_handshake()  # for which the timeout is one in all, however many octets come
        except (OSError, ValueError) as error:
            raise tls_failure(error, timeout) from error
    return secure


def family_of(source: str | None) -> socket.AddressFamily:
    """The family of the addresses that can be connected to from `source`."""
    if not source:
        return socket.AF_UNSPEC
    return socket.AF_INET6 if ":" in source else socket.AF_INET


def _connected(family: int, address: object, until: float, source: str | None = None) -> socket.socket:
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError
    sock = socket.socket(family, socket.SOCK_STREAM)
    with closed_on_failure(sock):
        if family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if source:
            sock.bind((source, 0))
        sock.settimeout(left)
        sock.connect(address)  # type: ignore[arg-type]  # one that getaddrinfo gave, or a path
    return sock


def _secured(sock: socket.socket, tls: ssl.SSLContext | None, hostname: str, until: float, timeout: float) -> socket.socket:
    sock.settimeout(timeout)
    if tls is None:
        return sock
    return start_tls(sock, tls, server_hostname=hostname, timeout=max(0.001, until - time.monotonic()))


@contextmanager
def closed_on_failure(sock: S) -> Iterator[S]:
    """The socket, closed where the block is left by an exception."""
    try:
        yield sock
    except BaseException:
        sock.close()
        raise
