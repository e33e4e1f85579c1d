"""One session of a test's server: a well-behaved SMTP or LMTP server, but for what its script says.

The protocol is that of waymail's own server (`waymail.wire.server`): what a client gets wrong is refused here as it would be out
there. It is given the client's octets line by line, so that a script sees each command as it was sent.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from waymail.testing.certificates import server_context
from waymail.testing.channel import Channel, Gone
from waymail.testing.received import ReceivedMail
from waymail.testing.record import Record
from waymail.testing.script import Fault
from waymail.testing.smtp_options import Options
from waymail.testing.smtp_users import Login
from waymail.wire.commands import Auth, AuthResponse, Data, Hello, Mail, Quit, Rcpt, Reset, StartTls, Verify
from waymail.wire.errors import CommandOrder
from waymail.wire.events import DataChunk, EndOfChunk, EndOfData, Event, Refused
from waymail.wire.replies import Reply, encode
from waymail.wire.server import ServerConnection
from waymail.wire.state import State

OK = Reply(250, "fine", "2.0.0")
ALWAYS = {
    StartTls: Reply(220, "go on", "2.0.0"),
    Data: Reply(354, "go on"),
    EndOfData: Reply(250, "taken", "2.0.0"),
    Verify: Reply(252, "try to send", "2.5.0"),
    Quit: Reply(221, "bye", "2.0.0"),
}
LOG_IN_FIRST = Reply(530, "log in first", "5.7.0")  # RFC 4954 §6
NOT_OFFERED = Reply(555, "BODY is not offered", "5.5.4")
TURNED_AWAY = Reply(503, "there is no service here", "5.5.1")  # RFC 5321 §3.1: after 554 at the greeting, to all but QUIT
ENDED = re.compile(rb"(?:\A|\r\n)\.\r\n")
CHUNK = re.compile(rb"BDAT +([0-9]+)", re.IGNORECASE)
CODE = re.compile(rb"^([2-5][0-9]{2})[ -]?", re.MULTILINE)
LONGEST_LINE = 65_536


@dataclass(slots=True)
class _Transaction:
    """The message that is coming in."""

    mail: Mail
    recipients: dict[str, Mapping[str, str | None]] = field(default_factory=dict)
    content: bytearray = field(default_factory=bytearray)


class Session:
    """One connection. `run` ends when it is over, and raises nothing but what a function of the script raises."""

    def __init__(self, channel: Channel, options: Options, record: Record, number: int) -> None:
        self._channel = channel
        self._options = options
        self._record = record
        self._number = number
        # Without TLS, or before the handshake that comes first, passwords are taken in clear: it is a test.
        self._wire = ServerConnection(options.offer, secure=options.tls != "starttls")
        self._login = Login(options)
        self._transaction: _Transaction | None = None
        self._helo = ""
        self._line = ""
        self._chunk_left = 0
        self._is_turned_away = False

    async def run(self) -> None:
        try:
            if self._options.tls == "implicit":
                await self._handshake()
            await self._greet()
            while self._wire.state is not State.CLOSED:
                await self._take(await self._piece())
            await self._channel.end()
        except Gone:
            pass
        finally:
            self._channel.drop()

    # --- in ---

    async def _piece(self) -> bytes:
        """The next octets for the wire core: a line, or as much as is certain to be content."""
        received = self._channel.received
        while not (size := self._size(received)):
            await self._channel.more()
        piece = bytes(received[:size])
        del received[:size]
        return piece

    def _size(self, received: bytearray) -> int:
        if self._chunk_left:
            return min(self._chunk_left, len(received))
        if self._wire.state is not State.DATA:
            return received.find(b"\r\n") + 2 if b"\r\n" in received else len(received) if len(received) > LONGEST_LINE else 0
        if found := ENDED.search(received):
            return found.end()
        return received.rfind(b"\r\n") + 2 if b"\r\n" in received else len(received) if len(received) > LONGEST_LINE else 0

    async def _take(self, piece: bytes) -> None:
        if self._chunk_left:
            self._chunk_left -= len(piece)
        elif self._wire.state is not State.DATA:
            self._line = piece.removesuffix(b"\r\n").decode("utf-8", "backslashreplace")
            self._record.note(self._number, "C", self._line)
        events = self._wire.receive(piece)
        if self._wire.is_in_content and not self._chunk_left and (chunk := CHUNK.match(piece)):
            self._chunk_left = int(chunk[1])
        for event in events:
            if isinstance(event, DataChunk):
                if self._transaction is not None:
                    self._transaction.content += event.content
            elif isinstance(event, EndOfData) and self._options.lmtp:
                await self._answer_each(event)
            else:
                await self._answer(event)

    # --- out ---

    async def _greet(self) -> None:
        usual = Reply(220, f"{self._options.hostname} ESMTP")
        reply = await self._perform(self._record.script.next("GREETING"), lambda: usual, encode)
        self._is_turned_away = reply.is_permanent
        if reply.code == 421:
            await self._channel.end()
            raise Gone

    async def _answer(self, event: Event) -> None:
        moments = [self._line]
        if isinstance(event, EndOfData):  # of BDAT the reply to the last chunk is that to the message
            moments = ["END", *(line for line in moments if CHUNK.match(line.encode()))]
        # A response of AUTH is no command, whatever it looks like.
        fault = None if isinstance(event, AuthResponse) else self._record.script.next(*moments)
        await self._perform(fault, lambda: self._usual(event), lambda reply: self._settle(event, reply))
        if self._wire.state is State.TLS:
            await self._handshake()
            self._wire.tls_started()
            self._login, self._transaction, self._helo = Login(self._options), None, ""

    async def _answer_each(self, event: EndOfData) -> None:
        """RFC 2033 §4.2: a reply for each recipient that was accepted."""
        transaction, self._transaction = self._transaction, None
        taken: list[str] = []
        for recipient in transaction.recipients if transaction else ():
            # One message for all who are left is kept with the last of them, so that nobody sees half of its recipients.
            fault = self._record.script.next(f"END <{recipient}>")
            reply = await self._perform(fault, lambda: self._usual(event), encode)
            if reply.is_positive:
                taken.append(recipient)
        if transaction and taken:
            self._keep(transaction, taken)
        self._move(OK)

    async def _perform(self, fault: Fault | None, usual: Callable[[], Reply], settle: Callable[[Reply], bytes]) -> Reply:
        """Find the reply, do what it means (`settle` gives the octets, too), and say it; or go wrong on the way."""
        if fault is None:
            reply = usual()
            await self._say(settle(reply))
            return reply
        await self._channel.pause(fault.delay)
        said = fault.said(self._line)
        if said is None and (fault.drop or fault.hang):
            await self._break_off(fault)
        reply = usual() if said is None else _beginning(said)
        octets = settle(reply)
        if not fault.lose_reply:
            await self._say_badly(octets if said is None else said, fault)
        if fault.ends:
            await self._break_off(fault)
        return reply

    async def _say(self, octets: bytes) -> None:
        self._note(octets)
        await self._channel.say(octets)

    async def _say_badly(self, octets: bytes, fault: Fault) -> None:
        if fault.endless:
            octets = _unfinished(octets)
        if not (fault.endless or fault.trickle):
            await self._say(octets)
            return
        self._note(octets)
        while True:
            await self._trickle(octets, fault.trickle)
            if not fault.endless:  # else until the client has had enough
                return
            await asyncio.sleep(0)

    async def _trickle(self, octets: bytes, seconds: float) -> None:
        for piece in [octets[at : at + 1] for at in range(len(octets))] if seconds else [octets]:
            await self._channel.pause(seconds)
            await self._channel.say(piece)

    def _note(self, octets: bytes) -> None:
        for line in octets.decode("utf-8", "backslashreplace").splitlines():
            self._record.note(self._number, "S", line)

    async def _break_off(self, fault: Fault) -> None:
        self._record.note(self._number, "", "hangs" if fault.hang else "drops the connection")
        if fault.hang:
            await self._channel.hang()
        raise Gone

    async def _handshake(self) -> None:
        fault = self._record.script.next("TLS") or Fault("TLS")
        await self._channel.pause(fault.delay)
        said = fault.said("TLS")
        if said is not None:  # what is no handshake
            await self._say(said)
        if fault.ends:
            await self._break_off(fault)
        try:
            await self._channel.start_tls(server_context(self._options.hostname, fault.certificate))
        except OSError as error:  # ssl.SSLError, too
            self._record.note(self._number, "", f"TLS failed: {error}")
            raise Gone from None
        self._record.note(self._number, "", f"speaks {self._channel.tls}")

    # --- what is decided, and what follows from it ---

    def _usual(self, event: Event) -> Reply:
        if self._is_turned_away and not isinstance(event, Quit):
            return TURNED_AWAY
        match event:
            case Refused():
                return event.reply
            case Hello(extended=False):
                return Reply(250, self._options.hostname)
            case Hello():
                return self._options.hello(secure=self._wire.secure, now=time.time())
            case Mail():
                return self._mail(event)
            case Auth():
                return self._login.begin(event)
            case AuthResponse():
                return self._login.go_on(event.response)
            case EndOfChunk() | EndOfData():
                return event.refusal or ALWAYS.get(type(event), OK)
        return ALWAYS.get(type(event), OK)

    def _mail(self, mail: Mail) -> Reply:
        if self._options.users and not self._login.user:
            return LOG_IN_FIRST
        if "BODY" in mail.parameters and not self._options.offers("8BITMIME"):
            return NOT_OFFERED
        return OK

    def _settle(self, event: Event, reply: Reply) -> bytes:
        """The octets of the reply, after all that it brings about."""
        match event:
            case Hello() if reply.is_positive:
                self._helo, self._transaction = event.name, None
            case Reset() if reply.is_positive:
                self._transaction = None
            case Mail() if reply.is_positive:
                self._transaction = _Transaction(event)
            case Rcpt() if reply.is_positive and self._transaction is not None:
                self._transaction.recipients[event.recipient] = event.parameters
            case EndOfData():
                if reply.is_positive and self._transaction is not None:
                    self._keep(self._transaction, list(self._transaction.recipients))
                self._transaction = None
            case EndOfChunk() if not reply.is_positive:
                self._transaction = None
        return self._move(reply)

    def _move(self, reply: Reply) -> bytes:
        try:
            return self._wire.send(reply)
        except CommandOrder:  # a reply that no server gives to this command: it moves nothing
            self._wire.send(Reply(550, ""))
            return encode(reply)

    def _keep(self, transaction: _Transaction, recipients: list[str]) -> None:
        mail = ReceivedMail(
            transaction.mail.sender,
            tuple(recipients),
            bytes(transaction.content),
            transaction.mail.parameters,
            {recipient: transaction.recipients[recipient] for recipient in recipients},
            self._helo,
            self._login.user,
            self._channel.tls,
            self._number,
        )
        self._record.took(mail)


def _unfinished(octets: bytes) -> bytes:
    """The same with all lines of a reply but the last (RFC 5321 §4.2.1): more of it is always to come."""
    return CODE.sub(rb"\1-", octets)


def _beginning(octets: bytes) -> Reply:
    """The reply that these octets begin with; one that moves nothing where they are none."""
    return Reply(int(octets[:3]), "") if re.match(rb"[2-5][0-9]{2}", octets) else Reply(500, "")
