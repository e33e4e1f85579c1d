"""A DNS that says what a stranger would have it say, and a count of the work that is done because of it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from types import FrameType
from typing import TypeVar

from waymail.lookups import Answer, Query, Status

T = TypeVar("T")

NO_NAME = Answer(Status.NO_NAME)


@dataclass
class Hostile:
    """A DNS that says whatever `says` makes up, and keeps what it was asked."""

    says: Callable[[Query], Answer]
    asked: list[Query] = field(default_factory=list)

    def answer(self, query: Query) -> Answer:
        self.asked.append(query)
        assert len(self.asked) <= 1000, "there is no end to the questions"
        return self.says(query)


def texts(*records: str) -> Answer:
    return Answer(Status.RECORDS, records, ttl=60)


def by_type(**records: tuple[object, ...]) -> Callable[[Query], Answer]:
    """The same records for every name."""
    return lambda query: Answer(Status.RECORDS, found) if (found := records.get(query.type)) else NO_NAME


def calls_of(work: Callable[[], T]) -> tuple[T, int]:
    """What `work` returns, and how many calls of functions it made, those into C included."""
    calls = 0

    def count(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        result = work()
    finally:
        sys.setprofile(before)
    return result, calls
