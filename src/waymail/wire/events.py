"""What the server core reports besides commands."""

from __future__ import annotations

from waymail.values import value
from waymail.wire.commands import Command
from waymail.wire.replies import Reply


@value
class DataChunk:
    """Some octets of the message, dot-stuffing removed. The only event that takes no reply."""

    content: bytes


@value
class EndOfChunk:
    """A chunk of the message came whole, and it is not the last one (RFC 3030 §2).

    `size` counts the octets of the chunk; `refusal` is as for `EndOfData`: with it, the transaction is over.
    """

    size: int
    refusal: Reply | None = None


@value
class EndOfData:
    """The message is complete, or was refused while it came in.

    `refusal` is the reply the protocol itself demands (550 5.6.11 for a bare CR or LF, 552 5.3.4 past the size
    limit), or None. `size` counts the octets received, stuffing removed.
    """

    size: int
    refusal: Reply | None = None


@value
class Refused:
    """A line that the protocol refuses by itself: unknown, malformed, or out of sequence. Send `reply`; count it."""

    reply: Reply
    line: bytes


Event = Command | DataChunk | EndOfChunk | EndOfData | Refused
