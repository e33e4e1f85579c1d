"""Lists in DNS of addresses and domains that send spam, or that can be trusted (RFC 5782).

    zones = [Zone("bl.example"), Zone("combined.example", codes={"127.0.0.4": 1, "127.0.0.10-11": 0.5, "127.0.0.&8": 2})]
    result = yield from check("192.0.2.99", ["example.org"], zones)

A list is asked with an A query; only what lies in 127.0.0.0/8 is an answer of a list. Anything else comes from a list that was
abandoned, or from a resolver that answers for names that do not exist, and counts as a failure. A failure never lists anybody. A
list has one opinion: where it gives several answers, it counts as much as the one that counts most.

Promises: all lists are asked at once; why somebody is listed is asked (TXT) only of lists that have him; nothing here raises,
whatever is asked about.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import field, replace
from functools import lru_cache
from typing import Literal, NamedTuple

from waymail.lookups import Answer, Lookups, Query, Status
from waymail.values import value
from waymail.wire import domains as domain_names

MOST_DOMAINS = 8  # that are asked about for one client
MOST_ANSWERS = 16  # of one list that are looked at
MOST_TEXT = 200  # characters of a list's reason
SURE = 1.0  # what a listing counts where nothing else is said

# RFC 5782 §5: what every list has, and what none has
_IPV4_TEST, _IPV4_NEVER = "127.0.0.2", "127.0.0.1"
_IPV6_NEVER = "1.0.0.0.0.0.f.7.f.f.f.f" + ".0" * 20
_DOMAIN_TEST, _DOMAIN_NEVER = "test", "invalid"

_LISTS = ipaddress.IPv4Network("127.0.0.0/8")
# By agreement of those who run lists: "I do not answer you", as to a resolver that the public shares, or beyond a limit.
_REFUSALS = ipaddress.IPv4Network("127.255.255.0/24")
_HOST = re.compile(r"(?=.{1,253}\Z)(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)+[a-z](?:[a-z0-9-]{0,61}[a-z0-9])")
_CODE = re.compile(r"(127\.\d{1,3}\.\d{1,3})\.(?:&(?P<mask>\d{1,3})|(?P<ranges>\d{1,3}(?:-\d{1,3})?(?:,\d{1,3}(?:-\d{1,3})?)*))")


@value
class Zone:
    """One list. `name` is its zone; `title` is how it is called, where the zone holds a key that nobody else should see.

    `codes` leads from answers to what they count, in the forms of `Code`; an answer that none of them has is no listing. Without
    `codes` every answer counts `score`. What counts less than 0 speaks for the client. `allow` is a list whose word is final: who
    is on it is not refused for being on others.
    """

    name: str
    kind: Literal["ip", "domain"] = "ip"
    codes: Mapping[str, float] = field(default_factory=dict, hash=False)
    score: float = SURE
    allow: bool = False
    title: str = ""

    @property
    def shown(self) -> str:
        return self.title or self.name


@value
class Hit:
    """One answer of a list that has `subject`, an address or a domain. `text` is the list's reason in printable ASCII, "" where
    it gave none. `is_authentic` where DNSSEC vouches for the answer."""

    zone: str
    subject: str
    answer: str
    text: str
    score: float
    allow: bool = False
    is_authentic: bool = False


@value
class DnsblResult:
    """`score` is the sum over the lists; 0 where an allow list has the client (`is_allowed`). `failures` say of each list that
    gave no usable answer what was wrong with it."""

    hits: tuple[Hit, ...] = ()
    score: float = 0.0
    failures: tuple[str, ...] = ()
    is_allowed: bool = False
    reason: str = ""


class Code(NamedTuple):
    """Which answers are meant: "127.0.0.4", "127.0.0.2,4,9-11" by the last octet, or "127.0.0.&12", which are those with the bit
    4 or the bit 8 set in it (RFC 5782 §2.3)."""

    network: str
    octets: frozenset[int]
    mask: int

    def __contains__(self, answer: object) -> bool:
        network, _, last = str(answer).rpartition(".")
        return network == self.network and (bool(int(last) & self.mask) if self.mask else int(last) in self.octets)


@lru_cache(maxsize=1024)
def code(text: str) -> Code:
    """Raises ValueError for what has none of the forms."""
    found = _CODE.fullmatch(text.replace(" ", ""))
    if found is None:
        raise ValueError('must be like "127.0.0.4", "127.0.0.2,4,9-11" or "127.0.0.&8"')
    network, mask = found[1], int(found["mask"] or 0)
    octets: set[int] = set()
    for part in (found["ranges"] or "").split(",") if found["mask"] is None else ():
        first, _, last = part.partition("-")
        octets.update(range(int(first), int(last or first) + 1))
        if int(last or first) < int(first):
            raise ValueError(f"{part} ends before it begins")
    if max(octets, default=mask) > 255 or any(int(octet) > 255 for octet in network.split(".")):
        raise ValueError("an octet is 255 at most")
    if found["mask"] is not None and not mask:
        raise ValueError("a mask without bits matches nothing")
    return Code(network, frozenset(octets), mask)


class _Asked(NamedTuple):
    zone: Zone
    subject: str
    name: str


def check(ip: str, domains: Sequence[str], zones: Iterable[Zone], *, explain: bool = True) -> Lookups[DnsblResult]:
    """Ask all `zones` about the address and the domains of a client (the sender's, that of HELO, the name of its address). What
    is no address, or no domain that could be listed, is not asked about. With `explain`, who has the client is asked why."""
    asked = tuple(_questions(ip, domains, zones))
    if not asked:
        return DnsblResult(reason="no list to ask")
    answers: tuple[Answer, ...] = yield tuple(Query(one.name, "A") for one in asked)
    found: list[tuple[_Asked, list[Hit]]] = []
    failures: list[str] = []
    for one, answer in zip(asked, answers, strict=True):
        hits, problem = _judged(one, answer)
        if hits:
            found.append((one, hits))
        if problem:
            failures.append(f"{one.zone.shown}: {problem}")
    if found and explain:
        texts: tuple[Answer, ...] = yield tuple(Query(one.name, "TXT") for one, _ in found)
        found = [
            (one, [replace(hit, text=_printable(text)) for hit in hits]) for (one, hits), text in zip(found, texts, strict=True)
        ]
    return _result(asked, found, failures)


def _questions(ip: str, domains: Sequence[str], zones: Iterable[Zone]) -> Iterator[_Asked]:
    address = _address(ip)
    names = list(dict.fromkeys(filter(None, map(_listable, domains))))[:MOST_DOMAINS]
    for zone in zones:
        if zone.kind == "domain":
            subjects = {name: name for name in names}
        else:
            subjects = {str(address): _reversed(address)} if address is not None else {}
        for subject, label in subjects.items():
            if len(name := f"{label}.{zone.name}") <= 253:
                yield _Asked(zone, subject, name)


def _address(ip: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(ip.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if address.version == 6 else None
    return mapped or address


def _reversed(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    """RFC 5782 §2.1 and §2.4: the octets, or the 32 nibbles, the last one first."""
    return address.reverse_pointer.removesuffix(".in-addr.arpa").removesuffix(".ip6.arpa")


def _listable(domain: str) -> str:
    """The domain in A-labels; "" for what can be on no list: an address literal, a name of one label."""
    name = domain_names.normal(domain)
    return name if _HOST.fullmatch(name) else ""


def _judged(one: _Asked, answer: Answer) -> tuple[list[Hit], str]:
    """The listings in an answer, and what is wrong with it."""
    if answer.status is Status.FAILURE:
        return [], f"no answer: {answer.reason}" if answer.reason else "no answer"
    if answer.status is not Status.RECORDS:
        return [], ""  # not listed
    hits, problem = [], ""
    for record in map(str, answer.records[:MOST_ANSWERS]):
        if wrong := _wrong(record):
            problem = wrong
        elif (score := _score(one.zone, record)) is not None:
            hits.append(Hit(one.zone.shown, one.subject, record, "", score, one.zone.allow, answer.authentic))
    return hits, problem


def _wrong(record: str) -> str:
    """Why an answer is none of a list, or a list's refusal; "" for an answer."""
    address = _address(record)
    if not isinstance(address, ipaddress.IPv4Address) or address not in _LISTS:
        # RFC 5782 §2.3 and §7: who took over an abandoned list, or a resolver that invents names, answers with a web server.
        return f"{record} is no answer of a list: it has gone, or the resolver answers for names that do not exist"
    if address in _REFUSALS:
        return f"{record}: the list refuses to answer this resolver; ask it through one of your own"
    if record == _IPV4_NEVER:
        return f"{record}: the list refuses to answer, or lists everything"
    return ""


def _score(zone: Zone, record: str) -> float | None:
    """What an answer counts; None where it is none of the sublists that the zone is asked for."""
    if not zone.codes:
        return zone.score
    return max((score for text, score in zone.codes.items() if record in code(text)), key=abs, default=None)


def _printable(answer: Answer) -> str:
    """What a list says about a listing, fit for a reply and a log."""
    text = str(answer.records[0]) if answer.status is Status.RECORDS and answer.records else ""
    return "".join(letter if " " <= letter <= "~" else "?" for letter in text[:MOST_TEXT]).strip()


def _result(asked: Sequence[_Asked], found: Sequence[tuple[_Asked, list[Hit]]], failures: Sequence[str]) -> DnsblResult:
    strongest: dict[tuple[str, str], float] = {}  # by list: one list's word is no more likely for being said of two names
    for one, hits in found:
        key = one.zone.name, one.zone.kind
        strongest[key] = max(strongest.get(key, 0.0), *(hit.score for hit in hits), key=abs)
    every = tuple(hit for _, hits in found for hit in hits)
    is_allowed = any(hit.allow for hit in every)
    if every:
        words = dict.fromkeys(f"{hit.subject} is on {hit.zone} ({hit.answer})" for hit in every)
        reason = "; ".join(words)
    else:
        reason = f"on none of {len({one.zone.name for one in asked})} lists"
    score = 0.0 if is_allowed else sum(strongest.values())
    return DnsblResult(every, score, tuple(dict.fromkeys(failures)), is_allowed, reason)


def health(zone: Zone) -> Lookups[str]:
    """What is wrong with a list; "" for one that works. One without its test entry may have moved or ended, and one with an entry
    that none may have lists the whole Internet (RFC 5782 §5)."""
    never: tuple[str, ...]
    if zone.kind == "domain":
        listed, never = _DOMAIN_TEST, (_DOMAIN_NEVER,)
    else:
        # Nobody is obliged to list IPv6 addresses. So their test entry is not asked for: only whether all of them are listed.
        listed, never = ".".join(reversed(_IPV4_TEST.split("."))), (".".join(reversed(_IPV4_NEVER.split("."))), _IPV6_NEVER)
    names = (listed, *never)
    answers: tuple[Answer, ...] = yield tuple(Query(f"{name}.{zone.name}", "A") for name in names)
    for name, answer in zip(names, answers, strict=True):
        if answer.status is Status.FAILURE:
            return f"no answer about {name}.{zone.name}: {answer.reason or 'failure'}"
        wrong = next((problem for record in answer.records if (problem := _wrong(str(record)))), "")
        if answer.status is Status.RECORDS and name in never:
            return f"{name}.{zone.name} is listed, which RFC 5782 forbids: the list may list everything"
        if wrong:
            return wrong
        if answer.status is not Status.RECORDS and name == listed:
            return f"{name}.{zone.name} is not listed, which RFC 5782 demands: the list may have ended or moved"
    return ""
