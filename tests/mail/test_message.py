"""From a program's message to the wire, and what a submission lacks."""

from __future__ import annotations

import re
from email import message_from_bytes
from email.message import EmailMessage
from email.mime.text import MIMEText
from email.policy import SMTP, default
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waymail.mail import headers
from waymail.mail.message import EnvelopeProblem, body_parameter, complete, envelope_of, to_wire, without_bcc

CORPUS = sorted((Path(__file__).parents[1] / "suites/mail").glob("*.eml"))
line_ends = st.lists(st.sampled_from([b"\r\n", b"\r", b"\n", b"a", b"\x00", b"\xff", b"."])).map(b"".join)


def letter(**fields: str) -> EmailMessage:
    message = EmailMessage()
    for name, value in fields.items():
        message[name.replace("_", "-")] = value
    message.set_content("Hello.\n")
    return message


def ordinary(**fields: str) -> EmailMessage:
    return letter(From="Ann <ann@example.org>", To="bob@example.net", **fields)


class TestToWire:
    @pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.stem)
    def test_real_mail_gets_crlf_and_no_other_change(self, path: Path) -> None:
        octets = path.read_bytes()
        wire = to_wire(octets)
        assert wire == b"\r\n".join(octets.split(b"\n"))
        assert to_wire(wire) is wire

    @pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.stem)
    def test_the_header_fields_of_a_parsed_message_are_not_folded_anew(self, path: Path) -> None:
        octets = to_wire(path.read_bytes())
        # The standard library's parser does not remember how much white space followed the colon.
        section = re.sub(rb"(?m)^([!-9;-~]+):[ \t]*", rb"\1: ", headers.header_section(octets))
        assert headers.header_section(to_wire(message_from_bytes(octets, policy=default))) == section

    def test_every_bare_line_end_becomes_crlf(self) -> None:
        assert to_wire(b"a\nb\rc\r\nd\r\r\ne\n\r") == b"a\r\nb\r\nc\r\nd\r\n\r\ne\r\n\r\n"

    @given(line_ends)
    def test_no_bare_line_end_is_left_and_no_other_octet_changes(self, octets: bytes) -> None:
        wire = to_wire(octets)
        assert wire.count(b"\r") == wire.count(b"\n") == wire.count(b"\r\n")
        assert wire.replace(b"\r\n", b"") == octets.replace(b"\r", b"").replace(b"\n", b"")

    def test_an_email_message_loses_its_blind_copies_on_the_wire_only(self) -> None:
        message = ordinary(Bcc="eve@example.com", Resent_Bcc="eve@example.com")
        wire = to_wire(message)
        assert b"eve" not in wire
        assert wire.startswith(b"From: Ann <ann@example.org>\r\nTo: bob@example.net\r\n")
        assert wire.endswith(b"\r\n\r\nHello.\r\n")
        assert message["Bcc"] == "eve@example.com"

    def test_eight_bit_content_stays_eight_bit(self) -> None:
        message = letter(From="a@example.org", To="b@example.org")
        message.set_content("Grüße\n", cte="8bit")
        assert "Grüße".encode() in to_wire(message)
        assert body_parameter(to_wire(message)) == "8BITMIME"

    def test_a_line_that_begins_with_from_is_not_quoted(self) -> None:
        message = ordinary()
        message.set_content("From here on\n")
        assert b"\r\n\r\nFrom here on\r\n" in to_wire(message)

    def test_a_message_of_the_older_class_is_taken_too(self) -> None:
        message: Any = MIMEText("From me\n")
        message["To"] = "b@example.org"
        message["Bcc"] = "c@example.org"
        assert b"c@example.org" not in to_wire(message)
        assert to_wire(message).endswith(b"\r\n\r\nFrom me\r\n")


def test_blind_copies_are_cut_out_of_octets_and_nothing_else() -> None:
    message = b"To: a\r\nBcc: b,\r\n c\r\nX: 1\r\nresent-bcc: d\r\n\r\nBcc: body\r\n"
    assert without_bcc(message) == b"To: a\r\nX: 1\r\n\r\nBcc: body\r\n"
    assert without_bcc(b"To: a\r\n\r\nBcc: body\r\n") == b"To: a\r\n\r\nBcc: body\r\n"


def test_only_octets_above_127_call_for_8bitmime() -> None:
    assert body_parameter(b"abc\x7f\x00") == "7BIT"
    assert body_parameter(b"abc\x80") == "8BITMIME"


class TestEnvelopeOf:
    def test_all_recipient_fields_count_and_each_address_once(self) -> None:
        message = letter(
            From="Ann <ann@example.org>",
            To="Bob <bob@example.net>, carol@example.net",
            Cc='"Dan, the man" <dan@example.com>, bob@EXAMPLE.net',
            Bcc="eve@example.com",
        )
        assert envelope_of(message) == (
            "ann@example.org",
            ("bob@example.net", "carol@example.net", "dan@example.com", "eve@example.com"),
        )

    def test_the_sender_field_goes_before_from(self) -> None:
        assert envelope_of(ordinary(Sender="secretary@example.org"))[0] == "secretary@example.org"

    def test_the_first_of_several_authors_is_the_sender(self) -> None:
        assert envelope_of(letter(From="a@example.org, b@example.org", To="c@example.org"))[0] == "a@example.org"

    def test_groups_are_taken_apart_in_recipients_and_author(self) -> None:
        message = letter(
            From="Team: ann@example.org, bob@example.org;", To="A: a@x.example, B <b@x.example>;, c@x.example, None:;"
        )
        assert envelope_of(message) == ("ann@example.org", ("a@x.example", "b@x.example", "c@x.example"))

    def test_quoted_local_parts_and_encoded_names_leave_the_address_alone(self) -> None:
        message = b'From: =?utf-8?q?J=C3=B6rg?= <j@example.org>\nTo: "a@b"@example.org, x@[192.0.2.1] (comment)\n\nbody\n'
        assert envelope_of(message) == ("j@example.org", ('"a@b"@example.org', "x@[192.0.2.1]"))

    def test_an_address_without_a_domain_is_given_as_it_is(self) -> None:
        assert envelope_of(b"From: cron\nTo: root\n\nbody\n") == ("cron", ("root",))

    def test_the_newest_set_of_resent_fields_counts_instead(self) -> None:
        message = (
            b"Resent-Date: Fri, 15 Jan 2027 08:00:00 +0000\nResent-From: new@example.org\nResent-To: n@example.org\n"
            b"Resent-Date: Fri, 15 Jan 2026 08:00:00 +0000\nResent-From: old@example.org\nResent-To: o@example.org\n"
            b"Resent-Cc: p@example.org\nFrom: ann@example.org\nTo: bob@example.net\n\nbody\n"
        )
        assert envelope_of(message) == ("new@example.org", ("n@example.org",))

    def test_trace_fields_end_a_set_of_resent_fields(self) -> None:
        message = (
            b"Return-Path: <x@example.org>\nResent-From: new@example.org\nResent-To: n@example.org\nReceived: from a by b; x\n"
            b"Resent-Cc: o@example.org\nFrom: ann@example.org\nTo: bob@example.net\n\nbody\n"
        )
        assert envelope_of(message) == ("new@example.org", ("n@example.org",))

    def test_a_message_of_the_older_class_is_taken_too(self) -> None:
        message: Any = MIMEText("x")
        message["From"] = "Ann <ann@example.org>"
        message["To"] = "bob@example.net,\n carol@example.net"
        assert envelope_of(message) == ("ann@example.org", ("bob@example.net", "carol@example.net"))

    @pytest.mark.parametrize(
        "message",
        [
            b"To: bob@example.net\n\nno sender\n",
            b"From: Robot:;\nTo: bob@example.net\n\nsender without mailbox\n",
            b"From: ann@example.org\n\nno recipient\n",
            b"From: ann@example.org\nTo: undisclosed-recipients:;\n\nno recipient\n",
            b"",
        ],
    )
    def test_no_sender_or_no_recipient_is_refused(self, message: bytes) -> None:
        with pytest.raises(EnvelopeProblem, match=r"^no "):
            envelope_of(message)

    @pytest.mark.parametrize(
        "to",
        [
            b"bob@example.net carol@example.net",
            b"bob@example.net; carol@example.net",
            b"carol@example.net, Bob <bob@example.net",
            b"bob@example.net, Carol <>",
            b"a b@example.net",
            b"bob@",
            b'"a\x00b"@example.net',
            b"=?utf-8?q?a=0D=0ARCPT?=@example.net",
            b"(" * 5000,
        ],
    )
    def test_a_list_that_can_be_read_only_in_part_is_refused_as_a_whole(self, to: bytes) -> None:
        with pytest.raises(EnvelopeProblem):
            envelope_of(b"From: ann@example.org\nTo: " + to + b"\n\nbody\n")

    @given(st.binary(max_size=60))
    def test_no_octets_give_an_address_with_a_control_character(self, value: bytes) -> None:
        try:
            sender, recipients = envelope_of(b"From: ann@example.org\r\nTo: bob@example.net, " + value + b"\r\n\r\n")
        except EnvelopeProblem:
            return
        assert all(found.isprintable() for found in (sender, *recipients))
        assert "bob@example.net" in recipients


class TestComplete:
    NOW = 1_800_000_000.0

    def added(self, head: bytes) -> bytes:
        return complete(head, now=self.NOW, message_id="0123", hostname="mail.example.org")

    def test_nothing_is_added_where_nothing_is_missing(self) -> None:
        assert self.added(b"date: x\r\nFrom: a\r\nMESSAGE-ID: <1@x>\r\n\r\nbody") == b""

    def test_date_and_message_id_are_added(self) -> None:
        assert self.added(b"From: a@example.org\r\n\r\nDate: not a field\r\n") == (
            b"Date: Fri, 15 Jan 2027 08:00:00 +0000\r\nMessage-ID: <0123@mail.example.org>\r\n"
        )

    def test_only_the_missing_one_is_added(self) -> None:
        assert self.added(b"Date: x\r\n\r\n").startswith(b"Message-ID:")
        assert self.added(b"Message-ID: <x@y>\r\n\r\n") == b"Date: Fri, 15 Jan 2027 08:00:00 +0000\r\n"

    @pytest.mark.parametrize("body", [b"Hello\r\nDate: x\r\n\r\nworld\r\n", b" indented\r\n", b"no line end", b"\xff\r\n"])
    def test_a_message_that_is_all_body_stays_all_body(self, body: bytes) -> None:
        whole = self.added(body) + body
        parsed = message_from_bytes(whole, policy=SMTP)
        assert parsed.keys() == ["Date", "Message-ID"]
        assert not parsed.defects
        assert whole.partition(b"\r\n\r\n")[2] == body

    def test_an_empty_header_section_needs_no_second_empty_line(self) -> None:
        assert (self.added(b"\r\nbody") + b"\r\nbody").partition(b"\r\n\r\n")[2] == b"body"

    def test_an_empty_message_gets_fields_only(self) -> None:
        assert self.added(b"").count(b"\r\n") == 2

    @pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.stem)
    def test_real_mail_has_both_fields_afterwards_exactly_once_if_it_did_not(self, path: Path) -> None:
        wire = to_wire(path.read_bytes())
        section = headers.header_section(self.added(wire) + wire)
        assert headers.count(section, b"date") == headers.count(section, b"message-id") == 1

    @given(st.one_of(st.binary(max_size=80), line_ends))
    def test_the_completed_message_begins_with_fields_whatever_was_submitted(self, head: bytes) -> None:
        whole = self.added(head) + head
        section = headers.header_section(whole)
        assert headers.has(section, b"date")
        assert headers.has(section, b"message-id")
        assert whole.endswith(head)


def test_what_is_given_of_an_envelope_is_not_asked_of_the_fields() -> None:
    assert envelope_of(letter(From="a@example.org"), recipients=["x@example.net"]) == ("a@example.org", ["x@example.net"])
    assert envelope_of(letter(To="b@example.org"), sender="") == ("", ("b@example.org",))


def test_an_address_beyond_ascii_stands_in_the_header_as_it_is_and_not_as_an_encoded_word() -> None:
    octets = to_wire(letter(From="a@example.org", To="jürgen@bücher.example", Subject="Grüße"))
    assert "To: jürgen@bücher.example\r\n".encode() in octets
    assert to_wire(letter(From="a@example.org", To="b@example.org", Subject="Grüße")).isascii()
