"""Header fields that a program composes: text and mailboxes as they are meant, and how they go on the wire.

A field is a `str`, the value as a person reads it, that knows how it is folded: `EmailMessage` takes it as it is and asks it for
its lines. So none of it passes through the standard library's header parser, which takes `=?...?=` in a subject for an encoded
word, and folds some lists of names so that they fall apart, each version of Python others.

Where the text is not ASCII, would be taken for an encoded word, or has a word too long for a line, it stands in encoded words
(RFC 2047), in UTF-8. All else stands as it is, folded at spaces. No value has a control character, so none ends its line.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterable, Iterator, Sequence
from email.headerregistry import Address, Group
from email.policy import Policy
from typing import Self, TypeAlias

from waymail.mail import address
from waymail.wire import domains, grammar

Mailbox: TypeAlias = str | tuple[str, str] | Address

_WIDTH = 76  # RFC 2047 §2, where there are encoded words; RFC 5322 §2.1.1: at best 78, and never more than 998
_LONGEST_WORD = 900
# RFC 2047 §2: an encoded word is at most 75 characters. With 60 the first one fits behind the field's name. "=?utf-8?q?" and "?="
# take 12 of them.
_ROOM = 60 - 12
_Q_LITERAL = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!*+-/")  # §5 (3): safe in a phrase, too
_UNFIT = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_ATOMS = re.compile(r"[\w!#$%&'*+\-/=?^`{|}~]+(?: [\w!#$%&'*+\-/=?^`{|}~]+)*", re.ASCII)
_FIELD_NAME = re.compile(r"[!-9;-~]+")


class Field(str):
    """A composed field's value. `name` is the field's name; `tokens` is the value as it goes on the wire, in pieces between which
    a line may be folded, each with a space between it and the next."""

    name: str
    tokens: tuple[str, ...]
    defects: tuple[()] = ()

    def __new__(cls, value: str = "", name: str = "", tokens: Iterable[str] = ()) -> Self:
        field = super().__new__(cls, value)
        field.name, field.tokens = name, tuple(tokens)
        return field

    def fold(self, *, policy: Policy) -> str:
        """The field's lines, each ended as the policy says: what the standard library's generators call."""
        lines = [f"{self.name}:"]
        for token in self.tokens:
            # A fold before an empty token, which stands for one of several spaces, would make a line of white space.
            if token and len(lines[-1]) + 1 + len(token) > _WIDTH and not lines[-1].endswith((":", " ")):
                lines.append("")
            lines[-1] += f" {token}"
        return "".join(line + policy.linesep for line in lines)


class MailboxField(Field):
    """A field of mailboxes. `addresses` are the mailboxes; it has no groups of several."""

    addresses: tuple[Address, ...]

    @property
    def groups(self) -> tuple[Group, ...]:
        return tuple(Group(None, (mailbox,)) for mailbox in self.addresses)


def text_field(name: str, value: str) -> Field:
    """An unstructured field (RFC 5322 §2.2.1). Raises ValueError where the name is none or the value has a control character."""
    if _FIELD_NAME.fullmatch(name) is None:
        raise ValueError(f"{name!r} is no name of a header field")
    _check(value, name)
    return Field(value, name, _text_tokens(value))


def uri_field(name: str, uris: Sequence[str]) -> Field:
    """URIs in angle brackets with commas between them (RFC 2369 §2). What is no URI is the caller's to refuse."""
    tokens = [f"<{uri}>" for uri in uris]
    return Field(", ".join(tokens), name, _with_commas(tokens))


def mailbox_field(name: str, mailboxes: Sequence[Address]) -> MailboxField:
    """A list of mailboxes."""
    tokens: list[str] = []
    for at, mailbox in enumerate(mailboxes):
        tokens += _phrase_tokens(mailbox.display_name)
        comma = "," if at < len(mailboxes) - 1 else ""
        tokens.append((f"<{mailbox.addr_spec}>" if mailbox.display_name else mailbox.addr_spec) + comma)
    field = MailboxField(", ".join(map(str, mailboxes)), name, tokens)
    field.addresses = tuple(mailboxes)
    return field


def mailboxes_of(given: Mailbox | Iterable[Mailbox] | None, argument: str) -> list[Address]:
    """The mailboxes that `argument` of a program names: one, or several in a list.

    One is "ann@example.org", "Ann <ann@example.org>", (name, address), or an Address. Text is one mailbox and never two, so that
    what a stranger typed into a form cannot add a recipient. Raises ValueError, which names the argument.
    """
    if given is None:
        return []
    match given:
        case (str(name), str()) if isinstance(given, tuple):
            if "@" in name:
                raise ValueError(f"{argument}: a tuple is a name and an address; write several addresses as a list")
            return [_mailbox(given, argument)]
        case str() | Address():
            return [_mailbox(given, argument)]
        case Iterable():
            return [_mailbox(one, argument) for one in given]
    raise ValueError(f"{argument}: {given!r} is no mailbox: write an address, or (name, address)")


def check_text(text: str, argument: str) -> str:
    """The text, where it fits on one line. Raises ValueError for a line end or another control character."""
    _check(text, argument)
    return text


def _mailbox(given: object, argument: str) -> Address:
    match given:
        case Address():
            name, spec = given.display_name, given.addr_spec
        case (str(name), str(spec)):
            pass
        case str():
            name, spec = _parts(given, argument)
        case _:
            raise ValueError(f"{argument}: {given!r} is no mailbox: write an address, or (name, address)")
    _check(name, argument)
    if not grammar.is_mailbox(spec) or not spec.isprintable():
        raise ValueError(f"{argument}: {spec!r} is no address")
    # An Address takes its parts as they are; from an addr_spec beyond ASCII it would be parsed, and refused by some versions.
    local, domain = address.split(spec)
    if local.isascii() and not domain.isascii():
        domain = domains.to_ascii(domain)  # so that any server can take it (RFC 5891)
    return Address(name.strip(), address.mailbox_name(local), domain)


def _parts(given: str, argument: str) -> tuple[str, str]:
    given = given.strip()
    if "<" not in given:
        return "", given
    _check(given, argument)
    found = address.named(given)
    if found is None:
        raise ValueError(f"{argument}: {given!r} is not one mailbox: write (name, address), and several as a list")
    return found


def _check(text: str, argument: str) -> None:
    if found := _UNFIT.search(text):
        raise ValueError(f"{argument}: {found.group()!a} has no place in a header field")


def _with_commas(tokens: Sequence[str]) -> Iterator[str]:
    for at, token in enumerate(tokens):
        yield token + "," if at < len(tokens) - 1 else token


def _is_plain(word: str) -> bool:
    return word.isascii() and "=?" not in word and len(word) <= _LONGEST_WORD


def _text_tokens(text: str) -> list[str]:
    """The words of the text; from the first to the last that cannot stand as it is, encoded words instead.

    White space at the ends would get lost, so a text that has some is encoded as a whole.
    """
    words = text.split(" ")
    odd = [at for at, word in enumerate(words) if not _is_plain(word)]
    if text != text.strip(" "):
        odd = [0, len(words) - 1]
    if not odd:
        return words
    first, last = odd[0], odd[-1] + 1
    return [*words[:first], *_encoded_words(" ".join(words[first:last])), *words[last:]]


def _phrase_tokens(name: str) -> list[str]:
    """A display name (RFC 5322 §3.2.5): words, a quoted string, or encoded words."""
    if not name:
        return []
    if not all(map(_is_plain, name.split(" "))):
        return _encoded_words(name)
    if _ATOMS.fullmatch(name):
        return name.split(" ")
    return ('"' + re.sub(r'(["\\])', r"\\\1", name) + '"').split(" ")


def _encoded_words(text: str) -> list[str]:
    """RFC 2047 §2, §5: words of at most 60 characters, none of which cuts a character in two. The spaces between them do not
    count."""
    octets = text.encode()
    is_mostly_ascii = sum(octet in _Q_LITERAL for octet in octets) * 2 > len(octets)
    encode, size = (_q, _q_size) if is_mostly_ascii else (_b, _b_size)
    words: list[bytes] = [b""]
    for character in text:
        grown = words[-1] + character.encode()
        if size(grown) > _ROOM:
            words.append(character.encode())
        else:
            words[-1] = grown
    return [encode(word) for word in words]


def _q(octets: bytes) -> str:
    return "=?utf-8?q?" + "".join(chr(o) if o in _Q_LITERAL else "_" if o == 0x20 else f"={o:02X}" for o in octets) + "?="


def _q_size(octets: bytes) -> int:
    return sum(1 if octet in _Q_LITERAL or octet == 0x20 else 3 for octet in octets)


def _b(octets: bytes) -> str:
    return f"=?utf-8?b?{b64encode(octets).decode()}?="


def _b_size(octets: bytes) -> int:
    return (len(octets) + 2) // 3 * 4
