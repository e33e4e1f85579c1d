"""Asks DNS without an event loop, through dnspython's own resolver, and remembers the answers.

`answer` makes it a `waymail.lookups.Zone`: `lookups.run` drives code that asks with it. It never raises, and takes `lifetime`
seconds at most. Any number of threads may use one.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import TypeVar

import dns.exception
import dns.nameserver
import dns.resolver

from waymail.lookups import Answer, Lookups, Query, Status, run
from waymail.net import answers

T = TypeVar("T")

_PAYLOAD = 1232  # octets of a UDP answer: does not get fragmented


def drive(lookups: Lookups[T], resolver: BlockingResolver, *, deadline: float) -> T:
    """`net.drive.drive` without an event loop: the questions are asked one after the other, for `deadline` seconds in all."""
    return run(lookups, _Hurried(resolver, time.monotonic() + deadline))


class BlockingResolver:
    """A caching stub resolver.

    `resolvers` are addresses ("127.0.0.53:53"; the port may be left out), tried in order; None, or none, means those of
    resolv.conf. `timeout` is for one try, `lifetime` for a whole question with all its tries, both in seconds.

    It does not believe what a resolver says of DNSSEC: no answer is authentic. Raises ValueError for a resolver that is no IP
    address.
    """

    def __init__(self, resolvers: Sequence[str] | None = None, *, timeout: float = 5.0, lifetime: float = 20.0) -> None:
        self._servers = [dns.nameserver.Do53Nameserver(*answers.resolver_address(text)) for text in resolvers or ()]
        self._timeout = timeout
        self._lifetime = lifetime
        self._stub: dns.resolver.Resolver | None = None
        self._cache = answers.Cache()
        self._lock = threading.Lock()

    def answer(self, query: Query, *, seconds: float | None = None) -> Answer:
        """The answer, from the cache or from DNS; a FAILURE where there is none within `seconds`, or within the lifetime."""
        key = answers.key_of(query)
        with self._lock:
            known = self._cache.get(key, time.monotonic())
        if known is not None:
            return known
        lifetime = self._lifetime if seconds is None else min(seconds, self._lifetime)
        try:
            found = self._resolve(*key, lifetime)
        except Exception as error:  # noqa: BLE001 - malformed answers take many shapes; none of them may end a session
            found = answers.not_found(error, lifetime)
        if found.status is not Status.FAILURE or lifetime == self._lifetime:  # others may have more time
            with self._lock:
                self._cache.put(key, found, time.monotonic())
        return found

    def _resolve(self, name: str, kind: str, lifetime: float) -> Answer:
        try:
            full_name = answers.dns_name(name)
        except dns.exception.DNSException as error:
            return answers.no_possible_name(error)
        if lifetime <= 0:
            raise TimeoutError
        if self._stub is None:
            self._stub = self._make_stub()
        return answers.found(self._stub.resolve(full_name, kind, raise_on_no_answer=False, lifetime=lifetime, search=False), kind)

    def _make_stub(self) -> dns.resolver.Resolver:
        """Raises dns.resolver.NoResolverConfiguration where resolv.conf cannot be read or names no server."""
        stub = dns.resolver.Resolver(configure=not self._servers)
        if self._servers:
            stub.nameservers = list(self._servers)
        stub.timeout = self._timeout
        stub.cache = None
        stub.use_edns(0, 0, _PAYLOAD)
        return stub


class _Hurried:
    """Answers until the time is over, and then that it is."""

    def __init__(self, resolver: BlockingResolver, until: float) -> None:
        self._resolver = resolver
        self._until = until

    def answer(self, query: Query) -> Answer:
        return self._resolver.answer(query, seconds=self._until - time.monotonic())
