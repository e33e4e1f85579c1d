"""The server's side of SMTP without I/O (RFC 5321).

Octets go in, events come out; replies go in, octets come out. Promises: every event but `DataChunk` is answered by exactly one
`send`, in order, and until then nothing further is reported; the state moves only by replies, along `state.TABLE`; however
the octets are cut, the events are the same (but for where the chunks of a message are cut). In state CLOSED nothing is
reported any more: close the connection. What the client does wrong
comes as a `Refused` event with the reply that is due. `ProtocolError` means that the client sent more ahead of the
replies than the bound allows: the connection is to be closed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from waymail.wire import extensions, replies, syntax
from waymail.wire.commands import Auth, AuthResponse, Command, Data, Hello, Mail, Rcpt, StartTls
from waymail.wire.data import DataDecoder
from waymail.wire.errors import CommandOrder, ProtocolError, SyntaxProblem
from waymail.wire.events import DataChunk, EndOfData, Event, Refused
from waymail.wire.limits import DEFAULT, WireLimits
from waymail.wire.lines import Input, TooLong
from waymail.wire.replies import Reply
from waymail.wire.state import EXCHANGE_OVER, MESSAGE_DISPUTED, STAY, TABLE, Moves, State, out_of_sequence

LINE_TOO_LONG = Reply(500, "line too long", "5.5.2")
RESPONSE_TOO_LONG = Reply(500, "the response is too long", "5.5.6")  # RFC 4954 §4
TOO_MANY_RECIPIENTS = Reply(452, "too many recipients: send the message again to the others", "4.5.3")
NOT_OFFERED = Reply(502, "this extension is not offered", "5.5.1")
TLS_ACTIVE = Reply(503, "TLS is active already", "5.5.1")
NEEDS_TLS = Reply(538, "authentication needs TLS: send STARTTLS first", "5.7.11")
AUTHENTICATED_ALREADY = Reply(503, "authenticated already", "5.5.1")
NO_SUCH_MECHANISM = Reply(504, "this mechanism is not offered", "5.5.4")
BARE_IN_CONTENT = Reply(550, "the message has a CR or LF outside of a CRLF", "5.6.11")
TOO_BIG = Reply(552, "the message is larger than the limit", "5.3.4")
REFUSALS = {"bare": BARE_IN_CONTENT, "size": TOO_BIG}


@dataclass(frozen=True, slots=True)
class Offer:
    """What a listener offers.

    `hostname` is the name it goes by. `starttls` is offered while the connection is not secure, the mechanisms of `auth`
    only while it is.
    """

    hostname: str
    starttls: bool = False
    auth: tuple[str, ...] = ()
    limits: WireLimits = DEFAULT


class ServerConnection:
    """One connection, seen from the server. `secure`: TLS was there from the beginning (RFC 8314 §3).

    To be read, not set: `state`; `secure`; `hello`, the last EHLO or HELO that was accepted; `authenticated`.
    """

    __slots__ = (
        "_accepted",
        "_awaited",
        "_decoder",
        "_greeting",
        "_input",
        "_moves",
        "_refused",
        "authenticated",
        "hello",
        "offer",
        "secure",
        "state",
    )

    def __init__(self, offer: Offer, *, secure: bool = False) -> None:
        self.offer = offer
        self._reset(secure=secure)

    def _reset(self, *, secure: bool) -> None:
        self.secure = secure
        self.state = State.START
        self.authenticated = False
        self.hello: Hello | None = None  # the last one that was accepted
        self._greeting: Hello | None = None  # the last one that was reported
        self._input = Input()
        self._awaited: type | None = None  # the kind of the event that waits for its reply
        self._moves: Moves = STAY
        self._decoder: DataDecoder | None = None
        self._accepted = 0  # recipients of the open transaction
        self._refused = 0

    @property
    def buffered(self) -> int:
        """How many octets wait."""
        return self._input.size

    # --- out ---

    def greet(self, text: str = "ESMTP waymail") -> bytes:
        """The greeting (RFC 5321 §4.3.1)."""
        return replies.encode(Reply(220, f"{self.offer.hostname} {text}"))

    def hello_reply(self, hello: Hello, text: str = "") -> Reply:
        """The answer that accepts `hello`, with what is offered in the present state; HELO's is one line."""
        first = f"{self.offer.hostname} {text}" if text else self.offer.hostname
        if not hello.extended:
            return Reply(250, first)
        offer = self.offer
        lines = extensions.offered(
            message_size=offer.limits.message_size,
            starttls=offer.starttls and not self.secure,
            auth=offer.auth if self.secure else (),
        )
        return Reply(250, "\n".join((first, *lines)))

    def send(self, reply: Reply) -> bytes:
        """The octets of the reply to the last event; moves the state. Raises CommandOrder where no event awaits one."""
        digit = reply.code // 100
        kind = self._awaited
        if reply.code == 421:
            self.state = State.CLOSED
        elif kind is None or (digit == 3 and 3 not in self._moves):
            raise CommandOrder(f"{reply} answers nothing")
        else:
            self.state = self._moves.get(digit, self.state)
            self._note(kind, digit)
        self._awaited = None
        if self.state is State.TLS or self.state is State.CLOSED:
            # RFC 3207 §4.2: what came in clear behind STARTTLS is never read.
            self._input = Input()
        return replies.encode(reply)

    def tls_started(self) -> None:
        """The handshake is over: the session begins anew, and nothing said before it counts (RFC 3207 §4.2)."""
        self._reset(secure=True)

    # --- in ---

    def receive(self, data: bytes) -> list[Event]:
        """What `data` and the octets buffered before it say: any number of chunks of a message, and then at most one event
        that takes a reply. While one waits for its reply, `data` is only buffered. Raises ProtocolError.
        """
        state = self.state
        if state is State.TLS or state is State.CLOSED:
            return []
        if data:
            self._input.put(data)
        if state is State.DATA and self._awaited is None:
            return self._receive_content()
        if data:
            self._check_bound()
        if self._awaited is not None:
            return []
        limits = self.offer.limits
        exchange = state is State.AUTH
        try:
            line = self._input.take_line(limits.auth_line if exchange else limits.command_line)
        except TooLong as too_long:
            moves = EXCHANGE_OVER if exchange else STAY
            return [self._refuse(RESPONSE_TOO_LONG if exchange else LINE_TOO_LONG, too_long.start, moves)]
        if line is None:
            return []
        return [self._auth_response(line) if exchange else self._command(line)]

    def _check_bound(self) -> None:
        if self._input.size > self.offer.limits.input_buffer:
            self.state = State.CLOSED
            self._input = Input()
            raise ProtocolError("the client sent too much ahead of the replies")

    def _receive_content(self) -> list[Event]:
        received, decoder = self._input, self._decoder
        if decoder is None:
            raise CommandOrder("content without DATA")
        received.gather()
        content, end = decoder.decode(received.octets, received.offset)
        events: list[Event] = [DataChunk(content)] if content else []
        if end is None:
            received.octets, received.offset = b"", 0
            return events
        received.offset = end
        self._check_bound()
        self._decoder = None
        self._await(EndOfData)
        if decoder.is_end_disputed:
            self._moves = MESSAGE_DISPUTED
        events.append(EndOfData(decoder.size, REFUSALS[decoder.problem] if decoder.problem else None))
        return events

    def _command(self, line: bytes) -> Event:
        kind: type = Refused
        try:
            verb, argument = syntax.split_line(line)
            kind = verb.kind
            moves = TABLE[self.state].get(kind)
            if moves is None:
                raise SyntaxProblem(out_of_sequence(self.state, kind, recipients_refused=self._refused > 0))
            command = verb.parse(argument)
            check = CHECKS.get(kind)
            if check is not None:
                command = check(self, command)
        except SyntaxProblem as problem:
            if kind is Rcpt:
                self._refused += 1
            return self._refuse(problem.reply, line)
        self._awaited = kind
        self._moves = moves
        return command

    def _auth_response(self, line: bytes) -> Event:
        if line == b"*":
            response = None
        else:
            try:
                response = syntax.decode_base64(line)
            except SyntaxProblem as problem:
                return self._refuse(problem.reply, line, EXCHANGE_OVER)
        self._await(AuthResponse)
        return AuthResponse(response)

    def _await(self, kind: type) -> None:
        self._awaited = kind
        self._moves = TABLE[self.state][kind]

    def _refuse(self, reply: Reply, line: bytes, moves: Moves = STAY) -> Refused:
        self._awaited = Refused
        self._moves = moves
        return Refused(reply, line)

    # --- what was offered, and the limits: each gives the command back, or raises SyntaxProblem ---

    def _checked_hello(self, hello: Hello) -> Hello:
        self._greeting = hello
        return hello

    def _checked_mail(self, mail: Mail) -> Mail:
        if not mail.parameters:
            return mail
        checked = extensions.checked_mail_parameters(
            mail.parameters,
            extended=self.hello is not None and self.hello.extended,
            message_size=self.offer.limits.message_size,
            auth=self.secure and bool(self.offer.auth),
        )
        return mail if checked is mail.parameters else Mail(mail.sender, checked)

    def _checked_rcpt(self, rcpt: Rcpt) -> Rcpt:
        if rcpt.parameters:
            extensions.check_rcpt_parameters(rcpt.parameters)
        if self._accepted >= self.offer.limits.recipients:
            # RFC 5321 §4.5.3.1.10: 452, and the recipients before this one stand.
            raise SyntaxProblem(TOO_MANY_RECIPIENTS)
        return rcpt

    def _checked_starttls(self, starttls: StartTls) -> StartTls:
        if self.secure:
            raise SyntaxProblem(TLS_ACTIVE)  # RFC 3207 §4.2
        if not self.offer.starttls:
            raise SyntaxProblem(NOT_OFFERED)
        return starttls

    def _checked_auth(self, auth: Auth) -> Auth:
        if not self.offer.auth:
            raise SyntaxProblem(NOT_OFFERED)
        if not self.secure:
            raise SyntaxProblem(NEEDS_TLS)
        if self.authenticated:
            raise SyntaxProblem(AUTHENTICATED_ALREADY)  # RFC 4954 §4
        if auth.mechanism not in self.offer.auth:
            raise SyntaxProblem(NO_SUCH_MECHANISM)
        return auth

    def _note(self, kind: type, digit: int) -> None:
        """What a reply changes besides the state."""
        if kind is Rcpt:
            if digit == 2:
                self._accepted += 1
            else:
                self._refused += 1
        elif kind is Mail:
            self._accepted = self._refused = 0
        elif kind is Data:
            if digit == 3:
                self._decoder = DataDecoder(self.offer.limits.message_size)
        elif kind is Hello:
            if digit == 2:
                self.hello = self._greeting
        elif kind is Auth or kind is AuthResponse:
            self.authenticated = self.authenticated or digit == 2


CHECKS: Mapping[type, Callable[[ServerConnection, Any], Command]] = {
    Hello: ServerConnection._checked_hello,
    Mail: ServerConnection._checked_mail,
    Rcpt: ServerConnection._checked_rcpt,
    StartTls: ServerConnection._checked_starttls,
    Auth: ServerConnection._checked_auth,
}
