"""An Authentication-Results field as it is written (RFC 8601 §2.2): folded, and with every value made harmless.

Whatever the values are, one field comes out: values come from the sender, who may want one to end the field and begin another. No
control character gets out, no line is longer than RFC 5322 §2.1.1 allows; a value is a token, an address, or a quoted string.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache

from waymail.senderauth.authres.grammar import Method

_WIDTH = 78  # RFC 5322 §2.1.1: a line SHOULD be no more than 78 characters
_FOLD = "\r\n    "
_LONGEST_VALUE = 400  # octets: an address has at most 320; with each escaped, a line still has less than 998

# C0 and C1, the line ends of Unicode, what turns the direction of text, and what UTF-8 cannot carry.
_HARMFUL = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]+")
_TOKEN = re.compile(r"[!#$%&'*+.0-9A-Z^_`a-z{|}~-]+")  # RFC 2045 §5.1
_ATEXT = r"[!#-'*+/-9=?A-Z^-~\x80-\U0010ffff-]"  # RFC 5322 §3.2.3, RFC 6532 §3.2
_QUOTED_STRING = r'"(?:[^"\\]|\\.)*"'
_DOMAIN = r"[0-9A-Za-z\x80-\U0010ffff._-]+"
# [ [ local-part ] "@" ] domain-name. A domain of U-labels alone is one, too (RFC 8616 §6).
_ADDRESS = re.compile(rf"(?:(?:{_ATEXT}+(?:\.{_ATEXT}+)*|{_QUOTED_STRING})?@)?{_DOMAIN}")


def field(
    authserv_id: str,
    methods: Sequence[Method],
    *,
    name: bytes = b"Authentication-Results",
    instance: int = 0,
    is_utf8: bool = True,
) -> bytes:
    """The whole field, its last CRLF included. Without methods it says "none".

    `instance` is that of an ARC set (RFC 8617 §4.1.1); 0 writes none. Where `is_utf8` is false, what is not ASCII becomes "?": a
    message that is not internationalised must not become so by our field.
    """
    first = f"{name.decode('ascii')}: i={instance};" if instance else f"{name.decode('ascii')}:"
    lines = [_folded([first, f"{_value(authserv_id)};"])]
    results = [_written(method) for method in methods] or ["none"]
    lines += [f"{result};" for result in results[:-1]] + results[-1:]
    return f"{_FOLD.join(lines)}\r\n".encode("utf-8" if is_utf8 else "ascii", "replace")


@lru_cache(maxsize=1024)  # what a domain's mail comes to is the same for each message, but for its signature
def _written(method: Method) -> str:
    return _folded(list(_words(method)))


def _words(method: Method) -> Iterator[str]:
    """What must not be broken within."""
    yield f"{method.method}={method.result}"
    if method.reason:
        yield f"reason={_value(method.reason)}"
    for ptype, name, text in method.properties:
        yield f"{ptype}.{name}={_pvalue(text)}"


def _folded(words: Sequence[str]) -> str:
    """The words in lines that are short enough where words are; one octet is left for the semicolon."""
    parts = [words[0]]
    column = len(_FOLD) - 2 + len(words[0].encode())
    for word in words[1:]:
        octets = len(word) if word.isascii() else len(word.encode())
        if column + 1 + octets < _WIDTH:
            parts += (" ", word)
            column += 1 + octets
        else:
            parts += (_FOLD, word)
            column = len(_FOLD) - 2 + octets
    return "".join(parts)


def _pvalue(text: str) -> str:
    """RFC 8601 §2.2: what identifies a mailbox or a domain is written as such, all else as a value."""
    if text.isascii() and '"' not in text and len(text) <= _LONGEST_VALUE and _ADDRESS.fullmatch(text):
        return text  # as nearly all are
    harmless = _harmless(text)
    return harmless if _ADDRESS.fullmatch(harmless) else _quoted(harmless)


def _value(text: str) -> str:
    return _quoted(_harmless(text))


def _quoted(text: str) -> str:
    if _TOKEN.fullmatch(text):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _harmless(text: str) -> str:
    text = _HARMFUL.sub("?", text)
    octets = text.encode()
    return text if len(octets) <= _LONGEST_VALUE else octets[:_LONGEST_VALUE].decode("utf-8", "ignore")
