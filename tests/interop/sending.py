"""Sending with what extensions add to MAIL and RCPT, and reading the notices that come back."""

from __future__ import annotations

import smtplib
import ssl
from collections.abc import Sequence
from email import message_from_bytes
from email.message import Message

from tests.interop.conftest import PASSWORD, USER, Mail
from tests.interop.keepers import having, wait_until


def send(port: int, sender: str, to: Sequence[str], content: bytes, mail: Sequence[str] = (), rcpt: Sequence[str] = ()) -> None:
    """Send with Python's smtplib, and these parameters of MAIL and RCPT. Raises smtplib.SMTPException where it is refused."""
    with smtplib.SMTP("127.0.0.1", port, "client.example.org", timeout=15) as client:
        assert client.sendmail(sender, to, content, mail, rcpt) == {}


def submit(mail: Mail, to: Sequence[str], content: bytes, options: Sequence[str] = (), rcpt: Sequence[str] = ()) -> None:
    """Send as a user of ours, over TLS with a certificate that OpenSSL has verified."""
    with smtplib.SMTP("localhost", mail.submission, timeout=15) as client:
        client.starttls(context=ssl.create_default_context(cafile=str(mail.certificate)))
        client.login(USER, PASSWORD)
        assert client.sendmail(USER, to, content, options, rcpt) == {}


def told_to_the_user(mail: Mail, *texts: str) -> bytes:
    """The notice that comes to the user's mailbox with these texts in it. Raises TimeoutError."""
    wait_until(lambda: having(mail.mailbox("mail/example.org/ann"), *texts), f"a notice with {texts}")
    return having(mail.mailbox("mail/example.org/ann"), *texts)[0]


def report(notice: bytes, kind: str = "message/delivery-status") -> list[Message]:
    """The fields of a notice as Python's parser has them: those of the message, then those of each recipient."""
    parsed = message_from_bytes(notice)
    assert parsed.get_content_type() == "multipart/report"
    status = parsed.get_payload()[1]  # type: ignore[index]
    assert status.get_content_type() == kind  # type: ignore[union-attr]
    if kind == "message/delivery-status":
        return list(status.get_payload())  # type: ignore[union-attr,arg-type]
    # What it does not know as a status it takes for text, or for a message.
    text = notice.partition(b"Content-Type: " + kind.encode())[2].partition(b"\n\n")[2].partition(b"\n--")[0]
    return [message_from_bytes(fields) for fields in text.strip().split(b"\n\n")]


def parts(message: bytes) -> list[bytes]:
    """The content of each leaf, decoded."""
    return [part.get_payload(decode=True) for part in message_from_bytes(message).walk() if not part.is_multipart()]  # type: ignore[misc]
