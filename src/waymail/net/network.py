"""How the world is reached: which resolvers are asked, from which address and through which proxy connections are made.

The same value serves the client, direct delivery and the outbox, over an event loop (`connect`) and without one
(`connect_blocking`). In tests it is how they stay on this machine: questions go to a DNS server of the tests, and `reroute` sends
connections elsewhere, while names and certificates are looked at as if it had not.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from waymail.net import blocking, proxied, streams
from waymail.net.streams import parse_address

P = TypeVar("P", bound=asyncio.BaseProtocol)
Reroute = Callable[[str, int], tuple[str, int] | None]


@dataclass(frozen=True)
class Network:
    """How to connect, and whom to ask.

    `resolvers` are the DNS servers for direct delivery ("127.0.0.1:5353"; the port may be left out); empty: those of the system.
    `source_address` is the local IP address from which connections are made, "" for any. `proxy` is the URL of a proxy, and may
    hold a password: socks5://, socks5h:// or http:// (see `waymail.net.proxied`); Unix-domain sockets are reached without it.

    `reroute` is for tests: it is given the host (a name or an IP address) and port of each connection, and returns where to
    connect instead, or None. TLS expects the certificate of the host that was meant.

    Raises ValueError for what cannot be meant, and where the proxy's package is not installed.
    """

    resolvers: Sequence[str] = ()
    reroute: Reroute | None = None
    source_address: str = ""
    proxy: str = field(default="", repr=False)
    _proxy: proxied.Proxy | None = field(init=False, repr=False, default=None)

    def __post_init__(self) -> None:
        if isinstance(self.resolvers, str):
            raise ValueError('resolvers is a sequence of addresses, as in ("127.0.0.1:5353",)')
        for text in self.resolvers:
            _check_ip(parse_address(text, default_port=53)[0], "a resolver is given by its IP address, as in 127.0.0.53:53")
        object.__setattr__(self, "resolvers", tuple(self.resolvers))
        if self.source_address:
            _check_ip(self.source_address, "source_address is an IP address of this machine, without a port")
        if self.proxy:
            object.__setattr__(self, "_proxy", proxied.parse(self.proxy))

    async def connect(
        self,
        factory: Callable[[], P],
        host: str,
        port: int,
        *,
        timeout: float,
        tls: ssl.SSLContext | None = None,
        server_hostname: str | None = None,
    ) -> tuple[asyncio.Transport, P]:
        """`net.streams.connect`, by way of this network. Raises ConnectFailed, TlsFailed."""
        where = self._where(host, port)
        options = self._options(timeout, tls, server_hostname or host)
        if self._proxy is not None:
            return await proxied.connect(self._proxy, factory, *where, **options)
        return await streams.connect(factory, *where, **options)

    def connect_blocking(
        self,
        host: str,
        port: int,
        *,
        timeout: float,
        tls: ssl.SSLContext | None = None,
        server_hostname: str | None = None,
    ) -> socket.socket:
        """`net.blocking.connect`, by way of this network. Raises ConnectFailed, TlsFailed."""
        where = self._where(host, port)
        options = self._options(timeout, tls, server_hostname or host)
        if self._proxy is not None:
            return proxied.connect_blocking(self._proxy, *where, **options)
        return blocking.connect(*where, **options)

    def _where(self, host: str, port: int) -> tuple[str, int]:
        return (self.reroute(host, port) if self.reroute is not None else None) or (host, port)

    def _options(self, timeout: float, tls: ssl.SSLContext | None, server_hostname: str) -> dict[str, Any]:
        source = self.source_address or None
        return {"timeout": timeout, "tls": tls, "server_hostname": server_hostname, "source": source}


DIRECT = Network()


def network_of(network: Network | None, source_address: str | None, proxy: str | None) -> Network:
    """`network`, with what is said besides it. Raises ValueError as Network does."""
    network = network or DIRECT
    if not source_address and not proxy:
        return network
    return replace(network, source_address=source_address or network.source_address, proxy=proxy or network.proxy)


def _check_ip(text: str, what: str) -> None:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        raise ValueError(f"{text!r}: {what}") from None
