"""Delivery status notices: what tells the sender that a message failed, or is late (RFC 3464, RFC 6522).

A notice has three parts: a text for a person, the same for a program, and the original message. The octets are built here,
not generated from objects, so that the original is in it exactly as it was. It is sent from the null reverse-path to the
sender of the original (RFC 3464 §2) and is itself never a reason for another one.

What a remote server said is quoted in full as far as a person would read it, but cannot add a field, a part or a line of
its own: in the text each of its lines is indented; in the fields it is one folded line. All of a notice but the original
is ASCII in lines of at most 998 octets. Whoever queues it asks `waymail.mail.message.body_parameter` whether the original
made it 8BITMIME; a notice that must stay 7-bit is built with `whole=False`.
"""

from __future__ import annotations

import re
from binascii import b2a_qp
from collections.abc import Iterable, Iterator, Sequence

from waymail.mail import headers
from waymail.mail.envelope import Body, Envelope
from waymail.mail.explanation import Action, ReportedRecipient, explanation
from waymail.wire.replies import Reply

__all__ = ["WHOLE_ORIGINAL", "Action", "ReportedRecipient", "build"]

# RFC 6522 §3: the whole message SHOULD come back; but a sender who mistyped an address needs no 25 MB to recognise it,
# and forged senders should not be made to receive it.
WHOLE_ORIGINAL = 50 * 1024
HEADERS_RETURNED = 64 * 1024
DIAGNOSTIC = 2000  # characters of a remote reply that are quoted

# RFC 3464 §2.3.4: DIGIT "." 1*3DIGIT "." 1*3DIGIT, without leading zeros
_STATUS = re.compile(r"[45]\.(?:0|[1-9]\d{0,2})\.(?:0|[1-9]\d{0,2})", re.ASCII)
_MSG_ID = re.compile(r"<[!-;=?-~]{1,900}>")
_LONG_WORD = re.compile(r"(\S{900})(?=\S)")
_WORD = re.compile(r"\s*\S+")  # with the white space in front of it, so that folding changes none


def build(
    *,
    action: Action,
    hostname: str,
    envelope: Envelope,
    body: Body,
    recipients: Sequence[ReportedRecipient],
    now: float,
    message_id: str,
    boundary: str,
    retry_until: float | None = None,
    whole: bool = True,
) -> bytes:
    """The notice, in wire form, that `recipients` of the message (`envelope`, `body`) have failed or are delayed.

    `now` and `retry_until` (until when a delayed message is tried) are in seconds since the epoch. `message_id` is the part
    before the "@", unique on this host, or a whole msg-id in angle brackets. `boundary` should be random; it is made longer
    if the original happens to contain it. The original comes back whole up to `WHOLE_ORIGINAL` octets, otherwise (or with
    `whole` false) its header section alone.

    Raises ValueError where the message came from the null reverse-path (RFC 5321 §4.5.5: never a notice about one) or no
    recipient is given, and OSError where the body's file cannot be read.
    """
    if not envelope.sender:
        raise ValueError("a message from the null reverse-path causes no notice")
    if not recipients:
        raise ValueError("a notice reports at least one recipient")
    section = _whole_lines(headers.header_section(body.head(HEADERS_RETURNED)))
    original = _original(body) if whole and body.size <= WHOLE_ORIGINAL else _original_headers(section)
    parts = (
        _text(explanation(action, hostname, envelope, section, recipients, retry_until)),
        b"Content-Type: message/delivery-status\r\n\r\n" + _delivery_status(action, hostname, envelope, recipients, retry_until),
        original,
    )
    while any(b"--" + boundary.encode() in part for part in parts):
        boundary += "x"
    top = _top(action, hostname, envelope, section, recipients, now, message_id)
    top.append(("MIME-Version", "1.0"))
    top.append(("Content-Type", f'multipart/report; report-type=delivery-status; boundary="{boundary}"'))
    if not original.isascii():
        top.append(("Content-Transfer-Encoding", "8bit"))  # RFC 2045 §6.4: a multipart has it where a part has it
    delimiter = b"\r\n--%b" % boundary.encode()
    opened = b"".join(delimiter + b"\r\n" + part for part in parts)
    return _section(top) + opened + delimiter + b"--\r\n"


def _top(
    action: Action,
    hostname: str,
    envelope: Envelope,
    section: bytes,
    recipients: Sequence[ReportedRecipient],
    now: float,
    message_id: str,
) -> list[tuple[str, str]]:
    """The notice's own fields, without those of MIME."""
    first = recipients[0].recipient
    to = first.original or first.address if len(recipients) == 1 else f"{len(recipients)} recipients"
    fields = [
        ("Date", headers.date_time(now)),
        # RFC 3464 §2: a reply to the notice should reach whoever looks after this mail system.
        ("From", f"Mail Delivery System <postmaster@{hostname}>"),
        ("To", f"<{envelope.sender}>"),
        ("Subject", f"Not delivered: your message to {to}" if action == "failed" else f"Delayed: your message to {to}"),
        ("Message-ID", headers.message_id(message_id, hostname)),
        ("Auto-Submitted", "auto-replied"),  # RFC 3834 §5
    ]
    if _MSG_ID.fullmatch(original_id := headers.text(section, b"message-id")):
        fields += [("In-Reply-To", original_id), ("References", original_id)]
    return fields


def _delivery_status(
    action: Action, hostname: str, envelope: Envelope, recipients: Sequence[ReportedRecipient], retry_until: float | None
) -> bytes:
    """RFC 3464 §2.1: the per-message fields, then a group of fields for each recipient, each after an empty line."""
    groups = [
        [
            ("Reporting-MTA", f"dns; {hostname}"),
            ("X-Waymail-Queue-ID", envelope.id),
            ("Arrival-Date", headers.date_time(envelope.accepted_at)),
        ]
    ]
    groups += [list(_recipient_fields(action, reported, retry_until)) for reported in recipients]
    return b"\r\n".join(_section(group) for group in groups)


def _recipient_fields(action: Action, reported: ReportedRecipient, retry_until: float | None) -> Iterator[tuple[str, str]]:
    recipient, peer = reported.recipient, reported.peer
    # As if we had relayed from the alias to its target: RFC 3461 §5.2.7.2 carries the sender's own address along as the original.
    if recipient.original is not None:
        yield "Original-Recipient", f"rfc822; {recipient.original}"
    yield "Final-Recipient", f"rfc822; {recipient.address}"
    yield "Action", action
    yield "Status", _status(action, reported.reply)
    if peer is not None and peer.host:  # RFC 3464 §2.3.5: only where a remote MTA had a part in it
        yield "Remote-MTA", f"dns; {peer.host}"
    yield "Diagnostic-Code", f"smtp; {' '.join(str(reported.reply)[:DIAGNOSTIC].split())}"
    yield "Last-Attempt-Date", headers.date_time(reported.last_attempt)
    if action == "delayed" and retry_until is not None:  # RFC 3464 §2.3.9: MUST NOT appear in others
        yield "Will-Retry-Until", headers.date_time(retry_until)


def _status(action: Action, reply: Reply) -> str:
    """The reply's status code where it is one that the action can have; a transient one may end in "failed" (§2.3.3)."""
    if _STATUS.fullmatch(reply.status) and (action == "failed" or reply.status.startswith("4")):
        return reply.status
    return "5.0.0" if action == "failed" else "4.0.0"


def _text(text: str) -> bytes:
    octets = text.encode("utf-8", "replace").replace(b"\n", b"\r\n")
    if octets.isascii():
        return b"Content-Type: text/plain; charset=us-ascii\r\n\r\n" + octets
    fields = b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
    return fields + b2a_qp(octets, istext=True)


def _original(body: Body) -> bytes:
    octets = b"".join(body.chunks())
    encoding = b"" if octets.isascii() else b"Content-Transfer-Encoding: 8bit\r\n"
    return b"Content-Type: message/rfc822\r\n" + encoding + b"\r\n" + octets


def _original_headers(section: bytes) -> bytes:
    # RFC 6522 §4: headers that are not legal 7-bit content MAY be encoded with quoted-printable.
    if section.isascii():
        return b"Content-Type: text/rfc822-headers\r\n\r\n" + section
    fields = b"Content-Type: text/rfc822-headers\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
    return fields + b2a_qp(section, istext=True)


def _whole_lines(section: bytes) -> bytes:
    return section[: section.rfind(b"\r\n") + 2] if b"\r\n" in section else b""


def _section(fields: Iterable[tuple[str, str]]) -> bytes:
    return b"".join(_field(name, value) for name, value in fields)


def _field(name: str, value: str) -> bytes:
    """One field, folded before the words that go beyond 76 octets. What is not printable ASCII is written as an escape."""
    printable = "".join(c if c.isprintable() else " " for c in value).encode("ascii", "backslashreplace").decode("ascii")
    line = f"{name}:"
    lines = []
    for word in _WORD.findall(" " + _LONG_WORD.sub(r"\1 ", printable.strip())):
        if len(line) + len(word) > 76 and not line.endswith(":"):
            lines.append(line)
            line = ""
        line += word
    return "\r\n".join((*lines, line)).encode("ascii") + b"\r\n"
