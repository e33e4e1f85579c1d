"""Code of somebody else's that runs in the server: found by name, and called in threads that cannot hold the server up."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any


class NotFound(Exception):
    """There is nothing by that name, or its module cannot be imported. The text names the fix."""


def find(name: str) -> Any:
    """What "module:name" names. Raises NotFound."""
    module_name, _, attribute = name.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise NotFound(f"{module_name} cannot be imported ({error}): is it where Python looks, like PYTHONPATH?") from None
    except (Exception, SystemExit) as error:  # it is somebody else's code
        raise NotFound(f"{module_name} cannot be imported: {type(error).__name__}: {error}") from error
    try:
        return getattr(module, attribute)
    except AttributeError:
        raise NotFound(f"{module_name} has no {attribute}") from None


class Threads:
    """Calls functions in daemons' threads, `most` at a time: one that never returns must not keep the server from ending. Its
    place is free when it returns."""

    def __init__(self, most: int, name: str) -> None:
        self._slots = asyncio.Semaphore(most)
        self._name = name

    async def call(self, function: Callable[[Any], Any], argument: Any) -> Any:
        """What the function returns, awaited where that can be. Raises what it raises; RuntimeError for what is no Exception."""
        await self._slots.acquire()
        loop = asyncio.get_running_loop()
        done: asyncio.Future[tuple[Any, Exception | None]] = loop.create_future()

        def settle(answer: Any, failure: Exception | None) -> None:
            self._slots.release()
            if not done.done():
                done.set_result((answer, failure))

        def work() -> None:
            answer: Any = None
            failure: Exception | None = None
            try:
                answer = function(argument)
            except Exception as error:  # noqa: BLE001 - it is somebody else's code
                failure = error
            except BaseException as error:  # noqa: BLE001 - which may even want to end the process
                failure = RuntimeError(repr(error))
            with suppress(RuntimeError):  # the server has ended meanwhile
                loop.call_soon_threadsafe(settle, answer, failure)

        threading.Thread(target=work, name=self._name, daemon=True).start()
        answer, failure = await done
        if failure is not None:
            raise failure
        return await answer if inspect.isawaitable(answer) else answer
