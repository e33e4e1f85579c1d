"""The client core and the server core, joined by a wire that somebody tampers with.

Held to: neither side raises anything but what it documents; what it says ends; and on a wire that nobody touches each reply is
for its command, and the content arrives as it was sent.
"""

from __future__ import annotations

from itertools import product

from tests.fuzz.choices import Choices

from waymail.testing.shell import Shell
from waymail.wire.client import ClientConnection, EndOfContent, Response
from waymail.wire.commands import Auth, Bdat, Command, Data, Hello, Mail, Noop, Quit, Rcpt, Reset
from waymail.wire.data import BareLineEnd, stuff
from waymail.wire.errors import CommandOrder, ProtocolError
from waymail.wire.extensions import EVERYWHERE
from waymail.wire.limits import WireLimits
from waymail.wire.offer import Offer

LIMITS = WireLimits(message_size=200, recipients=3, input_buffer=5000)
OFFERS = [
    Offer("mail.example", auth=("PLAIN", "LOGIN"), limits=LIMITS, extensions=EVERYWHERE),
    Offer("mail.example", limits=LIMITS, extensions=EVERYWHERE, lmtp=True),
]
BITS = [b"\r\n", b"\r", b"\n", b".", b"\r\n.\r\n", b"BDAT 3\r\n", b"250 x\r\n", b"354 x\r\n", b"-", b"\xff", b"RSET\r\n"]


class Wire:
    """`tampers`: whether octets are lost, doubled, changed and put in."""

    def __init__(self, choices: Choices, offer: Offer, *, tampers: bool) -> None:
        self._choices = choices
        self._tampers = tampers
        self.shell = Shell(offer, secure=True)
        self.client = ClientConnection()
        self.responses: list[Response] = self.client.receive(self.shell.core.greet())

    def _through(self, octets: bytes) -> bytes:
        if not self._tampers or not octets or self._choices.number(3):
            return octets
        choices = self._choices
        place = (choices.number(256) << 8 | choices.number(256)) % (len(octets) + 1)
        size = choices.number(6)
        put = choices.one_of([b"", octets[place : place + size], *BITS])
        return octets[:place] + put + octets[place + size * choices.number(2) :]

    def carry(self, octets: bytes) -> list[Response]:
        """The client's octets to the server, and what comes back."""
        got: list[Response] = []
        for piece in self._choices.cut(self._through(octets)):
            for answer in self._choices.cut(self._through(self.shell.receive(piece))):
                got += self.client.receive(answer)
        self.responses += got
        return got

    def ask(self, *commands: Command) -> list[Response]:
        return self.carry(self.client.send(*commands))

    def send_by_chunks(self, content: bytes) -> None:
        half = len(content) // 2
        octets = b""
        for part, last in ((content[:half], False), (content[half:], True)):
            octets += self.client.send(Bdat(len(part), last))
            if part:
                self.client.chunk_sent()
            octets += part
        self.carry(octets)

    def send_by_data(self, content: bytes) -> None:
        said = self.ask(Data())
        if not said or said[-1].reply.code != 354:
            return
        octets = b"".join(stuff([content]))
        self.client.content_sent()
        self.carry(octets)


def _converse(wire: Wire, choices: Choices, content: bytes) -> None:
    lmtp = wire.shell.core.offer.lmtp
    wire.ask(Hello("client.example", lmtp=lmtp))
    if choices.is_set() and not lmtp:
        wire.ask(Auth("PLAIN", b"\0a\0b"))
    for _ in range(1 + choices.number(2)):
        binary = choices.is_set()
        wire.ask(
            Mail("a@b.example", {"BODY": "BINARYMIME"} if binary else {}), Rcpt("b@c.example"), Rcpt("no@x.example"), Rcpt("d@e")
        )
        if binary or choices.is_set():
            wire.send_by_chunks(content)
        else:
            wire.send_by_data(content)
        wire.ask(Reset(), Noop())
    wire.ask(Quit())


def _check(wire: Wire, content: bytes) -> None:
    """On a wire that nobody touches."""
    assert not wire.client.pending
    for response in wire.responses:
        match response.command:
            case Rcpt(recipient):
                assert response.reply.code == (550 if recipient.startswith("no") else 250)
            case Hello() | Mail() | Reset() | Noop():
                assert response.reply.code == 250
            case Auth():
                assert response.reply.code == 235
            case EndOfContent() | Bdat():
                assert response.reply.code in (250, 503, 550, 552)
            case Data():
                assert response.reply.code == 354
            case Quit():
                assert response.reply.code == 221
    complete = content if content.endswith(b"\r\n") or not content else content + b"\r\n"
    if all(response.reply.code == 250 for response in wire.responses if isinstance(response.command, EndOfContent | Bdat)):
        expected = {b"".join(parts) for count in range(3) for parts in product((content, complete), repeat=count)}
        assert wire.shell.content in expected


def one_input(data: bytes) -> None:
    """The target: the stream is the content."""
    choices = Choices(data)
    content = choices.stream
    offer, tampers = choices.one_of(OFFERS), choices.is_set()
    wire = Wire(choices, offer, tampers=tampers)
    try:
        _converse(wire, choices, content)
    except BareLineEnd:
        return
    except (ProtocolError, CommandOrder) as error:
        if tampers or "too much ahead" in str(error):
            return
        raise
    if not tampers:
        _check(wire, content)
