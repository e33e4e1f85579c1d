"""`sendmail -bs`: a server for one client, on standard input and output.

Whoever has this pipe is the user himself, so there is no password and no policy: what it says is refused only where it is no
SMTP. A message has one reply here, whatever becomes of its recipients. Where some were refused for good the rest is sent, the
client hears 250, and the sender is told by mail; where all were, the client hears it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from waymail.app.cli.sendmail.message import Person, with_domain
from waymail.app.cli.sendmail.submit import Became
from waymail.wire import Offer, ServerConnection, commands
from waymail.wire.errors import ProtocolError
from waymail.wire.events import DataChunk, EndOfData, Event, Refused
from waymail.wire.replies import Reply
from waymail.wire.state import State

READ = 65536

OK = Reply(250, "OK", "2.0.0")
GO_ON = Reply(354, "go on")
BYE = Reply(221, "goodbye", "2.0.0")
PERHAPS = Reply(252, "send it, and see", "2.1.5")
HELP = Reply(214, "EHLO, MAIL, RCPT, DATA, RSET, NOOP, QUIT: see RFC 5321", "2.0.0")
NOT_HERE = Reply(502, "not to be had here", "5.5.1")
WAITS = Reply(250, "kept, and sent later", "2.0.0")

# What becomes of a message: sender, recipients, content.
Submit = Callable[[str, list[str], bytes], Became | Reply]


@dataclass(slots=True)
class Dialogue:
    """The session. `read` gives at most so many octets, b"" at the end; `write` takes them."""

    person: Person
    read: Callable[[int], bytes]
    write: Callable[[bytes], None]
    submit: Submit
    _sender: str = ""
    _recipients: list[str] = field(default_factory=list)
    _content: list[bytes] = field(default_factory=list)

    def run(self) -> None:
        """Return when the client has said QUIT, or went away."""
        offer = Offer(self.person.domain, extensions=frozenset({"SMTPUTF8"}), normalise=True)
        connection = ServerConnection(offer)
        self.write(connection.greet())
        while connection.state is not State.CLOSED and (octets := self.read(READ)):
            try:
                events = connection.receive(octets)
                while events:
                    for event in events:
                        self._take(connection, event)
                    events = connection.receive(b"")
            except ProtocolError as error:
                self.write(connection.send(Reply(421, str(error), "4.7.0")))

    def _take(self, connection: ServerConnection, event: Event) -> None:
        if isinstance(event, DataChunk):
            self._content.append(event.content)
            return
        reply = connection.hello_reply(event) if isinstance(event, commands.Hello) else self._reply(event)
        self.write(connection.send(reply))

    def _reply(self, event: Event) -> Reply:
        match event:
            case Refused(reply):
                return reply
            case commands.Mail(sender):
                self._begin(sender)
            case commands.Rcpt(recipient):
                self._recipients.append(with_domain(recipient, self.person.domain))
            case commands.Data():
                return GO_ON
            case EndOfData(_, refusal):
                return refusal or self._ended()
            case commands.Reset() | commands.Noop():
                pass
            case commands.Verify():
                return PERHAPS
            case commands.Help():
                return HELP
            case commands.Quit():
                return BYE
            case _:
                return NOT_HERE
        return OK

    def _begin(self, sender: str) -> None:
        self._sender, self._recipients, self._content = sender, [], []

    def _ended(self) -> Reply:
        content, self._content = b"".join(self._content), []
        became = self.submit(self._sender, self._recipients, content)
        if isinstance(became, Reply):
            return became
        if not became.accepted and not became.waiting:
            return next(iter(became.refused.values()))
        if became.waiting:
            return WAITS
        return Reply(250, became.reply.text, became.reply.enhanced) if became.reply else OK
