"""What a message looks like where it is finally delivered, to a program or an application.

Below the fields of final delivery (Return-Path, RFC 5321 §4.4; Delivered-To, RFC 9228 §4) every octet is as received, but for
line ends, where LF is asked for. A message that came as BINARYMIME would not survive that, for a CRLF in binary content is no
line end: its binary parts are encoded (RFC 3030 §3), and where that would break a signature it keeps its CRLF.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from waymail.mail.convert import Converted, Unconvertible, convert
from waymail.mail.envelope import Body, Envelope
from waymail.mail.received import without_return_path

# A header section longer than this keeps Return-Path fields that stand beyond it.
HEAD_LIMIT = 262_144


def content(envelope: Envelope, body: Body, fields: bytes, *, lf: bool = False) -> Iterator[bytes]:
    """The message below `fields`, the ones of final delivery, in chunks of some 64 KiB. Raises OSError."""
    source: Body | Converted = body
    if lf and envelope.body == "BINARYMIME":
        try:
            source = convert(body, to="8BITMIME")
        except Unconvertible:
            lf = False
    whole = _below(fields, source.chunks())
    return with_lf(whole) if lf else whole


def _below(fields: bytes, chunks: Iterator[bytes]) -> Iterator[bytes]:
    head = b""
    for chunk in chunks:
        head += chunk
        if b"\r\n\r\n" in head or len(head) >= HEAD_LIMIT:
            break
    yield fields + without_return_path(head)
    yield from chunks


def with_lf(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """CRLF made LF, also where one chunk ends with the CR and the next begins with the LF."""
    held = b""
    for chunk in chunks:
        whole = held + chunk
        held = b"\r" if whole.endswith(b"\r") else b""
        yield (whole[:-1] if held else whole).replace(b"\r\n", b"\n")
    if held:
        yield held
