"""The simplest shell around a server core: no socket, no store, no deadlines.

It answers every command as a server would that accepts everything, except recipients whose local part begins with "no", and keeps
what it saw. Subclass it and override `answer` for a server that answers otherwise.
"""

from __future__ import annotations

from waymail.wire.commands import Auth, AuthResponse, Data, Hello, Quit, Rcpt, StartTls
from waymail.wire.events import DataChunk, EndOfChunk, EndOfData, Event, Refused
from waymail.wire.offer import Offer
from waymail.wire.replies import Reply
from waymail.wire.server import ServerConnection

OK = Reply(250, "OK", "2.0.0")
NO = Reply(550, "no", "5.7.1")
START_MAIL_INPUT = Reply(354, "go on")
READY_FOR_TLS = Reply(220, "go", "2.0.0")
CHALLENGE = Reply(334, "Z28=")
AUTHENTICATED = Reply(235, "yes", "2.7.0")
CANCELLED = Reply(501, "cancelled", "5.7.0")
CLOSING = Reply(221, "bye", "2.0.0")


class Shell:
    """`events` has every event that took a reply, `content` the content of all messages, `sent` the last call's octets."""

    def __init__(self, offer: Offer, *, secure: bool = False) -> None:
        self.core = ServerConnection(offer, secure=secure)
        self.events: list[Event] = []
        self.content = b""
        self.sent = b""

    def answer(self, event: Event) -> Reply:
        """The reply to an event that takes one."""
        match event:
            case Refused(reply) | EndOfData(refusal=Reply() as reply) | EndOfChunk(refusal=Reply() as reply):
                return reply
            case Hello():
                return self.core.hello_reply(event)
            case Rcpt(recipient) if recipient.startswith("no"):
                return NO
            case Data():
                return START_MAIL_INPUT
            case StartTls():
                return READY_FOR_TLS
            case Auth(initial=None):
                return CHALLENGE
            case Auth() | AuthResponse(bytes()):
                return AUTHENTICATED
            case AuthResponse():
                return CANCELLED
            case Quit():
                return CLOSING
        return OK

    def receive(self, *chunks: bytes) -> bytes:
        """Hand the chunks to the core, one by one, answer what they say, and return the octets of the answers."""
        self.sent = b""
        for data in chunks:
            while events := self.core.receive(data):
                data = b""
                for event in events:
                    if isinstance(event, DataChunk):
                        self.content += event.content
                        continue
                    self.events.append(event)
                    self.sent += self.core.send(self.answer(event))
        return self.sent

    def say(self, *chunks: bytes) -> list[str]:
        """As `receive`, but returns code and enhanced code of each reply: ["250 2.1.0", "354"]."""
        lines = self.receive(*chunks).decode().split("\r\n")
        last_lines = (line.split(" ") for line in lines if line[3:4] == " ")
        return [" ".join(word for word in words[:2] if word[:1].isdigit()) for words in last_lines]
