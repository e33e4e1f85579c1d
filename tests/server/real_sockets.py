"""Listeners on real sockets, and clients for them.

The server runs on an event loop in a thread; its clients block, and share nothing with it but the machine.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import Callable, Coroutine
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar

from tests.server.conftest import Place

from waymail.net.streams import parse_address
from waymail.server.authentication import Authenticator
from waymail.server.backends.file import FileBackend
from waymail.server.inbound import Inbound, Trust
from waymail.server.limits import Limits
from waymail.server.listener import Listener
from waymail.server.reception import Networks, Reception
from waymail.server.submission import Submission
from waymail.server.users import Users

T = TypeVar("T")

SOON = 5.0  # seconds within which what must happen happens


class Client:
    """One connection. Every wait ends after SOON, with an error."""

    def __init__(self, address: str, context: ssl.SSLContext | None = None, *, buffer: int = 0, source: str = "") -> None:
        if address.startswith("unix:"):
            self.socket: socket.socket = socket.socket(socket.AF_UNIX)
        else:
            self.socket = socket.socket(socket.AF_INET6 if address.startswith("[") else socket.AF_INET)
        if buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        if source:
            self.socket.bind((source, 0))
        self.socket.settimeout(SOON)
        self.socket.connect(address.removeprefix("unix:") if address.startswith("unix:") else parse_address(address))
        self._received = b""
        if context is not None:
            self.handshake(context)

    def handshake(self, context: ssl.SSLContext) -> None:
        assert not self._received, "said in clear, where TLS was to begin"
        self.socket = context.wrap_socket(self.socket, server_hostname="mail.example.org")

    def send(self, *lines: str) -> None:
        self.socket.sendall("".join(f"{line}\r\n" for line in lines).encode())

    def reply(self) -> list[str]:
        """The next reply's lines; none where the connection is closed."""
        lines: list[str] = []
        while not lines or lines[-1][3:4] == "-":
            while b"\r\n" not in self._received:
                chunk = self.receive()
                if not chunk:
                    assert not self._received, "closed in the middle of a line"
                    return lines
                self._received += chunk
            line, _, self._received = self._received.partition(b"\r\n")
            lines.append(line.decode())
        return lines

    def receive(self) -> bytes:
        try:
            return self.socket.recv(65536)
        except ConnectionResetError:
            return b""

    def say(self, *lines: str) -> list[str]:
        """Send the lines in one segment; the codes of as many replies, with their enhanced codes."""
        self.send(*lines)
        return [code(self.reply()) for _ in lines]

    def close(self) -> None:
        self.socket.close()


def code(reply: list[str]) -> str:
    """ "250 2.1.0", "354", or "" for no reply."""
    if not reply:
        return ""
    words = reply[-1].split(" ")[:2]
    return " ".join(word for word in words if word[:1].isdigit())


class Server:
    """Listeners on an event loop in a thread of its own."""

    def __init__(self, factory: Callable[[], asyncio.AbstractEventLoop], users: Path, trust: ssl.SSLContext) -> None:
        self.trust = trust
        self.problems: list[dict[str, Any]] = []
        self._loop = factory()
        self._loop.set_exception_handler(lambda _, context: self.problems.append(context))
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._users = Users.load(users)
        self._running: dict[Listener, asyncio.Task[None]] = {}
        self.clients = ExitStack()
        self.do(self._make_place())

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """Run `work` on the server's loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(20)

    async def _make_place(self) -> None:
        self.place = Place()
        self.backend = FileBackend(self._users)
        self.authenticator = Authenticator(self.backend, nonce=lambda: "0123456789abcdef01234567")

    def listen(
        self,
        context: Callable[[], ssl.SSLContext] | None = None,
        *,
        kind: str = "submission",
        implicit: bool = False,
        address: str = "127.0.0.1:0",
        proxies: Networks | None = None,
        **limits: Any,
    ) -> tuple[Listener, str]:
        """A new listener, and its address."""
        made = Limits(**limits)
        return self.do(self._listen(context, kind, implicit, address, proxies, made))

    async def _listen(
        self,
        context: Callable[[], ssl.SSLContext] | None,
        kind: str,
        implicit: bool,
        address: str,
        proxies: Networks | None,
        limits: Limits,
    ) -> tuple[Listener, str]:
        directory = self.place.directory
        reception: Reception = Inbound(directory, Trust())
        if kind == "submission":
            mechanisms = self.authenticator.mechanisms
            reception = Submission(directory, self.backend, Trust(), "mail.example.org", mechanisms=mechanisms)
        made = Listener(
            reception,
            self.place.intake,
            self.authenticator,
            hostname="mail.example.org",
            limits=limits,
            tls_context=context,
            implicit_tls=implicit,
            proxies=proxies,
        )
        self._running[made] = asyncio.create_task(made.run())
        await asyncio.sleep(0)
        return made, (await made.open(address))[0]

    def connect(self, address: str, context: ssl.SSLContext | None = None, **options: Any) -> Client:
        client = Client(address, context, **options)
        self.clients.callback(client.close)
        return client

    def greeted(self, address: str, context: ssl.SSLContext | None = None, **options: Any) -> Client:
        client = self.connect(address, context, **options)
        assert code(client.reply()) == "220"
        return client

    def stop(self, listener: Listener, grace: float) -> float:
        """Stop it; how many seconds it took until nothing of it ran any more."""
        return self.do(self.stopped(listener, grace))

    async def stopped(self, listener: Listener, grace: float) -> float:
        started = self._loop.time()
        await listener.stop(grace)
        await self._running.pop(listener)
        return self._loop.time() - started

    async def _close(self) -> None:
        for listener in list(self._running):
            await self.stopped(listener, 0)
        await self.authenticator.close()
        await self.place.close()
        left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    def close(self) -> None:
        self.clients.close()
        try:
            self.do(self._close())
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(10)
            self._loop.close()
