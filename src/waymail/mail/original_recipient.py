"""Addresses with a type, as a notice has them: Original-Recipient and Final-Recipient (RFC 3464 §2.3.1, §2.3.2).

The types are rfc822 and, for what is beyond ASCII, utf-8 (RFC 6533 §3). What stands in ORCPT may be of any type: it comes back
decoded and otherwise as it was. Nothing here fails.
"""

from __future__ import annotations

import re

from waymail.mail.envelope import Recipient
from waymail.wire.grammar import XTEXT, decode_xtext, encode_utf8_xtext

# RFC 6533 §3: EmbeddedUnicodeChar = %x5C.78 "{" HEXPOINT "}"
_EMBEDDED = re.compile(r"\\x\{([0-9A-F]{2,6})\}")
_NOT_ASCII = re.compile(r"[^\x00-\x7f]")


def original_recipient(recipient: Recipient, *, utf8: bool) -> str:
    """The value of Original-Recipient, "" for none: what ORCPT said, else the alias that led to the recipient.

    The alias is given as if we had relayed from it to its target, for which RFC 3461 §5.2.1 (d) has the sender's own address
    carried along. `utf8`: the notice may hold UTF-8.
    """
    if not recipient.orcpt:
        return "" if recipient.original is None else final_recipient(recipient.original, utf8=utf8)
    kind, _, address = recipient.orcpt.partition(";")
    if kind.lower() == "utf-8":
        # RFC 6533 §4.1: written out where that can be held, and in its ASCII form (§3, utf-8-addr-xtext) elsewhere.
        return f"{kind}; {_EMBEDDED.sub(_character, address) if utf8 else _NOT_ASCII.sub(_embedded, address)}"
    # RFC 3461 §6.3 (d); its address is in xtext, and the field's is not (RFC 3464 §2.3.1).
    return f"{kind}; {decode_xtext(address) if XTEXT.fullmatch(address) else address}"


def final_recipient(address: str, *, utf8: bool) -> str:
    """The value of Final-Recipient."""
    if address.isascii():
        return f"rfc822; {address}"
    return f"utf-8; {address if utf8 else encode_utf8_xtext(address)}"


def escaped(value: str) -> str:
    """The value of such a field with its ASCII form in place of UTF-8."""
    kind, _, address = value.partition("; ")
    if address.isascii():
        return value
    return f"{kind}; {_NOT_ASCII.sub(_embedded, address)}"


def _character(found: re.Match[str]) -> str:
    point = int(found[1], 16)
    # A surrogate is no character, and a control character could end a line: they stay escaped.
    return chr(point) if point < 0x110000 and chr(point).isprintable() else found[0]


def _embedded(found: re.Match[str]) -> str:
    return rf"\x{{{ord(found[0]):02X}}}"
