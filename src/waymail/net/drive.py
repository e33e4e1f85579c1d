"""Drives code that asks (`waymail.lookups`) with a resolver that has to wait for its answers.

It always returns the code's own result: past the deadline every further question, and every one still open, is answered
with a FAILURE, and the code decides what that means. It raises only what the code itself raises.
"""

from __future__ import annotations

import asyncio
from typing import Protocol, TypeVar

from waymail.lookups import Answer, Lookups, Query, Status

T = TypeVar("T")

_TOO_LATE = Answer(Status.FAILURE, reason="deadline")


class Asks(Protocol):
    """Whoever answers questions: `waymail.net.resolver.Resolver`, or `waymail.testing.Zone`."""

    def cached(self, query: Query) -> Answer | None:
        """The answer, where it is known without waiting."""

    async def ask(self, query: Query) -> Answer:
        """The answer. Trouble is an answer too: it does not raise."""


async def drive(lookups: Lookups[T], resolver: Asks, *, deadline: float) -> T:
    """Run `lookups` to its end and return its result. `deadline` is in seconds from now, for all questions together.

    The queries of a yielded tuple are asked at once, and their answers come in the same order.
    """
    until = asyncio.get_running_loop().time() + deadline
    try:
        asked = next(lookups)
        while True:
            if isinstance(asked, tuple):
                asked = lookups.send(await _all(asked, resolver, until))
            else:
                asked = lookups.send(resolver.cached(asked) or await _one(asked, resolver, until))
    except StopIteration as stop:
        result: T = stop.value
        return result


async def _one(query: Query, resolver: Asks, until: float) -> Answer:
    if asyncio.get_running_loop().time() >= until:
        return _TOO_LATE
    try:
        async with asyncio.timeout_at(until):
            return await resolver.ask(query)
    except TimeoutError:
        return _TOO_LATE


async def _all(queries: tuple[Query, ...], resolver: Asks, until: float) -> tuple[Answer, ...]:
    known = [resolver.cached(query) for query in queries]
    if missing := [at for at, answer in enumerate(known) if answer is None]:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(_one(queries[at], resolver, until)) for at in missing]
        for at, task in zip(missing, tasks, strict=True):
            known[at] = task.result()
    return tuple(answer for answer in known if answer is not None)
