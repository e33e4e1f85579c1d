"""From what dnspython gives to `waymail.lookups.Answer`, and the cache of answers: what every resolver of ours shares.

Whatever happens is an answer: a resolver that is down, lies or is silent gives one of status FAILURE whose reason says so.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rdatatype
import dns.resolver

from waymail.lookups import Answer, Mx, Query, Status
from waymail.net.streams import parse_address

CACHE_ENTRIES = 20_000
LONGEST_TTL = 86_400  # seconds; records promise longer, but a mistake in them should not outlive a day
LONGEST_NEGATIVE_TTL = 10_800  # seconds; RFC 2308 §5: one to three hours work well, and a record just published is to be found
FAILURE_TTL = 5  # seconds; RFC 2308 §7: a failure may be cached, for 5 minutes at most

Key = tuple[str, str]


def key_of(query: Query) -> Key:
    """The name without a trailing dot, in lower case, and the type: the same for the same question."""
    return query.name.lower().removesuffix("."), query.type.upper()


class Cache:
    """Answers, for as long as they hold. `now` is of a clock that only goes forward. `entries` bounds it."""

    def __init__(self, entries: int = CACHE_ENTRIES) -> None:
        self._entries = entries
        self._known: dict[Key, tuple[float, Answer]] = {}

    def get(self, key: Key, now: float) -> Answer | None:
        """The answer, where it is known and has not expired. Its `ttl` is the one it came with."""
        found = self._known.get(key)
        return None if found is None or found[0] <= now else found[1]

    def put(self, key: Key, answer: Answer, now: float) -> None:
        ttl = FAILURE_TTL if answer.status is Status.FAILURE else answer.ttl
        if ttl <= 0:
            return
        if len(self._known) >= self._entries:
            self._make_room(now)
        self._known[key] = (now + ttl, answer)

    def _make_room(self, now: float) -> None:
        """Drop what has expired; where that is little, also the tenth that was learnt first."""
        for key in [key for key, (expires, _) in self._known.items() if expires <= now]:
            del self._known[key]
        if len(self._known) > self._entries * 9 // 10:
            for key in list(islice(self._known, self._entries // 10 + 1)):
                del self._known[key]


def dns_name(name: str) -> dns.name.Name:
    """Label by label: octets that mean something in zone files ("\\", "@") mean nothing here. Raises DNSException."""
    labels = [label.encode("utf-8", "surrogateescape") for label in name.split(".")] if name else []
    return dns.name.Name([*labels, b""])


def no_possible_name(error: dns.exception.DNSException) -> Answer:
    """What a name is answered that cannot be asked for."""
    return Answer(Status.NO_NAME, ttl=FAILURE_TTL, reason=f"no possible name: {error}")


def found(answer: dns.resolver.Answer, kind: str, *, authentic: bool = False) -> Answer:
    """What was found at a name that is there."""
    if answer.rrset is None:
        return Answer(Status.NO_RECORDS, authentic=authentic, ttl=negative_ttl(answer.response))
    ttl = min(answer.chaining_result.minimum_ttl, LONGEST_TTL)
    return Answer(Status.RECORDS, tuple(read_record(kind, rdata) for rdata in answer.rrset), authentic, ttl)


def response_of(error: dns.resolver.NXDOMAIN) -> dns.message.QueryMessage:
    response: dns.message.QueryMessage = next(iter(error.kwargs["responses"].values()))
    return response


def not_found(error: Exception, lifetime: float) -> Answer:
    """What an exception of dnspython means. `lifetime` is for how long it was asked, in seconds."""
    match error:
        case dns.resolver.NXDOMAIN():
            return Answer(Status.NO_NAME, ttl=negative_ttl(response_of(error)))
        case dns.exception.Timeout() | TimeoutError():
            return failure(f"no answer within {lifetime:g} s")
        case dns.resolver.NoNameservers():
            return failure("; ".join(_what_went_wrong(entry) for entry in error.kwargs["errors"]) or "no resolver to ask")
    return failure(f"{type(error).__name__}: {error}")


def failure(reason: str) -> Answer:
    return Answer(Status.FAILURE, reason=reason)


def resolver_address(text: str) -> tuple[str, int]:
    """Address and port of a resolver: "127.0.0.53:53", "[::1]:53", or without the port. Raises ValueError."""
    host, port = parse_address(text, default_port=53)
    try:
        return str(ipaddress.ip_address(host)), port
    except ValueError:
        raise ValueError(f"{text!r}: a resolver is given by its IP address, as in 127.0.0.53:53") from None


def ad_is_believed(response: dns.message.Message, servers: Sequence[str]) -> bool:
    """Whether an answer that one of `servers` (IP addresses) gave says it was validated, and may be believed in that."""
    if not response.flags & dns.flags.AD or not servers:
        return False
    return all(address and ipaddress.ip_address(address).is_loopback for address in servers)


def negative_ttl(response: dns.message.QueryMessage) -> int:
    """How long to remember that something is not there. RFC 2308 §5: as the SOA says; without one, not for long."""
    if not any(rrset.rdtype == dns.rdatatype.SOA for rrset in response.authority):
        return FAILURE_TTL
    return min(response.resolve_chaining().minimum_ttl, LONGEST_NEGATIVE_TTL)


def _what_went_wrong(entry: tuple[str | None, bool, int, Any, dns.message.Message | None]) -> str:
    server, over_tcp, _, what, _ = entry
    words = str(what) or type(what).__name__
    return f"{server} {'TCP' if over_tcp else 'UDP'}: {words}"


def _host(name: dns.name.Name) -> str:
    return "" if name == dns.name.root else name.to_text(omit_final_dot=True)


def read_record(kind: str, rdata: Any) -> Any:
    """What dnspython read, in the form of `waymail.lookups.Answer`."""
    return _READ.get(kind, str)(rdata)


_READ: dict[str, Callable[[Any], Any]] = {
    "A": lambda rdata: rdata.address,
    "AAAA": lambda rdata: rdata.address,
    "MX": lambda rdata: Mx(rdata.preference, _host(rdata.exchange)),
    # UTF-8 where it is; other octets survive as surrogates, for the parser of the record to refuse.
    "TXT": lambda rdata: b"".join(rdata.strings).decode("utf-8", "surrogateescape"),
    "TLSA": lambda rdata: (rdata.usage, rdata.selector, rdata.mtype, rdata.cert),
    "PTR": lambda rdata: _host(rdata.target),
    "CNAME": lambda rdata: _host(rdata.target),
    "NS": lambda rdata: _host(rdata.target),
}
