"""A listener without sockets: sessions are fed octets by hand, and what they answer is collected."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import pytest

from waymail.mail.envelope import Envelope, QueueIds
from waymail.net.clock import SystemClock
from waymail.server.authentication import Authenticator
from waymail.server.backends.contract import PassedExchange, UserBackend
from waymail.server.directory import Directory, LocalDomain
from waymail.server.inbound import Inbound, Trust
from waymail.server.intake import Intake
from waymail.server.limits import Limits
from waymail.server.listener import Listener
from waymail.server.reception import Reception
from waymail.server.session import Session
from waymail.server.submission import Submission
from waymail.store.contract import Delivery, NewMessage, StoreError
from waymail.store.memory import MemoryStore


class MemoryTransport(asyncio.Transport):
    """Collects what is written; `writes` has one entry for each call."""

    def __init__(self, address: str) -> None:
        super().__init__({"peername": (address, 40000)})
        self.writes: list[bytes] = []
        self.is_paused = False
        self._closed = False

    def write(self, data: Any) -> None:
        assert not self._closed, "written to after it was closed"
        self.writes.append(bytes(data))

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self.high = high

    def pause_reading(self) -> None:
        self.is_paused = True

    def resume_reading(self) -> None:
        self.is_paused = False

    def is_closing(self) -> bool:
        return self._closed

    def close(self) -> None:
        self._closed = True

    abort = close


class ScriptedStore(MemoryStore):
    """A store that can be made to wait (`gate`) or to fail."""

    def __init__(self) -> None:
        super().__init__(now=SystemClock().now)
        self.gate: asyncio.Event | None = None
        self.fails = False

    async def accept(self, message: NewMessage) -> Delivery:
        if self.gate is not None:
            await self.gate.wait()
        if self.fails:
            raise StoreError("the disk is full")
        return await super().accept(message)


class CollectingQueue:
    """Stands in for the runner: keeps what it is offered."""

    def has_room_for(self, envelope: Envelope) -> bool:
        return True

    def __init__(self) -> None:
        self.deliveries: list[Delivery] = []
        self.flushed: list[tuple[str, bool]] = []
        self.waiting = 0

    def offer(self, delivery: Delivery) -> None:
        self.deliveries.append(delivery)

    async def flush_domain(self, domain: str, below: bool) -> int:
        self.flushed.append((domain, below))
        return self.waiting

    @property
    def envelopes(self) -> Sequence[Envelope]:
        return [delivery.envelope for delivery in self.deliveries]

    def content(self, number: int = -1) -> bytes:
        return b"".join(self.deliveries[number].body.chunks())


class OneUser(UserBackend):
    """Ann, whose password is "secret"."""

    secret = b"s" * 32
    passed: PassedExchange | None = None  # who carries out all exchanges instead

    async def exchange(self, mechanism: str, connection: Mapping[str, str]) -> PassedExchange | None:
        return self.passed

    async def verify(self, name: str, password: str) -> str | None:
        return "ann" if (name, password) == ("ann", "secret") else None

    def senders(self, user: str) -> frozenset[str]:
        return frozenset({"ann@example.org"})


class Conversation:
    """One session and its peer."""

    def __init__(self, listener: Listener, address: str = "192.0.2.1") -> None:
        self.transport = MemoryTransport(address)
        self.session = Session(listener)
        self.session.connection_made(self.transport)

    def send(self, octets: bytes) -> None:
        self.session.data_received(octets)

    async def say(self, *lines: bytes) -> list[bytes]:
        """Send lines in one segment; the reply lines that came, when nothing more comes."""
        before = len(self.transport.writes)
        self.send(b"".join(line + b"\r\n" for line in lines))
        await settled()
        return self.lines(before)

    def lines(self, since: int = 0) -> list[bytes]:
        return b"".join(self.transport.writes[since:]).splitlines()

    @property
    def codes(self) -> list[bytes]:
        """The codes of all replies so far, the greeting's among them."""
        return [line[:3] for line in self.lines() if line[3:4] == b" "]


async def settled() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


class Place:
    """Everything that sessions need, and ways to make listeners of it."""

    def __init__(self) -> None:
        self.store = ScriptedStore()
        self.queue = CollectingQueue()
        self.trust = Trust()
        self.intake = Intake(self.store, self.queue, QueueIds(7), SystemClock())
        self.users = OneUser()
        self.authenticator = Authenticator(self.users, nonce=lambda: "n" * 24)
        self.directory = Directory(
            "mail.example.org",
            {"example.org": LocalDomain(frozenset({"ann", "bob"}), {"sales": ("ann", "bob"), "me": ("ann",)})},
        )
        self._running: list[asyncio.Task[None]] = []
        self._listeners: list[Listener] = []

    async def listener(self, kind: str = "mx", *, secure: bool = False, **limits: Any) -> Listener:
        receptions: dict[str, Reception] = {
            "mx": Inbound(self.directory, self.trust),
            "lmtp": Inbound(self.directory, self.trust, lmtp=True),
            "submission": Submission(
                self.directory,
                self.users,
                self.trust,
                "mail.example.org",
                mechanisms=self.authenticator.mechanisms,
                hold=3600,
            ),
        }
        made = Listener(
            receptions[kind],
            self.intake,
            self.authenticator,
            hostname="mail.example.org",
            limits=Limits(**limits),
            tls_context=None,
        )
        self._running.append(asyncio.create_task(made.run()))
        self._listeners.append(made)
        await asyncio.sleep(0)
        return made

    async def conversation(self, kind: str = "mx", **limits: Any) -> Conversation:
        return Conversation(await self.listener(kind, **limits))

    async def close(self) -> None:
        for listener in self._listeners:
            await listener.stop(grace=0)
        await asyncio.gather(*self._running)
        await self.authenticator.close()


@pytest.fixture
async def place() -> AsyncIterator[Place]:
    made = Place()
    yield made
    if made.store.gate is not None:
        made.store.gate.set()
    await made.close()
