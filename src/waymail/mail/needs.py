"""Which service a message needs of the next hop: 8BITMIME (RFC 6152), BINARYMIME (RFC 3030), SMTPUTF8 (RFC 6531).

`needs` looks at the octets, never at what a label or a parameter says of them. It reads once and never raises, but for what
its argument raises. All-ASCII messages in one block are answered without a look at their structure.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain

from waymail.mail.mime import structure
from waymail.mail.survey import Survey
from waymail.octets import CR, LF, NUL
from waymail.values import value


@value
class Needs:
    """What the octets of a message call for.

    `eight_bit`: an octet above 127 behind the message's header section (RFC 6152 §3). `binary`: a NUL, a bare CR or LF, or a line
    of more than 998 octets, which DATA cannot carry (RFC 3030 §3, RFC 2045 §2.9); `long_lines` says that it is binary for its
    long lines alone, which most servers take all the same. A long line in a header section does not count: no conversion helps.
    `utf8_headers`: there is non-ASCII in the header section, or in the header fields of a part (RFC 6531 §3.2, RFC 6532 §3).
    The fields of a message that is attached do not count: it is content, whatever became of it before.
    """

    eight_bit: bool = False
    binary: bool = False
    utf8_headers: bool = False
    long_lines: bool = False


def needs(chunks: Iterable[bytes]) -> Needs:
    """The needs of the message in `chunks`, which may be cut anywhere."""
    iterator = iter(chunks)
    first = next(iterator, b"")
    second = next(iterator, None)
    if second is None and first.isascii():
        return _of_ascii(first)
    rest = () if second is None else (second,)
    entities = structure(chain((first,), rest, iterator))
    surveys = [survey for entity in entities for survey in (entity.header, entity.octets)]
    unfit = any(survey.has_nul or survey.has_bare_line_end for survey in surveys)
    long_lines = any(entity.octets.has_long_line for entity in entities)
    return Needs(
        eight_bit=any(survey.eight_bit for survey in surveys[1:]),
        binary=unfit or long_lines,
        utf8_headers=any(entity.header.eight_bit for entity in entities if entity.message is entities[0]),
        long_lines=long_lines and not unfit,
    )


def _of_ascii(message: bytes) -> Needs:
    """Of a message that is ASCII: whether it is made of lines."""
    lines = message.replace(b"\r\n", b"")
    unfit = LF in lines or CR in lines or NUL in lines
    start = 0 if message.startswith(b"\r\n") else message.find(b"\r\n\r\n") + 2
    body = Survey()
    body.measure(message[start:] if start != 1 else b"")  # 1: there is no empty line, and so no body
    body.finish()
    return Needs(binary=unfit or body.has_long_line, long_lines=body.has_long_line and not unfit)
