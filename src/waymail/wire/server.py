"""The server's side of SMTP without I/O (RFC 5321).

Octets go in, events come out; replies go in, octets come out. Promises: every event but `DataChunk` is answered by exactly one
`send`, in order, and until then nothing further is reported; the state moves only by replies, along `state.TABLE`; however
the octets are cut, the events are the same (but for where the chunks of a message are cut). In state CLOSED nothing is
reported any more: close the connection. What the client does wrong
comes as a `Refused` event with the reply that is due. `ProtocolError` means that the client sent more ahead of the
replies than the bound allows: the connection is to be closed.
"""

from __future__ import annotations

from functools import lru_cache

from waymail.wire import extensions, replies, syntax
from waymail.wire.checks import CHECKS, NOT_OFFERED
from waymail.wire.chunks import ChunkedContent
from waymail.wire.commands import (
    Auth,
    AuthResponse,
    Bdat,
    Data,
    Hello,
    Mail,
    Rcpt,
    Reset,
    Verify,
    XClient,
)
from waymail.wire.data import DataDecoder
from waymail.wire.errors import CommandOrder, ProtocolError, SyntaxProblem
from waymail.wire.events import DataChunk, EndOfChunk, EndOfData, Event, Refused
from waymail.wire.line_ends import LineEnds
from waymail.wire.lines import Input, TooLong
from waymail.wire.offer import Offer
from waymail.wire.replies import RepliesToEach, Reply
from waymail.wire.state import EXCHANGE_OVER, LOST_COUNT, MESSAGE_DISPUTED, STAY, TABLE, Moves, State, out_of_sequence

LINE_TOO_LONG = Reply(500, "line too long", "5.5.2")
RESPONSE_TOO_LONG = Reply(500, "the response is too long", "5.5.6")  # RFC 4954 §4
BARE_IN_CONTENT = Reply(550, "the message has a CR or LF outside of a CRLF", "5.6.11")
TOO_BIG = Reply(552, "the message is larger than the limit", "5.3.4")
REFUSALS = {"bare": BARE_IN_CONTENT, "size": TOO_BIG}
# Nothing of a transaction is left after these.
BEGINNINGS = frozenset({Hello, Reset, XClient})


@lru_cache(maxsize=256)
def _accepting(offer: Offer, secure: bool, first: str, now: int) -> Reply:
    """The answer that accepts EHLO or LHLO."""
    lines = extensions.offered(
        offer.extensions,
        offer.limits,
        secure=secure,
        starttls=offer.starttls and not secure,
        auth=offer.auth if secure or offer.auth_in_clear else (),
        now=now,
    )
    return Reply(250, "\n".join((first, *lines)))


class ServerConnection:
    """One connection, seen from the server. `secure`: TLS was there from the beginning (RFC 8314 §3).

    To be read, not set: `state`; `secure`; `hello`, the last EHLO or HELO that was accepted; `authenticated`. `offer` may be
    replaced between two commands, where more or less is offered to this client than to others.
    """

    __slots__ = (
        "_awaited",
        "_chunks",
        "_decoder",
        "_discarding",
        "_input",
        "_line_ends",
        "_moves",
        "accepted",
        "authenticated",
        "binary",
        "greeting",
        "hello",
        "offer",
        "refused",
        "secure",
        "state",
        "transactions",
        "utf8",
        "verifies_utf8",
    )

    def __init__(self, offer: Offer, *, secure: bool = False) -> None:
        self.offer = offer
        self._reset(secure=secure)

    def _reset(self, *, secure: bool) -> None:
        self.secure = secure
        self.state = State.START
        self.authenticated = False
        self.hello: Hello | None = None  # the last one that was accepted
        self.greeting: Hello | None = None  # the last one that was reported
        self._input = Input()
        self._line_ends = LineEnds()
        self._awaited: type | None = None  # the kind of the event that waits for its reply
        self._moves: Moves = STAY
        self._decoder: DataDecoder | None = None
        self._chunks: ChunkedContent | None = None  # a message that comes by BDAT
        self._discarding: Refused | None = None  # why the octets of the present chunk count for nothing
        self.accepted = 0  # recipients of the open transaction
        self.refused = 0
        self.transactions = 0
        self.utf8 = self.binary = False  # what the open transaction may hold
        self.verifies_utf8 = False  # the last VRFY had SMTPUTF8

    @property
    def offers_auth(self) -> bool:
        """Whether this client may authenticate as things stand."""
        return bool(self.offer.auth) and (self.secure or self.offer.auth_in_clear)

    @property
    def buffered(self) -> int:
        """How many octets wait."""
        return self._input.size

    @property
    def is_in_content(self) -> bool:
        """Whether what comes in now is content, and no command."""
        return self.state is State.DATA or (self._chunks is not None and self._chunks.left > 0)

    # --- out ---

    def greet(self, text: str = "ESMTP waymail") -> bytes:
        """The greeting (RFC 5321 §4.3.1)."""
        return replies.encode(Reply(220, f"{self.offer.hostname} {text}"))

    def hello_reply(self, hello: Hello, text: str = "", *, now: float = 0.0) -> Reply:
        """The answer that accepts `hello`, with what is offered in the present state; HELO's is one line. `now` is in seconds
        since the epoch."""
        offer = self.offer
        first = f"{offer.hostname} {text}" if text else offer.hostname
        if not hello.extended:
            return Reply(250, first)
        # Only what is said of holding messages depends on the time.
        return _accepting(offer, self.secure, first, int(now) if "FUTURERELEASE" in offer.extensions else 0)

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
            if self._chunks is not None and self.state is not State.BDAT:
                self._chunks = None
        self._awaited = None
        if self.state is State.TLS or self.state is State.CLOSED:
            # RFC 3207 §4.2: what came in clear behind STARTTLS is never read.
            self._input = Input()
        if kind is EndOfData and self.offer.lmtp and reply.code != 421:
            return self._encoded_for_each(reply)
        return self._encoded(reply, self.verifies_utf8 if kind is Verify else self.utf8)

    def _encoded_for_each(self, reply: Reply) -> bytes:
        """RFC 2033 §4.2: after the content one reply for each recipient that was accepted."""
        each = reply.each if isinstance(reply, RepliesToEach) else (reply,) * self.accepted
        if len(each) != self.accepted:
            raise CommandOrder(f"{len(each)} replies for {self.accepted} recipients")
        return b"".join([self._encoded(one, self.utf8) for one in each])

    @staticmethod
    def _encoded(reply: Reply, utf8: bool) -> bytes:
        if not reply.text.isascii() and not utf8:
            # RFC 6531 §3.7.4: UTF-8 only to a client that asked for it, in MAIL or in this very VRFY.
            reply = Reply(reply.code, reply.text.encode("ascii", "replace").decode(), reply.enhanced)
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
            self._input.put(self._line_ends.translate(data) if self.offer.normalise else data)
        if self._awaited is None:
            if state is State.DATA:
                return self._receive_content()
            if self._chunks is not None and self._chunks.left:
                return self._receive_chunk(self._chunks)
        if data:
            self._check_bound()
        return [] if self._awaited is not None else self._receive_line()

    def _receive_line(self) -> list[Event]:
        offer, exchange = self.offer, self.state is State.AUTH
        # RFC 4954 §4: AUTH itself may be as long as a response, for it may hold the first one.
        is_long = exchange or (self.state is State.READY and self.offers_auth)
        try:
            line = self._input.take_line(offer.limits.auth_line if is_long else offer.limits.command_line)
        except TooLong as too_long:
            moves = EXCHANGE_OVER if exchange else _after_refused(too_long.start)
            return [self._refuse(RESPONSE_TOO_LONG if exchange else LINE_TOO_LONG, too_long.start, moves)]
        if line is None:
            return []
        if exchange:
            return [self._auth_response(line)]
        if len(line) + 2 > offer.limits.command_line and line[:5].upper() != b"AUTH ":
            return [self._refuse(LINE_TOO_LONG, line[: Input.KEPT_OF_TOO_LONG], _after_refused(line))]
        event = self._command(line)
        if event is not None:
            return [event]
        return self._receive_chunk(self._chunks) if self._chunks is not None else []

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

    def _receive_chunk(self, chunks: ChunkedContent) -> list[Event]:
        """Octets of a chunk; behind the last of them comes what takes its reply."""
        received = self._input
        received.gather()
        start = received.offset
        end = min(start + chunks.left, len(received.octets))
        content = chunks.take(received.octets[start:end])
        received.offset = end
        events: list[Event] = [DataChunk(content)] if content and self._discarding is None else []
        if chunks.left:
            received.octets, received.offset = b"", 0
            return events
        self._check_bound()
        events.append(self._end_of_chunk(chunks))
        return events

    def _end_of_chunk(self, chunks: ChunkedContent) -> Event:
        refused, self._discarding = self._discarding, None
        if refused is not None:
            self._chunks = None
            return self._refuse(refused.reply, refused.line)
        if chunks.is_last:
            chunks.finish()
        refusal = REFUSALS[chunks.problem] if chunks.problem else None
        if chunks.is_last:
            self._chunks = None
            self._await(EndOfData)
            return EndOfData(chunks.size, refusal)
        self._await(EndOfChunk)
        return EndOfChunk(chunks.chunk_size, refusal)

    def _begin_chunk(self, bdat: Bdat, line: bytes) -> None:
        """What follows are octets of a chunk, also where it is refused (RFC 3030 §2): they must not be taken for commands."""
        refusal = None
        if "CHUNKING" not in self.offer.extensions:
            refusal = NOT_OFFERED
        elif Bdat not in TABLE[self.state]:
            refusal = out_of_sequence(self.state, Bdat, recipients_refused=self.refused > 0)
        if refusal is not None:
            self._discarding = Refused(refusal, line)
            self._chunks = ChunkedContent(0, binary=True)
        elif self._chunks is None:
            self._chunks = ChunkedContent(self.offer.limits.message_size, binary=self.binary)
        if self._chunks is not None:
            self._chunks.begin(bdat.octets, last=bdat.last)

    def _command(self, line: bytes) -> Event | None:
        """The event of a command line; None where octets of a chunk follow it."""
        kind: type = Refused
        try:
            verb, argument = syntax.split_line(line)
            kind = verb.kind
            if kind is Bdat:
                self._begin_chunk(syntax.parse_bdat(argument), line)
                return None
            moves = TABLE[self.state].get(kind)
            if moves is None:
                raise SyntaxProblem(out_of_sequence(self.state, kind, recipients_refused=self.refused > 0))
            command = verb.parse(argument)
            check = CHECKS.get(kind)
            if check is not None:
                command = check(self, command)
        except SyntaxProblem as problem:
            if kind is Rcpt:
                self.refused += 1
            return self._refuse(problem.reply, line, _after_refused(line))
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

    def _note(self, kind: type, digit: int) -> None:
        """What a reply changes besides the state."""
        if kind is Rcpt:
            if digit == 2:
                self.accepted += 1
            else:
                self.refused += 1
        elif kind is Mail:
            self.accepted = self.refused = 0
            self.transactions += digit == 2
        elif kind is Data:
            if digit == 3:
                normalise = self.offer.normalise
                self._decoder = DataDecoder(self.offer.limits.message_size, normalise=normalise)
        elif kind is Auth or kind is AuthResponse:
            self.authenticated = self.authenticated or digit == 2
        elif kind in BEGINNINGS and digit == 2:
            self._begin_anew(kind)

    def _begin_anew(self, kind: type) -> None:
        """Nothing of a transaction is left after these."""
        self.utf8 = False
        if kind is Hello:
            self.hello = self.greeting
        elif kind is XClient:
            self.hello, self.authenticated = None, False


def _after_refused(line: bytes) -> Moves:
    """Where the refusal of a line leads. How many octets follow a BDAT that cannot be read nobody knows, whatever is wrong with
    it: they must not be taken for commands."""
    return LOST_COUNT if line[:4].upper() == b"BDAT" else STAY
