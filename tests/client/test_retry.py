from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from math import inf

import pytest

from waymail.client.attempt import Result, Stage
from waymail.client.errors import (
    AuthenticationFailed,
    ConnectionFailed,
    Disconnected,
    SMTPError,
    TlsError,
    UncertainDelivery,
)
from waymail.client.retry import NO_RETRY, Retry, may_help, persist
from waymail.wire.replies import Reply

LATER, NEVER, OK = Reply(451, "later"), Reply(550, "no"), Reply(250, "taken")
LATER_RESULT, NEVER_RESULT, OK_RESULT = Result(Stage.RCPT, LATER), Result(Stage.RCPT, NEVER), Result(Stage.CONTENT, OK)


@pytest.mark.parametrize(
    ("result", "helps"),
    [
        (OK_RESULT, False),
        (LATER_RESULT, True),
        (NEVER_RESULT, False),
        (Result(Stage.CONTENT, Reply(354, "what?")), False),
        (Result(Stage.SESSION, None, ConnectionFailed("no route")), True),
        (Result(Stage.SESSION, Reply(421, "busy"), ConnectionFailed("busy", Reply(421, "busy"))), True),
        (Result(Stage.SESSION, None, ConnectionFailed("go away", Reply(554, "go away"))), False),
        (Result(Stage.CONTENT, None, Disconnected("lost")), True),
        (Result(Stage.CONTENT, None, UncertainDelivery("lost behind the dot")), False),
        (Result(Stage.CONTENT, None, UncertainDelivery("said 421", Reply(421, "bye"))), False),
        (Result(Stage.SESSION, None, AuthenticationFailed("not offered")), False),
        (Result(Stage.SESSION, None, AuthenticationFailed("wrong", Reply(535, "wrong"))), False),
        (Result(Stage.SESSION, None, AuthenticationFailed("not now", Reply(454, "not now"))), True),
        (Result(Stage.SESSION, None, TlsError("certificate not accepted")), False),
        (Result(Stage.SESSION, None, TlsError("not now", Reply(454, "not now"))), True),
        (Result(Stage.SESSION, None, SMTPError("no reply")), False),
    ],
    ids=str,
)
def test_only_what_is_safe_and_may_help_is_tried_again(result: Result, helps: bool) -> None:
    assert may_help(result) is helps


def test_pauses_grow_to_the_longest_and_chance_takes_up_to_half() -> None:
    retry = Retry(times=9, wait=1, factor=3, longest=10)
    assert [retry.pause(tried, 0.0) for tried in (1, 2, 3, 4, 100_000)] == [1, 3, 9, 10, 10]
    assert retry.pause(2, 1.0) == 1.5
    assert Retry(factor=1e300, longest=1e9).pause(50, 0.0) == 1e9
    assert Retry(wait=5, longest=2).pause(1, 0.0) == 2


@pytest.mark.parametrize("wrong", [{"times": -1}, {"wait": -1}, {"factor": 0.5}, {"longest": -1}, {"wait": inf}])
def test_numbers_that_make_no_sense_are_a_value_error(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="or more"):
        Retry(**wrong)  # type: ignore[arg-type]


class Clock:
    def __init__(self) -> None:
        self.time = 0.0
        self.slept: list[float] = []

    def now(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.time += seconds


class Server:
    """Answers each attempt with the next results; `asked` is for whom."""

    def __init__(self, *answers: dict[str, Result]) -> None:
        self.answers = list(answers)
        self.asked: list[list[str]] = []

    async def attempt(self, recipients: Sequence[str]) -> Mapping[str, Result]:
        self.asked.append(list(recipients))
        return self.answers.pop(0)


def run(server: Server, retry: Retry, clock: Clock, deadline: float = inf) -> dict[str, Result]:
    return asyncio.run(persist(retry, ["a", "b", "c"], server.attempt, clock=clock, chance=lambda: 0.0, deadline=deadline))


def test_only_those_recipients_are_tried_again_whom_it_may_help() -> None:
    server, clock = Server({"a": OK_RESULT, "b": LATER_RESULT, "c": NEVER_RESULT}, {"b": LATER_RESULT}, {"b": OK_RESULT}), Clock()
    assert run(server, Retry(times=2), clock) == {"a": OK_RESULT, "b": OK_RESULT, "c": NEVER_RESULT}
    assert (server.asked, clock.slept) == ([["a", "b", "c"], ["b"], ["b"]], [1.0, 2.0])


def test_the_last_result_stands_when_the_tries_are_over() -> None:
    server = Server(*({"a": LATER_RESULT, "b": OK_RESULT, "c": OK_RESULT} for _ in range(2)))
    assert run(server, Retry(times=1), Clock())["a"] is LATER_RESULT
    assert len(server.asked) == 2
    server = Server({"a": LATER_RESULT})
    assert run(server, NO_RETRY, Clock()) == {"a": LATER_RESULT}


def test_no_try_begins_past_the_deadline() -> None:
    server, clock = Server({"a": LATER_RESULT}, {"a": LATER_RESULT}, {"a": LATER_RESULT}), Clock()
    assert run(server, Retry(times=5, wait=2), clock, deadline=5.0) == {"a": LATER_RESULT}
    assert (len(server.asked), clock.slept) == (2, [2.0])
