"""The server core against octets that anybody may send, and a shell that may answer anything.

Held to: nothing is raised but ProtocolError; one event at a time takes a reply; the buffer stays within its bound; every event is
explained by the octets at its place (`reading`); the events and replies are the same however the octets are cut.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from tests.fuzz.choices import Choices
from tests.fuzz.reading import Reading

from waymail.testing.shell import Shell
from waymail.wire.commands import Mail, Rcpt, XClient
from waymail.wire.errors import CommandOrder, ProtocolError
from waymail.wire.events import DataChunk, EndOfData, Event, Refused
from waymail.wire.extensions import EVERYWHERE, TO_SOME
from waymail.wire.limits import WireLimits
from waymail.wire.offer import Offer
from waymail.wire.replies import Reply
from waymail.wire.server import ServerConnection
from waymail.wire.state import State

LIMITS = WireLimits(command_line=160, auth_line=240, message_size=60, recipients=3, transactions=4, hold=1000)
BOUND = 200
OFFERS = [
    Offer("mail.example", starttls=True, auth=("PLAIN", "LOGIN"), limits=LIMITS, extensions=EVERYWHERE | TO_SOME),
    Offer("mail.example", starttls=True, auth=("PLAIN", "LOGIN"), limits=LIMITS),
    Offer("mail.example", limits=LIMITS, extensions=EVERYWHERE, lmtp=True),
    Offer("mail.example", limits=replace(LIMITS, transactions=0), extensions=EVERYWHERE - {"CHUNKING", "SMTPUTF8"}),
    Offer("mail.example", limits=LIMITS, extensions=EVERYWHERE - {"CHUNKING", "BINARYMIME"}, normalise=True),
]
REPLIES = [
    Reply(550, "nön", "5.7.1"),
    Reply(451, "later\nand later", "4.3.0"),
    Reply(421, "closing", "4.3.2"),
    Reply(354, "go on"),
    Reply(250, "yes", "2.0.0"),
    Reply(503, "what\r\n250 no", "5.5.1"),
]


@dataclass(slots=True)
class Seen:
    """What one run showed: events that took a reply, the content between them, the replies, and how it ended."""

    events: list[Event] = field(default_factory=list)
    contents: list[bytes] = field(default_factory=list)
    sent: list[bytes] = field(default_factory=list)
    end: str = ""


class Run:
    """One session. `answers` decides for each event whether it is answered as it should be."""

    def __init__(self, offer: Offer, *, secure: bool, answers: bytes, stream: bytes, ahead: bool) -> None:
        self._shell = Shell(offer, secure=secure)
        self.core: ServerConnection = self._shell.core
        # Where line ends are translated, the octets are no longer those of the stream.
        self._reading = None if offer.normalise else Reading(self.core, stream)
        self._answers = answers
        self._ahead = ahead  # the client's next piece comes before the reply
        self._content = b""
        self._accepted = 0
        self.seen = Seen()

    def feed(self, pieces: list[bytes]) -> Seen:
        """Runs the session to the end of the pieces."""
        waiting: Event | None = None
        try:
            for piece in pieces:
                held, waiting = waiting, self._take(piece, waiting)
                if held is not None or not self._ahead:
                    waiting = self._answer_all(waiting)
            self._answer_all(waiting)
        except ProtocolError as error:
            self.seen.end = str(error)
            assert self.core.state is State.CLOSED
            assert self.core.receive(b"RSET\r\n") == []
        return self.seen

    def _answer_all(self, waiting: Event | None) -> Event | None:
        while waiting is not None:
            self._answer(waiting)
            waiting = self._take(b"", None)
        return waiting

    def _take(self, piece: bytes, waiting: Event | None) -> Event | None:
        """What takes a reply now."""
        is_over = self.core.state in (State.TLS, State.CLOSED)
        try:
            events = self.core.receive(piece)
        finally:
            assert self.core.buffered <= self.core.offer.limits.input_buffer
        assert not (events and (is_over or waiting is not None)), events
        assert not any(not isinstance(event, DataChunk) for event in events[:-1]), events
        for event in events:
            if self._reading is not None:
                self._reading.explain(event)
            if isinstance(event, DataChunk):
                self._content += event.content
                continue
            self.seen.contents.append(b"" if getattr(event, "refusal", None) else self._content)
            self.seen.events.append(event)
            self._content = b""
            waiting = event
        return waiting

    def _answer(self, event: Event) -> None:
        reply = self._shell.answer(event)
        octet = self._answers[len(self.seen.events) % len(self._answers)] if self._answers else 0
        if octet >= 128 and not isinstance(event, Refused):
            reply = REPLIES[octet % len(REPLIES)]
        try:
            octets = self.core.send(reply)
        except CommandOrder:
            assert reply.is_intermediate
            reply = self._shell.answer(event)
            octets = self.core.send(reply)
        check_replies(octets, reply, self._copies(event, reply))
        self.seen.sent.append(octets)
        if self._reading is not None:
            self._reading.after(event)
        if isinstance(event, XClient) and reply.is_positive:
            assert self.core.state is State.START
        if reply.code == 421:
            assert self.core.state is State.CLOSED

    def _copies(self, event: Event, reply: Reply) -> int:
        """How many replies are due: in LMTP one for each recipient, behind the content."""
        if isinstance(event, Mail):
            self._accepted = 0
        elif isinstance(event, Rcpt):
            self._accepted += reply.is_positive
        return self._accepted if isinstance(event, EndOfData) and self.core.offer.lmtp and reply.code != 421 else 1


def check_replies(octets: bytes, reply: Reply, copies: int) -> None:
    """So many replies, each of lines that end properly, are not too long and have the code."""
    lines = octets.split(b"\r\n")
    assert lines.pop() == b""
    assert all(len(line) <= 510 or reply.code == 334 for line in lines), lines
    assert all(line.startswith(b"%d" % reply.code) for line in lines)
    assert not any(b"\r" in line or b"\n" in line for line in lines)
    assert sum(line[3:4] == b" " for line in lines) == copies


def one_input(data: bytes) -> None:
    """The target."""
    choices = Choices(data)
    offer, secure, ahead = choices.one_of(OFFERS), choices.is_set(), choices.is_set()
    answers = bytes(choices.number(256) for _ in range(choices.number(16)))
    stream = choices.stream
    pieces = choices.cut(stream)

    def run(cut: list[bytes], *, ahead: bool = False, bound: int = 0) -> Seen:
        limited = replace(offer, limits=replace(offer.limits, input_buffer=bound)) if bound else offer
        return Run(limited, secure=secure, answers=answers, stream=stream, ahead=ahead).feed(cut)

    whole = run([stream])
    assert run(pieces, ahead=ahead) == whole
    if len(stream) <= 300:
        assert run([stream[at : at + 1] for at in range(len(stream))]) == whole
    run(pieces, bound=BOUND)
