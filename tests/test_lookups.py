from __future__ import annotations

from typing import Any

from waymail.lookups import Answer, Lookups, Query, Replay, Status, recorded, run, together
from waymail.testing import Zone

ZONE = Zone(
    {"a.example": {"A": ["192.0.2.1"], "MX": [(10, "b.example")]}, "b.example": {"A": ["192.0.2.2"]}, "c.example": "SERVFAIL"}
)
A, B, C, MX = Query("a.example", "A"), Query("B.example.", "A"), Query("c.example", "A"), Query("a.example", "MX")


def asks_one_then_two_then_none() -> Lookups[list[Answer]]:
    first: Answer = yield MX
    second: tuple[Answer, ...] = yield (A, B)
    third: tuple[Answer, ...] = yield ()
    last: Answer = yield C
    return [first, *second, *third, last]


def test_what_was_asked_is_put_down_in_its_order_and_the_result_is_the_same() -> None:
    record: list[tuple[Query, Answer]] = []
    answers = run(recorded(asks_one_then_two_then_none(), record), ZONE)
    assert answers == run(asks_one_then_two_then_none(), ZONE)
    assert record == list(zip([MX, A, B, C], answers, strict=True))


def test_what_never_asks_leaves_no_record() -> None:
    def asks_nothing() -> Lookups[int]:
        yield from ()
        return 1

    record: list[tuple[Query, Answer]] = []
    assert (run(recorded(asks_nothing(), record), ZONE), record) == (1, [])


def test_a_record_answers_as_dns_did() -> None:
    record: list[tuple[Query, Answer]] = []
    answers = run(recorded(asks_one_then_two_then_none(), record), ZONE)
    assert run(asks_one_then_two_then_none(), Replay(record)) == answers


def test_names_and_types_of_a_record_are_compared_without_case_or_trailing_dot() -> None:
    answer = ZONE.answer(A)
    assert Replay([(A, answer)]).answer(Query("A.EXAMPLE.", "a")) == answer


def test_a_question_that_the_record_lacks_fails_and_says_so() -> None:
    answer = Replay([(A, ZONE.answer(A))]).answer(MX)
    assert (answer.status, answer.reason) == (Status.FAILURE, "not in the record")


def test_lookups_side_by_side_ask_at_once_and_keep_their_order() -> None:
    def chain(name: str, steps: int) -> Lookups[str]:
        for step in range(steps):
            answer: Answer = yield Query(f"{step}.{name}", "A")
            assert answer.records == (f"{step}.{name}",)
        return name

    def pair(name: str) -> Lookups[tuple[Any, ...]]:
        one, other = yield (Query(name, "A"), Query(name, "AAAA"))
        return (*one.records, *other.records)

    class Echo:
        def answer(self, query: Query) -> Answer:
            return Answer(Status.RECORDS, (query.name,))

    def noted(lookups: Lookups[list[Any]]) -> Lookups[list[Any]]:
        queries = next(lookups)
        while True:
            asked.append([query.name for query in queries] if isinstance(queries, tuple) else [])
            try:
                queries = lookups.send((yield queries))
            except StopIteration as stop:
                return list(stop.value)

    asked: list[list[str]] = []
    lookups: Lookups[list[Any]] = together([chain("a", 2), chain("none", 0), pair("p"), chain("b", 3)])
    assert run(noted(lookups), Echo()) == ["a", "none", ("p", "p"), "b"]
    assert asked == [["0.a", "p", "p", "0.b"], ["1.a", "1.b"], ["2.b"]]
    assert run(together([]), Zone({})) == []
