"""Delivery status notices: what tells the sender that a message failed, is late, or arrived (RFC 3464, RFC 6522).

A notice has three parts: a text for a person, the same for a program, and the original message. The octets are built here,
not generated from objects, so that the original is in it exactly as it was. It is sent from the null reverse-path to the
sender of the original (RFC 3464 §2) and is itself never a reason for another one.

What a remote server said is quoted in full as far as a person would read it, but cannot add a field, a part or a line of
its own: in the text each of its lines is indented; in the fields it is one folded line. All of a notice but the original
is ASCII in lines of at most 998 octets. Whoever queues it asks `waymail.mail.message.body_parameter` whether the original
made it 8BITMIME; a notice that must stay 7-bit is built with `whole=False`.

A message that came with SMTPUTF8 is told of in the forms of RFC 6533, UTF-8 in the fields included, where anything in them is
beyond ASCII: `is_international`. Such a notice needs SMTPUTF8 itself, and where it cannot go on with that, `in_ascii` writes it
again. Any other stays ASCII; an address that is not is escaped.
"""

from __future__ import annotations

import re
from binascii import b2a_qp
from collections.abc import Iterable, Iterator, Sequence
from email.header import Header

from waymail.mail import headers
from waymail.mail.envelope import Body, Envelope, Options
from waymail.mail.explanation import Action, ReportedRecipient, explanation
from waymail.mail.notice_text import NoticeText
from waymail.mail.original_recipient import escaped, final_recipient, original_recipient
from waymail.wire.grammar import XTEXT, decode_xtext
from waymail.wire.replies import Reply

__all__ = ["WHOLE_ORIGINAL", "Action", "ReportedRecipient", "build", "in_ascii", "is_international"]

# RFC 6522 §3: the whole message SHOULD come back; but a sender who mistyped an address needs no 25 MB to recognise it,
# and forged senders should not be made to receive it.
WHOLE_ORIGINAL = 50 * 1024
WHOLE_ON_REQUEST = 256 * 1024  # the same where the sender asked for it: RET=FULL (RFC 3461 §6.2 allows a limit)
HEADERS_RETURNED = 64 * 1024
DIAGNOSTIC = 2000  # characters of a remote reply that are quoted

# RFC 3464 §2.3.4: DIGIT "." 1*3DIGIT "." 1*3DIGIT, without leading zeros
_STATUS = re.compile(r"[245]\.(?:0|[1-9]\d{0,2})\.(?:0|[1-9]\d{0,2})", re.ASCII)
_MSG_ID = re.compile(r"<[!-;=?-~]{1,900}>")
_NO_LINES = re.compile(rb"\r(?!\n)|(?<!\r)\n|\x00")  # what lines of text do not have (RFC 2045 §2.9)
_PLAIN_PHRASE = re.compile(r"[\w!#$%&'*+/=?^`{|}~ -]+", re.ASCII)  # RFC 5322 §3.2.5: atoms, which need no quotes
_BOUNDARY = re.compile(rb'\r\nContent-Type: multipart/report;[^"]*boundary="([^"]+)"')
_LONG_WORD = re.compile(r"(\S{900})(?=\S)")
_LONG_WORD_UTF8 = re.compile(r"(\S{240})(?=\S)")  # of up to four octets each
_WORD = re.compile(r"\s*\S+")  # with the white space in front of it, so that folding changes none

# RFC 6533 §4.5: where the way back lacks SMTPUTF8, the notice must be encoded. A field beyond ASCII (RFC 6532 §3) makes sure that
# it cannot go there as it is, as it could with 8BITMIME if only what is attached were beyond ASCII.
_NEEDS_UTF8 = "Content-Description: Delivery status – UTF-8\r\n".encode()


def build(
    text: NoticeText,
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
    to: str = "",
) -> bytes:
    """The notice, in wire form, of what happened to `recipients` of the message (`envelope`, `body`), in the words of `text`.

    `now` and `retry_until` (until when a delayed message is tried) are in seconds since the epoch. `message_id` is the part
    before the "@", unique on this host, or a whole msg-id in angle brackets. `boundary` should be random; it is made longer
    if the original happens to contain it. With a failure the original comes back whole up to `WHOLE_ORIGINAL` octets, or as
    the sender asked (RET); otherwise, with `whole` false, or where it is binary, its header section alone (RFC 3461 §6.2).

    The notice is for the sender. Of a failed message from the null reverse-path, where he must not be told (RFC 5321 §4.5.5), it
    is for `to`, somebody who looks after this server.

    Raises ValueError where nobody is to be told or no recipient is given, and OSError where the body's file cannot be read.
    """
    if not (envelope.sender or (to and action == "failed")):
        raise ValueError("a message from the null reverse-path causes no notice")
    if not recipients:
        raise ValueError("a notice reports at least one recipient")
    section, utf8 = _section_of(body), is_international(envelope, recipients, body)
    is_whole = whole and action == "failed" and body.size <= _most_returned(envelope.options) and not _is_binary(body)
    original = _original(body, utf8=utf8) if is_whole else _original_headers(section, utf8=utf8)
    groups = _delivery_status(action, hostname, envelope, recipients, retry_until, utf8=utf8)
    parts = (
        _text(explanation(text, action, hostname, envelope, section, recipients, retry_until), text.language),
        _status_part(b"\r\n".join(_section(group, utf8=utf8) for group in groups), utf8=utf8),
        original,
    )
    while any(b"--" + boundary.encode() in part for part in parts):
        boundary += "x"
    top = _top(text, action, hostname, envelope, recipients, to)
    top += [("Date", headers.date_time(now)), ("Message-ID", headers.message_id(message_id, hostname))]
    if _MSG_ID.fullmatch(original_id := headers.text(section, b"message-id")):
        top += [("In-Reply-To", original_id), ("References", original_id)]
    top.append(("MIME-Version", "1.0"))
    top.append(("Content-Type", f'multipart/report; report-type=delivery-status; boundary="{boundary}"'))
    if not all(part.isascii() for part in parts):
        top.append(("Content-Transfer-Encoding", "8bit"))  # RFC 2045 §6.4: a multipart has it where a part has it
    delimiter = b"\r\n--%b" % boundary.encode()
    opened = b"".join(delimiter + b"\r\n" + part for part in parts)
    return _section(top, utf8=utf8) + opened + delimiter + b"--\r\n"


def is_international(envelope: Envelope, recipients: Sequence[ReportedRecipient], body: Body) -> bool:
    """Whether the notice has the forms of RFC 6533 and needs SMTPUTF8: the message had it, so its sender can take it, and
    something in the fields is beyond ASCII. Raises OSError as `build` does."""
    if not envelope.options.smtputf8 or not envelope.sender:  # whoever looks after this server can do without
        return False
    people = [one.recipient for one in recipients]
    # The ASCII form of an address type utf-8 is written out again (RFC 6533 §4.1).
    if any("\\x{" in one.orcpt or not f"{one.address}{one.original or ''}{one.orcpt}".isascii() for one in people):
        return True
    return not (envelope.sender.isascii() and _section_of(body).isascii())


def in_ascii(notice: bytes, to: str) -> bytes:
    """A notice that `build` made for SMTPUTF8 in the form for hosts without it, for the same person at `to`, which is ASCII.

    RFC 6533 §4.5: where the way back lacks SMTPUTF8, the message is encoded in seven bits; §3: addresses are in their ASCII form.
    The text is seven bits in any case. Raises ValueError for what is no such notice.
    """
    found = _BOUNDARY.search(headers.header_section(notice))
    parts = notice.split(b"\r\n--" + found[1]) if found else []
    if found is None or len(parts) != 5:
        raise ValueError("not a notice that was made here")
    top, text, status, original, end = parts
    top = headers.without(headers.without(top, b"content-transfer-encoding"), b"to")
    groups = _content(status).decode("utf-8", "replace").encode().split(b"\r\n\r\n")
    ascii_groups = [_section(_escaped_fields(group), utf8=False) for group in groups]
    fields, _, content = original.partition(b"\r\n\r\n")
    fields = headers.without(fields + b"\r\n", b"content-transfer-encoding")
    fields += b"Content-Transfer-Encoding: quoted-printable\r\n\r\n"
    delimiter = b"\r\n--" + found[1]
    return delimiter.join(
        (
            _field("To", f"<{to}>", utf8=False) + top,
            text,
            b"\r\n" + _status_part(b"\r\n".join(ascii_groups), utf8=False),
            fields + b2a_qp(content, istext=True),
            end,
        )
    )


def _content(part: bytes) -> bytes:
    return part.partition(b"\r\n\r\n")[2]


def _escaped_fields(group: bytes) -> Iterator[tuple[str, str]]:
    for name, value in headers.fields(group + b"\r\n"):
        text = headers.unfold(value).decode("utf-8", "replace").strip()
        yield name.decode(), escaped(text) if name.endswith(b"-Recipient") else text


def _section_of(body: Body) -> bytes:
    section = headers.header_section(body.head(HEADERS_RETURNED))
    return _whole_lines(_NO_LINES.sub(b" ", section))


def _most_returned(options: Options) -> int:
    # RFC 8689 §5: what demanded TLS does not come back, whatever RET says.
    if options.require_tls or options.ret == "HDRS":
        return 0
    return WHOLE_ON_REQUEST if options.ret == "FULL" else WHOLE_ORIGINAL


def _top(
    text: NoticeText, action: Action, hostname: str, envelope: Envelope, recipients: Sequence[ReportedRecipient], to: str
) -> list[tuple[str, str]]:
    """The fields that say from whom the notice is, to whom, and of what."""
    first = recipients[0].recipient
    about = first.original or first.address if len(recipients) == 1 else text.say("subject.several", number=len(recipients))
    subject = text.say(f"subject.{action if envelope.sender else 'double_bounce'}", to=about)
    quoted = text.sender if _PLAIN_PHRASE.fullmatch(text.sender) else '"{}"'.format(re.sub(r'(["\\])', r"\\\1", text.sender))
    return [
        # RFC 3464 §2: a reply to the notice should reach whoever looks after this mail system.
        ("From", f"{quoted if text.sender.isascii() else _encoded(text.sender)} <postmaster@{hostname}>"),
        ("To", f"<{envelope.sender or to}>"),
        ("Subject", _encoded(subject)),
        # RFC 3834 §5; what tells of a notice answers nobody.
        ("Auto-Submitted", "auto-replied" if envelope.sender else "auto-generated"),
    ]


def _encoded(text: str) -> str:
    """Unstructured text as a field may have it: in encoded words (RFC 2047) where it is not ASCII, or would be taken for them."""
    printable = "".join(c if c.isprintable() else " " for c in text)
    if printable.isascii() and "=?" not in printable:
        return printable
    return " ".join(Header(printable.encode("utf-8", "replace").decode(), "utf-8").encode().split())


def _delivery_status(
    action: Action,
    hostname: str,
    envelope: Envelope,
    recipients: Sequence[ReportedRecipient],
    retry_until: float | None,
    *,
    utf8: bool,
) -> list[list[tuple[str, str]]]:
    """RFC 3464 §2.1: the per-message fields, then a group of fields for each recipient."""
    groups = [list(_message_fields(hostname, envelope))]
    groups += [list(_recipient_fields(action, reported, retry_until, utf8=utf8)) for reported in recipients]
    return groups


def _message_fields(hostname: str, envelope: Envelope) -> Iterator[tuple[str, str]]:
    options = envelope.options
    if options.envid:  # RFC 3461 §6.3 (a): decoded
        yield "Original-Envelope-Id", decode_xtext(options.envid) if XTEXT.fullmatch(options.envid) else options.envid
    yield "Reporting-MTA", f"dns; {hostname}"
    yield "X-Waymail-Queue-ID", envelope.id
    yield "Arrival-Date", headers.date_time(envelope.accepted_at)
    if options.deliver_by is not None:  # RFC 2852 §5
        yield "Deliver-By-Date", headers.date_time(options.deliver_by.until)
    if options.hold:  # RFC 4865 §5.1.2
        yield "Future-Release-Request", options.hold


def _recipient_fields(
    action: Action, reported: ReportedRecipient, retry_until: float | None, *, utf8: bool
) -> Iterator[tuple[str, str]]:
    recipient, peer = reported.recipient, reported.peer
    if original := original_recipient(recipient, utf8=utf8):
        yield "Original-Recipient", original
    yield "Final-Recipient", final_recipient(recipient.address, utf8=utf8)
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
    classes = {"failed": "54", "delayed": "4"}.get(action, "2")
    return reply.status if _STATUS.fullmatch(reply.status) and reply.status[0] in classes else f"{classes[0]}.0.0"


def _status_part(groups: bytes, *, utf8: bool) -> bytes:
    if not utf8:
        return b"Content-Type: message/delivery-status\r\n\r\n" + groups
    fields = b"Content-Type: message/global-delivery-status\r\nContent-Transfer-Encoding: 8bit\r\n"
    return fields + _NEEDS_UTF8 + b"\r\n" + groups


def _text(text: str, language: str) -> bytes:
    octets = text.encode("utf-8", "replace").replace(b"\n", b"\r\n")
    fields = b"Content-Language: " + language.encode() + b"\r\n"  # RFC 3282 §2
    if octets.isascii():
        return b"Content-Type: text/plain; charset=us-ascii\r\n" + fields + b"\r\n" + octets
    fields += b"Content-Transfer-Encoding: quoted-printable\r\n\r\n"
    return b"Content-Type: text/plain; charset=utf-8\r\n" + fields + b2a_qp(octets, istext=True)


def _is_binary(body: Body) -> bool:
    """Whether it is more than lines. Such a notice could not go everywhere, and its sender would learn nothing."""
    return _NO_LINES.search(b"".join(body.chunks())) is not None


def _original(body: Body, *, utf8: bool) -> bytes:
    octets = b"".join(body.chunks())
    encoding = b"" if octets.isascii() else b"Content-Transfer-Encoding: 8bit\r\n"
    kind = b"global" if utf8 else b"rfc822"
    return b"Content-Type: message/" + kind + b"\r\n" + encoding + b"\r\n" + octets


def _original_headers(section: bytes, *, utf8: bool) -> bytes:
    if utf8:  # RFC 6533 §4.3
        return b"Content-Type: message/global-headers\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" + section
    # RFC 6522 §4: headers that are not legal 7-bit content MAY be encoded with quoted-printable.
    if section.isascii():
        return b"Content-Type: text/rfc822-headers\r\n\r\n" + section
    fields = b"Content-Type: text/rfc822-headers\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
    return fields + b2a_qp(section, istext=True)


def _whole_lines(section: bytes) -> bytes:
    return section[: section.rfind(b"\r\n") + 2] if b"\r\n" in section else b""


def _section(fields: Iterable[tuple[str, str]], *, utf8: bool) -> bytes:
    return b"".join(_field(name, value, utf8=utf8) for name, value in fields)


def _field(name: str, value: str, *, utf8: bool) -> bytes:
    """One field, folded before the words that go beyond 76 characters. What is not printable is a space, and what may not be
    in a field is written as an escape: all beyond ASCII, with `utf8` only what is no text."""
    charset, long_word = ("utf-8", _LONG_WORD_UTF8) if utf8 else ("ascii", _LONG_WORD)
    printable = "".join(c if c.isprintable() else " " for c in value).encode(charset, "backslashreplace").decode(charset)
    line = f"{name}:"
    lines = []
    for word in _WORD.findall(" " + long_word.sub(r"\1 ", printable.strip())):
        if len(line) + len(word) > 76 and not line.endswith(":"):
            lines.append(line)
            line = ""
        line += word
    return "\r\n".join((*lines, line)).encode(charset) + b"\r\n"
