from __future__ import annotations

import email
from collections.abc import Callable
from contextlib import suppress
from email import policy
from email.message import EmailMessage, Message
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from itertools import count
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from waymail.client.dsn import Dsn, Notify
from waymail.client.prepare import PLAIN, Mail, Preparation, message_id_of, prepare
from waymail.client.signing import DkimKey
from waymail.mail.envelope import Options
from waymail.wire import commands, syntax

NOW = 1_700_000_000.0
KEY = DkimKey("example.org", "s1", Ed25519PrivateKey.generate())


def prepared(message: Any, how: Preparation = PLAIN, **asked: Any) -> tuple[Any, bytes, list[str]]:
    numbers = count(1)
    outgoing, recipients = prepare(Mail(message, **asked), how, now=NOW, unique=lambda: f"id{next(numbers)}")
    assert isinstance(outgoing.body.content, bytes)
    return outgoing, outgoing.body.content, recipients


def note(**fields: str) -> EmailMessage:
    message = EmailMessage()
    for name, value in ({"From": "ann@example.org", "To": "bob@example.net"} | fields).items():
        message[name.replace("_", "-")] = value
    message.set_content("hello\n")
    return message


def old(kind: type[Message] = Message) -> Message:
    """A message of the older policy, which looks at little."""
    message = kind()
    message["From"], message["To"] = "ann@example.org", "bob@example.net"
    message.set_payload("hello\n")
    return message


def test_the_envelope_is_that_of_the_header_fields_and_bcc_is_not_shown() -> None:
    outgoing, content, recipients = prepared(note(Bcc="eve@example.net"))
    assert (outgoing.sender, recipients) == ("ann@example.org", ["bob@example.net", "eve@example.net"])
    assert b"eve" not in content


def test_a_message_without_date_and_message_id_gets_them_and_is_not_changed_itself() -> None:
    message = note()
    outgoing, content, _ = prepared(message)
    assert content.startswith(
        b"Date: Tue, 14 Nov 2023 22:13:20 +0000\r\nMessage-ID: <id1@example.org>\r\nFrom: ann@example.org\r\n"
    )
    assert message_id_of(outgoing.body) == "<id1@example.org>"
    assert "Date" not in message
    assert b"Message-ID: <id1@mail.example.com>" in prepared(message, Preparation(hostname="mail.example.com"))[1]
    assert b"Message-ID: <id1@localhost>" in prepared(message, sender="")[1]
    assert b"Message-ID: <id1@xn--bcher-kva.example>" in prepared(message, sender="ann@bücher.example")[1]


def test_what_is_there_stays() -> None:
    _, content, _ = prepared(note(Date="Mon, 1 Jan 2024 00:00:00 +0000", Message_ID="<mine@example.org>"))
    assert content.startswith(b"From:")
    assert content.count(b"Message-ID: <mine@example.org>\r\n") == 1


def test_bytes_are_sent_as_they_are_but_for_their_line_ends() -> None:
    _, content, _ = prepared(b"Subject: x\n\nhello\rthere\n", sender="a@example.org", recipients="b@example.org")
    assert content == b"Subject: x\r\n\r\nhello\r\nthere\r\n"
    how = Preparation(completes_bytes=True)
    assert (
        b"Message-ID: <id1@example.org>" in prepared(b"Subject: x\n\nhello\n", how, sender="a@example.org", recipients="b@c.d")[1]
    )


def test_what_is_asked_of_notices_goes_into_the_options_and_to_each_recipient() -> None:
    outgoing, _, _ = prepared(note(Cc="eve@example.net"), dsn=Dsn(Notify.DELAY, "FULL", "a b"), options=Options(priority=1))
    assert outgoing.options == Options(priority=1, ret="FULL", envid="a+20b")
    assert [(one.address, one.notify) for one in outgoing.recipients] == [
        ("bob@example.net", "DELAY"),
        ("eve@example.net", "DELAY"),
    ]


def test_a_message_is_signed_after_it_was_completed_and_as_ascii() -> None:
    message = note(Subject="Grüße")
    message.set_content("Grüße\n", cte="8bit")
    _, content, _ = prepared(message, Preparation(keys=(KEY, KEY)))
    assert content.count(b"DKIM-Signature:") == 2
    assert content.isascii()
    assert b"h=From:" in content
    assert b"Date" in content[: content.index(b"bh=")]
    assert email.message_from_bytes(content, policy=policy.default).get_content() == "Grüße\n"
    assert message.as_bytes().count("ß".encode()) == 1  # the program's own message is as it was


def test_what_is_sent_octet_for_octet_cannot_be_signed() -> None:
    with pytest.raises(ValueError, match="binary=True"):
        prepared(
            b"From: a@example.org\r\n\r\n\0", Preparation(keys=(KEY,)), sender="a@example.org", recipients="b@c.d", binary=True
        )


def test_a_message_of_the_older_classes_is_sent_too() -> None:
    message = MIMEMultipart()
    message["From"], message["To"], message["Subject"] = "ann@example.org", "bob@example.net", "Grüße"
    message.attach(MIMEText("hello", _charset="utf-8"))
    _, content, recipients = prepared(message)
    assert recipients == ["bob@example.net"]
    assert b"Subject: =?utf-8?" in content
    assert content.startswith(b"Date: ")


@pytest.mark.parametrize("wrong", ["From: a\n\nhello", None, 7, bytearray(b"x")])
def test_what_is_no_message_is_a_value_error(wrong: Any) -> None:
    with pytest.raises(ValueError, match="EmailMessage or bytes, not"):
        prepared(wrong, sender="a@example.org", recipients="b@example.org")


BREAKS = [
    "\r\nBcc: eve@example.net", "\nBcc: eve@example.net", "\rX: y", "\n\nbody", "\0", "\x0bX", "\x0cX", "\x85X", "\u2028X", "\r"
]  # fmt: skip


def names_sent(message: Message) -> set[str] | None:
    """The names of the fields that are sent, None where nothing is."""
    try:
        content = prepared(message, sender="ann@example.org", recipients="bob@example.net")[1]
    except ValueError:
        return None
    assert b"\0" not in content
    return {line.partition(b":")[0].decode() for line in content.split(b"\r\n\r\n")[0].splitlines() if line[:1].strip()}


@pytest.mark.parametrize("injected", BREAKS)
@pytest.mark.parametrize("field", ["Subject", "X-Own", "To", "From", "Reply-To", "Message-ID"])
def test_no_value_of_a_field_can_begin_another_one(field: str, injected: str) -> None:
    message = old()
    del message[field]
    message[field] = f"ann@example.org{injected}"
    with pytest.raises(ValueError, match=field):
        prepared(message, sender="ann@example.org", recipients="bob@example.net")
    newer = note()
    del newer[field]
    with suppress(ValueError):  # by the standard library itself, mostly
        newer[field] = f"ann@example.org{injected}"
    assert names_sent(newer) in (None, {*newer.keys(), "Date", "Message-ID"})


@pytest.mark.parametrize("name", ["X: y\r\nBcc", "Subject\n", "", "X Y", "Ünique", "a:b"])
@pytest.mark.parametrize("make", [old, note])
def test_no_name_of_a_field_can_begin_another_one(make: Callable[[], Message], name: str) -> None:
    message = make()
    with suppress(ValueError):  # by the standard library itself, in some versions
        message[name] = "x"
    assert names_sent(message) in (None, {*make().keys(), "Date", "Message-ID"})


@pytest.mark.parametrize("injected", ["\r\nX: y", "\nX: y", "\0"])
def test_no_name_of_a_file_can_begin_a_field(injected: str) -> None:
    part = MIMEText("text")
    part.add_header("Content-Disposition", "attachment", filename=f"a{injected}.txt")
    whole = MIMEMultipart()
    whole["From"], whole["To"] = "ann@example.org", "bob@example.net"
    whole.attach(part)
    with pytest.raises(ValueError, match="Content-Disposition"):
        prepared(whole)
    newer = note()
    with suppress(ValueError):  # by the standard library itself, in some versions
        newer.add_attachment(b"x", maintype="text", subtype="plain", filename=f"a{injected}.txt")
    with suppress(ValueError):
        assert b"\nX: y" not in prepared(newer)[1]


@pytest.mark.parametrize("injected", ["\r\nDATA", "\n", "\0", "> NOTIFY=NEVER", " ", "\x7f"])
@pytest.mark.parametrize("where", ["sender", "recipients"])
def test_no_address_of_the_envelope_can_end_a_command(where: str, injected: str) -> None:
    asked: dict[str, Any] = {"sender": "ann@example.org", "recipients": "bob@example.net"}
    asked[where] = f"x@example.org{injected}"
    with pytest.raises(ValueError, match="is no address"):
        prepared(note(), **asked)
    asked[where] = f"x{injected}@example.org"
    with pytest.raises(ValueError, match="is no address"):
        prepared(note(), **asked)


@pytest.mark.parametrize(
    "mailbox",
    [
        "Bob <bob@example.net>",
        "Bob<bob@example.net>",
        "J. Doe <bob@example.net>",
        "Bob (Sales) <bob@example.net>",
        "Jürgen 😀 <bob@example.net>",
        '"Doe, Bob" <bob@example.net>',
        r'"Doe \"<eve@example.net>\", Bob" <bob@example.net>',
        '"Bob"<bob@example.net>',
        "=?utf-8?q?J=C3=BCrgen?= <bob@example.net>",
    ],
)
def test_the_address_of_one_mailbox_with_a_name_counts(mailbox: str) -> None:
    outgoing, _, recipients = prepared(note(), sender=mailbox, recipients=[mailbox, "eve@example.net"])
    assert (outgoing.sender, recipients) == ("bob@example.net", ["bob@example.net", "eve@example.net"])
    assert prepared(note(), recipients=mailbox)[2] == ["bob@example.net"]
    assert prepared(b"Subject: x\n\nhello\n", sender="", recipients=mailbox)[2] == ["bob@example.net"]


@pytest.mark.parametrize(
    "mailbox",
    [
        "Bob <bob@example.net>, Eve <eve@example.net>",
        "bob@example.net, eve@example.net",
        "Bob <bob@example.net> <eve@example.net>",
        "bob@example.net <eve@example.net>",
        "Doe, Bob <bob@example.net>",
        "team: Bob <bob@example.net>;",
        "Bob <bob@example.net> Jr.",
        "Bob <bob@example.net> SIZE=1",
        "Bob <bob@example.net>\n",
        "Bob\n <bob@example.net>",
        "Bob\r\n<bob@example.net>",
        "Bob\0 <bob@example.net>",
        '"Bob\r\n" <bob@example.net>',
        '"Bob\\\r" <bob@example.net>',
        "Bob\u2028 <bob@example.net>",
        "Bob\x85<bob@example.net>",
        "Bob \udc80 <bob@example.net>",
        "Bob <bob@example.net\0>",
        "Bob <bob@example.net\r\nRCPT TO:<eve@example.net>",
        "Bob < bob@example.net>",
        "Bob <bob>",
        "Bob <>",
        "Bob (<bob@example.net>",
        "Bob <bob@example.net",
        "Bob bob@example.net>",
        'Bob "Doe <bob@example.net>',
        '"Bob" Doe <bob@example.net>',
        "Bob <@eve.example:bob@example.net>",
        "<>",
        "<bob@example.net>",
    ],
)
def test_what_may_be_more_or_less_than_one_mailbox_is_no_address(mailbox: str) -> None:
    for asked in ({"recipients": mailbox}, {"recipients": ["ann@example.org", mailbox]}, {"sender": mailbox}):
        with pytest.raises(ValueError, match="is no address"):
            prepared(note(), **asked)


@given(
    st.text(st.sampled_from('"\\<>(),:;@ \r\n\0ab.é\u2028\x85'), max_size=12),
    st.sampled_from(
        ["{} <bob@example.net>", '"{}" <bob@example.net>', "Bob <{}>", "Bob <{}@example.net>", "Bob <bob@example.net>{}"]
    ),
)
def test_no_mailbox_with_a_name_can_end_a_command(text: str, form: str) -> None:
    try:
        recipients = prepared(note(), recipients=form.format(text))[2]
    except ValueError:
        return
    assert len(recipients) == 1
    line = syntax.encode(commands.Rcpt(recipients[0]))
    assert syntax.parse(line.removesuffix(b"\r\n")) == commands.Rcpt(recipients[0])
    assert not set(line[:-2]) & set(b"\r\n\0")


def test_folds_of_a_message_that_was_parsed_stay_as_they_are() -> None:
    source = b"From: ann@example.org\r\nTo: bob@example.net\r\nDate: x\r\nMessage-ID: <x@y>\r\n"
    source += b"Subject: one\r\n two\r\n\tthree\r\n\r\nhello\r\n"
    for how in (policy.default, policy.compat32, policy.SMTP):
        assert prepared(email.message_from_bytes(source, policy=how))[1] == source


def test_what_cannot_be_written_out_is_a_value_error() -> None:
    message = old()
    message.set_payload("Grüße")
    with pytest.raises(ValueError, match="cannot be written out"):
        prepared(message)
    other = note()
    other.set_payload(object())  # type: ignore[call-overload]
    with pytest.raises(ValueError, match="cannot be written out"):
        prepared(other)


def test_smtputf8_is_asked_for_where_an_address_or_a_field_needs_it() -> None:
    assert prepared(note(), recipients="jürgen@example.org")[0].options.smtputf8
    assert not prepared(note(), recipients="bob@bücher.example")[0].options.smtputf8
    assert prepared("Subject: Grüße\n\n".encode(), sender="a@b.c", recipients="b@c.d")[0].options.smtputf8


def test_a_time_until_which_the_message_is_held_is_written_as_a_date() -> None:
    assert prepared(note(), options=Options(hold_until=NOW))[0].options.hold == "until;2023-11-14T22:13:20Z"
