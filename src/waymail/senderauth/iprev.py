"""Whether a client's address has a name, and the name that address: "iprev" (RFC 8601 §3).

`check` comes to one of four results (§2.7.3):

    pass       one of the address's names has the address
    fail       there are names, and none of them has it
    temperror  DNS gave no answer that was needed
    permerror  the address has no name, or is none

Of the names that the PTR records hold, ten are looked at. They are asked about at once.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

from waymail.lookups import Answer, Lookups, Query, Status
from waymail.values import value
from waymail.wire import grammar

# §3: the number of names is to be limited; "Section 4.6.4 of [SPF] chose a limit of 10".
MAX_NAMES = 10
_SHOWN = 3


@value
class IprevResult:
    """`name` is the one that has the address, "" where none does. `names` are those that were looked at. `authentic` is true
    where DNSSEC vouched for the PTR records and for the address."""

    result: str
    name: str = ""
    names: tuple[str, ...] = ()
    reason: str = ""
    authentic: bool = False


def check(ip: str) -> Lookups[IprevResult]:
    """Ask for the names of `ip`, and for their addresses. An IPv4 address mapped into IPv6 is an IPv4 address."""
    try:
        address = _plain(ip_address(ip))
    except ValueError:
        return IprevResult("permerror", reason=f"{ip[:80]!a} is no address")
    reverse: Answer = yield Query(address.reverse_pointer, "PTR")
    if reverse.status is Status.FAILURE:
        return IprevResult("temperror", reason=f"{address.reverse_pointer}: {reverse.reason or 'no answer'}")
    names = _host_names(reverse.records)
    if not names:
        return IprevResult("permerror", reason=f"{address} has no name", authentic=reverse.authentic)
    answers: tuple[Answer, ...] = yield tuple(Query(name, "A" if address.version == 4 else "AAAA") for name in names)
    for name, answer in zip(names, answers, strict=True):
        if any(_is_same(record, address) for record in answer.records):
            return IprevResult("pass", name, names, authentic=reverse.authentic and answer.authentic)
    for name, answer in zip(names, answers, strict=True):
        if answer.status is Status.FAILURE:
            return IprevResult("temperror", "", names, f"{name}: {answer.reason or 'no answer'}")
    shown = ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
    authentic = reverse.authentic and all(answer.authentic for answer in answers)
    return IprevResult("fail", "", names, f"{address} is not an address of {shown}", authentic)


def _plain(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or (IPv6Address(int(address)) if isinstance(address, IPv6Address) else address)


def _host_names(records: tuple[str, ...]) -> tuple[str, ...]:
    """The names that a host can have, each once, ten at most. What else stands in a PTR record is nobody's name."""
    names = dict.fromkeys(record.lower().removesuffix(".") for record in records)
    return tuple(name for name in names if grammar.is_hello_name(name) and not name.startswith("["))[:MAX_NAMES]


def _is_same(record: str, address: IPv4Address | IPv6Address) -> bool:
    try:
        return ip_address(record) == address
    except ValueError:
        return False
