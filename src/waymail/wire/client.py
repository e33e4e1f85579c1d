"""The client's side of SMTP without I/O (RFC 5321).

Commands go in, octets come out; octets go in, replies come out, each with the command that it answers. Promises: no argument of
a command can add a line or an argument (ValueError instead); commands are grouped only as RFC 2920 §3.1 allows (CommandOrder
instead); a reply is matched to its command by counting and by nothing else; however the octets are cut, the replies are the
same. `ProtocolError` means that the server cannot be understood: the connection is to be closed. Whether the server
offers PIPELINING is for the caller to look up in `extensions` before it sends a group.

Content goes by DATA (`content_sent` says that it went) or in chunks (RFC 3030 §2): a BDAT is the last in what `send` is given,
its octets follow at once, and `chunk_sent` says that they did. After LHLO each accepted recipient has a reply of its own to the
end of the content (RFC 2033 §4.2, §4.3). A refusal that comes before the end of the content is taken for the reply to it.

A reply line may end in a bare LF: some old servers do that, and nothing can be smuggled into a reply but more reply.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from types import MappingProxyType

from waymail.wire import extensions, syntax
from waymail.wire.commands import Auth, AuthResponse, Bdat, Command, Data, Hello, Mail, Rcpt, Reset, StartTls, XClient
from waymail.wire.errors import CommandOrder, ProtocolError
from waymail.wire.limits import DEFAULT, WireLimits
from waymail.wire.replies import Reply

# RFC 5321 §4.2: Reply-code = %x32-35 %x30-35 %x30-39; §4.3.2 adds: be prepared for codes that nobody knows.
# Reply-line = *( Reply-code "-" [ textstring ] CRLF ) Reply-code [ SP textstring ] CRLF
_REPLY_LINE = re.compile(rb"(?P<code>[2-5][0-9]{2})(?:(?P<mark>[ -])(?P<text>.*))?", re.DOTALL)
# RFC 2034 §4: status-code = class "." subject "." detail
_ENHANCED = re.compile(r"([245]\.[0-9]{1,3}\.[0-9]{1,3})(?: |$)")

COMMON_LINE = 128  # octets: longer replies are seldom said twice

NOTHING_OFFERED: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Greeting:
    """Stands for the connection itself, which the server's first reply answers (RFC 5321 §3.1)."""


@dataclass(frozen=True, slots=True)
class EndOfContent:
    """Stands for the end of the content, which a reply answers: the dot (RFC 5321 §4.1.1.4); in LMTP the last chunk too, and
    `recipient` is then the one that the reply is about (RFC 2033 §4.2)."""

    recipient: str = ""


@dataclass(frozen=True, slots=True)
class Response:
    """A reply and what it answers: None for a 421 that came although nothing was asked."""

    command: Command | Greeting | EndOfContent | None
    reply: Reply


class Due(Enum):
    """What must come now, in place of a command, because the server's last reply asked for it."""

    CONTENT = "the content that 354 asked for"
    CHUNK = "the octets of the chunk"
    RESPONSE = "the response to a challenge"
    HANDSHAKE = "the TLS handshake"


# RFC 2920 §3.1: what may stand anywhere in a group; content may be its beginning. All others are the last in theirs. A chunk is
# content (RFC 3030 §4.2).
GROUPED = frozenset({Mail, Rcpt, Reset, Bdat, EndOfContent})
# The replies by which an LMTP server says that it does not take BDAT at all. It says so once, and not for each recipient.
_NOT_TAKEN = (500, 501, 502, 503, 504)


class ClientConnection:
    """One connection, seen from the client.

    To be read, not set: `pending`, what still awaits its reply, in order; `extensions`, what the latest accepted EHLO was
    answered with: keywords in upper case, and the text behind them. It is empty before that, after HELO, after `tls_started`
    and after an accepted XCLIENT.
    """

    __slots__ = (
        "_accepted",
        "_broken",
        "_buffer",
        "_code",
        "_due",
        "_line_count",
        "_lines",
        "_lmtp",
        "_text_size",
        "_utf8",
        "extensions",
        "limits",
        "pending",
    )

    def __init__(self, limits: WireLimits = DEFAULT) -> None:
        self.limits = limits
        self.pending: deque[Command | Greeting | EndOfContent] = deque([Greeting()])
        self.extensions: Mapping[str, str] = NOTHING_OFFERED
        self._buffer = b""
        self._code = 0  # of the reply that is not complete yet
        self._lines: list[str] = []
        self._line_count = 0  # of the reply that comes in, dropped ones included
        self._text_size = 0
        self._due: Due | None = None
        self._broken = ""
        self._lmtp = False
        self._accepted: list[str] = []  # in LMTP: the recipients that stand, in order
        self._utf8 = False  # the transaction has SMTPUTF8

    # --- out ---

    def send(self, *commands: Command) -> bytes:
        """The octets of a group of commands, which now await their replies.

        Raises ValueError for an argument that cannot stand in a command (a path beyond ASCII is none without SMTPUTF8: RFC
        6531 §3.4), and CommandOrder for a command that cannot stand where it does. Then nothing is to be sent, and
        nothing new awaits a reply.
        """
        due = self._due
        if due is not None and due is not Due.RESPONSE:
            raise CommandOrder(f"{due.value} comes first")
        before: Command | Greeting | EndOfContent | None = self.pending[-1] if self.pending else None
        for command in commands:
            if before is not None and type(before) not in GROUPED:
                raise CommandOrder(f"nothing is sent behind {type(before).__name__} before its reply")
            if (type(command) is AuthResponse) is not (due is Due.RESPONSE):
                raise CommandOrder("an exchange of AUTH consists of challenges and responses")
            before = command
            if due is Due.CHUNK:
                raise CommandOrder("the octets of a chunk come before the next command")
            if type(command) is Bdat and command.octets:
                due = Due.CHUNK
        octets = b"".join([syntax.encode(command) for command in commands])
        if not octets.isascii():
            self._check_utf8(commands)
        if commands:
            self._due = due if due is Due.CHUNK else None
            self.pending.extend(commands)
        return octets

    def _check_utf8(self, commands: tuple[Command, ...]) -> None:
        utf8 = self._utf8
        for command in (*self.pending, *commands):
            match command:
                case Mail(path, parameters):
                    utf8 = "SMTPUTF8" in parameters
                case Rcpt(path, _):
                    pass
                case _:
                    continue
            if not utf8 and not path.isascii():
                raise ValueError(f"an address beyond ASCII needs SMTPUTF8: {path!r}")

    @property
    def owes_content(self) -> bool:
        """Whether content, or the rest of a chunk, is to be written before anything else."""
        return self._due is Due.CONTENT or self._due is Due.CHUNK

    def chunk_sent(self) -> None:
        """All octets of the chunk that BDAT announced were written. Raises CommandOrder where no chunk is due."""
        if self._due is not Due.CHUNK:
            raise CommandOrder("a chunk follows BDAT only")
        self._due = None

    def content_sent(self) -> None:
        """The content and its end were written (`waymail.wire.data.stuff`): the end now awaits its reply, in LMTP one for each
        accepted recipient.

        Raises CommandOrder where no 354 asked for content.
        """
        if self._due is not Due.CONTENT:
            raise CommandOrder("content is sent after 354 only")
        self._due = None
        if self._lmtp:
            self.pending.extend([EndOfContent(recipient) for recipient in self._accepted])
        else:
            self.pending.append(EndOfContent())

    def tls_started(self) -> None:
        """The handshake is over: what the server said before it is forgotten (RFC 3207 §4.2).

        Raises ProtocolError where the server, or somebody in between, sent octets behind its 220: they came in clear and
        would be taken for replies from inside TLS. Raises CommandOrder where a reply is awaited.
        """
        if self._buffer:
            raise self._break("octets came in clear behind the reply to STARTTLS")
        if self.pending:
            raise CommandOrder("TLS starts while replies are awaited")
        self._due = None
        self.extensions = NOTHING_OFFERED

    # --- in ---

    def receive(self, data: bytes) -> list[Response]:
        """The replies that `data` completes, each with what it answers.

        Raises ProtocolError, whose `responses` are those that `data` completed before it broke.
        """
        if self._broken:
            raise ProtocolError(self._broken)
        buffer = self._buffer + data if self._buffer else data
        responses: list[Response] = []
        start = 0
        try:
            while self._due is not Due.HANDSHAKE and (end := buffer.find(b"\n", start)) >= 0:
                self._check_length(end + 1 - start)
                line = buffer[start:end]
                start = end + 1
                reply = self._reply(line.removesuffix(b"\r"))
                if reply is not None:
                    responses.append(self._response(reply))
            self._check_length(len(buffer) - start)
        except ProtocolError as error:
            error.responses = tuple(responses)
            raise
        self._buffer = buffer[start:]
        return responses

    def _check_length(self, octets: int) -> None:
        if octets > self.limits.reply_line:
            raise self._break("a reply line is too long")

    def _reply(self, line: bytes) -> Reply | None:
        """The reply that this line completes."""
        if not self._lines and len(line) <= COMMON_LINE and (reply := _single(line)) is not None:
            return reply
        found = _REPLY_LINE.fullmatch(line)
        if found is None:
            raise self._break(f"this is not a reply: {line[:80]!r}")
        code, mark, text = found.groups()
        if self._lines and int(code) != self._code:
            raise self._break(f"a reply changes its code from {self._code} to {int(code)}")
        self._code = int(code)
        self._line_count += 1
        self._text_size += len(text or b"")
        # A reply is kept, shown and stored for every recipient: what is said beyond the bound is read and dropped.
        if self._text_size <= self.limits.reply_text or not self._lines:
            self._lines.append(text.decode("utf-8", "backslashreplace") if text else "")
        if mark == b"-":
            if self._line_count >= self.limits.reply_lines:
                raise self._break("a reply has too many lines")
            return None
        lines, self._lines = self._lines, []
        self._line_count = self._text_size = 0
        return _composed(self._code, lines)

    def _response(self, reply: Reply) -> Response:
        """Match a reply with what it answers, and note what it changes."""
        if not self.pending:
            if reply.code == 421:
                return Response(None, reply)
            if self._due is Due.CONTENT and reply.code >= 400:
                # Too early, but clear: it is not taken. What the server reads from here on nobody knows.
                return Response(EndOfContent(), reply)
            raise self._break(f"a reply that nothing awaits: {reply}")
        command = self.pending.popleft()
        match command:
            case Hello(extended=extended, lmtp=lmtp) if reply.is_positive:
                self.extensions = extensions.parse_offered(reply) if extended else NOTHING_OFFERED
                self._lmtp = lmtp
            case Mail(parameters=parameters):
                self._utf8 = "SMTPUTF8" in parameters
            case Data() if reply.code == 354:
                self._due = Due.CONTENT
            case StartTls() if reply.code == 220:
                self._due = Due.HANDSHAKE
            case Auth() | AuthResponse() if reply.code == 334:
                self._due = Due.RESPONSE
            case XClient() if reply.code == 220:
                # It is another client's session now, whose greeting this is: EHLO comes again.
                self.extensions = NOTHING_OFFERED
        return Response(self._of_recipient(command, reply) if self._lmtp else command, reply)

    def _of_recipient(self, command: Command | Greeting | EndOfContent, reply: Reply) -> Command | Greeting | EndOfContent:
        """In LMTP: keep count of the recipients that stand, and tell the replies to the last chunk apart (RFC 2033 §4.3)."""
        match command:
            case Rcpt(recipient) if reply.is_positive:
                self._accepted.append(recipient)
            case Mail() | Reset():
                self._accepted = []
            case Bdat(last=True) if self._accepted and reply.code not in _NOT_TAKEN:
                self.pending.extendleft([EndOfContent(recipient) for recipient in reversed(self._accepted[1:])])
                return EndOfContent(self._accepted[0])
        return command

    def _break(self, reason: str) -> ProtocolError:
        self._broken = reason
        self._buffer = b""
        return ProtocolError(reason)


@lru_cache(maxsize=1024)
def _single(line: bytes) -> Reply | None:
    """The reply that consists of this line alone, None where it does not. Servers say the same few things all the time."""
    found = _REPLY_LINE.fullmatch(line)
    if found is None or found["mark"] == b"-":
        return None
    text = found["text"]
    return _composed(int(found["code"]), [text.decode("utf-8", "backslashreplace") if text else ""])


def _composed(code: int, lines: list[str]) -> Reply:
    """The reply of these lines; an enhanced code is taken off where its class is the code's (RFC 2034 §4)."""
    found = _ENHANCED.match(lines[0])
    if found is None or int(found[1][0]) != code // 100:
        return Reply(code, "\n".join(lines))
    enhanced = found[1]
    # Each line should repeat it; not all servers do.
    texts = [line[len(enhanced) + 1 :] if line == enhanced or line.startswith(f"{enhanced} ") else line for line in lines]
    return Reply(code, "\n".join(texts), enhanced)
