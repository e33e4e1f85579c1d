"""What kind of data some octets are: 7-bit, 8-bit or binary (RFC 2045 §2.7-§2.9), counted block by block.

A `Survey` promises the same result wherever the blocks are cut. It never raises and keeps no octets. It works with `replace`,
`translate` and `rfind` on whole blocks: a loop over lines would be several times as slow.
"""

from __future__ import annotations

from waymail.octets import CR, LF, NUL

# RFC 2045 §2.7: 998 octets at most between two CRLFs. With the CR that stands before the LF: 999.
_LINE = 999
# What quoted-printable writes as it is (RFC 2045 §6.7): all printable characters but "=", and white space within a line.
_LITERAL = bytes(octet for octet in range(33, 127) if octet != ord("=")) + b" \t"


class Survey:
    """Counts what was taken so far.

    `size` is in octets; `eight_bit`: there is one above 127; `has_nul`, `has_bare_line_end` (a CR or LF outside of a CRLF) and
    `has_long_line` (over 998 octets) make it binary. `lines` counts the CRLFs, `escaped` the octets that quoted-printable has
    to escape; `is_line_open` says that the last octets were no CRLF. All this is right once `finish` was called.
    """

    __slots__ = (
        "_after_cr", "_column", "_last", "eight_bit", "escaped", "has_bare_line_end", "has_long_line", "has_nul", "is_line_open",
        "lines", "size",
    )  # fmt: skip

    def __init__(self) -> None:
        self.size = self.escaped = self.lines = self._column = 0
        self.eight_bit = self.has_nul = self.has_bare_line_end = self.has_long_line = False
        self.is_line_open = self._after_cr = False
        self._last = b""  # two octets

    @property
    def is_binary(self) -> bool:
        """RFC 2045 §2.9: not lines of at most 998 octets, ended by CRLF, without NUL."""
        return self.has_nul or self.has_bare_line_end or self.has_long_line

    def take(self, block: bytes) -> None:
        """Count the next octets."""
        self.size += len(block)
        self._last = block[-2:] if len(block) > 1 else (self._last + block)[-2:]
        if not block.isascii():
            self.eight_bit = True
        if self._after_cr:
            block = b"\r" + block
        self._after_cr = block.endswith(b"\r")
        if self._after_cr:
            block = block[:-1]  # whether it is bare is seen in the next block
        left = block.replace(b"\r\n", b"")
        self.lines += (len(block) - len(left)) // 2
        self.escaped += len(left.translate(None, _LITERAL))
        if LF in left or CR in left:
            self.has_bare_line_end = True
        if NUL in left:
            self.has_nul = True
        if not self.has_long_line:
            self.measure(block)

    def finish(self) -> None:
        """There are no more octets; or there is a gap, and what comes behind it is counted with what came before."""
        self.is_line_open = self._last not in {b"", b"\r\n"}
        if self._after_cr:
            self.has_bare_line_end = True
            self.escaped += 1
        if self._column >= _LINE:
            self.has_long_line = True
        self._column, self._after_cr, self._last = 0, False, b""

    def measure(self, block: bytes) -> None:
        """Look for a long line and nothing else: from one line end to the last one near enough, over all lines between."""
        first = block.find(b"\n")
        if first < 0:
            self._column += len(block)
            self.has_long_line = self._column > _LINE
            return
        if self._column + first > _LINE:
            self.has_long_line = True
        at = first + 1
        while len(block) - at > _LINE:
            end = block.rfind(b"\n", at, at + _LINE + 1)
            if end < 0:
                self.has_long_line = True
                return
            at = end + 1
        self._column = len(block) - max(at, block.rfind(b"\n", at) + 1)
