"""What a stream says to a server, told slowly and plainly: the model that the server core is held to.

The model knows no buffer and no pieces. It has the whole stream and a place in it; each event of the core must be explained by
the octets at that place, and by all of them up to the next event. So no octet of content can become a command, none can be
skipped, and none can be used twice. What an argument means is asked of `waymail.wire.syntax`, which has a target of its own.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import replace

from waymail.wire import commands, syntax
from waymail.wire.errors import SyntaxProblem
from waymail.wire.events import DataChunk, EndOfChunk, EndOfData, Event, Refused
from waymail.wire.server import ServerConnection
from waymail.wire.state import State


def is_bare(octets: bytes) -> bool:
    """Whether a CR or LF stands alone, found by walking through all octets."""
    for at, octet in enumerate(octets):
        if octet == 13 and octets[at + 1 : at + 2] != b"\n":
            return True
        if octet == 10 and (at == 0 or octets[at - 1] != 13):
            return True
    return False


def by_the_book(stream: bytes) -> tuple[bytes, int] | None:
    """The content up to the line with the lone dot, as it was sent, and how many octets that took; line by line (RFC 5321
    §4.5.2). None where there is no end."""
    at = 0
    while (end := stream.find(b"\r\n", at)) >= 0:
        if stream[at:end] == b".":
            return stream[:at], end + 2
        at = end + 2
    return None


def unstuffed(content: bytes) -> bytes:
    """The content without the dots that were stuffed."""
    lines = content.split(b"\r\n")
    return b"\r\n".join(line[1:] if line.startswith(b".") else line for line in lines)


class Reading:
    """Follows `core` through `stream`. Call `explain` with each event, before it is answered."""

    def __init__(self, core: ServerConnection, stream: bytes) -> None:
        self.core = core
        self.stream = stream
        self.at = 0
        self.given = b""  # content of the present message, as it was reported
        self.chunks = b""  # content of the present message that came by BDAT, as it stands in the stream
        self.problem = ""
        self.binary = False
        self.is_count_lost = False  # the present line is a BDAT that cannot be read

    def explain(self, event: Event) -> None:
        """Raises AssertionError where `event` is not what the octets at the present place say."""
        if isinstance(event, DataChunk):
            assert event.content, "a chunk of nothing was reported"
            self.given += event.content
            return
        if self.core.state is State.DATA:
            self._explain_content(event)
        else:
            self._explain_line(event)
        assert self.at <= len(self.stream)

    def _explain_content(self, event: Event) -> None:
        assert isinstance(event, EndOfData), event
        found = by_the_book(self.stream[self.at :])
        assert found is not None, "an end of content that is not there"
        sent, size = found
        self.at += size
        content = unstuffed(sent)
        assert event.size == len(content), (event.size, content)
        self._check_refusal(event, "bare" if is_bare(sent) else "size" if len(content) > self._limit else "", content)
        self.given = b""

    @property
    def _limit(self) -> int:
        size: int = self.core.offer.limits.message_size
        return size

    def _check_refusal(self, event: EndOfData | EndOfChunk, problem: str, content: bytes) -> None:
        code = event.refusal.code if event.refusal else 0
        assert code == {"": 0, "bare": 550, "size": 552}[problem], (event, problem)
        assert content.startswith(self.given) if problem else content == self.given, (content, self.given)

    def _explain_line(self, event: Event) -> None:
        end = self.stream.index(b"\r\n", self.at)
        line = self.stream[self.at : end]
        size = end + 2 - self.at
        self.at = end + 2
        limits = self.core.offer.limits
        in_exchange = self.core.state is State.AUTH
        self.is_count_lost = not in_exchange and line[:4].upper() == b"BDAT" and octets_behind(line, limits.command_line) is None
        if size > (limits.auth_line if in_exchange or self._takes_long(line) else limits.command_line):
            assert isinstance(event, Refused), event
            assert event.reply.code == 500
            assert line.startswith(event.line)
        elif in_exchange:
            self._explain_response(line, event)
        elif (octets := octets_behind(line, limits.command_line)) is not None:
            self._explain_chunk(line, octets, event)
        elif isinstance(event, Refused):
            assert event.line == line
        else:
            self._explain_command(line, event)

    def _takes_long(self, line: bytes) -> bool:
        core = self.core
        return line[:5].upper() == b"AUTH " and core.state is State.READY and core.secure and bool(core.offer.auth)

    def _explain_response(self, line: bytes, event: Event) -> None:
        try:
            said = None if line == b"*" else base64.b64decode(line, validate=True)
        except binascii.Error:
            assert isinstance(event, Refused), (line, event)
        else:
            assert event == commands.AuthResponse(said), (line, event)

    def _explain_command(self, line: bytes, event: Event) -> None:
        said = syntax.parse(line)
        assert type(said) is type(event), (line, event)
        if isinstance(said, commands.Mail) and isinstance(event, commands.Mail):
            assert said.parameters.keys() == event.parameters.keys()
            self.binary = event.parameters.get("BODY") == "BINARYMIME"
            self._forget()
            said = replace(said, parameters=event.parameters)
        elif isinstance(said, commands.Rcpt) and isinstance(event, commands.Rcpt):
            said = replace(said, parameters=event.parameters)
        elif isinstance(said, (commands.Hello, commands.Reset)):
            self._forget()
        assert said == event, (line, event)

    def _forget(self) -> None:
        if self.core.state is not State.BDAT:
            self.chunks, self.given, self.problem = b"", b"", ""

    def _explain_chunk(self, line: bytes, octets: int, event: Event) -> None:
        chunk = self.stream[self.at : self.at + octets]
        assert len(chunk) == octets, "the chunk has not come whole"
        self.at += octets
        if isinstance(event, Refused):
            assert event.line == line
            assert event.reply.code in (502, 503, 554)
            return
        if self.core.state is State.RCPT:
            self.chunks, self.problem = b"", ""
        is_last = line.upper().rstrip().endswith(b"LAST")
        self._note_problem(chunk, is_last)
        assert isinstance(event, EndOfData if is_last else EndOfChunk), event
        assert event.size == (len(self.chunks) if is_last else octets)
        self._check_refusal(event, self.problem, self.chunks)
        if is_last:
            self.chunks, self.given, self.problem = b"", b"", ""

    def _note_problem(self, chunk: bytes, is_last: bool) -> None:
        self.chunks += chunk
        if not self.problem and len(self.chunks) > self._limit:
            self.problem = "size"
        if not self.problem and not self.binary and is_bare(self.chunks if is_last else self.chunks.removesuffix(b"\r")):
            self.problem = "bare"

    def after(self, event: Event) -> None:
        """Call this when `event` was answered: a transaction that is over leaves nothing behind, and where nobody knows what
        is content and what are commands, nothing is read any more."""
        assert not self.is_count_lost or self.core.state is State.CLOSED
        if isinstance(event, EndOfChunk | commands.Hello | commands.Reset | EndOfData) and self.core.state is State.READY:
            self.chunks, self.given, self.problem = b"", b"", ""


def octets_behind(line: bytes, longest: int) -> int | None:
    """How many octets of content follow a line that is BDAT; None where it is none, or where that cannot be told."""
    if len(line) + 2 > longest:
        return None
    words = line.rstrip(b" \t").split(b" ")
    if words[0].upper() != b"BDAT" or b"\r" in line or b"\n" in line:
        return None
    try:
        command = syntax.parse(line)
    except SyntaxProblem:
        return None
    assert isinstance(command, commands.Bdat)
    assert words[1].isdigit()
    return int(words[1])
