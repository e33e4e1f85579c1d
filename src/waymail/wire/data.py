r"""The content of a message between DATA and its end: stuffing taken off, or put on (RFC 5321 §4.5.2).

Content ends at CRLF "." CRLF and nowhere else; the CRLF of the DATA command serves as the first one. Whatever else looks like
an end to some other program (LF "." LF, CR "." CR, a NUL between) is content, or makes the message refused:
a bare CR or LF never passes here in either direction, because the next program may see a line end in it, and with it a second
message that nobody sent ("SMTP smuggling", RFC 5321 §2.3.8).

Chunks are searched with `find`, `count` and `replace`, never walked line by line. A CRLF is never cut in two: what may be the
beginning of CRLF "." CRLF at the end of a chunk waits for the next one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal

from waymail.octets import CR, LF
from waymail.wire.line_ends import with_crlf

END = b"\r\n.\r\n"
_BEGINNINGS_OF_END = (b"\r\n.\r", b"\r\n.", b"\r\n", b"\r")

Problem = Literal["bare", "size"]


class BareLineEnd(ValueError):
    """The content has a CR without LF or an LF without CR, which must not be sent (RFC 5321 §2.3.8)."""


def has_bare_line_end(block: bytes) -> bool:
    """Whether there is a CR or LF that is not part of a CRLF. `block` must not cut a CRLF in two."""
    # Taking the CRLFs out and looking at what is left is three times as fast as counting all three.
    left = block.replace(b"\r\n", b"")
    return LF in left or CR in left


class DataDecoder:
    """Takes one message out of the received octets.

    `size` counts the content so far, in octets, stuffing removed (RFC 1870 §5). `problem` is "bare" where a bare CR or LF was
    seen, else "size" where there is more than `limit` octets, else None. After a problem no content is given out, but the end
    is still looked for: the client must not have its message taken for commands.

    `normalise` lets a bare LF be a line end within the content, but never before or behind the final dot.

    `is_end_disputed`: a bare CR stands right before the end. CR CRLF "." CRLF is an end to us, but the program that passed it on
    to us may have seen none in it; then what follows is no command but the rest of what somebody made it carry.
    """

    __slots__ = ("_after_cr", "_at_start", "_held", "_normalise", "is_end_disputed", "limit", "problem", "size")

    def __init__(self, limit: int, *, normalise: bool = False) -> None:
        self.limit = limit
        self._normalise = normalise
        self.size = 0
        self.problem: Problem | None = None
        self.is_end_disputed = False
        self._at_start = True
        self._held = b""
        self._after_cr = False  # what stands before the held octets ends in a bare CR

    def feed(self, data: bytes) -> tuple[bytes, bytes | None]:
        """The content in `data`; and what stands behind the end, or None where the end is not in it yet."""
        content, end = self.decode(data)
        return content, None if end is None else data[end:]

    def decode(self, data: bytes, start: int = 0) -> tuple[bytes, int | None]:
        """The content in `data` from `start` on; and where in `data` the end has ended, or None where it has not."""
        moved = 0
        if self._held:
            moved = len(self._held) - start
            data = self._held + data[start:]
            start = 0
            self._held = b""
        if self._at_start:
            # The line before the first one is the DATA command: here a dot, too, is at the start of a line.
            first = data[start : start + 3]
            if first == b".\r\n":
                return b"", start + 3 - moved
            if first in (b".", b".\r"):
                self._held = first
                return b"", None
            if first.startswith(b"."):
                start += 1
            self._at_start = start >= len(data)
        found = data.find(END, start)
        if found >= 0:
            block = data[start : found + 2]
            self.is_end_disputed = block.endswith(b"\r\r\n") or (self._after_cr and block == b"\r\n")
            return self._content(block), found + len(END) - moved
        for beginning in _BEGINNINGS_OF_END:
            if data.endswith(beginning, start):
                self._held = beginning
                return self._content(data[start : -len(beginning)]), None
        return self._content(data[start:] if start else data), None

    def _content(self, block: bytes) -> bytes:
        content = block.replace(b"\r\n.", b"\r\n")
        if has_bare_line_end(block):
            if self._normalise:
                content = with_crlf(content)
            if not self._normalise or has_bare_line_end(content):
                self.problem = "bare"
            self._after_cr = block.endswith(b"\r")
        elif block:
            self._after_cr = False
        self.size += len(content)
        if self.size > self.limit and self.problem is None:
            self.problem = "size"
        return b"" if self.problem else content


def stuff(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The content as it goes over the wire: stuffed, the last line ended, then "." CRLF (RFC 5321 §4.1.1.4, §4.5.2).

    The chunks may be cut anywhere. Raises BareLineEnd before the chunk with the bare CR or LF is given out; chunks before
    it were given out already, so the connection must be closed without an end: the server then drops the message.
    """
    at_line_start = True
    held = b""
    for chunk in chunks:
        if held:
            chunk = held + chunk
            held = b""
        if chunk.endswith(b"\r"):
            held, chunk = b"\r", chunk[:-1]
        if not chunk:
            continue
        if has_bare_line_end(chunk):
            raise BareLineEnd("the content has a bare CR or LF")
        if at_line_start and chunk.startswith(b"."):
            yield b"."
        yield chunk.replace(b"\r\n.", b"\r\n..")
        at_line_start = chunk.endswith(b"\r\n")
    if held:
        raise BareLineEnd("the content ends with a bare CR")
    yield b".\r\n" if at_line_start else END
