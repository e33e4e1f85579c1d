"""A server for programs without asyncio: `waymail.sync.Server`.

It runs in a thread of its own, which `start` makes and `stop` ends, on an event loop that nobody else uses. Hooks that are plain
functions are called in further threads, one for each message or question, so that they may wait; those that are asynchronous run
in the server's loop.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from waymail.embedded import server
from waymail.embedded.server import ANYWHERE

END = 10.0  # seconds beyond the grace of a stop after which the thread is left to itself


class Server:
    """Takes the arguments of `waymail.Server`, and has its properties.

        with waymail.sync.Server(handle, "127.0.0.1:8025"):
            ...

    `start` returns when the server can be connected to, and raises what keeps it from that. The thread is a daemon: it does not
    keep a program from ending.
    """

    def __init__(self, program: object, address: str | Sequence[str] = ANYWHERE, **settings: Any) -> None:
        """Raises TypeError, ValueError as `waymail.Server` does."""
        self._server = server.Server(program, address, **settings)
        self._grace: float = settings.get("grace", server.GRACE)
        self._thread: threading.Thread | None = None
        self._stop: tuple[asyncio.AbstractEventLoop, asyncio.Event] | None = None
        self._ended: Future[None] = Future()

    def start(self) -> None:
        """Begin to serve. Raises what `waymail.Server.start` raises."""
        if self._thread is not None:
            raise RuntimeError("the server runs already")
        ready: Future[None] = Future()
        self._ended = Future()
        self._thread = threading.Thread(target=self._work, args=(ready,), name="waymail-server", daemon=True)
        self._thread.start()
        try:
            ready.result()
        except BaseException:
            self._thread = None
            raise

    def stop(self) -> None:
        """Stop serving, as `waymail.Server.stop` does, and end the thread. Safe to call twice."""
        thread, self._thread = self._thread, None
        if thread is None or self._stop is None:
            return
        loop, event = self._stop
        loop.call_soon_threadsafe(event.set)
        self._ended.result(self._grace + END)
        thread.join(END)

    def _work(self, ready: Future[None]) -> None:
        try:
            asyncio.run(self._serve(ready))
        except BaseException as error:  # noqa: BLE001 - it is raised where somebody waits for the thread
            (self._ended if ready.done() else ready).set_exception(error)
        else:
            self._ended.set_result(None)

    async def _serve(self, ready: Future[None]) -> None:
        stop = asyncio.Event()
        self._stop = asyncio.get_running_loop(), stop
        async with self._server:
            ready.set_result(None)
            await stop.wait()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    @property
    def addresses(self) -> tuple[str, ...]:
        """As of `waymail.Server`."""
        return self._server.addresses

    @property
    def address(self) -> str:
        """As of `waymail.Server`."""
        return self._server.address

    @property
    def port(self) -> int:
        """As of `waymail.Server`."""
        return self._server.port

    @property
    def url(self) -> str:
        """As of `waymail.Server`."""
        return self._server.url

    @property
    def certificate(self) -> Path | None:
        """As of `waymail.Server`."""
        return self._server.certificate
