"""The two faces of the client behind one: what a test says to a face, a program says to `waymail` or to `waymail.sync`.

A program with asyncio has its loop in a thread of its own here, where it runs on while the test does something else; so does a
scripted `Peer`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol, Self

import waymail
import waymail.sync
from waymail.client.sending import ServerInfo
from waymail.testing.loop import LoopThread
from waymail.testing.peer import Peer

MESSAGE = b"From: ann@example.com\r\nTo: bob@example.org\r\nSubject: hello\r\n\r\nhello\r\n.\r\n"


class Shell(Protocol):
    """A client of either kind. `begin` sends while the test goes on."""

    def __enter__(self) -> Self: ...
    def __exit__(self, *error: object) -> None: ...
    def send(self, message: Any = MESSAGE, **asked: Any) -> waymail.SendResult: ...
    def begin(self, message: Any = MESSAGE, **asked: Any) -> Future[waymail.SendResult]: ...
    def check(self) -> ServerInfo: ...
    def close(self) -> None: ...


class _InLoop:
    def __init__(self, loop: LoopThread, url: str, **settings: Any) -> None:
        self._loop = loop
        self._client = waymail.Client(url, **settings)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def send(self, message: Any = MESSAGE, **asked: Any) -> waymail.SendResult:
        return self._loop.run(self._client.send(message, **asked))

    def begin(self, message: Any = MESSAGE, **asked: Any) -> Future[waymail.SendResult]:
        return asyncio.run_coroutine_threadsafe(self._client.send(message, **asked), self._loop.loop)

    def check(self) -> ServerInfo:
        return self._loop.run(self._client.check())

    def close(self) -> None:
        self._loop.run(self._client.close())


class _InThreads:
    def __init__(self, threads: ThreadPoolExecutor, url: str, **settings: Any) -> None:
        self._threads = threads
        self._client = waymail.sync.Client(url, **settings)
        self.check, self.close = self._client.check, self._client.close

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def send(self, message: Any = MESSAGE, **asked: Any) -> waymail.SendResult:
        return self._client.send(message, **asked)

    def begin(self, message: Any = MESSAGE, **asked: Any) -> Future[waymail.SendResult]:
        return self._threads.submit(self._client.send, message, **asked)


class Face:
    """One of the two. `client` makes a client, with the arguments of `waymail.Client`."""

    def __init__(self, name: str, client: Callable[..., Shell], settle: Callable[[], None]) -> None:
        self.name = name
        self.client = client
        self.settle = settle  # return when the program has heard what reached this machine

    def send(self, url: str, message: Any = MESSAGE, *, asked: Any = None, **settings: Any) -> waymail.SendResult:
        """One message, by a client of its own. `asked` has the arguments of `Client.send`."""
        with self.client(url, **settings) as client:
            return client.send(message, **(asked or {}))


def asyncio_face(loop: LoopThread) -> Face:
    def settle() -> None:
        for _ in range(3):
            loop.run(asyncio.sleep(0))

    return Face("asyncio", lambda url, **settings: _InLoop(loop, url, **settings), settle)


def sync_face(threads: ThreadPoolExecutor) -> Face:
    return Face("sync", lambda url, **settings: _InThreads(threads, url, **settings), lambda: None)


class PeerInThread:
    """A scripted peer whose loop does not stand still while the test waits."""

    def __init__(self, loop: LoopThread, rules: Sequence[Any] = (), **options: Any) -> None:
        self.peer = Peer(rules, **options)
        self._loop = loop

    def __enter__(self) -> Peer:
        return self._loop.run(self.peer.__aenter__())

    def __exit__(self, *error: object) -> None:
        self._loop.run(self.peer.stop())
