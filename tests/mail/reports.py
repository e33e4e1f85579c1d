"""Makes notices for the tests, and takes them apart with the standard library's parser."""

from __future__ import annotations

from email import message_from_bytes
from email.message import EmailMessage, Message
from email.policy import SMTP, SMTPUTF8
from typing import Any

from waymail.mail.dsn import ReportedRecipient, build
from waymail.mail.envelope import Body, Envelope, Options, Recipient
from waymail.mail.notices import shipped
from waymail.mail.outcome import Peer
from waymail.wire.replies import Reply

NOW = 1_800_000_000.0
ORIGINAL = b"From: bob@example.org\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\nMessage-ID: <1@example.org>\r\n\r\nHello.\r\n"
ANN = ReportedRecipient(
    Recipient("ann@example.net"), Reply(550, "No such user here", "5.1.1"), Peer("mx.example.net", "192.0.2.1"), NOW - 60
)
LATE = ReportedRecipient(Recipient("ann@example.net"), Reply(451, "Connection timed out", "4.4.1"), None, NOW - 60)


def notice(*recipients: ReportedRecipient, original: bytes = ORIGINAL, **changes: Any) -> bytes:
    arguments: dict[str, Any] = {
        "action": "failed",
        "hostname": "mail.example.org",
        "envelope": Envelope("0123456789abc", "bob@example.org", tuple(r.recipient for r in recipients), NOW - 3600),
        "body": Body(original, len(original)),
        "recipients": recipients,
        "now": NOW,
        "message_id": "0123456789abd",
        "boundary": "=_0123456789",
    }
    return build(changes.pop("text", shipped()), **(arguments | changes))


def read(octets: bytes) -> EmailMessage:
    return message_from_bytes(octets, policy=SMTP)


def groups(octets: bytes) -> list[Message]:
    """The field groups of message/delivery-status: the message's, then one for each recipient."""
    part = octets.split(f"\r\n--{read(octets).get_boundary()}".encode())[2]
    content = part.removeprefix(b"\r\n").partition(b"\r\n\r\n")[2]
    return [message_from_bytes(group, policy=SMTPUTF8) for group in content.split(b"\r\n\r\n")]


def person(octets: bytes) -> str:
    text: str = next(read(octets).iter_parts()).get_content()
    return text


def returned(octets: bytes) -> bytes:
    """The octets of the third part's content."""
    boundary = read(octets).get_boundary()
    assert boundary is not None
    part = octets.split(b"\r\n--" + boundary.encode())[3]
    return part.removeprefix(b"\r\n").partition(b"\r\n\r\n")[2]


def asked(recipient: ReportedRecipient = ANN, original: bytes = ORIGINAL, action: str = "failed", **options: Any) -> bytes:
    sender = options.pop("sender", "bob@example.org")
    envelope = Envelope("0123456789abc", sender, (recipient.recipient,), NOW - 3600, options=Options(**options))
    octets = notice(recipient, original=original, envelope=envelope, action=action)
    strict = message_from_bytes(octets, policy=SMTPUTF8.clone(raise_on_defect=True))
    assert strict.get_content_type() == "multipart/report"
    return octets


def third_part(octets: bytes) -> str:
    return [part.get_content_type() for part in read(octets).iter_parts()][2]
