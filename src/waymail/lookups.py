"""Questions to the outside world, as values.

Code that has to ask DNS is a generator: it yields a `Query` (or a tuple of them, to have them asked at once), is sent
the `Answer` (or the tuple of answers), and returns its result. It imports no socket and waits for nothing, so every
rule of the RFCs can be tested from a mapping:

    def addresses(host: str) -> Lookups[tuple[str, ...]]:
        answer: Answer = yield Query(host, "A")
        return answer.records

`run` drives such a generator from a zone held in memory; `waymail.net.drive` drives it from a resolver. `recorded` keeps what
was asked and answered, and `Replay` answers from that.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from enum import Enum
from itertools import islice
from typing import Any, Protocol, TypeVar

from waymail.values import value

T = TypeVar("T")


class Status(Enum):
    """What kind of answer came back."""

    RECORDS = "records"
    NO_RECORDS = "no records"  # the name exists, the type does not (NODATA, RFC 2308 §2.2)
    NO_NAME = "no such name"  # NXDOMAIN: nothing at or below the name (RFC 8020)
    FAILURE = "failure"  # SERVFAIL, timeout, refused, malformed: says nothing about the name


@value
class Query:
    """One DNS question: `name` without the trailing dot, A-labels; `type` as in "A", "AAAA", "MX", "TXT", "TLSA", "PTR"."""

    name: str
    type: str


@value
class Mx:
    """One MX record (RFC 5321 §5.1). `host` is "" for the null MX of RFC 7505."""

    preference: int
    host: str


@value
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


def together(every: Sequence[Lookups[T]]) -> Lookups[list[T]]:
    """All of these lookups side by side: what they ask at the same step is asked at once. Their results, in order."""
    results: list[Any] = [None] * len(every)
    answers: dict[int, Any] = dict.fromkeys(range(len(every)))  # None starts a generator
    while answers:
        asked: dict[int, Query | tuple[Query, ...]] = {}
        for at, answer in answers.items():
            try:
                asked[at] = every[at].send(answer)
            except StopIteration as stop:
                results[at] = stop.value
        if not asked:
            break
        given = iter((yield tuple(query for queries in asked.values() for query in _each(queries))))
        answers = {
            at: tuple(islice(given, len(queries))) if isinstance(queries, tuple) else next(given) for at, queries in asked.items()
        }
    return results


def _each(asked: Query | tuple[Query, ...]) -> tuple[Query, ...]:
    return asked if isinstance(asked, tuple) else (asked,)


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


class Replay:
    """Answers what a record of questions and answers has: the same code comes to the same result once more, without DNS.

    A question that nobody asked then is answered with a FAILURE that says so.
    """

    def __init__(self, record: Iterable[tuple[Query, Answer]]) -> None:
        self._answers = {_key(query): answer for query, answer in record}

    def answer(self, query: Query) -> Answer:
        return self._answers.get(_key(query)) or Answer(Status.FAILURE, reason="not in the record")


def _key(query: Query) -> tuple[str, str]:
    return query.name.lower().removesuffix("."), query.type.upper()
