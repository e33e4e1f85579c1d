"""Which hosts take mail for a domain (RFC 5321 §5.1, RFC 7505), as questions and a decision.

`next_hop` always comes to one of three results: hosts to try, `Deferred` where DNS gave no answer, `Failed` where its answer
is that nobody takes this mail. The two are never mixed up: only an answer can make mail fail.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from itertools import zip_longest
from typing import Any, Protocol

from waymail.client.target import Host, NextHop
from waymail.lookups import Answer, Lookups, Mx, Query, Status
from waymail.mail.outcome import Deferred, Failed
from waymail.wire.replies import Reply

MAX_HOSTS = 20
MAX_ADDRESSES = 100
SMTP_PORT = 25


class Shuffler(Protocol):
    """The part of `random.Random` that is needed here."""

    def shuffle(self, x: list[Any], /) -> None: ...


def next_hop(
    domain: str,
    *,
    own_names: Collection[str],
    rng: Shuffler,
    port: int = SMTP_PORT,
    own_addresses: Collection[str] = (),
    allow_literal: bool = False,
    allow_loopback: bool = False,
    allow_private: bool = True,
) -> Lookups[NextHop | Deferred | Failed]:
    """The hosts for `domain` (A-labels), in the order in which to try them.

    `own_names` and `own_addresses` are this host's: mail must not come back to it. Loopback addresses are its own, too,
    unless `allow_loopback`; private ones (10.0.0.0/8 and the like) count as none where `allow_private` is false, so that a
    stranger's MX record cannot make this host connect into its own network. `allow_literal` permits "user@[192.0.2.1]".

    Equal preferences are shuffled. A host's addresses are tried as Postfix tries them by default (smtp_address_preference =
    any): in random order, IPv4 and IPv6 in turn, so that neither family's outage makes a host unreachable.
    """
    domain = domain.lower().removesuffix(".")
    reach = _Reach(own_addresses, allow_loopback=allow_loopback, allow_private=allow_private)
    if domain.startswith("["):
        return _literal(domain, port, reach) if allow_literal else _LITERALS_REFUSED
    answer: Answer = yield Query(domain, "MX")
    candidates = _candidates(domain, answer)
    if not isinstance(candidates, list):
        return candidates
    own = {name.lower().removesuffix(".") for name in own_names}
    candidates = _better_than_own(candidates, {mx.host for mx in candidates} & own)
    if not candidates:
        return _loop(domain)
    key = _key(candidates, port)
    rng.shuffle(candidates)  # RFC 5321 §5.1: equal preferences in random order; the sort keeps that
    candidates = sorted(candidates, key=lambda mx: mx.preference)[:MAX_HOSTS]
    addresses = yield from _addresses(candidates)
    looping = {host for host, found in addresses.items() if any(map(reach.is_own, found.ipv4 + found.ipv6))}
    candidates = _better_than_own(candidates, looping)
    if not candidates:
        return _loop(domain)
    hosts = _hosts(candidates, addresses, rng, port, reach)
    if hosts:
        return NextHop(key, hosts)
    # RFC 5321 §5.1: MX records that are of no use are an error; the domain's own address is no way round them.
    reasons = [reason for mx in candidates if (reason := addresses[mx.host].failure)]
    if reasons:
        return _try_later(domain, reasons[0])
    return Failed(Reply(550, f"no mail host of {domain} has an address to connect to", "5.4.4"))


@dataclass(frozen=True, slots=True)
class _Addresses:
    """What DNS said of one host. `failure` is the reason where it could not say all."""

    ipv4: tuple[str, ...]
    ipv6: tuple[str, ...]
    failure: str

    @property
    def families(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        return self.ipv4, self.ipv6


def _addresses(candidates: list[Mx]) -> Lookups[dict[str, _Addresses]]:
    """The addresses of all hosts, asked for at once."""
    answers: tuple[Answer, ...] = yield tuple(Query(mx.host, kind) for mx in candidates for kind in ("A", "AAAA"))
    found = {}
    for mx, ipv4, ipv6 in zip(candidates, answers[::2], answers[1::2], strict=True):
        reasons = [answer.reason or "no answer" for answer in (ipv4, ipv6) if answer.status is Status.FAILURE]
        found[mx.host] = _Addresses(ipv4.records, ipv6.records, f"{mx.host}: {reasons[0]}" if reasons else "")
    return found


def _candidates(domain: str, answer: Answer) -> list[Mx] | Deferred | Failed:
    match answer.status:
        case Status.FAILURE:
            return _try_later(domain, answer.reason)
        case Status.NO_NAME:
            return Failed(Reply(550, f"the domain {domain} does not exist", "5.1.2"))
        case Status.NO_RECORDS:
            return [Mx(0, domain)]  # RFC 5321 §5.1: the implicit MX
        case Status.RECORDS:
            best: dict[str, int] = {}
            for mx in answer.records:
                host = mx.host.lower().removesuffix(".")
                best[host] = min(mx.preference, best.get(host, mx.preference))
            best.pop("", None)  # RFC 7505 §3: "." stands alone; beside real hosts it says nothing
            if not best:
                return Failed(Reply(556, f"the domain {domain} does not accept mail (null MX)", "5.1.10"))
            return [Mx(preference, host) for host, preference in best.items()]


def _better_than_own(candidates: list[Mx], own: Collection[str]) -> list[Mx]:
    """RFC 5321 §5.1: where this host is one of them, those of its preference and beyond are discarded."""
    limit = min((mx.preference for mx in candidates if mx.host in own), default=None)
    return candidates if limit is None else [mx for mx in candidates if mx.preference < limit]


def _hosts(candidates: list[Mx], addresses: dict[str, _Addresses], rng: Shuffler, port: int, reach: _Reach) -> tuple[Host, ...]:
    """The hosts that have usable addresses, with these in the order to try, MAX_ADDRESSES in all."""
    hosts: list[Host] = []
    room = MAX_ADDRESSES
    for mx in candidates:
        families = [[address for address in family if reach.is_usable(address)] for family in addresses[mx.host].families]
        for family in families:
            rng.shuffle(family)
        rng.shuffle(families)
        in_turn = [address for pair in zip_longest(*families) for address in pair if address is not None][:room]
        if in_turn:
            hosts.append(Host(mx.host, port, tuple(in_turn)))
            room -= len(in_turn)
    return tuple(hosts)


def _key(candidates: list[Mx], port: int) -> str:
    """The same for all domains with these hosts, whatever order they come in and whichever have addresses today."""
    key = ",".join(sorted(mx.host for mx in candidates)[:MAX_HOSTS])
    return key if port == SMTP_PORT else f"{key}:{port}"


class _Reach:
    """What is known of single addresses: which are this host's own, and which are never to be connected to."""

    def __init__(self, own: Collection[str], *, allow_loopback: bool, allow_private: bool) -> None:
        self._own = {_parsed(address) for address in own}
        self._allow_loopback = allow_loopback
        self._allow_private = allow_private

    def is_own(self, text: str) -> bool:
        address = _parsed(text)
        if address in self._own:
            return True
        # "0.0.0.0" and "::" connect to this host, as loopback does.
        return (address.is_loopback or address.is_unspecified) and not self._allow_loopback

    def is_usable(self, text: str) -> bool:
        address = _parsed(text)
        if address.is_multicast or address == _BROADCAST:
            return False
        return self._allow_private or not (address.is_private or address.is_link_local) or address.is_loopback


_BROADCAST = IPv4Address("255.255.255.255")
_LITERALS_REFUSED = Failed(Reply(550, "mail to address literals is not accepted here", "5.7.1"))


def _parsed(text: str) -> IPv4Address | IPv6Address:
    address = ip_address(text)
    return (address.ipv4_mapped if isinstance(address, IPv6Address) else None) or address


def _literal(domain: str, port: int, reach: _Reach) -> NextHop | Failed:
    """RFC 5321 §4.1.3: "[192.0.2.1]" or "[IPv6:2001:db8::1]", without any question to DNS."""
    try:
        address = str(_parsed(domain[1:].removesuffix("]").removeprefix("ipv6:")))
    except ValueError:
        return Failed(Reply(550, f"{domain} is no address literal", "5.1.2"))
    if reach.is_own(address):
        return _loop(domain)
    if not reach.is_usable(address):
        return Failed(Reply(550, f"no mail is sent to {domain} from here", "5.4.4"))
    return NextHop(domain if port == SMTP_PORT else f"{domain}:{port}", (Host(domain, port, (address,)),))


def _loop(domain: str) -> Failed:
    return Failed(Reply(550, f"mail for {domain} loops back to this host", "5.4.6"))


def _try_later(domain: str, reason: str) -> Deferred:
    return Deferred(Reply(451, f"DNS lookup for {domain} failed", "4.4.3"), destination_down=True, cause=reason)
