r"""The Author Domain: the domain in the message's From field (RFC 9989 §5.3.1).

`author_domain` never raises, and takes time linear in the size of the field. It does not try to find out what the author may
have meant. It collects every domain that stands behind an "@" where an address can be, and gives a domain only where all of them
are the same one. A field that one program may read in one way and another program in another way gives none: what is
authenticated has to be what the reader is shown (§11.5).

    From: "ceo@bank.example" <x@evil.example>      evil.example: what is quoted is a name
    From: ceo@bank.example <x@evil.example>        none: two domains, though the first is only a name to some programs
    From: (a@b) <@relay.example:x@evil.example>    evil.example: comments and obsolete routes (RFC 5322 §4.4) are no authors
    From: Doe, John <john@example.org>             example.org: "Doe" is no address, and names no domain
    From: staff: a@example.org, b@example.org;     example.org: a group (RFC 6854)
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from waymail.mail import headers
from waymail.senderauth.dmarc.walk import domain_name
from waymail.values import value

MAX_FIELD = 64 * 1024  # octets; nobody's name is longer
MAX_DOMAINS = 10

# RFC 5322 §3.2.3 to §3.4.1, with RFC 6532: whatever is neither special nor white space is part of an atom. Encoded words
# are atoms, too. A backslash outside of quotes is in nobody's grammar.
_TOKEN = re.compile(
    r"""(?P<space>[ \t\r\n]++)
    |(?P<atom>[^][ \t\r\n()<>:;@\\,."\x00-\x1f\x7f]++)
    |(?P<quoted>"(?:[^"\\]|\\.)*+")
    |(?P<literal>\[(?:[^][\\]|\\.)*+\])
    |(?P<special>[<>:;@,.])
    |(?P<comment>\()""",
    re.VERBOSE | re.DOTALL,
)
_AFTER_ADDR_SPEC = (">",)
_AFTER_ADDRESS = (",", ";", "<")
_MENTION = re.compile(r"""@[ \t\r\n]*+([^][ \t\r\n()<>:;@\\,"\x00-\x1f\x7f]++)""")
_IN_COMMENT = re.compile(r"[^()\\]++|\\.|(?P<turn>[()])", re.DOTALL)


@value
class AuthorDomain:
    """`domain` in A-labels, or "" where the message has no author domain or several; then `reason` says why.

    `domains` are all that were found, ten at most. Of a field that cannot be read they are all that it mentions, wherever: each
    may be the one that a reader is shown. `is_crowded`: there may be more than those ten.
    """

    domain: str
    reason: str = ""
    domains: tuple[str, ...] = ()
    is_crowded: bool = False


class _Malformed(ValueError):
    """The field cannot be read; the message says why."""


def author_domain(section: bytes) -> AuthorDomain:
    """The Author Domain of a message, given its header section."""
    raw = headers.first(section, b"from")
    if raw is None:
        return AuthorDomain("", "no From field")
    if (count := headers.count(section, b"from")) > 1:
        # §4.4: with a repeated From field there is no reliable way to determine the record.
        every = [value for name, value in headers.fields(section) if name.lower() == b"from"]
        return _unclear(f"{count} From fields", b" ".join(every))
    if len(raw) > MAX_FIELD:
        return _unclear(f"a From field of {len(raw)} octets", raw)
    try:
        found = tuple(dict.fromkeys(_domains(headers.unfold(raw).decode("utf-8", "surrogateescape"))))
    except _Malformed as malformed:
        return _unclear(f"the From field gives no domain: {malformed}", raw)
    if len(found) == 1:
        return AuthorDomain(found[0], "", found)
    if not found:
        return _unclear("the From field has no address with a domain", raw)
    return _several(f"the From field names {len(found)} domains", found)


def _unclear(reason: str, raw: bytes) -> AuthorDomain:
    """With every domain behind an "@", wherever that stands: what some program might show as the author's."""
    read = raw[:MAX_FIELD]
    if b"\0" in read:  # where some programs end, and which others drop
        read += b" " + read.replace(b"\0", b"")
    text = read.decode("utf-8", "surrogateescape")
    found = dict.fromkeys(domain_name(mention[1].strip(".'`")) for mention in _MENTION.finditer(text))
    return _several(reason, tuple(domain for domain in found if domain), is_cut=len(raw) > MAX_FIELD)


def _several(reason: str, found: tuple[str, ...], *, is_cut: bool = False) -> AuthorDomain:
    return AuthorDomain("", reason, found[:MAX_DOMAINS], is_cut or len(found) > MAX_DOMAINS)


def _domains(text: str) -> Iterator[str]:
    """The domain of each address, in A-labels. Raises _Malformed."""
    tokens = list(_tokens(text))
    in_angle = False
    at = 0
    while at < len(tokens):
        this = tokens[at]
        at += 1
        if this == "<":
            if in_angle:
                raise _Malformed("an angle bracket within angle brackets")
            in_angle = True
            if tokens[at : at + 1] == ["@"]:
                at = _behind_route(tokens, at)
        elif this == ">":
            if not in_angle:
                raise _Malformed("an angle bracket that was not opened")
            in_angle = False
        elif this == "@":
            if at == 1 or (tokens[at - 2] != "." and not _is_word(tokens[at - 2])):
                raise _Malformed("an @ without a local part")
            domain, at = _domain(tokens, at)
            if at < len(tokens) and tokens[at] not in (_AFTER_ADDR_SPEC if in_angle else _AFTER_ADDRESS):
                raise _Malformed("something behind the domain of an address")
            yield domain
        elif in_angle and this in (",", ";", ":"):
            raise _Malformed(f"{this} within angle brackets")
    if in_angle:
        raise _Malformed("an angle bracket that is not closed")


def _domain(tokens: list[str], at: int) -> tuple[str, int]:
    """The domain whose first token is at `at`, and where it ends. White space and comments may stand around its dots."""
    start = at
    while at < len(tokens) and _is_part_of_domain(tokens[at], tokens[at - 1] if at > start else "."):
        at += 1
    spelled = "".join(tokens[start:at])
    domain = domain_name(spelled)
    if not domain:
        raise _Malformed(f"{spelled[:80]!a} is no domain")
    return domain, at


def _is_part_of_domain(this: str, before: str) -> bool:
    """Whether a domain goes on: atoms and dots take turns. A literal is taken along, and is no domain in DNS."""
    return (this == ".") != (before == ".") and (this == "." or _is_word(this)) and this[0] != '"'


def _behind_route(tokens: list[str], at: int) -> int:
    """Where the address begins behind an obs-route (RFC 5322 §4.4): `obs-domain-list ":"`, all of it ignored."""
    while at < len(tokens) and tokens[at] not in ("<", ">", ";"):
        at += 1
        if tokens[at - 1] == ":":
            return at
    raise _Malformed("a route without an address")


def _is_word(this: str) -> bool:
    return this not in ("<", ">", ":", ";", "@", ",", ".")


def _tokens(text: str) -> Iterator[str]:
    """The tokens without white space and comments; of what is quoted, only the first and last character. Raises _Malformed."""
    at = 0
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            raise _Malformed(f"{text[at]!a} where it cannot be, or without its counterpart")
        at = found.end()
        match found.lastgroup:
            case "comment":
                at = _end_of_comment(text, at)
            case "quoted":
                yield '""'
            case "atom" | "literal" | "special":
                yield found.group()


def _end_of_comment(text: str, at: int) -> int:
    """The index behind the comment whose "(" is just before `at`. Comments nest (RFC 5322 §3.2.2)."""
    depth = 1
    for found in _IN_COMMENT.finditer(text, at):
        if found["turn"]:
            depth += 1 if found["turn"] == "(" else -1
            if depth == 0:
                return found.end()
    raise _Malformed("a comment that is not closed")
