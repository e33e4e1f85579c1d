"""Many domains with their mail servers and their names in DNS, all of it on this machine.

    with FakeInternet() as internet:
        internet.domain("example.org")
        internet.domain("slow.example").script("MAIL", "451 4.3.0 later", times=1)
        async with waymail.Client("mx:", network=internet.network) as client:
            await client.send(message)
        assert internet.messages[0].recipients == ("ann@example.org",)

A name that was not made here does not exist, and an address that was not made refuses connections: nothing leaves the machine.
"""

from __future__ import annotations

import ipaddress
import itertools
import socket
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Self, Unpack

from waymail.client.signing import DkimKey
from waymail.net.network import Network
from waymail.testing.dns import DnsServer, serving
from waymail.testing.inbox import Inbox
from waymail.testing.loop import LoopThread
from waymail.testing.record import Record
from waymail.testing.smtp_options import OptionWords
from waymail.testing.smtp_server import HOST, SmtpServer
from waymail.testing.zone import Zone

# Set aside for documentation: nobody is there, and a program that judges addresses takes them for any other.
ADDRESSES = ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24")


class FakeInternet(Inbox):
    """The world; it exists while the `with` block lasts. `zone` is all there is in DNS and `dns` the server that serves it; both
    are made where they are not given. `messages` are those that all servers took, in order of arrival."""

    def __init__(self, zone: Zone | None = None, dns: DnsServer | None = None) -> None:
        super().__init__(Record())
        self.zone = zone or (dns.zone if dns else Zone({}))
        self._dns = dns
        self._hosts: dict[str, SmtpServer] = {}
        self._by_address: dict[str, SmtpServer] = {}
        self._free = itertools.chain.from_iterable(map(ipaddress.ip_network, ADDRESSES))
        self._loop = LoopThread("waymail.testing.internet")
        self._nobody = socket.socket()  # never listens
        self._opened = ExitStack()

    # --- how it is reached ---

    @property
    def dns(self) -> DnsServer:
        """The DNS server: `internet.dns.fail("example.org", "servfail")`."""
        if self._dns is None:
            raise RuntimeError("the internet exists within its with block")
        return self._dns

    @property
    def network(self) -> Network:
        """For `waymail.Client`, `waymail.send` and `waymail.Outbox`: leads to these servers, and to nobody else but loopback."""
        return Network(resolvers=(self.dns.address,), reroute=self.reroute)

    def reroute(self, host: str, port: int) -> tuple[str, int] | None:
        """Where a host (its name or address) is really; all of its ports are the same server."""
        server = self._hosts.get(host.lower().rstrip(".")) or self._by_address.get(host)
        if server is not None:
            return server.host, server.port
        return None if _is_here(host) else self._nobody.getsockname()

    # --- who is there ---

    def domain(self, name: str, **options: Unpack[OptionWords]) -> SmtpServer:
        """The mail server of a domain, mx.<name>, with its records in DNS. It is made when it is first asked for, with `options`
        as `SmtpServer` has them; STARTTLS is offered unless they say otherwise."""
        server = self.host(f"mx.{name}", **options)
        self.zone.add(name, {"MX": [(10, f"mx.{name}")]})
        return server

    def host(self, name: str, **options: Unpack[OptionWords]) -> SmtpServer:
        """The mail server at one host name, with its address in DNS, and no domain yet (see `mx`)."""
        name = name.lower().rstrip(".")
        if name in self._hosts:
            self._hosts[name].configure(**options)
            return self._hosts[name]
        given: OptionWords = {"tls": "starttls", "hostname": name}
        given.update(options)
        server = self._opened.enter_context(SmtpServer(loop=self._loop, on_mail=self._record.took, **given))
        address = str(next(free for free in self._free if int(free) % 256 not in (0, 255)))
        self._hosts[name] = self._by_address[address] = server
        self.zone.add(name, {"A": [address]})
        return server

    def mx(self, domain: str, hosts: Sequence[str]) -> None:
        """The mail of `domain` goes to these hosts, the first one preferred. Those that do not exist yet are made."""
        for name in hosts:
            self.host(name)
        self.zone.add(domain, {"MX": [(10 * at, name) for at, name in enumerate(hosts, 1)]})

    def null_mx(self, domain: str) -> None:
        """`domain` says that it takes no mail (RFC 7505)."""
        self.zone.add(domain, {"MX": [(0, ".")]})

    def down(self, name: str) -> SmtpServer:
        """A domain whose server refuses connections, until its `start`."""
        server = self.domain(name)
        server.stop()
        return server

    def publish(
        self,
        domain: str,
        *,
        spf: str | None = None,
        dmarc: str | None = None,
        dkim: DkimKey | Mapping[str, str] | None = None,
    ) -> None:
        """Put records into DNS that say who may send for `domain`: "v=spf1 mx -all", "v=DMARC1; p=reject", and of DKIM the
        key that signs, or records by their selectors."""
        if spf is not None:
            self.zone.add(domain, {"TXT": [spf]})
        if dmarc is not None:
            self.zone.add(f"_dmarc.{domain}", {"TXT": [dmarc]})
        records = {dkim.selector: dkim.record} if isinstance(dkim, DkimKey) else dkim or {}
        for selector, record in records.items():
            self.zone.add(f"{selector}._domainkey.{domain}", {"TXT": [record]})

    # --- what has happened ---

    @property
    def transcript(self) -> str:
        """All that was said, server by server."""
        said = ((name, server.transcript) for name, server in self._hosts.items())
        return "\n".join(f"{name}:\n{text}" for name, text in said if text)

    def clear(self) -> None:
        """Forget what has happened; scripts and records stay."""
        super().clear()
        for server in self._hosts.values():
            server.clear()

    def __enter__(self) -> Self:
        if self._dns is None:
            self._dns = self._opened.enter_context(serving(self.zone))
        self._nobody.bind((HOST, 0))
        self._opened.callback(self._nobody.close)
        self._loop.start()
        self._opened.callback(self._loop.stop)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._opened.close()


def _is_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
