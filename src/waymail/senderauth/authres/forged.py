"""Authentication-Results fields that claim to be ours in mail from outside (RFC 8601 §5): they are taken out.

A field claims to be ours not only where the grammar reads our authserv-id, but also where another reader might: one that does not
know comments, or drops what it does not understand. A field that could not be judged goes, too: one in a version that we do not
know, a very long one, and the 101st and all behind it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from waymail.mail import headers
from waymail.senderauth.authres import grammar
from waymail.values import value
from waymail.wire import domains

_BEHIND_FIELDS = re.compile(rb"(?<=\r\n)(?![ \t])")
_NAME = re.compile(rb"authentication-results[ \t]*:", re.IGNORECASE)
_ENCODED_WORD = re.compile(rb"=\?[^?\s]+\?[bq]\?", re.IGNORECASE)  # RFC 2047 §2
_NOT_IN_AN_ID = re.compile(r"[^0-9a-z.\x80-\U0010ffff-]")
MOST_FIELDS = 100
_LONGEST_ID = 320  # characters; what is longer is nobody's id, and too long to be cached


@value
class Forged:
    """A field that is taken out: as it stands in the section, its CRLF included, and why."""

    field: bytes
    reason: str


def forged(section: bytes, authserv_id: str) -> list[Forged]:
    """What `without` takes out of a header section, in its order."""
    if not headers.has(section, b"authentication-results"):
        return []
    return [Forged(field, reason) for field, reason in _judged(section, authserv_id) if reason]


def without(section: bytes, authserv_id: str) -> bytes:
    """The section without the fields that claim to be of `authserv_id`. All else stays, octet for octet."""
    if not headers.has(section, b"authentication-results"):
        return section
    return b"".join(field for field, reason in _judged(section, authserv_id) if not reason)


def _judged(section: bytes, authserv_id: str) -> Iterator[tuple[bytes, str]]:
    """Each field, and why it is taken out; "" where it stays."""
    seen = 0
    for field in _BEHIND_FIELDS.split(section):
        name = _NAME.match(field)
        seen += name is not None
        if name is None:
            yield field, ""
        elif seen > MOST_FIELDS:
            yield field, f"there are more than {MOST_FIELDS} such fields"
        else:
            yield field, _why(field[name.end() :], authserv_id)


def _why(raw: bytes, authserv_id: str) -> str:
    """Why the field with this value is taken out; "" where it stays."""
    if len(raw) > grammar.LONGEST:
        return "it is too long to be judged"
    parsed = grammar.parse(raw)
    if parsed and _key(parsed.authserv_id) == _key(authserv_id):
        return f"it claims to be of {authserv_id}"
    if parsed and parsed.version != grammar.VERSION:
        return f"it is of version {parsed.version}, which nobody here can read"
    text = raw.decode("utf-8", "replace")
    if _key(_bare(text.partition(";")[0])) == _key(authserv_id):  # to who does not know comments and quotes
        return f"it may be read as a claim to be of {authserv_id}"
    if parsed:
        return ""
    if _ENCODED_WORD.search(raw):  # RFC 2047 §5 (3) allows none in a structured field; programs for reading mail decode it
        return "it has an encoded word where none may be"
    # Nobody looks for an authserv-id behind "=".
    readings = [_bare(reading.partition("=")[0]) for reading in (text, grammar.without_comments(raw))]
    spellings = {_key(authserv_id), domains.to_unicode(_key(authserv_id))}
    if any(spelled in reading for spelled in spellings for reading in readings):
        return f"it cannot be parsed, and may claim to be of {authserv_id}"
    return ""


def _key(authserv_id: str) -> str:
    """By what two are compared: RFC 8601 §5 has them converted to one kind of labels first."""
    return domains.normal(authserv_id) if len(authserv_id) <= _LONGEST_ID else authserv_id


def _bare(text: str) -> str:
    """What of the text may be part of an authserv-id."""
    return _NOT_IN_AN_ID.sub("", text.lower())
