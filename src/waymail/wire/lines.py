"""Received octets, and the one rule by which they fall into lines.

A line ends at CRLF and nowhere else (RFC 5321 §2.3.8). A line longer than its limit is thrown away while it comes in, and then
reported once; so a peer that never ends its line costs no memory. Nothing is copied per line but the line itself:
a megabyte of short commands is walked through, not moved up.
"""

from __future__ import annotations

CRLF = b"\r\n"


class TooLong(Exception):
    """A line was longer than its limit; all of it is gone. `start` has its first octets."""

    def __init__(self, start: bytes) -> None:
        super().__init__("line too long")
        self.start = start


class Input:
    """What was received and not used yet: `octets` from `offset` on, and then what `put` added since the last `take`."""

    KEPT_OF_TOO_LONG = 80

    __slots__ = ("_added", "_added_size", "_too_long", "octets", "offset")

    def __init__(self) -> None:
        self.octets = b""
        self.offset = 0
        self._added: list[bytes] = []
        self._added_size = 0
        self._too_long: bytes | None = None

    @property
    def size(self) -> int:
        """How many octets wait."""
        return len(self.octets) - self.offset + self._added_size

    def put(self, data: bytes) -> None:
        """Add what was received, at a constant cost: it is joined when it is used."""
        if not self._added and self.offset == len(self.octets):
            self.octets, self.offset = data, 0
            return
        self._added.append(data)
        self._added_size += len(data)

    def gather(self) -> None:
        """Make all that waits one piece in `octets`."""
        if not self._added:
            return
        if self.offset < len(self.octets):
            self._added.insert(0, self.octets[self.offset :])
        self.octets = self._added[0] if len(self._added) == 1 else b"".join(self._added)
        self.offset = 0
        self._added = []
        self._added_size = 0

    def take_line(self, limit: int) -> bytes | None:
        """The next line without its CRLF, or None while it is incomplete.

        Raises TooLong where the line, with its CRLF, has more than `limit` octets.
        """
        if self._added:
            self.gather()
        start = self.offset
        end = self.octets.find(CRLF, start)
        if end >= 0:
            self.offset = end + 2
            if self._too_long is None and end + 2 - start <= limit:
                return self.octets[start:end]
            kept, self._too_long = self._too_long, None
            raise TooLong(self.octets[start:end][: self._kept(limit)] if kept is None else kept)
        if self._too_long is not None or len(self.octets) - start >= limit:
            self._discard(limit)
        return None

    def _discard(self, limit: int) -> None:
        if self._too_long is None:
            self._too_long = self.octets[self.offset : self.offset + self._kept(limit)]
        # A CR at the very end may be half of the CRLF that ends the line.
        self.octets = b"\r" if self.octets.endswith(b"\r") else b""
        self.offset = 0

    def _kept(self, limit: int) -> int:
        # Never so much that it would depend on where the line was cut, or take in half of its CRLF.
        return min(self.KEPT_OF_TOO_LONG, limit - 1)
