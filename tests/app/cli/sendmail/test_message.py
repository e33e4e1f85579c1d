from __future__ import annotations

import pytest

from waymail.app.cli.output import CommandFailed, Exit
from waymail.app.cli.sendmail.message import Outgoing, Person, prepare, submitted
from waymail.app.cli.sendmail.options import Given

ANN = Person("ann", "Ann Example", "host.example.org")
FIELDS = b"From: x@example.org\nDate: Fri, 27 Nov 2026 04:00:00 +0000\nMessage-ID: <1@x>\n"


def prepared(content: bytes, *recipients: str, person: Person = ANN, **given: object) -> Outgoing:
    return prepare(Given(recipients=recipients, **given), content, person, now=0.0, identifier="id")  # type: ignore[arg-type]


def test_what_is_missing_is_put_in_front() -> None:
    mail = prepared(b"Subject: x\n\nHello\n", "bob@example.net")
    assert mail.sender == "ann@host.example.org"
    assert mail.content == (
        b"From: Ann Example <ann@host.example.org>\r\nDate: Thu, 01 Jan 1970 00:00:00 +0000\r\n"
        b"Message-ID: <id@host.example.org>\r\nSubject: x\r\n\r\nHello\r\n"
    )


def test_a_message_that_lacks_nothing_stays_as_it_is_but_for_its_line_ends() -> None:
    content = FIELDS + b'To: "Ann, Example" <ann@example.org>,\n\tbob@example.net\nX: \xff\n\n.\n\xfc\n'
    assert prepared(content, "bob@example.net").content == content.replace(b"\n", b"\r\n")


def test_text_alone_gets_a_header_section() -> None:
    content = prepared(b"Backup done\nall: well\n", "bob").content
    assert content.startswith(b"From: Ann Example <")
    assert content.endswith(b"@host.example.org>\r\n\r\nBackup done\r\nall: well\r\n")
    assert prepared(b"\n", "bob").content.endswith(b"@host.example.org>\r\n\r\n")
    assert prepared(b"", "bob").content.endswith(b"@host.example.org>\r\n")


def test_the_senders_address_and_name_can_be_given() -> None:
    mail = prepared(b"Subject: x\n\n", "bob", sender="www@example.org", full_name="Größe (GmbH)")
    assert mail.sender == "www@example.org"
    assert mail.content.startswith(b"From: =?utf-8?b?R3LDtsOfZSAoR21iSCk=?= <www@example.org>\r\n")
    assert prepared(b"\n", "bob", sender="root").sender == "root@host.example.org"
    null = prepared(b"\n", "bob", sender="")
    assert null.sender == ""
    assert null.content.startswith(b"From: Ann Example <ann@host.example.org>\r\n")
    assert prepared(b"\n", "bob", person=Person("ann", "", "host.example.org", "me@example.org")).sender == "me@example.org"


def test_recipients_may_be_lists_with_names_and_users_of_this_machine() -> None:
    mail = prepared(FIELDS + b"\n", "Bob <bob@example.net>, root", "root", '"a b"@example.net')
    assert mail.recipients == ("bob@example.net", "root@host.example.org", '"a b"@example.net')


def test_the_header_says_who_gets_it_where_that_is_asked_for_and_bcc_is_never_sent() -> None:
    content = FIELDS + b"To: bob@example.net\nCc: root\nBcc: eve@example.net,\n carol@example.net\nSubject: x\n\nBcc: text\n"
    mail = prepared(content, "dave@example.net", from_fields=True)
    wanted = ("dave@example.net", "bob@example.net", "root@host.example.org", "eve@example.net", "carol@example.net")
    assert mail.recipients == wanted
    assert b"\r\nCc: root@host.example.org\r\nSubject: x\r\n\r\nBcc: text\r\n" in mail.content
    assert b"eve" not in mail.content
    assert b"eve" not in prepared(content, "dave@example.net").content


@pytest.mark.parametrize(
    ("field", "becomes"),
    [
        (b"From: root (Cron Daemon)", b"From: Cron Daemon <root@host.example.org>"),
        (b"To: root,\n bob@example.net", b"To: root@host.example.org,\r\n bob@example.net"),
        (b'Reply-To: "A, B" <ops>', b'Reply-To: "A, B" <ops@host.example.org>'),
        (b"Resent-To: =?utf-8?q?B=C3=B6b?= <bob>", b"Resent-To: =?utf-8?q?B=C3=B6b?= <bob@host.example.org>"),
        ("From: Bøb <bob>".encode(), "From: Bøb <bob@host.example.org>".encode()),
        (b"From: b\xf8b <bob>", b"From: b\xf8b <bob@host.example.org>"),
        (b"To: undisclosed-recipients:;", b"To: undisclosed-recipients:;"),
        (b"To: friends: ann, bob;", b"To: friends: ann, bob;"),
        (b"Subject: root", b"Subject: root"),
        (b"To: ", b"To: "),
    ],
)
def test_users_of_this_machine_get_its_domain_in_address_fields(field: bytes, becomes: bytes) -> None:
    content = b"Date: x\nMessage-ID: <1@x>\n" + field + b"\n\nTo: root\n"
    assert b"\r\n" + becomes + b"\r\n" in prepared(content, "bob").content
    assert prepared(content, "bob").content.endswith(b"\r\n\r\nTo: root\r\n")


@pytest.mark.parametrize("line", [b"From ann Fri Nov 27 04:00:00 2026\n", b">From ann Fri Nov 27 04:00:00 2026\n"])
def test_the_line_of_an_mbox_is_taken_off(line: bytes) -> None:
    assert prepared(line + FIELDS + b"\nHello\n", "bob").content.startswith(b"From: x@example.org\r\n")


@pytest.mark.parametrize(
    ("content", "recipients", "given", "code"),
    [
        (FIELDS, (), {}, Exit.USAGE),
        (FIELDS, (), {"from_fields": True}, Exit.USAGE),
        (FIELDS + b"To: bob@example.net, @\n", (), {"from_fields": True}, Exit.USAGE),
        (FIELDS, ("bob@exa mple",), {}, Exit.DATA),
        (FIELDS, ("bob@example.net\r\nRCPT TO:<eve@example.net>",), {}, Exit.DATA),
        (FIELDS, ("<>",), {}, Exit.DATA),
        (FIELDS, ("bob",), {"sender": "a\r\nb@example.org"}, Exit.DATA),
    ],
)
def test_nobody_to_send_to_is_told(content: bytes, recipients: tuple[str, ...], given: dict[str, object], code: Exit) -> None:
    with pytest.raises(CommandFailed) as failed:
        prepared(content, *recipients, **given)  # type: ignore[arg-type]
    assert failed.value.code == code


def test_a_message_that_came_by_smtp_keeps_its_envelope() -> None:
    mail = submitted("", ["postmaster", "bob@example.net"], b"To: bob\r\nBcc: eve\r\n\r\nx\r\n", ANN, now=0.0, identifier="id")
    assert mail.sender == ""
    assert mail.recipients == ("postmaster@host.example.org", "bob@example.net")
    assert mail.content.endswith(b"\r\nTo: bob@host.example.org\r\n\r\nx\r\n")
