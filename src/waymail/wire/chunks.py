"""The content of a message that comes in chunks whose size is said beforehand (BDAT, RFC 3030 §2).

The octets are the content as they are: no dot is stuffed and no line end looked for. What ends a message is a count, so nothing
in it can be taken for a command. All the same a message that is not declared BINARYMIME consists of lines: a bare CR or LF makes
it refused, as in DATA, because the next hop may get it by DATA (see `data`).
"""

from __future__ import annotations

from waymail.wire.data import Problem, has_bare_line_end


class ChunkedContent:
    """The message so far. `size` counts its octets; `problem` is as in `DataDecoder`: after one no content is given out."""

    __slots__ = ("_after_cr", "_binary", "chunk_size", "is_last", "left", "limit", "problem", "size")

    def __init__(self, limit: int, *, binary: bool) -> None:
        self.limit = limit
        self.size = 0
        self.problem: Problem | None = None
        self.left = 0  # octets of the present chunk that have not come yet
        self.chunk_size = 0
        self.is_last = False
        self._binary = binary
        self._after_cr = False

    def begin(self, octets: int, *, last: bool) -> None:
        """A chunk of so many octets follows. Where it goes beyond the limit, that is known now."""
        self.is_last = last
        self.left = self.chunk_size = octets
        self.size += octets
        if self.size > self.limit and self.problem is None:
            self.problem = "size"

    def take(self, block: bytes) -> bytes:
        """Some octets of the chunk; the content that they are, b"" after a problem."""
        self.left -= len(block)
        if self.problem is not None or not block:
            return b""
        if not self._binary:
            if self._after_cr:
                lines, self._after_cr = b"\r" + block, False
            else:
                lines = block
            if lines.endswith(b"\r"):
                self._after_cr, lines = True, lines[:-1]
            if has_bare_line_end(lines):
                self.problem = "bare"
                return b""
        return block

    def finish(self) -> None:
        """The last chunk is complete."""
        if self._after_cr and self.problem is None:
            self.problem = "bare"
