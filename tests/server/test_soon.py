"""Work that may be done at once."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine

import pytest

from waymail.server.soon import at_once


async def immediate(value: int) -> int:
    return value


async def patient(trace: list[str]) -> int:
    trace.append("begun")
    await asyncio.sleep(0)
    try:
        async with asyncio.timeout(5), asyncio.TaskGroup() as group:
            waited = group.create_task(asyncio.sleep(0.001, 7))
        trace.append("waited")
        return waited.result()
    except asyncio.CancelledError:
        trace.append("called off")
        raise


def test_what_waits_for_nobody_is_there_without_a_loop() -> None:
    assert at_once(immediate(3)) == 3


async def test_what_has_to_wait_goes_on_in_the_task_that_awaits_it() -> None:
    trace: list[str] = []
    rest = at_once(patient(trace))
    assert isinstance(rest, Coroutine)
    assert trace == ["begun"]
    assert await asyncio.create_task(rest) == 7
    assert trace == ["begun", "waited"]


async def test_whoever_is_called_off_calls_off_the_work() -> None:
    trace: list[str] = []
    rest = at_once(patient(trace))
    assert isinstance(rest, Coroutine)
    task = asyncio.create_task(rest)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert trace == ["begun", "called off"]


async def test_an_exception_is_raised_where_the_rest_is_awaited() -> None:
    async def broken(*, late: bool) -> int:
        if late:
            await asyncio.sleep(0)
        raise ValueError("a bug")

    for late in (False, True):
        rest = at_once(broken(late=late))
        assert isinstance(rest, Coroutine)
        with pytest.raises(ValueError, match="a bug"):
            await rest


def test_what_is_never_awaited_is_let_go() -> None:
    trace: list[str] = []
    rest = at_once(patient(trace))
    assert isinstance(rest, Coroutine)
    rest.close()
    assert trace == ["begun"]
