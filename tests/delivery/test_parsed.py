"""Messages taken apart: what a person reads, what is attached, and that nothing makes it fail."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from waymail.delivery.parsed import PARTS, Mailbox, parse, view

MIXED = (
    b"From: =?utf-8?q?J=C3=B6rg?= <joerg@there.example>\r\n"
    b"To: friends: ann@x, Bob <bob@x>;\r\nCc: carl@x\r\nReply-To: list@x\r\n"
    b"Subject: =?utf-8?b?w6TDtg==?=\r\n and more\r\nDate: Fri, 15 Jan 2027 08:00:00 +0000\r\nMessage-ID: <1@x>\r\n"
    b"MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=m\r\n\r\n"
    b"--m\r\nContent-Type: multipart/alternative; boundary=a\r\n\r\n"
    b"--a\r\nContent-Type: text/plain; charset=iso-8859-1\r\n\r\nh\xe4llo\r\nline\r\n"
    b"--a\r\nContent-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
    b"<p>h=C3=A4llo</p>\r\n--a--\r\n"
    b'--m\r\nContent-Type: image/png; name="../x.png"\r\nContent-ID: <p@x>\r\nContent-Disposition: inline\r\n'
    b"Content-Transfer-Encoding: base64\r\n\r\nAAEC\r\n"
    b"--m\r\nContent-Type: text/plain\r\nContent-Disposition: attachment; filename=note.txt\r\n\r\nnote\r\n"
    b"--m\r\nContent-Type: message/rfc822\r\n\r\nSubject: inner\r\n\r\nbody\r\n"
    b"--m--\r\n"
)


def test_fields_are_text_and_in_order() -> None:
    seen = view(MIXED)
    assert seen.headers[0] == ("From", "Jörg <joerg@there.example>")
    assert [name for name, _ in seen.headers][:4] == ["From", "To", "Cc", "Reply-To"]
    assert (seen.subject, seen.message_id) == ("äö and more", "<1@x>")
    assert seen.date == "Fri, 15 Jan 2027 08:00:00 +0000"


def test_addresses_have_their_names_and_groups_are_taken_apart() -> None:
    seen = view(MIXED)
    assert seen.from_ == (Mailbox("Jörg", "joerg@there.example"),)
    assert seen.to == (Mailbox("", "ann@x"), Mailbox("Bob", "bob@x"))
    assert (seen.cc, seen.reply_to) == ((Mailbox("", "carl@x"),), (Mailbox("", "list@x"),))


def test_the_texts_to_be_read_are_told_from_what_is_attached() -> None:
    seen = view(MIXED)
    assert (seen.text, seen.html) == ("hällo\nline", "<p>hällo</p>")
    assert [(one.name, one.type) for one in seen.attachments] == [
        ("../x.png", "image/png"), ("note.txt", "text/plain"), ("", "message/rfc822"),
    ]  # fmt: skip
    picture, note, message = seen.attachments
    assert (picture.content, picture.content_id, picture.is_inline) == (b"\0\1\2", "p@x", True)
    assert (note.content, note.is_inline) == (b"note", False)
    assert message.content.startswith(b"Subject: inner\r\n\r\nbody")
    assert seen.is_complete


def test_a_message_without_mime_is_text() -> None:
    seen = view(b"Subject: x\r\n\r\nhello\r\nthere\r\n")
    assert (seen.text, seen.html, seen.attachments, seen.is_complete) == ("hello\nthere\n", None, (), True)


@pytest.mark.parametrize("charset", ["no-such", "rot13", "utf-16", "\xff"])
def test_text_in_a_character_set_that_is_none_can_be_read_as_far_as_possible(charset: str) -> None:
    seen = view(f"Content-Type: text/plain; charset={charset}\r\n\r\nab\xff".encode("latin-1"))
    assert seen.text


def test_octets_that_are_no_text_become_replacement_characters_and_never_surrogates() -> None:
    seen = view(
        b"Subject: \xff =?utf-8?q?=ff?=\r\nFrom: \xff <a@x>\r\nContent-Disposition: attachment; filename=\xff.txt\r\n\r\n\xff"
    )
    for text in (seen.subject, seen.from_[0].name, seen.attachments[0].name):
        text.encode()
        assert "\ufffd" in text


def deep(levels: int) -> bytes:
    return b"".join(b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n) for n in range(levels)) + b"\r\nlast"


def test_parts_within_parts_without_end_are_told_and_their_text_is_there() -> None:
    for levels in (100, 3_000):
        seen = view(deep(levels))
        assert not seen.is_complete
    assert "last" in (view(deep(3_000)).text or "")
    assert "last" in parse(deep(3_000)).as_string()


def test_more_parts_than_anybody_sends_are_told() -> None:
    many = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--b\r\n\r\nx\r\n" * (PARTS + 5)
    assert not view(many).is_complete
    assert len(view(many).attachments) == PARTS - 1


@pytest.mark.parametrize(
    "hostile",
    [
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--b\r\n\r\nx\r\n" * 300_000,
        b"To: " + b"a@b, " * 200_000 + b"\r\n\r\nx",
        b"To: " + b"(" * 100_000 + b"\r\n\r\nx",
        b"Subject: " + b"=?utf-8?q?a?= " * 100_000 + b"\r\n\r\nx",
        b"Subject: =?utf-8?q?a?=\r\n" * 100_000 + b"\r\nx",
        b"From: a@b\r\n" * 100_000 + b"\r\nx",
    ],
)
def test_messages_made_to_take_long_do_not(hostile: bytes) -> None:
    started = time.process_time()
    view(hostile)
    assert time.process_time() - started < 10


@given(st.lists(st.sampled_from([
    b"\r\n", b"\n", b"\r", b":", b" ", b"\t", b"--b", b"--b--", b"\xff", b"\0", b"=?utf-8?q?=ff?=", b"=?x?b?!?=",
    b'"', b"(", b"<", b"@", b";",
    b"From: ", b"To: ", b"Subject: ", b"Content-Type: multipart/mixed; boundary=b\r\n", b"Content-Type: message/rfc822\r\n",
    b"Content-Type: text/plain; charset=", b"Content-Transfer-Encoding: base64\r\n", b"Content-Transfer-Encoding: x\r\n",
    b"Content-Disposition: attachment; filename*=utf-8''%ff\r\n", b"Content-Disposition: ", b"Content-ID: ", b"x", b"AAEC",
]), max_size=40))  # fmt: skip
@settings(max_examples=400)
def test_nothing_makes_it_fail(pieces: list[bytes]) -> None:
    octets = b"".join(pieces)
    seen = view(octets)
    "".join((seen.text or "", seen.html or "", *(part for field in seen.headers for part in field))).encode()
    assert parse(octets) is not None
