"""The MIME structure of a message (RFC 2045, RFC 2046 §5), as places in its octets. Nothing is decoded and nothing kept.

`structure` reads a message once, in blocks, and gives its entities: the message, the parts of a multipart, the message in a
message/rfc822. It never raises, whatever the octets are. What is broken is read as RFC 2046 says: a delimiter is a whole line,
CRLF-ended, that has the boundary and at most white space behind it (§5.1.1); that of an enclosing multipart ends all that is
open within it (§5.1.2), and so does the end of the message.

Memory is bounded: one header section of at most `HEADER` octets and one block are held at a time, and there are at most
`PARTS` entities, nested at most `DEPTH` deep. What is past a bound is content of the last entity that was seen, which has a
`seal`: the reason why it must not be changed. Other reasons are that it was signed, or that readers may not agree on what it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from waymail.mail.mime_fields import Fields, read
from waymail.mail.survey import Survey

HEADER = 131072  # octets
PARTS = 1000
DEPTH = 50
BLOCK = 65536  # octets: what is looked at in one go
# CRLF, "--", a boundary of 200 octets, "--" and some padding, CRLF: no delimiter is longer, so none is cut in two.
_PADDING = 256
_DELIMITER_LINE = 200 + 2 + _PADDING
_CANDIDATE = re.compile(rb"\r\n--([^\r\n]{1,%d}+)(?=\r\n|\Z)" % _DELIMITER_LINE)
_DELIMITER = len(b"\r\n--\r\n") + _DELIMITER_LINE

# RFC 2046 §5.2.1; what was posted to Usenet is a message too.
MESSAGES = frozenset({"message/rfc822", "message/news"})
# RFC 1847 §2.1, §2.2: what is within must not be changed.
_PROTECTED = frozenset({"multipart/signed", "multipart/encrypted"})
# RFC 6532 §3.7, RFC 6533 §6: of the type message, only these may have a Content-Transfer-Encoding that encodes (RFC 2045 §6.4).
_ENCODABLE = frozenset(
    {"message/global", "message/global-headers", "message/global-delivery-status", "message/global-disposition-notification"}
)


@dataclass(slots=True)
class Entity:
    """One entity. All places are offsets in the message, in octets.

    Its header section is [`start`, `header_end`), without the empty line; `content` is where its content starts, `end` where
    it ends (the CRLF before a delimiter belongs to the delimiter). `parent` is what it is a part of, None for the message.
    `media_type` is the one that holds where none is given (RFC 2046 §5.1.5, RFC 2045 §5.2). `header` and `octets` say what kind
    of data it is: of a composite entity, `octets` are those outside of all parts. `seal` is why nothing in it may be changed, or
    "".
    """

    parent: Entity | None
    start: int
    header_end: int
    content: int
    fields: Fields
    media_type: str
    seal: str
    end: int = -1
    is_composite: bool = False
    header: Survey = field(default_factory=Survey)
    octets: Survey = field(default_factory=Survey)

    @property
    def is_message(self) -> bool:
        """Whether it is a message, not a part of one."""
        return self.parent is None or self.parent.media_type in MESSAGES

    @property
    def message(self) -> Entity:
        """The message that this is a part of: itself where it is one."""
        entity = self
        while entity.parent is not None and not entity.is_message:
            entity = entity.parent
        return entity


def structure(chunks: Iterable[bytes]) -> list[Entity]:
    """The entities of the message in `chunks`, in the order in which they begin: the message itself is first."""
    walk = _Walk(chunks)
    walk.run()
    return walk.entities


class _Window:
    """The octets that are being looked at. `base` is the offset of the first; `has_all`: nothing comes after the last."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self.octets = b""
        self.base = 0
        self.has_all = False

    def ahead(self, at: int, count: int) -> int:
        """Have at least `count` octets from `at` on, or all there are. Returns where `at` is now; the two octets before it are
        kept, for they may be the CRLF of a delimiter."""
        if self.has_all or len(self.octets) - at >= count:
            return at
        kept = max(at - 2, 0)
        pieces = [self.octets[kept:]]
        have = len(self.octets) - at
        while have < count + BLOCK:
            chunk = next(self._chunks, None)
            if chunk is None:
                self.has_all = True
                break
            pieces.append(chunk)
            have += len(chunk)
        self.octets = b"".join(pieces)
        self.base += kept
        return at - kept


class _Walk:
    """One reading of one message."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._window = _Window(chunks)
        self._at = 0  # in the window
        self._open: list[Entity] = []
        # The line of each delimiter that may come, without its leading hyphens: how deep its multipart is, and whether it closes.
        self._delimiters: dict[bytes, tuple[int, bool]] = {}
        self._closed: set[int] = set()
        self.entities: list[Entity] = []

    def run(self) -> None:
        self._begin()
        while (found := self._content()) is not None:
            delimiter, (depth, is_closing) = found
            self._end(depth + 1, self._window.base + delimiter.start())
            self._open[depth].octets.finish()  # before the first part, or after the last
            self._at = min(delimiter.end() + 2, len(self._window.octets))
            if is_closing:
                self._closed.add(depth)
                self._expect()
            else:
                self._begin()
        self._end(0, self._window.base + len(self._window.octets))

    def _begin(self) -> None:
        """An entity begins here; where it is a message that holds a message, that one too."""
        while True:
            entity = self._header()
            self.entities.append(entity)
            self._open.append(entity)
            if entity.is_composite:
                self._expect()
            if not entity.is_composite or entity.media_type not in MESSAGES:
                return

    def _header(self) -> Entity:
        self._at = at = self._window.ahead(self._at, HEADER + _DELIMITER)
        octets = self._window.octets
        bound = min(at + HEADER, len(octets))
        last = octets.find(b"\r\n\r\n", at, bound)  # of the last field; then comes the empty line
        is_empty = octets.startswith(b"\r\n", at)
        is_ended = is_empty or last >= 0
        end = at if is_empty else last + 2 if last >= 0 else bound
        seal = "" if is_ended or bound == len(octets) else "a header section is too long"
        if not is_empty and (found := self._find(max(at - 2, 0), end)) is not None:
            # The part ends within its header section. It has no content; the delimiter is found there again.
            end, is_ended, seal = found[0].start() + 2, False, ""
        self._at = end + 2 if is_ended else end
        section = octets[at:end]
        entity = self._entity(read(section), seal, self._window.base + at, len(section))
        entity.header.take(section)
        entity.header.finish()
        return entity

    def _entity(self, fields: Fields, seal: str, start: int, length: int) -> Entity:
        parent = self._open[-1] if self._open else None
        digest = parent is not None and parent.media_type == "multipart/digest"
        media_type = fields.media_type or ("message/rfc822" if digest else "text/plain")
        depth, content = len(self._open), self._window.base + self._at
        entity = Entity(parent, start, start + length, content, fields, media_type, parent.seal if parent else "")
        may_nest = not seal and depth < DEPTH and len(self.entities) < PARTS - 1
        is_multipart = media_type.startswith("multipart/")
        entity.is_composite = may_nest and (
            (is_multipart and fields.boundary is not None) or (media_type in MESSAGES and fields.is_identity)
        )
        if len(self.entities) == PARTS - 1 or (depth >= DEPTH and (is_multipart or media_type in MESSAGES)):
            seal = seal or "it has too many parts, or they are nested too deep"
        entity.seal = entity.seal or seal or _seal(entity)
        return entity

    def _expect(self) -> None:
        """Which delimiters may come now. Where two multiparts have the same boundary, the outer one's counts."""
        self._delimiters = {}
        for depth, entity in enumerate(self._open):
            if entity.is_composite and depth not in self._closed and entity.fields.boundary is not None:
                boundary = entity.fields.boundary
                self._delimiters.setdefault(boundary, (depth, False))
                self._delimiters.setdefault(boundary + b"--", (depth, True))

    def _find(self, start: int, end: int) -> tuple[re.Match[bytes], tuple[int, bool]] | None:
        """The first delimiter of those that may come that begins in [start, end) of the window."""
        if not self._delimiters or len(self.entities) >= PARTS:
            return None
        for candidate in _CANDIDATE.finditer(self._window.octets, start):
            if candidate.start() >= end:
                return None
            if (known := self._delimiters.get(candidate[1].rstrip(b" \t"))) is not None:
                return candidate, known
        return None

    def _content(self) -> tuple[re.Match[bytes], tuple[int, bool]] | None:
        """Pass over the content of the entity that is open, or what stands around its parts, up to the next delimiter."""
        take = self._open[-1].octets.take
        before = 2  # a delimiter's CRLF may be that of the line before
        while True:
            self._at = at = self._window.ahead(self._at, _DELIMITER + 1)
            octets = self._window.octets
            # What begins behind `safe` may go on in what was not read yet.
            safe = len(octets) if self._window.has_all else len(octets) - _DELIMITER
            found = self._find(max(at - before, 0), safe)
            end = max(found[0].start(), at) if found else safe
            for block in range(at, end, BLOCK):
                take(octets[block : min(block + BLOCK, end)])
            self._at = end
            if found or end == len(octets):
                return found
            before = 0

    def _end(self, depth: int, end: int) -> None:
        """All that is open from `depth` on ends here."""
        for entity in self._open[depth:]:
            entity.end = max(end, entity.content)
            entity.octets.finish()
        self._closed = {closed for closed in self._closed if closed < depth}
        if len(self._open) > depth:
            del self._open[depth:]
            self._expect()


def _seal(entity: Entity) -> str:
    """Why nothing in this entity may be changed, "" where it may."""
    fields, media_type = entity.fields, entity.media_type
    if fields.doubt:
        return fields.doubt
    if entity.parent is None and fields.is_signed:
        # RFC 6376 §3.7: the body's hash would be another. What we send must not look like a forgery of what was signed.
        return "a DKIM or ARC signature covers it"
    if media_type in _PROTECTED:
        return f"a {media_type} must not be changed"
    if not fields.is_identity and (media_type.startswith("multipart/") or media_type in MESSAGES):
        return f"a {media_type} says that it is encoded"  # which RFC 2045 §6.4 forbids
    if media_type.startswith("multipart/") and not entity.is_composite:
        return f"a {media_type} has no boundary"
    if media_type.startswith("message/") and media_type not in MESSAGES | _ENCODABLE:
        return f"a {media_type} must not be encoded"  # RFC 2046 §5.2.2.1, §5.2.3
    if not fields.is_identity:
        return f"a part says that it is encoded already ({fields.encoding[:40]})"
    return ""
