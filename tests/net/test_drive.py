from __future__ import annotations

import asyncio

import pytest

from waymail.lookups import Answer, Lookups, Query, Status
from waymail.net.drive import drive
from waymail.testing import Zone

ZONE = Zone({"a.example": {"A": ["192.0.2.1"]}, "b.example": {"A": ["192.0.2.2"]}})


class Gate:
    """Answers nothing until `number` questions wait at the same time; then all of them."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.waiting = 0
        self.cancelled = 0
        self.open = asyncio.Event()

    def cached(self, query: Query) -> Answer | None:
        return None

    async def ask(self, query: Query) -> Answer:
        self.waiting += 1
        if self.waiting == self.number:
            self.open.set()
        try:
            await self.open.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return ZONE.answer(query)


def one_after_the_other(*names: str) -> Lookups[list[Answer]]:
    answers = []
    for name in names:
        answer: Answer = yield Query(name, "A")
        answers.append(answer)
    return answers


def at_once(*names: str) -> Lookups[tuple[Answer, ...]]:
    answers: tuple[Answer, ...] = yield tuple(Query(name, "A") for name in names)
    return answers


async def test_answers_reach_the_code_and_its_result_comes_back() -> None:
    answers = await drive(one_after_the_other("a.example", "c.example"), ZONE, deadline=5)
    assert [answer.status for answer in answers] == [Status.RECORDS, Status.NO_NAME]


async def test_a_tuple_is_asked_at_once_and_answered_in_order() -> None:
    answers = await drive(at_once("b.example", "a.example"), Gate(2), deadline=5)
    assert [answer.records for answer in answers] == [("192.0.2.2",), ("192.0.2.1",)]


async def test_an_empty_tuple_is_answered_by_an_empty_one() -> None:
    assert await drive(at_once(), Gate(1), deadline=5) == ()


@pytest.mark.parametrize("lookups", [one_after_the_other, at_once])
async def test_past_the_deadline_every_question_fails_and_the_code_still_ends(lookups: object) -> None:
    gate = Gate(100)
    answers = await drive(lookups("a.example", "b.example"), gate, deadline=0.02)  # type: ignore[operator]
    assert [(answer.status, answer.reason) for answer in answers] == [(Status.FAILURE, "deadline")] * 2
    assert gate.cancelled == gate.waiting


async def test_what_is_known_needs_no_waiting() -> None:
    class Knows(Gate):
        def cached(self, query: Query) -> Answer | None:
            return ZONE.answer(query) if query.name == "a.example" else None

    gate = Knows(1)
    answers = await drive(at_once("a.example", "b.example"), gate, deadline=5)
    assert gate.waiting == 1
    assert [answer.records for answer in answers] == [("192.0.2.1",), ("192.0.2.2",)]


async def test_an_error_of_the_code_itself_comes_through() -> None:
    def faulty() -> Lookups[None]:
        yield Query("a.example", "A")
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        await drive(faulty(), ZONE, deadline=5)
