"""Questions to the outside world, as values.

Code that has to ask DNS is a generator: it yields a `Query` (or a tuple of them, to have them asked at once), is sent
the `Answer` (or the tuple of answers), and returns its result. It imports no socket and waits for nothing, so every
rule of the RFCs can be tested from a mapping:

    def addresses(host: str) -> Lookups[tuple[str, ...]]:
        answer: Answer = yield Query(host, "A")
        return answer.records

`run` drives such a generator from a zone held in memory; `waymail.net.drive` drives it from a resolver.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol, TypeVar

T = TypeVar("T")


class Status(Enum):
    """What kind of answer came back."""

    RECORDS = "records"
    NO_RECORDS = "no records"  # the name exists, the type does not (NODATA, RFC 2308 §2.2)
    NO_NAME = "no such name"  # NXDOMAIN: nothing at or below the name (RFC 8020)
    FAILURE = "failure"  # SERVFAIL, timeout, refused, malformed: says nothing about the name


@dataclass(frozen=True, slots=True)
class Query:
    """One DNS question: `name` without the trailing dot, A-labels; `type` as in "A", "AAAA", "MX", "TXT", "TLSA", "PTR"."""

    name: str
    type: str


@dataclass(frozen=True, slots=True)
class Mx:
    """One MX record (RFC 5321 §5.1). `host` is "" for the null MX of RFC 7505."""

    preference: int
    host: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What DNS said.

    `records` holds `str` for A, AAAA, PTR, CNAME and TXT (strings of one record joined without spaces), `Mx` for MX,
    and a tuple of the four fields for TLSA. `authentic` is true only where a trusted resolver vouched by DNSSEC.
    `reason` says in words why a `FAILURE` is one. `ttl` is in seconds.
    """

    status: Status
    records: tuple[Any, ...] = ()
    authentic: bool = False
    ttl: int = 0
    reason: str = ""


Lookups = Generator["Query | tuple[Query, ...]", Any, T]


class Zone(Protocol):
    """Anything that can answer a question without waiting."""

    def answer(self, query: Query) -> Answer: ...


def run(lookups: Lookups[T], zone: Zone) -> T:
    """Drive `lookups` with the answers of `zone` and return its result."""
    try:
        asked = next(lookups)
        while True:
            if isinstance(asked, tuple):
                asked = lookups.send(tuple(zone.answer(query) for query in asked))
            else:
                asked = lookups.send(zone.answer(asked))
    except StopIteration as stop:
        result: T = stop.value
        return result


def recorded(lookups: Lookups[T], into: list[tuple[Query, Answer]]) -> Lookups[T]:
    """The same lookups. Each question and its answer is put down in `into`, in the order in which they were asked."""
    try:
        asked = next(lookups)
        while True:
            answered = yield asked
            if isinstance(asked, tuple):
                into.extend(zip(asked, answered, strict=True))
            else:
                into.append((asked, answered))
            asked = lookups.send(answered)
    except StopIteration as stop:
        result: T = stop.value
        return result
