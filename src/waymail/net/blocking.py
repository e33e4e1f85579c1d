"""Connections for programs without an event loop: what `net.streams` does, over blocking sockets.

The same arguments, and the same failures with the same texts: `ConnectFailed` and `TlsFailed`. A socket that is returned has a
timeout set (what was given), which whoever goes on with it replaces. Small writes go out at once (TCP_NODELAY).
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

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

    `timeout` (seconds) covers resolving, connecting and the handshake. With `tls` it speaks TLS from the first octet (RFC 8314
    §3), expecting `server_hostname` (default: `host`), and returns an `ssl.SSLSocket`. `source` is the local IP address to
    connect from. Raises ConnectFailed, TlsFailed.
    """
    until = time.monotonic() + timeout
    where = format_address(host, port) + (f" from {source}" if source else "")
    try:
        found = _addresses(host, port, family_of(source), timeout)
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


def _addresses(host: str, port: int, family: socket.AddressFamily, timeout: float) -> Sequence[Any]:
    """What the system makes of a name. Nothing can interrupt it, so it is asked in a thread, for which nobody waits longer than
    `timeout` seconds. Raises OSError, TimeoutError among them, and ValueError."""
    ask = partial(socket.getaddrinfo, host, port, family, socket.SOCK_STREAM)
    if _is_address(host):
        return ask()
    answer: Future[Sequence[Any]] = Future()

    def work() -> None:
        try:
            answer.set_result(ask())
        except Exception as error:  # noqa: BLE001 - who waits gets it
            answer.set_exception(error)

    try:
        threading.Thread(target=work, name="waymail-resolve", daemon=True).start()
    except RuntimeError:  # the program is ending: no thread begins any more
        return ask()
    return answer.result(timeout)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


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
