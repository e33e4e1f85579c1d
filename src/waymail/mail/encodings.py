"""Base64 and quoted-printable (RFC 2045 §6.7, §6.8), written block by block.

Both take the octets in blocks, cut anywhere, and give out lines of at most 76 octets, ended by CRLF; only the last line has no
CRLF of its own, unless the content ended in one and quoted-printable shows it. Decoding gives exactly the octets that went in. No
line begins with "--": what is encoded can never be taken for the boundary of a part that it stands in (RFC 2046 §5.1.1),
wherever a line is broken.
"""

from __future__ import annotations

import re
from binascii import b2a_base64
from collections.abc import Iterable, Iterator

from waymail.mail.survey import Survey

_BASE64_INPUT = 57  # octets that make a line of 76
_LINE = 75  # with the "=" of a soft line break: 76
_LONGEST = 65536  # a line of more octets is not waited for but encoded in pieces
_ESCAPED = re.compile(rb"[^\t\r\n -<>-~]+")


def base64(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """The octets in base64."""
    rest = b""
    line_end = b""
    for block in blocks:
        block = rest + block
        whole = len(block) - len(block) % _BASE64_INPUT
        rest = block[whole:]
        if whole:
            yield line_end + _base64_lines(block[:whole])
            line_end = b"\r\n"
    if rest:
        yield line_end + _base64_lines(rest)


def base64_size(survey: Survey) -> int:
    """The most octets that `base64` makes of what `survey` counted."""
    return (survey.size + 2) // 3 * 4 + 2 * (survey.size // _BASE64_INPUT)


def quoted_printable(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Text in quoted-printable, its CRLFs as hard line breaks. It must have no bare CR or LF; lines may have any length."""
    rest = b""
    for block in blocks:
        rest += block
        end = rest.rfind(b"\r\n")
        if end >= 0:
            yield _quoted_lines(rest[:end]) + b"\r\n"
            rest = rest[end + 2 :]
        elif len(rest) > _LONGEST:
            # The last octet waits: it may be the CR of a CRLF.
            yield _quoted_lines(rest[:-1]) + b"=\r\n"
            rest = rest[-1:]
    if rest:
        yield _quoted_lines(rest)


def quoted_printable_size(survey: Survey) -> int:
    """No fewer octets than `quoted_printable` makes of what `survey` counted. Rarely more than a twelfth too many."""
    # Of a line, the last octet (white space) and the first (a hyphen) may have to be escaped; every soft line break takes three
    # octets, and the hyphen after it may take two.
    unbroken = survey.size + 2 * survey.escaped + 4 * (survey.lines + 1)
    return unbroken + 5 * (unbroken // (_LINE - 5) + survey.size // _LONGEST + 1)


def _base64_lines(octets: bytes) -> bytes:
    encoded = b2a_base64(octets, newline=False)
    return b"\r\n".join([encoded[at : at + 76] for at in range(0, len(encoded), 76)])


def _quoted_lines(text: bytes) -> bytes:
    escaped = _ESCAPED.sub(lambda run: b"=" + run.group().hex("=").upper().encode(), text)
    return b"\r\n".join([_quoted_line(line) for line in escaped.split(b"\r\n")])


def _quoted_line(line: bytes) -> bytes:
    """A line whose octets are escaped already: its last white space (RFC 2045 §6.7 (3)), its length (5), its first hyphen."""
    if line.endswith((b" ", b"\t")):
        line = line[:-1] + b"=%02X" % line[-1]
    if len(line) <= _LINE - 2 and not line.startswith(b"--"):
        return line
    pieces = []
    at = 0
    while True:
        lead = b"=2D" if line.startswith(b"--", at) else b""
        at += 1 if lead else 0
        cut = at + _LINE - len(lead)
        if cut >= len(line):
            pieces.append(lead + line[at:])
            return b"=\r\n".join(pieces)
        escape = line.rfind(b"=", cut - 2, cut)  # it is not cut in two
        cut = escape if escape >= 0 else cut
        pieces.append(lead + line[at:cut])
        at = cut
