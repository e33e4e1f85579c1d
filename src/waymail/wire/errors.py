"""What the cores raise: three kinds, by who is at fault.

`ProtocolError`: the peer broke the protocol beyond repair, close the connection. `SyntaxProblem`: a line or an argument does not
follow the grammar; inside the server core it becomes the reply that it carries. `CommandOrder`: our own caller asked for
something that may not stand there, a bug.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from waymail.wire.replies import Reply

if TYPE_CHECKING:
    from waymail.wire.client import Response


class ProtocolError(Exception):
    """The peer cannot be understood any more, or fills a buffer past its bound. The connection is of no further use.

    `responses`: what a server had answered properly before, in the octets that brought the error.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.responses: tuple[Response, ...] = ()


class SyntaxProblem(ValueError):
    """Something does not follow the grammar. `reply` is how a server says so."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(str(reply))
        self.reply = reply


class CommandOrder(RuntimeError):
    """The caller sends a command, content or reply where none may stand (RFC 2920 §3.1, RFC 5321 §4.1.4)."""
