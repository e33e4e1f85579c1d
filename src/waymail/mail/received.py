"""The trace fields: Received, Return-Path (RFC 5321 §4.4) and Delivered-To (RFC 9228).

Each function gives one complete field, CRLF-ended, to be put in front of a message. Nothing that a peer said (its HELO
name, an address, a certificate's name inside a TLS description) can add a line, close a comment or open one. Lines are
folded to 78 octets where their words allow it. `received_field` runs for every message: what stays the same between
messages is cached.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

from waymail.mail import headers
from waymail.mail.envelope import Origin

_LINE = 78  # RFC 5322 §2.1.1
_NOT_IN_NAME = re.compile(r"[^A-Za-z0-9._:\[\]-]")  # what neither a domain nor an address literal has
_NOT_IN_COMMENT = re.compile(r"[^ !-'*-\[\]-~]")  # printable ASCII without "(", ")" and "\"
# The Mailbox of RFC 5321 §4.1.2: what may follow FOR. Anything else is left out rather than mended.
_MAILBOX = re.compile(r"""(?:[!#-'*+\-./0-9=?A-Z^-~]+|"(?:[ !#-\[\]-~]|\\[ -~])*")@[A-Za-z0-9.:\[\]_-]+""")


def protocol(*, secure: bool, authenticated: bool, extended: bool, utf8: bool = False, lmtp: bool = False) -> str:
    """The "with" value (RFC 3848; RFC 6531 §4.3 where SMTPUTF8 was used): ESMTP or LMTP and their S and A forms; plain SMTP after
    HELO, which knows neither."""
    if not extended:
        return "SMTP"
    base = "UTF8LMTP" if utf8 and lmtp else "UTF8SMTP" if utf8 else "LMTP" if lmtp else "ESMTP"
    return base + "S" * secure + "A" * authenticated


def received_field(origin: Origin, *, by: str, id: str, now: float, recipient: str | None = None, priority: int = 0) -> bytes:
    """The Received field for a message from `origin`, accepted by the host `by` under the queue id `id`.

    `now` is in seconds since the epoch. `recipient` is for messages that have exactly one: with several, naming any of them
    would show a blind recipient to the others (RFC 5321 §7.2, §7.6). The authenticated user is not named: that is the
    operator's to know, not the recipient's.
    """
    opening, column = _opening(origin, by)
    clauses = [f"id {id}"]
    if recipient is not None and _MAILBOX.fullmatch(recipient):
        clauses.append(f"for <{recipient}>")
    if priority:
        clauses.append(f"priority {priority}")  # RFC 6710 §4.1
    clauses[-1] += ";"
    clauses.append(headers.date_time(now))
    return f"{opening}{_folded(clauses, column)}\r\n".encode("ascii")


def return_path(sender: str) -> bytes:
    """The Return-Path field for final delivery; `sender` is the reverse-path, "" for the null path."""
    return f"Return-Path: <{_one_line(sender)}>\r\n".encode()


def without_return_path(head: bytes) -> bytes:
    """The message's beginning without the Return-Path fields of its header section: final delivery adds the only one.

    `head` is the first chunk, or the whole message. A field that the chunk's end cuts in two is left as it is.
    """
    section = headers.header_section(head)
    kept = headers.without(section, b"return-path")
    return head if kept is section else kept + head[len(section) :]


def delivered_to(address: str) -> bytes:
    """The Delivered-To field (RFC 9228 §4): the address by which the message reached the mailbox. A loop shows by it."""
    return f"Delivered-To: {_one_line(address)}\r\n".encode()


@lru_cache(maxsize=1024)
def _opening(origin: Origin, by: str) -> tuple[str, int]:
    """The field up to the id clause, and how long its last line is: the same for all messages of a session."""
    clauses = []
    if origin.helo or origin.address:
        clauses.append(f"from {_name(origin.helo)}")
    if origin.address:
        clauses.append(f"({_literal(origin.address)})")
    clauses.append(f"by {_name(by)}")
    # RFC 5321 §4.4: no unregistered protocol names; a message made on this host came by none.
    if origin.protocol and origin.protocol != "local":
        clauses.append(f"with {_name(origin.protocol)}")
    if origin.tls:
        clauses.append(f"({_NOT_IN_COMMENT.sub('?', origin.tls)[:200]})")
    opening = "Received:" + _folded(clauses, len("Received:"))
    return opening, len(opening) - opening.rfind("\n") - 1


def _folded(clauses: Iterable[str], column: int) -> str:
    """The clauses, each after a space, or on a new line where it would not fit. `column` is where they begin."""
    parts = []
    for clause in clauses:
        if column + 1 + len(clause) > _LINE and column > len("Received:"):
            parts.append("\r\n\t")
            column = 0
        else:
            parts.append(" ")
        parts.append(clause)
        column += 1 + len(clause)
    return "".join(parts)


def _name(name: str) -> str:
    # A name that is no domain still shows what was said, but for the characters that could do harm.
    return _NOT_IN_NAME.sub("?", name[:255]) or "unknown"


def _literal(address: str) -> str:
    # RFC 5321 §4.1.3: an IPv6 address has a tag; a scope ("%eth0") has no place there.
    bare = _name(address.partition("%")[0])
    return f"[IPv6:{bare}]" if ":" in bare else f"[{bare}]"


def _one_line(text: str) -> str:
    return text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)
