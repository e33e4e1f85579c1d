"""Asks DNS, through dnspython's asynchronous stub resolver, and remembers the answers.

`ask` never raises and never hangs: a resolver that is down, lies or is silent gives an answer of status FAILURE whose
reason says so. It belongs to one event loop.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import dns.asyncbackend
import dns.asyncresolver
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.nameserver
import dns.rdatatype
import dns.resolver

from waymail.lookups import Answer, Query
from waymail.net import answers
from waymail.net.clock import Clock, SystemClock

AT_ONCE = 500  # questions under way; each has a socket. Further ones wait for their turn, within their lifetime
AVOIDED = 60  # seconds for which a resolver that was silent is asked after the others
_PAYLOAD = 1232  # octets of a UDP answer: does not get fragmented


class Resolver:
    """A caching stub resolver.

    `resolvers` are addresses ("127.0.0.53:53", "[::1]:53"; the port may be left out), tried in order, but last for a minute
    where one was silent; None means those of `resolv_conf`. `dnssec` "trust-ad" believes the AD bit, but only of a resolver
    on a loopback address: from further away anybody could have set it (RFC 6698 §A.3). `timeout` is for one try, `lifetime`
    for a whole question with all its tries, both in seconds. `entries` bounds the cache, `at_once` the questions under way.

    Raises ValueError for a resolver that is no IP address.
    """

    def __init__(
        self,
        resolvers: Sequence[str] | None = None,
        *,
        dnssec: Literal["trust-ad", "off"] = "trust-ad",
        timeout: float = 5.0,
        lifetime: float = 20.0,
        clock: Clock | None = None,
        entries: int = answers.CACHE_ENTRIES,
        at_once: int = AT_ONCE,
        resolv_conf: str = "/etc/resolv.conf",
    ) -> None:
        self._clock = clock or SystemClock()
        self._servers = None if resolvers is None else [_server(text, self._clock) for text in resolvers]
        self._trust_ad = dnssec == "trust-ad"
        self._timeout = timeout
        self._lifetime = lifetime
        self._resolv_conf = resolv_conf
        self._turn = asyncio.Semaphore(at_once)
        self._stub: dns.asyncresolver.Resolver | None = None
        self._backend = _ConnectedSockets()
        self._cache = answers.Cache(entries)
        self._open: dict[tuple[str, str], asyncio.Task[Answer]] = {}

    def cached(self, query: Query) -> Answer | None:
        """The answer, where it is known and has not expired. Its `ttl` is the one it came with."""
        return self._cache.get(answers.key_of(query), self._clock.monotonic())

    async def ask(self, query: Query) -> Answer:
        """The answer, from the cache or from DNS. Whoever asks the same question meanwhile shares the lookup."""
        if answer := self.cached(query):
            return answer
        key = answers.key_of(query)
        lookup = self._open.get(key)
        if lookup is None:
            # A task of its own, which ends by itself after `lifetime`: one asker's cancellation must not end it for the others.
            lookup = self._open[key] = asyncio.get_running_loop().create_task(self._look_up(key))
        return await asyncio.shield(lookup)

    async def close(self) -> None:
        """End the lookups that are still open."""
        lookups = list(self._open.values())
        for lookup in lookups:
            lookup.cancel()
        await asyncio.gather(*lookups, return_exceptions=True)

    async def _look_up(self, key: tuple[str, str]) -> Answer:
        try:
            async with asyncio.timeout(self._lifetime + 1):  # dnspython keeps the lifetime; this holds where it does not
                async with self._turn:
                    answer = await self._resolve(*key)
        except dns.resolver.NXDOMAIN as error:
            answer = self._no_name(error)
        except Exception as error:  # noqa: BLE001 - malformed answers take many shapes; none of them may end a session
            answer = answers.not_found(error, self._lifetime)
        finally:
            del self._open[key]
        self._cache.put(key, answer, self._clock.monotonic())
        return answer

    async def _resolve(self, name: str, kind: str) -> Answer:
        try:
            full_name = answers.dns_name(name)
        except dns.exception.DNSException as error:
            return answers.no_possible_name(error)
        if self._stub is None:
            self._stub = self._make_stub()
        self._stub.nameservers = self._in_order()
        found = await self._stub.resolve(
            full_name, kind, raise_on_no_answer=False, lifetime=self._lifetime, search=False, backend=self._backend
        )
        authentic = self._trust_ad and answers.ad_is_believed(found.response, [found.nameserver or ""])
        return answers.found(found, kind, authentic=authentic)

    def _in_order(self) -> list[str | dns.nameserver.Nameserver]:
        """The resolvers as they were given, but last those that were silent: they cost each question their timeout."""
        servers = self._servers or []
        if self._trust_ad and len({server.is_near for server in servers}) > 1:
            return list(servers)  # whoever makes the near one slow must not have the others asked, who vouch for nothing
        now = self._clock.monotonic()
        return [*sorted(servers, key=lambda server: server.avoided_until > now)]

    def _make_stub(self) -> dns.asyncresolver.Resolver:
        """Raises dns.resolver.NoResolverConfiguration where `resolv_conf` cannot be read or names no server."""
        stub = dns.asyncresolver.Resolver(self._resolv_conf, configure=self._servers is None)
        if self._servers is None:
            self._servers = [_Server(str(address), 53, self._clock) for address in stub.nameservers]
        stub.nameservers = list(self._servers)
        stub.timeout = self._timeout
        stub.cache = None
        # AD in the question asks for it in the answer; DO as well, for resolvers that know only that.
        stub.use_edns(0, dns.flags.DO if self._trust_ad else 0, _PAYLOAD)
        stub.flags = dns.flags.RD | (dns.flags.AD if self._trust_ad else 0)
        return stub

    def _no_name(self, error: dns.resolver.NXDOMAIN) -> Answer:
        # dnspython does not say who gave this answer, so all that might have must be near.
        near = self._trust_ad and answers.ad_is_believed(answers.response_of(error), [one.address for one in self._servers or ()])
        return replace(answers.not_found(error, self._lifetime), authentic=near)


class _Server(dns.nameserver.Do53Nameserver):
    """A resolver that remembers that it was silent or out of reach."""

    def __init__(self, address: str, port: int, clock: Clock) -> None:
        super().__init__(address, port)
        self.is_near = ipaddress.ip_address(address).is_loopback
        self.avoided_until = 0.0
        self._clock = clock

    async def async_query(self, *args: Any, **kwargs: Any) -> dns.message.Message:
        try:
            response = await super().async_query(*args, **kwargs)
        except (dns.exception.Timeout, OSError):
            self.avoided_until = self._clock.monotonic() + AVOIDED
            raise
        self.avoided_until = 0.0
        return response


class _ConnectedSockets(dns.asyncbackend.Backend):  # type: ignore[name-defined, misc]
    """dnspython's asyncio backend, but with connected UDP sockets: the kernel then drops datagrams from elsewhere, and a
    resolver that is not there is noticed at once instead of after the timeout."""

    def __init__(self) -> None:
        self._asyncio: Any = dns.asyncbackend.get_backend("asyncio")

    def name(self) -> str:
        return "asyncio"

    def datagram_connection_required(self) -> bool:
        return True

    async def make_socket(self, *args: Any, **kwargs: Any) -> Any:
        return await self._asyncio.make_socket(*args, **kwargs)

    async def sleep(self, interval: float) -> None:
        await asyncio.sleep(interval)

    async def wait_for(self, awaitable: Any, timeout: Any) -> Any:
        return await self._asyncio.wait_for(awaitable, timeout)


def _server(text: str, clock: Clock) -> _Server:
    return _Server(*answers.resolver_address(text), clock)
