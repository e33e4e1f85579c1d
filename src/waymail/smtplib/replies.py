"""The replies on a blocking socket: `wire.ClientConnection` finds their ends, their bounds and what they answer; here they are
kept octet for octet, for smtplib's callers look at them so.

Promises: a reply is complete within the socket's timeout or TimeoutError is raised, however its octets trickle in. What is read
beyond the reply stays here, and counts as said unasked if a command follows before it is read.
"""

from __future__ import annotations

import time
from socket import socket

from waymail.wire.client import ClientConnection, EndOfContent, Greeting
from waymail.wire.commands import Command, Noop
from waymail.wire.errors import ProtocolError
from waymail.wire.limits import WireLimits

LONGEST_LINE = 8192  # octets of a reply line: smtplib's bound, which is above ours elsewhere
_BLOCK = 65_536

Awaited = Command | Greeting | EndOfContent


class Broken(Exception):
    """The server cannot be understood: its reply has no end, or no form. The connection is to be closed."""


class Answer:
    """One reply: `code` is -1 where there is none to be read, and `is_last` then: nothing that follows can be understood. `text`
    has the octets behind the code, of each line, joined by LF. `to` is the command that it answers."""

    __slots__ = ("code", "is_last", "text", "to")

    def __init__(self, code: int, text: bytes, to: Awaited | None, *, is_last: bool = False) -> None:
        self.code = code
        self.text = text
        self.to = to
        self.is_last = is_last


class Replies:
    """What one connection was asked and answered. To be read, not set: `core`, which knows what is awaited; `unread`, octets that
    came in and were not asked for yet."""

    def __init__(self) -> None:
        self.core = ClientConnection(WireLimits(reply_line=LONGEST_LINE))
        self.unread = b""
        self._lines: list[bytes] = []  # of the reply that is not complete yet; pieces, while a line is not

    def expect(self, command: Command) -> None:
        """`command` was written, in whatever spelling: a reply to it is awaited."""
        self.core.pending.append(command)

    def read(self, sock: socket, limit: float | None) -> Answer:
        """The next reply, complete within `limit` seconds (None: whenever it comes). One that nothing is known to await is read
        all the same: the program may have written by itself.

        Raises OSError (TimeoutError among them), EOFError where the server closed the connection, Broken.
        """
        if not self.core.pending:
            self.expect(Noop())
        usual = sock.gettimeout()
        until = None if limit is None else time.monotonic() + limit
        is_changed = limit != usual
        if is_changed:
            sock.settimeout(limit)
        try:
            while (answer := self._next()) is None:
                if self._lines and until is not None:
                    is_changed = True
                    sock.settimeout(_left(until))
                self.unread = sock.recv(_BLOCK)
                if not self.unread:
                    raise EOFError
            return answer
        finally:
            if is_changed and sock.fileno() >= 0:
                sock.settimeout(usual)

    def is_silent(self) -> bool:
        """Whether the server has said nothing of its own accord. False where it has said 421: that answers what comes next (RFC
        5321 §3.8). Raises Broken for all else, which would be taken for a reply."""
        if not self.unread or self.core.pending:
            return True
        if self.unread.startswith(b"421"):
            return False
        raise Broken(f"spoke unasked: {self.unread[:80]!r}")

    def start_tls(self) -> None:
        """Forget what was said, for TLS begins (RFC 3207 §4.2). Raises ProtocolError where octets came in clear that nobody asked
        for: they would be taken for replies from inside TLS."""
        early, self.unread = self.unread, b""
        self.core.receive(early)
        self.core.tls_started()

    def _next(self) -> Answer | None:
        while self.unread:
            # A line at a time, so that nothing behind the reply is taken for one that nothing awaits.
            line, end, rest = self.unread.partition(b"\n")
            self.unread = rest
            self._lines.append(line + end)
            try:
                responses = self.core.receive(line + end)
            except ProtocolError as error:
                return self._no_reply(str(error))
            if responses:
                [response] = responses
                lines, self._lines = b"".join(self._lines).removesuffix(b"\n").split(b"\n"), []
                text = b"\n".join([line[4:].strip(b" \t\r\n") for line in lines])
                return Answer(response.reply.code, text, response.command)
        return None

    def _no_reply(self, why: str) -> Answer:
        """smtplib says -1 where the first line has no code, and takes any three digits for one."""
        line = b"".join(self._lines)
        if line.count(b"\n") != 1 or len(line) > LONGEST_LINE:
            raise Broken(why)
        code = line[:3]
        if code.isdigit():
            return Answer(int(code), line[4:].strip(), None, is_last=True)
        return Answer(-1, line.strip(), None, is_last=True)


def _left(until: float) -> float:
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError("timed out")
    return left
