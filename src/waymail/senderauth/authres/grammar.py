"""What an Authentication-Results field says, read by the whole grammar of RFC 8601 §2.2.

`parse`, `parse_arc` and `arc_instance` never raise: what is no such value is None. Time is linear in the length of the value,
however comments are nested, and a value has a bound. More than the grammar allows is taken where big senders write it: a
semicolon behind the last result; words without a type ("action=none"), which are passed over; and in the value of a property any
octets but white space, semicolons, parentheses and quotes ("header.b=a/b=", an IPv6 address).
"""

from __future__ import annotations

import re

from waymail.values import value

LONGEST = 32768  # octets; a value is written in hundreds
VERSION = 1  # RFC 8601 §2.2: "this specification is version 1"

_WHITE = re.compile(r"[ \t\r\n]++")
_COMMENT = re.compile(r"(?:[^()\\]|\\.)*+", re.DOTALL)  # RFC 5322 §3.2.2: what stands between the parentheses of comments
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*+)"', re.DOTALL)
_PLAIN = re.compile(r'[^"(]++')
_QUOTED_PAIR = re.compile(r"\\(.)", re.DOTALL)
# RFC 2045 §5.1: any character but space, controls and tspecials. RFC 8601 §2.5: an authserv-id may be UTF-8.
_TOKEN = re.compile(r'[^\x00-\x20\x7f()<>@,;:\\"/\[\]?=]++')
_KEYWORD = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?+")  # RFC 5321 §4.1.2
_DIGITS = re.compile(r"[0-9]++")
_PVALUE = re.compile(r'[^\x00-\x20\x7f()";]++')
# RFC 8617 §3.9: position = 1*2DIGIT. Zero in front of it is not forbidden.
_POSITION = re.compile(r"[0-9]{1,2}")


@value
class Method:
    """One result: "spf", "pass". A property is (ptype, property, value): ("smtp", "mailfrom", "example.org").

    `reason` is for people. An address in `value` stands as it does in mail, its local part quoted where it must be.
    """

    method: str
    result: str
    reason: str = ""
    properties: tuple[tuple[str, str, str], ...] = ()


@value
class AuthenticationResults:
    """A field: who says it, and what. `methods` is empty for "none", and where `version` is not 1: who knows how to read on?"""

    authserv_id: str
    methods: tuple[Method, ...] = ()
    version: int = VERSION


def parse(raw: bytes) -> AuthenticationResults | None:
    """The value of an Authentication-Results field, with its folds and comments; None where it is none, or is over `LONGEST`.

    A result of a method in another version than 1 is left out: it may mean something else (RFC 8601 §2.6).
    """
    try:
        return _payload(_Reader(raw))
    except _NoSuchThing:
        return None


def arc_instance(raw: bytes) -> int | None:
    """The instance in front of an ARC-Authentication-Results field (RFC 8617 §4.1.1); None where there is none."""
    try:
        return _Reader(raw).instance()
    except _NoSuchThing:
        return None


def parse_arc(raw: bytes) -> AuthenticationResults | None:
    """The value of an ARC-Authentication-Results field, behind its instance; None where that cannot be read.

    RFC 8617 §3.4: whether it can, makes no difference to the chain.
    """
    try:
        reader = _Reader(raw)
        reader.instance()
        return _payload(reader)
    except _NoSuchThing:
        return None


def without_comments(raw: bytes) -> str:
    """The text without its comments; from a comment or a quoted string on that is never closed, as it is."""
    reader = _Reader(raw)
    kept = []
    start = 0
    try:
        while start < len(reader.text):
            if reader.text[start] == "(":
                reader.comment()
            else:
                kept.append(reader.no_comment())
            start = reader.at
    except _NoSuchThing:
        kept.append(reader.text[start:])
    return "".join(kept)


class _NoSuchThing(Exception):
    """The grammar has something else here."""


class _Reader:
    """A value, and how far it has been read."""

    def __init__(self, raw: bytes) -> None:
        if len(raw) > LONGEST:
            raise _NoSuchThing
        self.text = raw.decode("utf-8", "replace")
        self.at = 0

    def skip(self) -> None:
        """Past white space and comments: [CFWS]."""
        while self.text[self.at : self.at + 1] <= "(":  # neither white space nor a comment begins with what is greater
            found = _WHITE.match(self.text, self.at)
            self.at = found.end() if found else self.at
            if self.text[self.at : self.at + 1] != "(":
                return
            self.comment()

    def has(self, character: str) -> bool:
        """Whether [CFWS] and then this character come next; they are read if so."""
        self.skip()
        if self.text.startswith(character, self.at):
            self.at += 1
            return True
        return False

    def need(self, character: str) -> None:
        if not self.has(character):
            raise _NoSuchThing

    def is_at_end(self) -> bool:
        self.skip()
        return self.at == len(self.text)

    def is_at(self, character: str) -> bool:
        self.skip()
        return self.text.startswith(character, self.at)

    def keyword(self) -> str:
        return self._need(_KEYWORD).lower()

    def version(self) -> int:
        """1*DIGIT; more digits than any version has are none."""
        digits = self._need(_DIGITS)
        if len(digits) > 9:
            raise _NoSuchThing
        return int(digits)

    def value(self) -> str:
        """A token or a quoted string, without its quotes (RFC 2045 §5.1)."""
        self.skip()
        quoted = self._match(_QUOTED)
        return _unquoted(quoted) if quoted else self._need(_TOKEN)

    def pvalue(self) -> str:
        """`value / [ [ local-part ] "@" ] domain-name`: of an address the local part keeps its quotes."""
        self.skip()
        first = self._match(_QUOTED) or self._match(_PVALUE)
        if not first:
            raise _NoSuchThing
        is_quoted = first.startswith('"')
        if "@" in first and not is_quoted:
            return first if not first.endswith("@") else first + self._need(_PVALUE)
        if not self.has("@"):
            return _unquoted(first) if is_quoted else first
        return f"{first}@{self._need(_PVALUE)}"

    def instance(self) -> int:
        self.need("i")
        self.need("=")
        position = int(self._need(_POSITION))
        self.need(";")
        return position

    def comment(self) -> None:
        """Past a comment, which begins here: with all that is nested in it, without recursion."""
        depth = 0
        while True:
            here = self.text[self.at : self.at + 1]
            if here == "(":
                depth += 1
            elif here == ")":
                depth -= 1
            else:  # the end, or a backslash with nothing behind it
                raise _NoSuchThing
            self.at += 1
            if depth == 0:
                return
            self._match(_COMMENT)

    def no_comment(self) -> str:
        """A quoted string with its quotes, or all up to the next one and to the next comment."""
        found = self._match(_QUOTED) or self._match(_PLAIN)
        if not found:
            raise _NoSuchThing
        return found

    def _need(self, pattern: re.Pattern[str]) -> str:
        self.skip()
        found = self._match(pattern)
        if not found:
            raise _NoSuchThing
        return found

    def _match(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self.text, self.at)
        if found is None:
            return ""
        self.at = found.end()
        return found.group()


def _payload(reader: _Reader) -> AuthenticationResults:
    """authres-payload = [CFWS] authserv-id [ CFWS authres-version ] ( no-result / 1*resinfo ) [CFWS]"""
    authserv_id = reader.value()
    if not reader.is_at(";") and (version := reader.version()) != VERSION:
        # RFC 8601 §2.6: what follows might not be in an expected format
        return AuthenticationResults(authserv_id, (), version)
    reader.need(";")
    methods: list[Method] = []
    while True:
        method = reader.keyword()
        if method == "none" and not methods and reader.is_at_end():
            break
        _resinfo(method, reader, methods)
        if reader.is_at_end():
            break
        reader.need(";")
        if reader.is_at_end():
            break
    return AuthenticationResults(authserv_id, tuple(methods))


def _resinfo(method: str, reader: _Reader, methods: list[Method]) -> None:
    """methodspec [ CFWS reasonspec ] [ CFWS 1*propspec ], from behind the method's name on, put to `methods`."""
    version = reader.version() if reader.has("/") else VERSION
    reader.need("=")
    result = reader.keyword()
    reason = ""
    properties: list[tuple[str, str, str]] = []
    while not reader.is_at_end() and not reader.is_at(";"):
        name = reader.keyword()
        if reader.has("."):
            name_of_property = reader.keyword()
            reader.need("=")
            properties.append((name, name_of_property, reader.pvalue()))
        else:
            reader.need("=")
            text = reader.value()
            reason = text if name == "reason" else reason
    if version == VERSION:
        methods.append(Method(method, result, reason, tuple(properties)))


def _unquoted(quoted: str) -> str:
    return _QUOTED_PAIR.sub(r"\1", quoted[1:-1])
