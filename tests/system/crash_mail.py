"""The messages of the crash test: each says which it is and what its body has to be, and is recognised wherever it arrives."""

from __future__ import annotations

import hashlib
import random
import re
from dataclasses import dataclass, field
from typing import Literal

Way = Literal["relay", "submission", "postfix"]

_ID = re.compile(rb"by crash\.example\.org\b[^;]*?\bid ([0-9a-z]{13})\b")
_MARKER = re.compile(rb"^X-Marker: (\S+)", re.MULTILINE)
_DIGEST = re.compile(rb"^X-Digest: (\S+)", re.MULTILINE)
_FILLER = b"." + b"x" * 70 + b"\r\n"


@dataclass(slots=True)
class Sent:
    """A message as its sender knows it. `recipients` are those that got a 250; `id` is the queue id that the last 250 named."""

    marker: str
    way: Way
    sender: str
    became: Literal["refused", "unknown", "taken"] = "refused"
    recipients: list[str] = field(default_factory=list)
    id: str = ""


@dataclass(frozen=True, slots=True)
class Arrival:
    """A message in a place where it was to go. `id` is our queue id, `whole` whether its body is what was sent."""

    place: str
    recipient: str
    id: str
    marker: str
    whole: bool


@dataclass(frozen=True, slots=True)
class Opened:
    """What a copy of a message says of itself."""

    id: str
    marker: str
    whole: bool


def composed(marker: str, sender: str, rng: random.Random) -> bytes:
    """A message: mostly a small one, some of 100 KB, a few of 2 MB."""
    chance = rng.random()
    lines = 30_000 if chance < 0.004 else 1_500 if chance < 0.04 else rng.randint(1, 30)
    body = marker.encode() + b"\r\n" + _FILLER * lines
    head = f"Message-ID: <{marker}>\r\nFrom: <{sender}>\r\nX-Marker: {marker}\r\nX-Digest: {_digest(body)}\r\n\r\n"
    return head.encode() + body


def opened(content: bytes) -> Opened:
    """Read a copy, with either kind of line ends."""
    head, _, body = content.replace(b"\r\n", b"\n").partition(b"\n\n")
    marker, digest, id = _MARKER.search(head), _DIGEST.search(head), _ID.search(head)
    return Opened(
        id[1].decode() if id else "",
        marker[1].decode() if marker else "",
        digest is not None and digest[1].decode() == _digest(body),
    )


def _digest(body: bytes) -> str:
    # Some of those that keep a message put an empty line below it.
    return hashlib.sha256(body.replace(b"\r\n", b"\n").rstrip(b"\n")).hexdigest()
