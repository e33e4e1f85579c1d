"""Clients that end their lines with LF alone: programs older than RFC 2821, and scripts that never read it.

Nobody may do that towards another server, and by default no client may here: what one program takes for a line end and another
does not is how messages are smuggled (RFC 5321 §2.3.8). But a submission listener may be told to bear with its own users
(`Offer.normalise`). Then the first line that a client sends decides, once for the session:

- It ended in LF alone: the client does not know CRLF, and all its LFs are line ends, those around the final dot too.
- It ended in CRLF: so do all its commands, and only CRLF "." CRLF ends its messages. A bare LF within a message becomes a CRLF.

Bare CRs are refused in either case.
"""

from __future__ import annotations

import re

_BARE_LF = re.compile(rb"(?<!\r)\n")


class LineEnds:
    """The line ends of one session, as they come in."""

    __slots__ = ("_after_cr", "_is_decided", "is_lf")

    def __init__(self) -> None:
        self._is_decided = self._after_cr = False
        self.is_lf = False

    def translate(self, data: bytes) -> bytes:
        """The octets with CRLF for LF, where the client uses that."""
        if not self._is_decided and (end := data.find(b"\n")) >= 0:
            self._is_decided = True
            self.is_lf = not (data[end - 1 : end] == b"\r" if end else self._after_cr)
        after_cr, self._after_cr = self._after_cr, data.endswith(b"\r")
        if not self.is_lf:
            return data
        if after_cr and data.startswith(b"\n"):
            return b"\n" + with_crlf(data[1:])
        return with_crlf(data)


def with_crlf(block: bytes) -> bytes:
    """The block with CRLF for each bare LF; it must not begin within a CRLF."""
    return _BARE_LF.sub(b"\r\n", block)
