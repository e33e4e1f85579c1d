"""A reception that answers when the test lets it, and sessions that wait for it."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.server.conftest import Conversation, Place, settled

from waymail.server.inbound import Inbound, Trust
from waymail.server.listener import Listener
from waymail.server.reception import BodyTaker, Client, Judged, Soon, Transaction
from waymail.store.contract import Event
from waymail.wire.replies import Reply

HELLO, MAIL, RCPT = b"EHLO client.example", b"MAIL FROM:<x@client.example>", b"RCPT TO:<ann@example.org>"
HEADER, BODY = b"Subject: hello\r\nAuthentication-Results: mail.example.org; spf=pass\r\n", b"text\r\n..dots\r\n"
SPOOFED = Reply(550, "spoofed", "5.7.26")
JUDGED = Event(1_800_000_000.0, "judged", {"action": "reject", "rule": "on_dmarc_reject"})


class Taker:
    def __init__(self) -> None:
        self.chunks: list[bytes] = []

    def update(self, chunk: bytes) -> None:
        self.chunks.append(chunk)


class Thoughtful(Inbound):
    """Answers when `gate` is open what the test has set; `seen` has what it was told."""

    takes_bodies = True

    def __init__(self, place: Place) -> None:
        super().__init__(place.directory, Trust())
        self.gate = asyncio.Event()
        self.slow = frozenset({"connect", "mail", "rcpt", "message"})
        self.greeting: Reply | None = None
        self.sender: Reply | None = None
        self.recipient: Reply | Judged | None = None
        self.decision: bytes | Reply | Judged = b"X-Judged: yes\r\n"
        self.seen: list[Any] = []
        self.sections: list[bytes] = []
        self.taker = Taker()
        self.fails: Exception | None = None
        self.edit = self._without_forgeries

    @staticmethod
    def _without_forgeries(client: Client, head: bytes) -> bytes:
        return head.replace(b"Authentication-Results: mail.example.org; spf=pass\r\n", b"")

    def _soon(self, hook: str, answer: Any) -> Any:
        return self._later(hook, answer) if hook in self.slow else answer

    async def _later(self, hook: str, answer: Any) -> Any:
        self.seen.append(hook)
        try:
            await self.gate.wait()
            self.gate.clear()
        except asyncio.CancelledError:
            self.seen.append("called off")
            raise
        if self.fails is not None:
            raise self.fails
        return answer

    def connect(self, client: Client) -> Soon[Reply | None]:
        client.evidence = "something"
        found: Soon[Reply | None] = self._soon("connect", self.greeting)
        return found

    def mail(self, client: Client, transaction: Transaction) -> Any:
        return self._soon("mail", self.sender or super().mail(client, transaction))

    def rcpt(self, client: Client, transaction: Transaction, recipient: str) -> Any:
        return self._soon("rcpt", self.recipient or super().rcpt(client, transaction, recipient))

    def body(self, client: Client, transaction: Transaction, section: bytes) -> BodyTaker | None:
        self.sections.append(section)
        return self.taker

    def message(self, client: Client, transaction: Transaction, head: bytes, *, id: str, now: float) -> Any:
        return self._soon("message", self.decision)

    def left(self, client: Client) -> None:
        self.seen.append("left")


class Scene:
    def __init__(self, place: Place, listener: Listener, reception: Thoughtful) -> None:
        self.place, self.listener, self.reception = place, listener, reception

    def connect(self) -> Conversation:
        return Conversation(self.listener)

    async def in_session(self, *lines: bytes) -> Conversation:
        """A session in which these were said, and answered at once."""
        slow, self.reception.slow = self.reception.slow, frozenset()
        peer = self.connect()
        await peer.say(HELLO, *lines)
        self.reception.slow = slow
        return peer

    async def decide(self) -> None:
        self.reception.gate.set()
        await settled()
        self.reception.gate.clear()


def send_message(peer: Conversation) -> None:
    peer.send(HEADER + b"\r\n" + BODY + b".\r\n")


async def scene_of(place: Place) -> Scene:
    """A listener with such a reception."""
    listener = await place.listener()
    listener.reception = reception = Thoughtful(place)
    return Scene(place, listener, reception)
