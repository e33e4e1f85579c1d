"""The two values that travel: `Envelope` (RFC 5321 §2.3.1) and `Body`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import field
from functools import lru_cache
from pathlib import Path
from typing import Literal

from waymail.values import value
from waymail.wire import domains

CHUNK = 65536


@value
class Recipient:
    """One forward-path. `original` is the address the sender gave, where an alias led elsewhere.

    `notify` and `orcpt` are the parameters of RCPT (RFC 3461 §4.1, §4.2): NOTIFY in upper case, "" where it was not given;
    ORCPT as it was sent, its address in xtext (or as RFC 6533 §3 has it), "" where it was not given. `expanded` marks the first
    of the recipients that an alias led to where SUCCESS was asked for the alias: see `waymail.mail.expansion`. `folder` is the
    one of a mailbox on this machine that it goes into instead of the inbox.
    """

    address: str
    original: str | None = None
    notify: str = ""
    orcpt: str = ""
    expanded: bool = False
    folder: str = ""

    @property
    def domain(self) -> str:
        """The domain in its normal form: lower case, A-labels (RFC 5321 §2.4, RFC 5890 §2.3.2.1)."""
        domain = self.address.rpartition("@")[2]
        return domain.lower() if domain.isascii() else domains.normal(domain)

    def wants(self, occasion: Literal["SUCCESS", "FAILURE", "DELAY"]) -> bool:
        """Whether the sender is to be told of it. RFC 3461 §4.1: where NOTIFY was not given, of failures, and (as it MAY be) of
        delays."""
        if not self.notify:
            return occasion != "SUCCESS"
        return occasion in self.notify.split(",")


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
class DeliverBy:
    """The parameter BY of MAIL (RFC 2852 §4): deliver until then (seconds since the epoch), and otherwise return the message
    ("R") or notify the sender and go on ("N"). With `trace`, relaying is told as well."""

    until: float
    mode: Literal["R", "N"]
    trace: bool = False


@value
class Options:
    """What the sender asked for in MAIL besides SIZE and BODY. All is as if not asked for where the parameter was missing.

    `smtputf8`: RFC 6531 §3.4. `require_tls`: RFC 8689 §2. `ret` ("FULL", "HDRS") and `envid` (in xtext, as it was sent): RFC
    3461 §4.3, §4.4. `submitter`: AUTH (RFC 4954 §5) from a client that is trusted with it; "" is its "<>", None anything else.
    `hold_until`, in seconds since the epoch, and `hold`, what was asked for as a notice repeats it ("for;3600", "until;" and a
    date-time): RFC 4865 §5.1.2. `priority`, -9 to 9: RFC 6710.
    """

    smtputf8: bool = False
    require_tls: bool = False
    ret: str = ""
    envid: str = ""
    submitter: str | None = None
    hold_until: float = 0.0
    deliver_by: DeliverBy | None = None
    priority: int = 0
    hold: str = ""


NO_OPTIONS = Options()


@value
class Envelope:
    """Everything about a message that is not its content.

    `id` is the queue id; `sender` the reverse-path, "" for the null path; `accepted_at` seconds since the epoch;
    `body` the BODY parameter's value (RFC 6152, RFC 3030); `message_id` the Message-ID field's value, for searching; `options`
    what else the sender asked for.
    """

    id: str
    sender: str
    recipients: tuple[Recipient, ...]
    accepted_at: float
    body: str = "7BIT"
    message_id: str = ""
    origin: Origin = field(default=Origin())
    options: Options = field(default=NO_OPTIONS)

    @property
    def released_at(self) -> float:
        """From when on it may be delivered (RFC 4865 §4.2), in seconds since the epoch: its time in the queue begins then."""
        return self.accepted_at if self.options is NO_OPTIONS else max(self.accepted_at, self.options.hold_until)


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


@lru_cache(maxsize=1024)  # a message's is asked for each time that it is written to the store
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
