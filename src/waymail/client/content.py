"""The content of a message as it goes to this next hop: as it is, or converted, and by which command.

`content_for` decides: DATA or BDAT, what BODY says, and whether the hop must get another form (`mail.convert`). In memory, all of
it is looked at; in a file, what it was declared as decides, and 7BIT is checked. `Content` then gives out the octets. Not
for the event loop where the body is in a file.

Raises Unfit with the reply that the message fails with here; BareLineEnd for a bare CR or LF outside of BINARYMIME: before
anything is given out where the body is in memory, else where it is met; OSError where the file cannot be read.
"""

from __future__ import annotations

from collections.abc import Iterator

from waymail.client.fit import HEADER_NOT_ASCII
from waymail.client.offer import Offer
from waymail.client.transaction import Message
from waymail.mail.convert import Converted, Unconvertible, convert
from waymail.mail.envelope import Body
from waymail.mail.needs import needs
from waymail.octets import NUL
from waymail.values import value
from waymail.wire.data import BareLineEnd, has_bare_line_end, stuff
from waymail.wire.replies import Reply

BLOCK = 262_144  # octets read at a time from a file, and written at a time

# RFC 6152 §3: 8-bit content goes only to hosts that offer it; RFC 3463 §3.7: 5.6.3, conversion required.


class Unfit(Exception):
    """The message cannot go to this host. `reply` says why."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(str(reply))
        self.reply = reply


@value
class Content:
    """What is to be sent.

    `whole` are the octets as they go over the wire, where they are in memory; otherwise `source` has them. `size` is what SIZE
    says, `body` what BODY says, "" for nothing. By BDAT go `chunk` octets, by DATA where that is -1.
    """

    source: Body | Converted
    size: int
    body: str = ""
    whole: bytes | None = None
    chunk: int = -1
    is_binary: bool = False

    def pieces(self) -> Iterator[bytes]:
        """The octets as they go over the wire, in blocks: stuffed and with their end, or bare as a chunk's are."""
        blocks = self.source.chunks(BLOCK)
        if self.chunk < 0:
            return stuff(blocks)
        return blocks if self.is_binary else _lines(blocks)


def content_for(message: Message, offer: Offer, *, chunks: bool) -> Content:
    """The content of `message` for a hop with this offer. `chunks`: BDAT may be used."""
    body = message.body
    if isinstance(body.content, bytes):
        # The ordinary path: in memory, ASCII or 8-bit to a hop that takes it, made of lines.
        eight_bit = not (body.content.isascii() and body.prefix.isascii())
    else:
        eight_bit = (message.body_type != "7BIT" and offer.eight_bit) or not all(c.isascii() for c in body.chunks(BLOCK))
    if message.body_type == "BINARYMIME" or _has_nul(body):
        return _binary(message, offer, eight_bit, chunks)
    if eight_bit:
        if message.options.smtputf8 and not offer.utf8 and needs(body.chunks()).utf8_headers:
            raise Unfit(HEADER_NOT_ASCII)
        if not offer.eight_bit:
            return _converted(body, offer)
    return _made_of_lines(body, "8BITMIME" if eight_bit else "", chunks)


def _has_nul(body: Body) -> bool:
    """Whether it is binary, whatever it was declared as (RFC 6152 §3: no NUL in 8BITMIME). Some servers drop a NUL, and then
    see an end of the message in a line that has one and a dot."""
    return NUL in body.content if isinstance(body.content, bytes) else any(NUL in c for c in body.chunks(BLOCK))


def _made_of_lines(body: Body, parameter: str, chunks: bool) -> Content:
    if not chunks:
        whole = b"".join(stuff(body.chunks())) if isinstance(body.content, bytes) else None
        return Content(body, body.size, parameter, whole)
    if not isinstance(body.content, bytes):
        return Content(body, body.size, parameter, None, sum(map(len, _lines(body.chunks(BLOCK)))))
    whole = body.prefix + body.content
    if has_bare_line_end(whole):
        raise BareLineEnd("the content has a bare CR or LF")
    if whole and not whole.endswith(b"\r\n"):
        whole += b"\r\n"
    return Content(body, body.size, parameter, whole, len(whole))


def _binary(message: Message, offer: Offer, eight_bit: bool, chunks: bool) -> Content:
    """RFC 3030 §3: BINARYMIME goes by BDAT, to hosts that offer it; others get it converted. What only looks like it, as is."""
    body = message.body
    found = needs(body.chunks())
    if message.options.smtputf8 and not offer.utf8 and found.utf8_headers:
        raise Unfit(HEADER_NOT_ASCII)
    if not found.binary and (offer.eight_bit or not eight_bit):
        return _made_of_lines(body, "8BITMIME" if eight_bit else "", chunks)
    if not (offer.binary and chunks):
        return _converted(body, offer)
    whole = body.prefix + body.content if isinstance(body.content, bytes) else None
    return Content(body, body.size, "BINARYMIME", whole, body.size, is_binary=True)


def _converted(body: Body, offer: Offer) -> Content:
    """By DATA, for its exact size is not known before it has been made."""
    try:
        converted = convert(body, to="8BITMIME" if offer.eight_bit else "7BIT")
    except Unconvertible as error:
        raise Unfit(error.reply) from None
    whole = b"".join(stuff(converted.chunks())) if isinstance(body.content, bytes) else None
    return Content(converted, converted.size, "8BITMIME" if offer.eight_bit else "", whole)


def _lines(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """The same octets, the last line ended. Raises BareLineEnd before the block with a bare CR or LF is given out."""
    held = end = b""
    for block in blocks:
        block = held + block
        held = b"\r" if block.endswith(b"\r") else b""
        block = block[: len(block) - len(held)]
        if has_bare_line_end(block):
            raise BareLineEnd("the content has a bare CR or LF")
        if block:
            end = block[-2:]
            yield block
    if held:
        raise BareLineEnd("the content ends with a bare CR")
    if end and end != b"\r\n":
        yield b"\r\n"
