"""A reply: three digits, an enhanced status code, and text for people (RFC 5321 §4.2, RFC 2034, RFC 3463)."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from waymail.values import value

# RFC 5321 §4.5.3.1.5: a reply line has at most 512 octets, code and CRLF included.
MAX_REPLY_LINE = 512


@value
class Reply:
    """One reply.

    `code` is the three-digit code, `text` what stands behind it, its lines separated by "\\n".
    `enhanced` is the enhanced status code ("5.7.1"), or None where there is none: in the greeting and the answers to
    EHLO and HELO (RFC 2034 §4), in intermediate replies, and from peers that do not speak it.
    """

    code: int
    text: str
    enhanced: str | None = None

    @property
    def is_positive(self) -> bool:
        """2yz: the command was carried out."""
        return 200 <= self.code < 300

    @property
    def is_intermediate(self) -> bool:
        """3yz: go on (354, 334)."""
        return 300 <= self.code < 400

    @property
    def is_transient(self) -> bool:
        """4yz: try again later."""
        return 400 <= self.code < 500

    @property
    def is_permanent(self) -> bool:
        """5yz: do not try again in the same form."""
        return 500 <= self.code < 600

    @property
    def status(self) -> str:
        """The enhanced status code, or the class alone ("4.0.0") where the peer gave none (RFC 3464 §2.3.4)."""
        return self.enhanced or f"{self.code // 100}.0.0"

    def __str__(self) -> str:
        words = (str(self.code), self.enhanced, self.text.replace("\n", " "))
        return " ".join(word for word in words if word)


@value
class RepliesToEach(Reply):
    """What a message comes to where each recipient has an answer of its own: `each` are the replies in the order of the RCPT
    commands that were accepted. LMTP says them all (RFC 2033 §4.2); SMTP has room for the one that this is itself."""

    each: tuple[Reply, ...] = ()


@lru_cache(maxsize=1024)
def encode(reply: Reply) -> bytes:
    """The reply's octets. Every line repeats the code and the enhanced code; all but the last have the hyphen.

    Lines are cut so that none is longer than `MAX_REPLY_LINE`; control characters in the text become "?", so that no
    text taken from elsewhere can add a line of its own.
    """
    lead = f"{reply.enhanced} " if reply.enhanced else ""
    room = MAX_REPLY_LINE - len("250-") - len(lead) - len("\r\n")
    if reply.code == 334:
        room = 4 * len(reply.text) + 1  # RFC 4954 §4: a challenge is one line, however long
    if reply.text.isprintable() and len(octets := reply.text.encode("utf-8", "replace")) <= room:
        return b"%d %s%s\r\n" % (reply.code, lead.encode(), octets)  # one line, as nearly all are
    lines: list[bytes] = []
    for line in reply.text.split("\n"):
        octets = "".join(c if c.isprintable() else "?" for c in line).encode("utf-8", "replace")
        lines.extend(_cut(octets, room))
    ends = ["-"] * (len(lines) - 1) + [" "]
    starts = (f"{reply.code}{end}{lead}".encode() for end in ends)
    return b"".join(b"%s%s\r\n" % parts for parts in zip(starts, lines, strict=True))


def _cut(octets: bytes, room: int) -> Iterator[bytes]:
    """UTF-8 in pieces of at most `room` octets, no character cut in two (RFC 6531 §3.7.4: each line is read by itself)."""
    while len(octets) > room:
        end = room
        while octets[end] & 0xC0 == 0x80:
            end -= 1
        yield octets[:end]
        octets = octets[end:]
    yield octets
