"""What a program is given."""

from __future__ import annotations

import pytest
from tests.embedded.conftest import Connect, Serve

import waymail
from waymail.mail.envelope import Body, Envelope, Recipient

RAW = b"Subject: one\r\nX-Tag: a\r\nX-Tag: b\r\n c\r\n\r\nbody\r\n"


def test_a_mail_can_be_made_for_the_tests_of_a_program() -> None:
    mail = waymail.IncomingMail.of(RAW, "bob@example.net", sender="ann@example.org")
    assert (mail.sender, mail.recipients, mail.content()) == ("ann@example.org", ("bob@example.net",), RAW)
    assert mail.header("Subject") == "one"
    assert mail.headers("x-tag") == ("a", "b c")
    assert mail.has("subject")
    assert not mail.has("Received")
    assert mail.client.address == ""


def test_the_received_field_is_in_the_message_and_not_in_what_was_sent() -> None:
    body = Body(RAW, len(RAW)).with_prefix(b"Received: by us\r\n")
    mail = waymail.IncomingMail(Envelope("0000000000000", "", (Recipient("b@x"),), 0.0), body, ("b@x",))
    assert mail.content() == RAW
    assert mail.section.startswith(b"Subject")
    assert mail.raw() == b"Received: by us\r\n" + RAW
    assert mail.email().get_all("Received") == ["by us"]


def test_a_large_message_is_gone_after_the_hook_and_says_so(serve: Serve, connect: Connect) -> None:
    kept: list[waymail.IncomingMail] = []
    sizes: list[int] = []

    def handle(mail: waymail.IncomingMail) -> None:
        kept.append(mail)
        sizes.append(sum(map(len, mail.chunks())))

    client = connect(serve(handle))
    client.say("MAIL FROM:<>", "RCPT TO:<b@example.org>", "DATA")
    client.send("Subject: large", "", *["x" * 78] * 2000)
    assert client.say(".") == ["250 2.0.0"]
    assert sizes[0] == kept[0].size > 2000 * 80
    with pytest.raises(FileNotFoundError, match="until the hook has returned"):
        kept[0].raw()
