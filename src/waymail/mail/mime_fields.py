"""The header fields by which MIME describes an entity (RFC 2045 §3), read from the octets of its header section.

Nothing here raises. What different readers may understand differently (a field twice, two boundaries, a line that is no field)
is not decided but reported, as `doubt`: whoever wants to change the entity must then leave it alone.
"""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

from waymail.mail import headers
from waymail.values import value

# RFC 2045 §6.2: these say that no encoding was done.
IDENTITY = frozenset({"7bit", "8bit", "binary"})

# A value goes on over each CRLF that white space follows (RFC 5322 §2.2.3). A bare CR or LF is part of it.
_VALUE = rb"((?:[^\r]|\r(?!\n)|\r\n(?=[ \t]))*+)"
_FIELDS = re.compile(
    rb"^(mime-version|content-type|content-transfer-encoding|dkim-signature|arc-message-signature)[ \t]*:" + _VALUE,
    re.IGNORECASE | re.MULTILINE,
)
_WELL_FORMED = re.compile(rb"(?:[!-9;-~]+[ \t]*:" + _VALUE + rb"\r\n)*+")
_MEDIA_TYPE = re.compile(rb"[ \t]*([^][\s/;()<>@,:\\\"?=]+)[ \t]*(?:/[ \t]*([^][\s/;()<>@,:\\\"?=]+))?[ \t]*(?=[;(]|\Z)")
_PARAMETER = re.compile(rb'[ \t]*([^\s=;"]+)[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*+)(?:"|\Z)|([^;\s]*))[^;]*+;?', re.DOTALL)
_COMMENT = re.compile(rb"\([^()]*+\)")
_CONTINUED = re.compile(rb"boundary\*(\d{1,3})(\*?)")
_CONTENT_TYPE = 16384  # octets: nobody needs as many parameters
# RFC 2046 §5.1.1 allows 70 characters. Longer ones are seen; there must be an end somewhere.
_BOUNDARY = re.compile(rb"[ -~]{0,199}[!-~]")


@value
class Fields:
    """What the header section of an entity says.

    `media_type`: "text/plain", in lower case, "" where there is no Content-Type. `encoding`: the Content-Transfer-Encoding in
    lower case, "7bit" where there is none (RFC 2045 §6.1); `encoding_at` is where its value stands in the section. `boundary`: of
    a multipart, None where there is none that could be used. `is_signed`: DKIM (RFC 6376) or ARC (RFC 8617) signed this.
    `doubt`: why readers may disagree about all this, "" where they should not.
    """

    media_type: str = ""
    boundary: bytes | None = None
    encoding: str = "7bit"
    encoding_at: tuple[int, int] | None = None
    has_version: bool = False
    is_signed: bool = False
    doubt: str = ""

    @property
    def is_identity(self) -> bool:
        """Whether the content stands there as it is."""
        return self.encoding in IDENTITY


def read(section: bytes) -> Fields:
    """The fields of a header section, which is all lines up to the empty one, each with its CRLF."""
    found: dict[bytes, list[re.Match[bytes]]] = {}
    for match in _FIELDS.finditer(section):
        if match.start() == 0 or section.startswith(b"\r\n", match.start() - 2):
            found.setdefault(match[1].lower(), []).append(match)
    doubt = "" if _WELL_FORMED.fullmatch(section) else "a header section has a line that is no header field"
    types, encodings = found.get(b"content-type", []), found.get(b"content-transfer-encoding", [])
    if len(types) > 1 or len(encodings) > 1:
        doubt = "a header section has the same MIME field twice"
    media_type, boundary = "", None
    if types:
        media_type, boundary, unclear = _content_type(headers.unfold(types[0][2]))
        doubt = doubt or unclear
    return Fields(
        media_type=media_type,
        boundary=boundary,
        encoding=_token(encodings[0][2]) if encodings else "7bit",
        encoding_at=encodings[0].span(2) if encodings else None,
        has_version=b"mime-version" in found,
        is_signed=b"dkim-signature" in found or b"arc-message-signature" in found,
        doubt=doubt,
    )


def _token(raw: bytes) -> str:
    return _COMMENT.sub(b"", headers.unfold(raw)).strip().lower().decode("ascii", "replace")


def _content_type(raw: bytes) -> tuple[str, bytes | None, str]:
    """The media type, the boundary, and a doubt."""
    match = _MEDIA_TYPE.match(raw) if len(raw) <= _CONTENT_TYPE else None
    if match is None:
        return "text/plain", None, "a Content-Type field cannot be read"
    if match[2] is None:  # RFC 2045 §5.2: what names no subtype is taken for plain text
        return "text/plain", None, ""
    media_type = b"%b/%b" % (match[1], match[2])
    candidates = _boundaries(raw[raw.find(b";", match.end()) + 1 :]) if b";" in raw else set()
    doubt = "a Content-Type field has two boundaries" if len(candidates) > 1 else ""
    boundary = candidates.pop() if len(candidates) == 1 else b""
    usable = boundary if _BOUNDARY.fullmatch(boundary) else None
    return media_type.lower().decode("ascii", "replace"), usable, doubt


def _boundaries(parameters: bytes) -> set[bytes]:
    """The values of the parameter "boundary", in whatever form it is given (RFC 2045 §5.1, RFC 2231 §3, §4)."""
    found: set[bytes] = set()
    pieces: dict[int, bytes] = {}
    at = 0
    while at < len(parameters):
        match = _PARAMETER.match(parameters, at)
        if match is None:
            at = parameters.find(b";", at) + 1 or len(parameters)
            continue
        at = match.end()
        name = match[1].lower()
        text = re.sub(rb"\\(.)", rb"\1", match[2], flags=re.DOTALL) if match[2] is not None else match[3]
        if name == b"boundary":
            found.add(text.rstrip())
        elif name == b"boundary*":
            found.add(_decoded(text).rstrip())
        elif continued := _CONTINUED.fullmatch(name):
            number = int(continued[1])
            pieces[number] = text if not continued[2] else _decoded(text) if number == 0 else unquote_to_bytes(text)
    if 0 in pieces:
        found.add(b"".join(piece for _, piece in sorted(pieces.items())).rstrip())
    return found


def _decoded(extended: bytes) -> bytes:
    """An extended value (RFC 2231 §4) without its character set and language."""
    return unquote_to_bytes(extended.rpartition(b"'")[2])
