"""The two values that travel: `Envelope` (RFC 5321 §2.3.1) and `Body`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import field
from pathlib import Path

from waymail.values import value

CHUNK = 65536


@value
class Recipient:
    """One forward-path. `original` is the address the sender gave, where an alias led elsewhere."""

    address: str
    original: str | None = None

    @property
    def domain(self) -> str:
        """The domain, in lower case (domains are compared without regard to case, RFC 5321 §2.4)."""
        return self.address.rpartition("@")[2].lower()


@value
class Origin:
    """Where a message came from: for the Received field and the trace.

    `protocol` is the "with" value of RFC 3848 (ESMTP, ESMTPS, ESMTPSA, ...); `user` the authenticated user; `tls` as in
    `Peer.tls`; `address` the client's IP address.
    """

    protocol: str = "local"
    helo: str = ""
    address: str = ""
    tls: str = ""
    user: str = ""


@value
class Envelope:
    """Everything about a message that is not its content.

    `id` is the queue id; `sender` the reverse-path, "" for the null path; `accepted_at` seconds since the epoch;
    `body` the BODY parameter's value (RFC 6152); `message_id` the Message-ID field's value, for searching.
    """

    id: str
    sender: str
    recipients: tuple[Recipient, ...]
    accepted_at: float
    body: str = "7BIT"
    message_id: str = ""
    origin: Origin = field(default=Origin())


@value
class Body:
    """The message's octets, CRLF line ends, no dot-stuffing: `prefix` (the trace fields we prepended) and then `content`,
    in memory or in a file. A body is never changed and never re-serialised: what was accepted is what is sent on.

    `size` counts prefix and content, in octets.
    """

    content: bytes | Path
    size: int
    prefix: bytes = b""

    def with_prefix(self, fields: bytes) -> Body:
        """The same body with complete header fields, CRLF-ended, in front of all others."""
        return Body(self.content, self.size + len(fields), fields + self.prefix)

    def chunks(self, size: int = CHUNK) -> Iterator[bytes]:
        """The octets in order. Raises OSError where the file cannot be read."""
        if isinstance(self.content, bytes):
            yield self.prefix + self.content
            return
        if self.prefix:
            yield self.prefix
        with self.content.open("rb") as file:
            while chunk := file.read(size):
                yield chunk

    def head(self, limit: int = CHUNK) -> bytes:
        """The first `limit` octets at most: enough for the header section of any honest message."""
        if isinstance(self.content, bytes):
            return (self.prefix + self.content[:limit])[:limit]
        with self.content.open("rb") as file:
            return (self.prefix + file.read(limit))[:limit]


_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32: no i, l, o, u, so that a person can read an id out


class QueueIds:
    """Makes queue ids: 13 characters that sort by time and never repeat within a process.

    An id holds 63 bits: microseconds since the epoch, and eleven bits of `salt`, which tells apart the processes that
    share a store.
    """

    def __init__(self, salt: int) -> None:
        self._salt = salt & 0x7FF
        self._last = 0

    def next(self, now: float) -> str:
        """A new id at `now`, in seconds since the epoch."""
        self._last = max(self._last + 1, int(now * 1_000_000))
        return encode_id(self._last << 11 | self._salt)


def encode_id(number: int) -> str:
    """The queue id as people see it."""
    return _ALPHABET[number >> 60] + "".join([_PAIRS[number >> shift & 1023] for shift in (50, 40, 30, 20, 10, 0)])


def decode_id(text: str) -> int | None:
    """The number of a queue id, or None where `text` is none."""
    if len(text) != 13 or not text.isalnum():
        return None
    try:
        number = int(text.lower().translate(_TO_PYTHON), 32)
    except ValueError:
        return None
    return number if number < 1 << 63 else None


_PAIRS = [high + low for high in _ALPHABET for low in _ALPHABET]
# Python's own digits of base 32 are 0-9 and a-v; the letters that are no digits here become ones that are none there.
_TO_PYTHON = str.maketrans(_ALPHABET + "ilou", "0123456789abcdefghijklmnopqrstuv" + "wxyz")
