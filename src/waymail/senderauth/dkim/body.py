"""The hash of a message's body (RFC 6376 §3.4.3, §3.4.4, §3.7), made in one pass while the body arrives.

The octets may come in any pieces. What is remembered between two of them does not grow: empty lines and white space that may turn
out to be the body's end are counted, not kept. Nothing here raises, whatever the octets are.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256

_BLOCK = 65_536  # octets of empty lines that are put into the hash at once


class BodyHash:
    """SHA-256 of a body in one canonical form: of all of it, and of as many of its beginnings (l=) as are asked for.

    All of them together cost one pass and one hash: where a beginning ends, the hash so far is written down.
    """

    def __init__(self, relaxed: bool, lengths: Iterable[int | None] = (None,)) -> None:
        """`lengths` are the beginnings of interest, in canonical octets; None is the whole."""
        self.size = 0  # canonical octets so far, and in all after `finish`
        self._relaxed = relaxed
        self._hash = sha256()
        self._ends = sorted({length for length in lengths if length is not None}, reverse=True)
        self._digests: dict[int | None, bytes] = {}
        self._empty_lines = 0  # CRLFs that nothing but CRLFs has followed
        self._held = b""  # behind them: a space that may end its line ("relaxed"), a CR whose LF may come

    def update(self, chunk: bytes) -> None:
        """The next octets of the body."""
        data = self._held + chunk
        if self._relaxed:
            data = _reduced(data)
        held = data[len(data) - 1 :] if data.endswith(b"\r") else b""
        if self._relaxed and data.endswith(b" ", 0, len(data) - len(held)):
            held = b" " + held
        end = len(data) - len(held)
        text_end = _before_empty_lines(data, end)
        if text_end:
            self._take_lines()
            self._take(data[:text_end])
        self._empty_lines += (end - text_end) // 2
        self._held = held

    def finish(self) -> None:
        """There is no more. To be called once, before the digests are asked for."""
        if self._relaxed and self._held == b" ":
            self._held = b""
        if self._held:
            self._take_lines()
            self._take(self._held)
        # RFC 6376 §3.4.3: "simple" always ends with one CRLF; §3.4.4: "relaxed" does where anything is before it.
        if self.size or not self._relaxed:
            self._take(b"\r\n")
        self._mark_ends()
        self._digests[None] = self._hash.digest()

    def digest(self, length: int | None = None) -> bytes | None:
        """The hash of the first `length` canonical octets, or of all; None where the body has fewer.

        Raises KeyError for a length that was not announced.
        """
        if length is not None and length > self.size:
            return None
        return self._digests[length]

    def _take_lines(self) -> None:
        """The empty lines that were held back turn out to have something behind them. The first ends the line before."""
        octets = self._empty_lines * 2
        self._empty_lines = 0
        if octets > _BLOCK:
            block = b"\r\n" * (_BLOCK // 2)
            for _ in range(octets // _BLOCK):
                self._take(block)
            octets %= _BLOCK
        if octets:
            self._take(b"\r\n" * (octets // 2))

    def _take(self, octets: bytes) -> None:
        if self._ends and self.size + len(octets) > self._ends[-1]:
            octets = self._take_up_to_ends(octets)
        self._hash.update(octets)
        self.size += len(octets)

    def _take_up_to_ends(self, octets: bytes) -> bytes:
        """Take what precedes the last end inside of `octets`, and give back the rest."""
        while self._ends and self.size + len(octets) > self._ends[-1]:
            wanted = self._ends[-1] - self.size
            self._hash.update(octets[:wanted])
            self.size += wanted
            octets = octets[wanted:]
            self._mark_ends()
        return octets

    def _mark_ends(self) -> None:
        if self._ends and self._ends[-1] == self.size:
            self._digests[self._ends.pop()] = self._hash.digest()


class Bodies:
    """One body, hashed in as many forms as its signatures ask for, each in one pass, whoever they are: DKIM and ARC share one of
    these. First all forms are asked for, then the body comes, then the hashes are told."""

    def __init__(self) -> None:
        self._lengths: dict[bool, list[int | None]] = {}
        self._hashes: dict[bool, BodyHash] | None = None
        self._is_finished = False

    def want(self, relaxed: bool, length: int | None = None) -> None:
        """Ask for a hash: of the canonical form, and of its first `length` octets, None for all. To be said before the body."""
        self._lengths.setdefault(relaxed, []).append(length)

    def update(self, chunk: bytes) -> None:
        """The next octets of the body."""
        for body in self._begun().values():
            body.update(chunk)

    def finish(self) -> None:
        """There is no more. It may be said twice."""
        if not self._is_finished:
            self._is_finished = True
            for body in self._begun().values():
                body.finish()

    def digest(self, relaxed: bool, length: int | None = None) -> bytes | None:
        """A hash that was asked for; None where the body is shorter than that."""
        return self._begun()[relaxed].digest(length)

    def size(self, relaxed: bool) -> int:
        """How many octets the canonical form has."""
        return self._begun()[relaxed].size

    def _begun(self) -> dict[bool, BodyHash]:
        if self._hashes is None:
            self._hashes = {relaxed: BodyHash(relaxed, lengths) for relaxed, lengths in self._lengths.items()}
        return self._hashes


def _reduced(data: bytes) -> bytes:
    """Each run of white space is one space, and there is none before a CRLF. Done by replacing, which is many times as fast as
    a regular expression here, and needs as many passes as the longest run's length has binary digits."""
    data = data.replace(b"\t", b" ")
    while b"  " in data:
        data = data.replace(b"  ", b" ")
    return data.replace(b" \r\n", b"\r\n")


def _before_empty_lines(data: bytes, end: int) -> int:
    """Where the run of CRLFs begins that stands at the end of data[:end]."""
    if not data.endswith(b"\n", 0, end):
        return end
    start = len(data[:end].rstrip(b"\r\n"))
    tail = data[start:end]
    # Two equal octets side by side are no part of the run; nor is an LF that it would begin with.
    begin = max(tail.rfind(b"\r\r"), tail.rfind(b"\n\n")) + 1
    if tail.startswith(b"\n", begin):
        begin += 1
    return start + begin
