"""Work that may be done at once: where each answer is known already, nobody has to wait, and no task is made for it."""

from __future__ import annotations

from collections.abc import Coroutine, Generator
from typing import Any, TypeVar

from waymail.server.reception import Soon

T = TypeVar("T")


def at_once(work: Coroutine[Any, Any, T]) -> Soon[T]:
    """Run `work` until it waits: what it returns, or the rest of it, to be awaited.

    Before it waits for anything that needs a task (a timeout, a group, a future) it must have gone through `asyncio.sleep(0)`,
    for until then it runs in none. An exception is raised by the rest.
    """
    try:
        work.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    except Exception as error:  # noqa: BLE001 - raised where the rest is awaited
        return _raised(error)
    return _rest(work)


async def _raised(error: Exception) -> Any:
    raise error


async def _rest(work: Coroutine[Any, Any, T]) -> T:
    result: T = await _Rest(work)
    return result


class _Rest:
    """What is left of a coroutine that has begun: it cannot be awaited any more."""

    def __init__(self, work: Coroutine[Any, Any, Any]) -> None:
        self._work = work

    def __await__(self) -> Generator[Any, Any, Any]:
        step, value = self._work.send, None
        while True:
            try:
                waits_for = step(value)
            except StopIteration as done:
                return done.value
            try:
                step, value = self._work.send, (yield waits_for)
            except BaseException as error:  # noqa: BLE001 - it is for the work: a cancellation, as a rule
                step, value = self._work.throw, error
