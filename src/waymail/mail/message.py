"""From what a program has in its hands to what goes on the wire, and what a submission server completes.

The caller of `to_wire` and `envelope_of` is a program, not a peer: line ends are normalised for it, where the receiving
server would refuse them. What came from a peer never passes through here, except through `complete`, which only makes
fields to put in front.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from email.errors import InvalidHeaderDefect
from email.generator import BytesGenerator
from email.headerregistry import HeaderRegistry
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import EmailPolicy, default
from io import BytesIO
from typing import Any

from waymail.mail import address, headers
from waymail.wire.data import has_bare_line_end

_BLIND = (b"bcc", b"resent-bcc")
_TRACE = frozenset({"received", "return-path", "delivered-to"})


class EnvelopeProblem(ValueError):
    """No envelope can be made from the message's fields: an address is malformed, or there is no sender or no recipient."""


def to_wire(message: EmailMessage | bytes, *, seven_bit: bool = False) -> bytes:
    """The message with CRLF line ends, ready for DATA (dot-stuffing aside).

    In bytes, each bare CR and bare LF becomes CRLF, and nothing else changes; bytes that have none come back as they are.
    An EmailMessage is generated without its Bcc and Resent-Bcc fields (RFC 5322 §3.6.3) and is not itself changed; for bytes
    there is `without_bcc`. 8-bit content stays 8-bit (`body_parameter` tells); of an EmailMessage `seven_bit` has it encoded.
    """
    if isinstance(message, bytes):
        return _with_crlf(message)
    visible = copy.copy(message)
    for name in _BLIND:
        del visible[name.decode()]
    policy = message.policy.clone(linesep="\r\n")
    if isinstance(policy, EmailPolicy):
        # Fields that were parsed, and perhaps signed, are not folded anew. RFC 2047 §5: no encoded word is an address, so one
        # beyond ASCII makes the header section UTF-8 (RFC 6532 §3.2).
        policy = policy.clone(refold_source="none", utf8=policy.utf8 or _has_international_address(visible))
    if seven_bit:
        policy = policy.clone(cte_type="7bit")
    octets = BytesIO()
    BytesGenerator(octets, mangle_from_=False, policy=policy).flatten(visible)
    return _with_crlf(octets.getvalue())


def without_bcc(message: bytes) -> bytes:
    """A message in wire form without its Bcc and Resent-Bcc fields, all other octets as they were."""
    section = headers.header_section(message)
    visible = section
    for name in _BLIND:
        visible = headers.without(visible, name)
    return message if visible is section else visible + message[len(section) :]


def body_parameter(content: bytes) -> str:
    """The BODY parameter that the content calls for (RFC 6152 §3): "7BIT" or "8BITMIME"."""
    return "7BIT" if content.isascii() else "8BITMIME"


def envelope_of(
    message: EmailMessage | bytes, *, sender: str | None = None, recipients: Sequence[str] | None = None
) -> tuple[str, Sequence[str]]:
    """The sender and the recipients: those that are given, else those that the header fields name, the addresses alone, each
    recipient once, in order.

    The sender is Sender's mailbox, else From's first; the recipients are those of To, Cc and Bcc, groups taken apart
    (RFC 6854). Where there are Resent fields, the newest set of them counts instead (RFC 5322 §3.6.6). An address without a
    domain is given as it is. Raises EnvelopeProblem; an address list that can be read only in part is refused as a whole,
    for a recipient must not get lost in silence.
    """
    if isinstance(message, bytes):
        section = headers.header_section(to_wire(message))
        message = BytesParser(policy=default).parsebytes(section, headersonly=True)
    fields = _address_fields(message)
    if sender is None:
        senders = _addresses(fields, "sender") or _addresses(fields, "from")
        if not senders:
            raise EnvelopeProblem("no sender: neither Sender nor From names a mailbox")
        sender = senders[0]
    if recipients is None:
        named: dict[str, str] = {}
        for found in _addresses(fields, "to", "cc", "bcc"):
            named.setdefault(address.normalise(found), found)
        if not named:
            raise EnvelopeProblem("no recipient: none of To, Cc and Bcc names a mailbox")
        recipients = tuple(named.values())
    return sender, recipients


def complete(head: bytes, *, now: float, message_id: str, hostname: str) -> bytes:
    """The fields that a submitted message lacks, to be put in front of it: Date and Message-ID (RFC 6409 §8.2, §8.3).

    `head` is the message's beginning, its whole header section included; `now` is in seconds since the epoch; `message_id`
    what stands before the "@", unique on this host (the queue id will do), or a whole msg-id in angle brackets. Returns
    CRLF-ended fields, b"" where nothing is missing.

    A message whose first line is no header field has no header section: all of it is body, and the fields come with the
    empty line that makes it so. Otherwise that line would be taken for part of a field, or the text for a broken one.
    """
    is_body_only = bool(head) and not head.startswith(b"\r\n") and not headers.starts_with_field(head)
    section = b"" if is_body_only else headers.header_section(head)
    added = b""
    if not headers.has(section, b"date"):
        added = b"Date: %b\r\n" % headers.date_time(now).encode()
    if not headers.has(section, b"message-id"):
        added += b"Message-ID: %b\r\n" % headers.message_id(message_id, hostname).encode()
    return added + b"\r\n" if is_body_only else added


def _with_crlf(octets: bytes) -> bytes:
    if not has_bare_line_end(octets):
        return octets
    return octets.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n")


def _has_international_address(message: EmailMessage) -> bool:
    fields = (field for _, field in message.items() if hasattr(field, "addresses"))
    return any(not mailbox.addr_spec.isascii() for field in fields for mailbox in field.addresses)


def _address_fields(message: EmailMessage) -> dict[str, list[Any]]:
    """The values that count, by lower-case name, "resent-" taken off: of the newest set of Resent fields, or of all fields.

    Each set is prepended as a whole (RFC 5322 §3.6.6), so the first one ends where a name comes again, or where trace fields
    show that the message had been under way before.
    """
    fields: dict[str, list[Any]] = {}
    resent: dict[str, list[Any]] = {}
    ended = False
    for spelled, value in message.raw_items():  # not yet parsed: parsing is what can fail
        name = spelled.lower()
        fields.setdefault(name, []).append(value)
        ended = ended or name in resent or (bool(resent) and name in _TRACE)
        if name.startswith("resent-") and not ended:
            resent[name] = [value]
    return {name.removeprefix("resent-"): values for name, values in resent.items()} or fields


def _addresses(fields: dict[str, list[Any]], *names: str) -> list[str]:
    return [found for name in names for value in fields.get(name, ()) for found in _mailboxes(name, value)]


def _mailboxes(name: str, value: Any) -> Iterator[str]:
    try:
        # A field that a program set has its addresses; one that was parsed, or is of the older Message class, is text.
        field: Any = value if hasattr(value, "addresses") else HeaderRegistry()(name, "".join(str(value).splitlines()))
        found, defects = field.addresses, field.defects
    except Exception as error:  # the parser fails in a dozen ways, IndexError and RecursionError among them
        raise EnvelopeProblem(f"{name}: no address list") from error
    for defect in defects:
        if isinstance(defect, InvalidHeaderDefect) and "with no domain" not in str(defect):
            raise EnvelopeProblem(f"{name}: {defect}")
    for mailbox in found:
        if not mailbox.addr_spec.isprintable() or mailbox.addr_spec in ("", "<>"):
            raise EnvelopeProblem(f"{name}: {mailbox.addr_spec!r} is no address")
        yield mailbox.addr_spec
