"""The SPF record (RFC 7208 §4.5, §4.6.1, §5, §6): from its text to values that can be evaluated.

The whole record is read before any of it counts: one mistake anywhere makes it no record, and the error names the term.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address

from waymail.senderauth.spf import macros
from waymail.senderauth.spf.macros import MacroString
from waymail.senderauth.spf.result import shown
from waymail.values import value

VERSION = "v=spf1"
QUALIFIERS = {"+": "pass", "-": "fail", "~": "softfail", "?": "neutral"}
MECHANISMS = frozenset({"all", "include", "a", "mx", "ptr", "ip4", "ip6", "exists"})

_CACHED = 2048  # octets; a longer record is read anew each time, so that strangers cannot fill the memory
_ENTRIES = 1024

_TERM = re.compile(r"([+\-~?]?)([a-z][a-z0-9_.-]*)(.*)", re.ASCII | re.IGNORECASE | re.DOTALL)
# dual-cidr-length = [ "/" ("0" / %x31-39 0*1DIGIT) ] [ "/" "/" ("0" / %x31-39 0*2DIGIT) ]
_DUAL_CIDR = re.compile(r"(?:/(0|[1-9][0-9]?))?(?://(0|[1-9][0-9]{0,2}))?\Z")
_CIDR = re.compile(r"(?:0|[1-9][0-9]{0,2})")


class RecordError(ValueError):
    """The record breaks the grammar: "permerror". The message names the term and what is wrong with it."""


@value
class Directive:
    """A mechanism with its qualifier.

    `result` is what a match gives. For ip4 and ip6 a client of IP `version` matches whose address, shifted right by `shift`, is
    `network`; for a and mx `shifts` says by how much to shift IPv4 and IPv6 addresses before they are compared. `domain`
    is None where the record's own domain is meant.
    """

    text: str
    result: str
    name: str
    domain: MacroString | None = None
    version: int = 0
    network: int = 0
    shift: int = 0
    shifts: tuple[int, int] = (0, 0)


@value
class Record:
    """A record. `redirect` is None, too, where the record has "all", which makes it count for nothing (RFC 7208 §6.1)."""

    text: str
    directives: tuple[Directive, ...]
    redirect: MacroString | None = None
    exp: MacroString | None = None


def select(texts: Iterable[str]) -> list[str]:
    """Those TXT records that are SPF records (RFC 7208 §4.5): "v=spf1", and then the end or a space."""
    return [text for text in texts if text[:6].lower() == VERSION and text[6:7] in ("", " ")]


def parse(text: str) -> Record:
    """The record with this text, which `select` took. Raises RecordError."""
    return _parse_cached(text) if len(text) <= _CACHED else _parse(text)


def _parse(text: str) -> Record:
    directives: list[Directive] = []
    modifiers: dict[str, MacroString] = {}
    for term in text[len(VERSION) :].split(" "):
        if not term:
            continue
        try:
            _read_term(term, directives, modifiers)
        except ValueError as error:
            raise RecordError(f"{shown(term)}: {shown(str(error))}") from None
    has_all = any(directive.name == "all" for directive in directives)
    return Record(text, tuple(directives), None if has_all else modifiers.get("redirect"), modifiers.get("exp"))


_parse_cached = lru_cache(maxsize=_ENTRIES)(_parse)


def _read_term(term: str, directives: list[Directive], modifiers: dict[str, MacroString]) -> None:
    found = _TERM.fullmatch(term)
    if found is None:
        raise ValueError("neither a mechanism nor a modifier")
    qualifier, name, rest = found[1], found[2].lower(), found[3]
    if rest.startswith("=") and not qualifier:
        _read_modifier(name, rest[1:], modifiers)
    elif name in MECHANISMS:
        directives.append(_mechanism(term, QUALIFIERS[qualifier or "+"], name, rest))
    else:
        raise ValueError("no such mechanism")


def _read_modifier(name: str, argument: str, modifiers: dict[str, MacroString]) -> None:
    if name not in ("redirect", "exp"):
        macros.parse(argument)  # RFC 7208 §6: unknown ones are ignored, but they are to be macro-strings
        return
    if name in modifiers:
        raise ValueError(f"there are two modifiers {name}=")
    modifiers[name] = macros.parse_domain(argument)


def _mechanism(term: str, result: str, name: str, rest: str) -> Directive:
    match name:
        case "all":
            if rest:
                raise ValueError("all takes no argument")
            return Directive(term, result, name)
        case "ip4" | "ip6":
            return _network(term, result, name, rest)
        case "a" | "mx":
            return _hosts(term, result, name, rest)
        case "ptr" if not rest:
            return Directive(term, result, name)
        case _:
            return Directive(term, result, name, _domain(rest))


def _hosts(term: str, result: str, name: str, rest: str) -> Directive:
    """a = "a" [ ":" domain-spec ] [ dual-cidr-length ], and mx as well"""
    cidr = _DUAL_CIDR.search(rest)
    assert cidr is not None  # noqa: S101 - it matches nothing at the end, too
    rest = rest[: cidr.start()]
    shifts = _shift(cidr[1], 32), _shift(cidr[2], 128)
    return Directive(term, result, name, _domain(rest) if rest else None, shifts=shifts)


def _domain(rest: str) -> MacroString:
    if not rest.startswith(":"):
        raise ValueError('":" and a domain are missing' if not rest else f"'{rest}' is not understood")
    return macros.parse_domain(rest[1:])


def _network(term: str, result: str, name: str, rest: str) -> Directive:
    """ip4 = "ip4" ":" ip4-network [ "/" ("0" / %x31-39 0*1DIGIT) ], and ip6 as well"""
    network, slash, prefix = rest.removeprefix(":").partition("/")
    if not rest.startswith(":") or "%" in network:
        raise ValueError(f"an address in the way of {name}:{'192.0.2.0' if name == 'ip4' else '2001:db8::'} is missing")
    address: IPv4Address | IPv6Address = IPv4Address(network) if name == "ip4" else IPv6Address(network)
    if slash and not _CIDR.fullmatch(prefix):
        raise ValueError(f"'{prefix}' is no prefix length")
    shift = _shift(prefix or None, address.max_prefixlen)
    return Directive(term, result, name, version=address.version, network=int(address) >> shift, shift=shift)


def _shift(prefix: str | None, longest: int) -> int:
    """By how much to shift an address of `longest` bits so that the prefix is left. Raises ValueError for one that is longer."""
    if prefix is None:
        return 0
    if int(prefix) > longest:
        raise ValueError(f"/{prefix} is longer than /{longest}")
    return longest - int(prefix)
