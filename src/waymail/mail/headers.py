"""A byte-exact view of a message's header section (RFC 5322 §2.2, §3.6).

Nothing is parsed into objects and nothing is serialised again: these functions find, count and cut out fields in the octets
as they came. A line ends at CRLF and nowhere else. A name is given in lower case; it is found in any case, and also
with the white space before the colon that the obsolete syntax allows (§4.5).

No function raises, whatever the octets are. `count`, `first` and `has` run for every message and work at the speed of
a search for a fixed string, without a loop over lines; `fields` is for everything else.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import lru_cache

_END_OF_FIELD = re.compile(rb"\r\n(?![ \t])")
_FOLD = re.compile(rb"\r\n(?=[ \t])")
# RFC 5322 §2.2: field-name = 1*ftext, ftext = %d33-57 / %d59-126; §4.5 allows *WSP before the colon.
_FIELD_NAME = re.compile(rb"[!-9;-~]+(?=[ \t]*\Z)")
_FIELD_START = re.compile(rb"[!-9;-~]+[ \t]*:")


def header_section(head: bytes) -> bytes:
    """The header fields of `head`, each with its CRLF, up to the empty line. All of `head` where it holds no empty line."""
    if head.startswith(b"\r\n"):
        return b""
    end = head.find(b"\r\n\r\n")
    return head if end < 0 else head[: end + 2]


def starts_with_field(head: bytes) -> bool:
    """Whether the first line is a header field, and so `head` begins with a header section at all."""
    return _FIELD_START.match(head) is not None


def fields(section: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Each field's name as it is spelled, and its raw value: all between the colon and the field's last CRLF, folds included.

    Lines that are no field are passed over. For a well-formed section, name + b":" + value + b"\\r\\n" is the field.
    """
    for field in _END_OF_FIELD.split(section):
        name, colon, value = field.partition(b":")
        if colon and (spelled := _FIELD_NAME.match(name)):
            yield spelled.group(), value


def count(section: bytes, name: bytes) -> int:
    """How many fields are called `name`."""
    return len(_starts(name).findall(_lowered(section)))


def has(section: bytes, name: bytes) -> bool:
    """Whether any field is called `name`."""
    return _starts(name).search(_lowered(section)) is not None


def first(section: bytes, name: bytes) -> bytes | None:
    """The raw value of the first field called `name`, folds included, without the last CRLF; None where there is none."""
    found = _starts(name).search(_lowered(section))
    if not found:
        return None
    start = found.end() - len(b"\r\n")
    return section[start : _end_of_field(section, start)]


def text(section: bytes, name: bytes) -> str:
    """The first such field's value on one line, for showing and searching: unfolded, stripped; "" where there is none.

    Octets that are not UTF-8 become U+FFFD. Encoded words (RFC 2047) stay as they are.
    """
    value = first(section, name)
    return unfold(value).strip(b" \t").decode("utf-8", "replace") if value else ""


def unfold(value: bytes) -> bytes:
    """The value with each fold's CRLF taken out, the white space kept (RFC 5322 §2.2.3)."""
    return _FOLD.sub(b"", value)


def without(section: bytes, name: bytes) -> bytes:
    """The section with the fields called `name` cut out, all other octets as they were."""
    kept = []
    at = 0
    for found in _starts(name).finditer(_lowered(section)):
        kept.append(section[at : found.start()])
        at = _end_of_field(section, found.end() - len(b"\r\n")) + len(b"\r\n")
    return b"".join((*kept, section[at:])) if kept else section


def date_time(now: float) -> str:
    """`now`, in seconds since the epoch, as a date-time (RFC 5322 §3.3) in UTC."""
    return _date_time(int(now))


def message_id(identifier: str, hostname: str) -> str:
    """The msg-id (RFC 5322 §3.6.4) of `identifier`, unique on this host; one that is already in angle brackets stays as it is."""
    return identifier if identifier.startswith("<") else f"<{identifier}@{hostname}>"


@lru_cache(maxsize=256)
def _date_time(second: int) -> str:
    return format_datetime(datetime.fromtimestamp(second, UTC))


def _lowered(section: bytes) -> bytes:
    """The section in lower case, with a CRLF in front so that every field begins behind one: found.start() in this is the
    field's start in the section."""
    return b"\r\n" + section.lower()


@lru_cache(maxsize=64)
def _starts(name: bytes) -> re.Pattern[bytes]:
    return re.compile(rb"\r\n%b[ \t]*:" % re.escape(name))


def _end_of_field(section: bytes, start: int) -> int:
    """The index of the CRLF that ends the field whose value begins at `start`; the section's length where none does."""
    found = _END_OF_FIELD.search(section, start)
    return found.start() if found else len(section)
