"""What the client's steps need of the world besides a connection: time, threads, turns, and a way to dial.

`asynchronous.AsyncIo` is the world of an event loop, `blocking.BlockingIo` that of a thread. The coroutines of the client await
the methods of one of these, and of the connection that it dialled (`line.Line`), and nothing else. In a thread none of those
methods ever suspends, so `blocking.run` brings a coroutine to its end in one go (docs/decisions/0019).
"""

from __future__ import annotations

import ssl
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, ParamSpec, Protocol, TypeVar

from waymail.client.connection import Connection
from waymail.client.target import Host, Token
from waymail.client.transaction import Timeouts
from waymail.lookups import Lookups
from waymail.net.network import Network

P = ParamSpec("P")
T = TypeVar("T")


class Cancellable(Protocol):
    """Something that is to happen later."""

    def cancel(self) -> None: ...


class Places(ABC):
    """A bounded number of places; who finds none waits for his turn."""

    @abstractmethod
    async def take(self, deadline: float) -> bool:
        """Take a place. False where none was free by the deadline (by `Io.now`)."""

    @abstractmethod
    def give_back(self) -> None:
        """Give back a place that was taken."""


class Io(ABC):
    """The world, in one of its two forms. `network` is how it is reached."""

    network: Network

    @abstractmethod
    def now(self) -> float:
        """The time by which deadlines are meant, in seconds since some moment. It never goes back."""

    @abstractmethod
    async def sleep(self, seconds: float) -> None:
        """Return when that much time has passed."""

    @abstractmethod
    async def offload(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call what would take the event loop too long, where there is one."""

    @abstractmethod
    async def token(self, provider: Token, seconds: float) -> str:
        """The token, from the function that has it. Raises whatever that raises, TimeoutError after so many seconds where
        somebody can tell, and AuthenticationFailed for a function that cannot be used here."""

    @abstractmethod
    async def dial(
        self, host: Host, address: str | None, *, context: ssl.SSLContext | None, timeouts: Timeouts, seconds: float
    ) -> Connection:
        """A connection to the host within `seconds`, at `address` where one is given, with TLS from the first octet where
        there is a context for it. Raises streams.ConnectFailed, streams.TlsFailed."""

    @abstractmethod
    async def look_up(self, lookups: Lookups[T], seconds: float) -> T:
        """The result of code that asks DNS; all its questions together take so many seconds at most."""

    @abstractmethod
    def places(self, count: int) -> Places:
        """So many places."""

    @abstractmethod
    def later(self, seconds: float, function: Callable[[], object]) -> Cancellable | None:
        """Call the function when that much time has passed. None where there is nobody who would do so."""

    @abstractmethod
    async def each(self, steps: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
        """Carry out all of them, at once where that is possible; their results in order. The first error is raised."""
