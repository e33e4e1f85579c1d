"""A message made fit for a next hop without 8BITMIME (RFC 6152 §3) or without BINARYMIME (RFC 3030 §3).

`convert` decides, before anything is sent: it reads the message once and makes a list of what is to be replaced where. The
result gives out the octets, all others as they were. Only leaves are encoded (RFC 2045 §6.4), those whose octets call for it, and
decoding each gives the octets that were there before. What cannot be converted raises `Unconvertible`: it must then
fail with 5.6.3, and is never sent as it is.

What is not converted: what somebody signed (RFC 1847 §2.1; DKIM and ARC signatures cover the body: sent on with a broken one, the
message would look forged, so its sender is told instead), types that must not be encoded, non-ASCII in header fields and
around parts, and what readers may not agree on (`Entity.seal`). RFC 6376 §5.3 asks signers to convert before they sign.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Literal

from waymail.mail import encodings
from waymail.mail.envelope import CHUNK, Body
from waymail.mail.mime import Entity, structure
from waymail.values import value
from waymail.wire.replies import Reply

Service = Literal["7BIT", "8BITMIME"]
Encoder = Callable[[Iterable[bytes]], Iterator[bytes]]


class Unconvertible(Exception):
    """The message cannot be sent to this next hop in any form. `reply` is for its sender: 554 5.6.3 (RFC 3463 §3.7)."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.reply = Reply(554, f"the next host needs this message converted, which cannot be done: {why}", "5.6.3")


@value
class Splice:
    """Instead of the octets in [`start`, `end`): `new`, or what it makes of them."""

    start: int
    end: int
    new: bytes | Encoder


@value
class Converted:
    """A message as it is to be sent. `size`, in octets, is an upper bound, for SIZE (RFC 1870 §3: an estimate is enough): exact
    for base64, some percent too many for quoted-printable."""

    body: Body
    splices: tuple[Splice, ...]
    size: int

    def chunks(self, size: int = CHUNK) -> Iterator[bytes]:
        """The octets in order, in pieces of about `size`; as often as asked for. Raises OSError where the file cannot be read."""
        if not self.splices:
            yield from self.body.chunks(size)
            return
        gathered: list[bytes] = []
        have = 0
        for piece in _spliced(self.body.chunks(size), self.splices):
            gathered.append(piece)
            have += len(piece)
            if have >= size:
                yield b"".join(gathered)
                gathered.clear()
                have = 0
        if gathered:
            yield b"".join(gathered)


def convert(body: Body, *, to: Service) -> Converted:
    """What is to be sent to a next hop that takes 7-bit lines only, or lines with 8-bit octets ("8BITMIME").

    A message that fits already comes out as it is, except for labels ("8bit" on ASCII) that promise more than is there. Reads
    the whole body: not for the event loop where it is in a file. Raises Unconvertible, and OSError where the file cannot be read.
    """
    entities = structure(body.chunks())
    plan = _Plan(to, body.size)
    for entity in entities:
        plan.add(entity)
    splices = sorted(plan.splices, key=lambda splice: splice.start)
    return Converted(body, tuple(splices), plan.size)


class _Plan:
    """Collects the splices. `size` is the size of the message with them, at most."""

    def __init__(self, to: Service, size: int) -> None:
        self.size = self._total = size
        self.splices: list[Splice] = []
        self._to = to
        self._is_versioned: set[int] = set()  # where the messages start that have got a MIME-Version

    def add(self, entity: Entity) -> None:
        """Decide what is to be done about one entity."""
        header, octets = entity.header, entity.octets
        if header.has_nul or header.has_bare_line_end:
            raise Unconvertible("a header field has a NUL, or a CR or LF that ends no line")
        if header.eight_bit and self._to == "7BIT":
            raise Unconvertible("a header field has octets outside of ASCII")  # RFC 2047 is for who knows the character set
        if octets.is_binary or (octets.eight_bit and self._to == "7BIT"):
            if entity.seal:
                raise Unconvertible(entity.seal)
            if entity.is_composite:
                raise Unconvertible("a multipart has text outside of its parts that is not ASCII, or not lines")
            self._encode(entity)
        elif not entity.seal:
            self._label(entity, self._identity(entity))

    def _identity(self, entity: Entity) -> str:
        """The label of what is not encoded. What the parts of a composite entity are now is at most what the next hop takes."""
        if entity.fields.encoding == "binary" and self._to == "8BITMIME":
            return "8bit" if entity.octets.eight_bit or entity.is_composite else "7bit"
        return "7bit" if entity.fields.encoding in {"8bit", "binary"} and self._to == "7BIT" else entity.fields.encoding

    def _encode(self, entity: Entity) -> None:
        octets = entity.octets
        quoted = (
            entity.media_type.startswith("text/")
            and not (octets.has_nul or octets.has_bare_line_end)
            and octets.escaped * 6 <= octets.size  # where more is to be escaped, base64 is shorter
            and not (octets.is_line_open and entity.end == self._total)  # the CRLF that ends the message would be taken for text
        )
        self._describe(entity)
        self._label(entity, "quoted-printable" if quoted else "base64")
        encoder, size = (
            (encodings.quoted_printable, encodings.quoted_printable_size(octets))
            if quoted
            else (encodings.base64, encodings.base64_size(octets))
        )
        self.splices.append(Splice(entity.content, entity.end, encoder))
        self.size += size - octets.size
        if not quoted and entity.end == self._total:
            self._replace(entity.end, entity.end, b"\r\n")

    def _describe(self, entity: Entity) -> None:
        """The fields without which an encoding means nothing."""
        message = entity.message
        if not message.fields.has_version and message.start not in self._is_versioned:
            self._is_versioned.add(message.start)
            self._replace(message.header_end, message.header_end, b"MIME-Version: 1.0\r\n")  # RFC 2045 §4
        if not entity.fields.media_type:
            # RFC 1428 §2: nobody knows which character set it is, and the name of that one says so.
            field = b"Content-Type: text/plain; charset=unknown-8bit\r\n"
            self._replace(entity.header_end, entity.header_end, field)

    def _label(self, entity: Entity, encoding: str) -> None:
        at = entity.fields.encoding_at
        if encoding == entity.fields.encoding:
            return
        if at is not None:
            self._replace(entity.start + at[0], entity.start + at[1], b" " + encoding.encode())
        else:
            field = b"Content-Transfer-Encoding: %b\r\n" % encoding.encode()
            self._replace(entity.header_end, entity.header_end, field)

    def _replace(self, start: int, end: int, new: bytes) -> None:
        self.splices.append(Splice(start, end, new))
        self.size += len(new) - (end - start)


class _Cursor:
    """Reads chunks on, in pieces as long as they are wanted."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._chunk: bytes | None = b""
        self._at = 0

    def take(self, count: int | None) -> Iterator[bytes]:
        """The next `count` octets, or all that are left."""
        while self._chunk is not None and count != 0:
            left = len(self._chunk) - self._at
            if left == 0:
                self._chunk, self._at = next(self._chunks, None), 0
                continue
            length = left if count is None else min(left, count, CHUNK)
            piece = self._chunk[self._at : self._at + length]
            self._at += length
            count = None if count is None else count - length
            yield piece


def _spliced(chunks: Iterable[bytes], splices: Iterable[Splice]) -> Iterator[bytes]:
    cursor = _Cursor(chunks)
    at = 0
    for splice in splices:
        yield from cursor.take(splice.start - at)
        old = cursor.take(splice.end - splice.start)
        if isinstance(splice.new, bytes):
            for _ in old:
                pass
            yield splice.new
        else:
            yield from splice.new(old)
        at = splice.end
    yield from cursor.take(None)
