"""Connecting through a proxy: SOCKS5 (RFC 1928, RFC 1929) and HTTP CONNECT (RFC 9110 §9.3.6), for both faces of the client.

    socks5://[user:password@]host[:port]     the name of the destination is resolved here; port 1080
    socks5h://...                            ... by the proxy
    http://[user:password@]host[:port]       CONNECT, by name; port 8080

What speaks to the proxy is python-socks (the extra `proxy`). It is lent a socket that is connected already: an SMTP server speaks
first, so what comes right behind the proxy's answer is the greeting, and `_Lent` gives python-socks no octet more than the answer
has, and none after the time is over. TLS begins behind the proxy, with the destination, whose certificate is verified as without
one. Raises `ConnectFailed`, whose text has neither user nor password.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

from waymail.net import blocking, streams
from waymail.net.streams import ConnectFailed, format_address
from waymail.wire import domains

P = TypeVar("P", bound=asyncio.BaseProtocol)

MISSING = 'a proxy needs the package python-socks: pip install "waymail[proxy]"'
_FORM = "a proxy is written socks5://user:password@host:port, socks5h://... (it resolves names) or http://... (CONNECT)"
_PORTS = {"socks5": 1080, "socks5h": 1080, "http": 8080}
_MOST = 16_384  # octets of an answer to CONNECT
_LONGEST = 255  # octets of a user name or password (RFC 1929 §2)
_UNPRINTABLE = re.compile(r"[^ -~]+")


@dataclass(frozen=True, slots=True)
class Proxy:
    """Where a proxy is, and who we are for it."""

    scheme: str
    host: str
    port: int
    user: str = ""
    password: str = field(default="", repr=False)

    @property
    def address(self) -> str:
        return format_address(self.host, self.port)


def parse(url: str) -> Proxy:
    """The parts of a proxy's URL. Raises ValueError, which says what to write instead and shows no password; also where
    python-socks is missing: before anything is sent is the time to say so."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ValueError(_FORM) from None
    if parts.scheme not in _PORTS or not host or port == 0 or parts.path.strip("/") or parts.query or parts.fragment:
        raise ValueError(_FORM)
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    for text in (user, password):
        if _UNPRINTABLE.search(text) or len(text) > _LONGEST:
            raise ValueError(f"user and password of a proxy are printable ASCII, {_LONGEST} characters at most")
    if parts.scheme == "http" and ":" in user:
        raise ValueError('the user name for an HTTP proxy has no ":" in it (RFC 7617 §2)')
    if bool(user) != bool(password):
        raise ValueError("a proxy is given both user and password, or neither")
    try:
        import python_socks  # noqa: F401
    except ImportError:
        raise ValueError(MISSING) from None
    return Proxy(parts.scheme, host, port or _PORTS[parts.scheme], user, password)


async def connect(
    proxy: Proxy,
    factory: Callable[[], P],
    host: str,
    port: int,
    *,
    timeout: float,
    tls: ssl.SSLContext | None = None,
    server_hostname: str | None = None,
    source: str | None = None,
) -> tuple[asyncio.Transport, P]:
    """`streams.connect`, through `proxy`. `source` is the address from which the proxy is connected to. Raises ConnectFailed,
    TlsFailed."""
    from python_socks.async_.asyncio import Proxy as Through

    until = time.monotonic() + timeout
    with _failures(proxy, host, port, timeout):
        name = _name(host)
        async with asyncio.timeout(timeout):
            lent: socket.socket = _Lent(await _reached(proxy, source, timeout), proxy, until)
            with blocking.closed_on_failure(lent):
                lent.setblocking(False)
                through = Through(**_arguments(proxy, _Waiting(lent)))
                await through.connect(name, port, timeout + 1)
    return await streams.adopt(
        factory,
        socket.socket(fileno=lent.detach()),
        format_address(host, port),
        timeout=max(0.001, until - time.monotonic()),
        tls=tls,
        server_hostname=server_hostname or host,
    )


def connect_blocking(
    proxy: Proxy,
    host: str,
    port: int,
    *,
    timeout: float,
    tls: ssl.SSLContext | None = None,
    server_hostname: str | None = None,
    source: str | None = None,
) -> socket.socket:
    """`blocking.connect`, through `proxy`. Raises ConnectFailed, TlsFailed."""
    from python_socks.sync import Proxy as Through

    until = time.monotonic() + timeout
    with _failures(proxy, host, port, timeout):
        name = _name(host)
        lent: socket.socket = _Lent(blocking.connect(proxy.host, proxy.port, timeout=timeout, source=source), proxy, until)
        with blocking.closed_on_failure(lent):
            through = Through(**_arguments(proxy, _Ready(lent)))
            through.connect(name, port)
    sock = socket.socket(fileno=lent.detach())
    sock.settimeout(timeout)
    if tls is None:
        return sock
    left = max(0.001, until - time.monotonic())
    return blocking.start_tls(sock, tls, server_hostname=server_hostname or host, timeout=left)


class _Lent(socket.socket):
    """A connection to the proxy, as python-socks sees it.

    For SOCKS that asks for as many octets as it needs. For CONNECT it asks once for whatever is there, which may be half of the
    answer, or more than it: so it is given the answer up to the empty line at its end.
    """

    def __init__(self, sock: socket.socket, proxy: Proxy, until: float) -> None:
        super().__init__(fileno=sock.detach())
        self._is_http = proxy.scheme == "http"
        self._answer = b""
        self._until = until

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        if not self._is_http:
            self._hurry()
            return super().recv(bufsize, flags)
        while not self._answer.endswith((b"\r\n\r\n", b"\n\n")) and len(self._answer) < _MOST:
            self._hurry()
            octet = super().recv(1)  # or nothing is there yet: the loop calls again, and it goes on from here
            if not octet:
                break
            self._answer += octet
        return self._answer

    def sendall(self, data: Any, flags: int = 0, /) -> None:
        self._hurry()
        super().sendall(data, flags)

    def _hurry(self) -> None:
        """Wait no longer than is left of the time, where it is the socket that waits."""
        if self.gettimeout() != 0:
            left = self._until - time.monotonic()
            if left <= 0:
                raise TimeoutError
            self.settimeout(left)


class _Ready:
    """What python-socks takes for a proxy in front of its own: its connection is the one that we have."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def connect(self, **_: object) -> socket.socket:
        return self._sock


class _Waiting:
    """The same, to be awaited."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    async def connect(self, **_: object) -> socket.socket:
        return self._sock


def _arguments(proxy: Proxy, forward: _Ready | _Waiting) -> dict[str, Any]:
    from python_socks import ProxyType

    return {
        "proxy_type": ProxyType.HTTP if proxy.scheme == "http" else ProxyType.SOCKS5,
        "host": proxy.host,
        "port": proxy.port,
        "username": proxy.user or None,
        "password": proxy.password or None,
        "rdns": proxy.scheme != "socks5",
        "forward": forward,
    }


def _name(host: str) -> str:
    """`host` as it is asked for: in A-labels. Raises ValueError for what is none, which must not get into a request."""
    name = host if host.isascii() else domains.to_ascii(host)
    if not 0 < len(name) <= _LONGEST or _UNPRINTABLE.search(name) or " " in name:
        raise ValueError
    return name


async def _reached(proxy: Proxy, source: str | None, timeout: float) -> socket.socket:
    """A connection to the proxy, at the first of its addresses that takes one. Raises ConnectFailed."""
    loop = asyncio.get_running_loop()
    last: OSError | ValueError = OSError()
    try:
        found = await loop.getaddrinfo(proxy.host, proxy.port, family=blocking.family_of(source), type=socket.SOCK_STREAM)
    except (OSError, ValueError) as error:
        found, last = [], error
    for family, _, _, _, address in found:
        try:
            with blocking.closed_on_failure(socket.socket(family, socket.SOCK_STREAM)) as sock:
                sock.setblocking(False)
                if source:
                    sock.bind((source, 0))
                await loop.sock_connect(sock, address)
                return sock
        except OSError as error:
            last = error
    raise streams.connect_failure(proxy.address, last, timeout) from last


@contextmanager
def _failures(proxy: Proxy, host: str, port: int, timeout: float) -> Iterator[None]:
    """All that can go wrong on the way, as ConnectFailed."""
    where = f"connect to {format_address(host, port)} through the proxy {proxy.address}"
    try:
        yield
    except ConnectFailed as error:
        raise ConnectFailed(f"the proxy cannot be reached: {error.text}", error.why) from error
    except TimeoutError as error:
        raise ConnectFailed(f"{where}: no connection within {timeout:g} s", "timed out") from error
    except Exception as error:  # whatever the proxy says, and however the library puts it
        raise ConnectFailed(f"{where}: {_words(error)}") from error


def _words(error: Exception) -> str:
    """What the proxy gave as its reason, fit for one line. Anything but a refusal may hold what is secret."""
    from python_socks import ProxyError

    if isinstance(error, ProxyError):
        return _UNPRINTABLE.sub("?", str(error))[:200]
    if isinstance(error, socket.gaierror | ValueError):
        return "the name does not resolve to an address"
    return "the connection was closed" if isinstance(error, OSError) else "the proxy answers what no proxy does"
