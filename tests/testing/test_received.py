"""What a test can read in a message that was taken."""

from __future__ import annotations

from email.message import EmailMessage
from email.policy import SMTP

import pytest

from waymail.testing.received import Attachment, ReceivedMail


def received(message: EmailMessage | bytes) -> ReceivedMail:
    octets = message if isinstance(message, bytes) else message.as_bytes(policy=SMTP)
    return ReceivedMail("ann@example.com", ("bob@example.org",), octets)


def a_message() -> EmailMessage:
    message = EmailMessage()
    message["Subject"] = "Grüße aus Köln"
    message["To"] = "Bob <bob@example.org>"
    message.set_content("Schön!\nBis bald\n")
    return message


def test_header_fields_are_decoded_and_found_in_any_case() -> None:
    mail = received(a_message())
    assert (mail.subject, mail["to"], mail["Cc"]) == ("Grüße aus Köln", "Bob <bob@example.org>", None)
    assert mail.headers[:2] == [("Subject", "Grüße aus Köln"), ("To", "Bob <bob@example.org>")]
    assert received(b"\r\nno header\r\n").subject == ""


def test_text_is_decoded_with_the_line_ends_of_python() -> None:
    mail = received(a_message())
    assert (mail.text, mail.html, mail.attachments) == ("Schön!\nBis bald\n", "", ())


def test_text_html_and_attachments_are_told_apart() -> None:
    message = a_message()
    message.add_alternative("<p>Schön!</p>", subtype="html")
    message.get_payload()[1].add_related(b"\x89PNG", "image", "png", cid="<logo@example.com>")  # type: ignore[index,union-attr]
    message.add_attachment(b"%PDF", maintype="application", subtype="pdf", filename="Rechnung für Köln.pdf")
    message.add_attachment("a;b\n", subtype="csv", filename="list.csv")
    mail = received(message)
    assert (mail.text, mail.html) == ("Schön!\nBis bald\n", "<p>Schön!</p>\n")
    assert mail.attachments[0] == Attachment("Rechnung für Köln.pdf", "application/pdf", b"%PDF")
    assert [(file.name, file.content.split()) for file in mail.attachments[1:]] == [("list.csv", [b"a;b"])]


def test_a_message_that_is_attached_is_an_attachment() -> None:
    message = a_message()
    message.add_attachment(a_message())
    [file] = received(message).attachments
    assert (file.type, b"Bis bald" in file.content) == ("message/rfc822", True)


@pytest.mark.parametrize("octets", [b"", b"Content-Type: text/plain; charset=utf-8\r\n\r\n\xff\r\n", b"Content-Type: x\r\n\r\nx"])
def test_what_is_no_proper_message_can_be_looked_at_all_the_same(octets: bytes) -> None:
    mail = received(octets)
    assert (mail.subject, mail.html, mail.attachments) == ("", "", ())
    assert isinstance(mail.text, str)


def test_what_was_asked_for_of_notices_is_decoded() -> None:
    mail = ReceivedMail(
        "", ("bob@example.org",), b"", {"RET": "HDRS", "ENVID": "a+2Bb"}, {"bob@example.org": {"NOTIFY": "SUCCESS,FAILURE"}}
    )
    assert mail.dsn == {"RET": "HDRS", "ENVID": "a+b", "bob@example.org": "SUCCESS,FAILURE"}
