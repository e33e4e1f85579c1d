"""Delivery status notices, read back with the standard library's parser."""

from __future__ import annotations

import re
from email.message import Message
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.mail.reports import ANN, LATE, NOW, ORIGINAL, asked, groups, notice, person, read, returned, third_part

from waymail.mail import headers
from waymail.mail.dsn import WHOLE_ON_REQUEST, WHOLE_ORIGINAL, ReportedRecipient, is_international
from waymail.mail.envelope import Body, DeliverBy, Envelope, Options, Recipient
from waymail.mail.message import body_parameter, to_wire
from waymail.mail.outcome import Peer
from waymail.wire.replies import Reply

CORPUS = sorted((Path(__file__).parents[1] / "suites/mail").glob("*.eml"))


def test_the_notice_is_a_report_of_three_parts() -> None:
    report = read(notice(ANN))
    assert report.get_content_type() == "multipart/report"
    assert report.get_param("report-type") == "delivery-status"
    kinds = [part.get_content_type() for part in report.iter_parts()]
    assert kinds == ["text/plain", "message/delivery-status", "message/rfc822"]
    assert not [part.defects for part in report.walk() if part.defects]


def test_the_fields_say_who_writes_to_whom_about_what() -> None:
    report = read(notice(ANN))
    assert report["From"] == "Mail Delivery System <postmaster@mail.example.org>"
    assert report["To"] == "bob@example.org"
    assert report["Subject"] == "Not delivered: your message to ann@example.net"
    assert report["Date"] == "Fri, 15 Jan 2027 08:00:00 +0000"
    assert report["Message-ID"] == "<0123456789abd@mail.example.org>"
    assert report["Auto-Submitted"] == "auto-replied"
    assert report["MIME-Version"] == "1.0"
    assert report["References"] == report["In-Reply-To"] == "<1@example.org>"


@pytest.mark.parametrize("value", [b"", b"no msg-id", b"<a b@c>", b"<" + b"a" * 2000 + b"@b>", b"<\xff@b>"])
def test_a_message_id_that_is_none_is_not_referred_to(value: bytes) -> None:
    report = read(notice(ANN, original=b"Message-ID: " + value + b"\r\n\r\nHello.\r\n"))
    assert "References" not in report
    assert "In-Reply-To" not in report


def test_a_failure_has_the_fields_of_rfc_3464() -> None:
    message, recipient = groups(notice(ANN))
    assert dict(message.items()) == {
        "Reporting-MTA": "dns; mail.example.org",
        "X-Waymail-Queue-ID": "0123456789abc",
        "Arrival-Date": "Fri, 15 Jan 2027 07:00:00 +0000",
    }
    assert list(recipient.items()) == [
        ("Final-Recipient", "rfc822; ann@example.net"),
        ("Action", "failed"),
        ("Status", "5.1.1"),
        ("Remote-MTA", "dns; mx.example.net"),
        ("Diagnostic-Code", "smtp; 550 5.1.1 No such user here"),
        ("Last-Attempt-Date", "Fri, 15 Jan 2027 07:59:00 +0000"),
    ]


def test_a_delay_says_until_when_it_will_be_tried() -> None:
    octets = notice(LATE, action="delayed", retry_until=NOW + 86400)
    recipient = groups(octets)[1]
    assert recipient["Action"] == "delayed"
    assert recipient["Status"] == "4.4.1"
    assert recipient["Will-Retry-Until"] == "Sat, 16 Jan 2027 08:00:00 +0000"
    assert read(octets)["Subject"] == "Delayed: your message to ann@example.net"
    assert "Will-Retry-Until" not in groups(notice(LATE, retry_until=NOW + 86400))[1]


def test_without_a_peer_no_remote_mta_is_blamed() -> None:
    recipient = groups(notice(LATE))[1]
    assert "Remote-MTA" not in recipient
    assert recipient["Diagnostic-Code"] == "smtp; 451 4.4.1 Connection timed out"


def test_each_recipient_has_its_own_group_and_the_original_address_first() -> None:
    alias = ReportedRecipient(Recipient("carol@example.com", "sales@example.org"), ANN.reply, None, NOW)
    octets = notice(ANN, alias)
    recipients = groups(octets)[1:]
    assert [group["Final-Recipient"] for group in recipients] == ["rfc822; ann@example.net", "rfc822; carol@example.com"]
    assert [group.keys()[0] for group in recipients] == ["Final-Recipient", "Original-Recipient"]
    assert recipients[1]["Original-Recipient"] == "rfc822; sales@example.org"
    assert read(octets)["Subject"] == "Not delivered: your message to 2 recipients"


def test_an_address_is_given_back_exactly() -> None:
    spelled = f'"{"a  b" * 15}"@{"d" * 60}.example'
    octets = notice(ReportedRecipient(Recipient(spelled), ANN.reply, None, NOW))
    assert headers.unfold(octets).count(f"\r\nFinal-Recipient: rfc822; {spelled}\r\n".encode()) == 1


@pytest.mark.parametrize(
    ("action", "reply", "status"),
    [
        ("failed", Reply(550, "no"), "5.0.0"),
        ("failed", Reply(452, "full", "4.2.2"), "4.2.2"),
        ("failed", Reply(250, "odd", "2.0.0"), "5.0.0"),
        ("failed", Reply(550, "odd", "5.01.1"), "5.0.0"),
        ("failed", Reply(550, "odd", "5.1.1\r\nX: y"), "5.0.0"),
        ("failed", Reply(550, "odd", "5.1.1000"), "5.0.0"),
        ("delayed", Reply(451, "wait"), "4.0.0"),
        ("delayed", Reply(550, "odd", "5.1.1"), "4.0.0"),
        ("delayed", Reply(354, "odd"), "4.0.0"),
    ],
)
def test_the_status_is_always_one_that_the_action_can_have(action: str, reply: Reply, status: str) -> None:
    assert groups(notice(ReportedRecipient(ANN.recipient, reply, None, NOW), action=action))[1]["Status"] == status


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.stem)
def test_real_mail_comes_back_to_the_octet(path: Path) -> None:
    original = to_wire(path.read_bytes())
    octets = notice(ANN, original=original)
    assert returned(octets) == original
    assert body_parameter(octets) == body_parameter(original)
    report = read(octets)
    third = list(report.iter_parts())[2]
    assert report.get("Content-Transfer-Encoding") == third.get("Content-Transfer-Encoding")
    assert report.get("Content-Transfer-Encoding", "7bit") == ("7bit" if original.isascii() else "8bit")


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.stem)
def test_the_headers_of_real_mail_come_back_in_seven_bits(path: Path) -> None:
    original = to_wire(path.read_bytes())
    octets = notice(ANN, original=original, whole=False)
    assert octets.isascii()
    third: Message = list(read(octets).iter_parts())[2]
    assert third.get_content_type() == "text/rfc822-headers"
    assert third.get_payload(decode=True) == headers.header_section(original)


def test_eight_bit_headers_are_encoded() -> None:
    original = b"Subject: caf\xe9 = \xff \r\nFrom: x\r\n\r\nbody\r\n"
    octets = notice(ANN, original=original, whole=False)
    third: Message = list(read(octets).iter_parts())[2]
    assert third["Content-Transfer-Encoding"] == "quoted-printable"
    assert third.get_payload(decode=True) == headers.header_section(original)


def test_a_large_message_comes_back_by_its_headers_alone() -> None:
    limit = ORIGINAL + b"x" * (WHOLE_ORIGINAL - len(ORIGINAL))
    assert returned(notice(ANN, original=limit)) == limit
    assert returned(notice(ANN, original=limit + b"x")) == headers.header_section(ORIGINAL)


def test_a_large_message_in_a_file_is_read_no_further_than_its_headers(tmp_path: Path) -> None:
    path = tmp_path / "body"
    path.write_bytes(ORIGINAL + b"x" * WHOLE_ORIGINAL)
    prefix = b"Received: by mail.example.org; today\r\n"
    octets = notice(ANN, body=Body(path, path.stat().st_size + len(prefix), prefix))
    assert returned(octets) == prefix + headers.header_section(ORIGINAL)


def test_a_body_that_is_gone_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="gone"):
        notice(ANN, body=Body(tmp_path / "gone", 100))


def test_a_header_section_without_end_comes_back_in_whole_lines() -> None:
    original = b"X: " + b"a" * 60 + b"\r\n" + (b"Y: " + b"b" * 60 + b"\r\n") * 2000
    section = returned(notice(ANN, original=original))
    assert len(section) <= 65536
    assert original.startswith(section)
    assert section.endswith(b"b\r\n")


def test_the_boundary_is_made_longer_where_the_original_contains_it() -> None:
    original = b"Subject: x\r\n\r\n--=_0123456789\r\nnot a part\r\n--=_0123456789x--\r\n"
    octets = notice(ANN, original=original)
    assert read(octets).get_boundary() == "=_0123456789xx"
    assert returned(octets) == original


def test_a_message_from_the_null_path_causes_no_notice() -> None:
    with pytest.raises(ValueError, match="null reverse-path"):
        notice(ANN, envelope=Envelope("0123456789abc", "", (ANN.recipient,), NOW))


def test_a_notice_without_recipients_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        notice()


def test_text_of_a_reply_that_is_not_ascii_reaches_the_person_as_it_is() -> None:
    octets = notice(ReportedRecipient(ANN.recipient, Reply(550, "用户不存在", "5.1.1"), ANN.peer, NOW))
    assert octets.isascii()
    assert "550 5.1.1 用户不存在" in person(octets)
    assert groups(octets)[1]["Diagnostic-Code"] == r"smtp; 550 5.1.1 \u7528\u6237\u4e0d\u5b58\u5728"


HOSTILE = (
    "no\r\nBcc: eve@example.com\r\n\r\n--=_0123456789\r\nContent-Type: text/html\r\n\r\n<b>\n--=_0123456789--\nStatus: 2.0.0"
)


def test_a_reply_can_add_no_field_no_part_and_no_group() -> None:
    hostile = ReportedRecipient(ANN.recipient, Reply(550, HOSTILE, "5.1.1"), Peer(HOSTILE, HOSTILE), NOW)
    report = read(notice(hostile))
    assert [part.get_content_type() for part in report.iter_parts()] == [
        "text/plain",
        "message/delivery-status",
        "message/rfc822",
    ]
    message, recipient = groups(notice(hostile))
    assert recipient.get_all("Status") == ["5.1.1"]
    assert set(recipient.keys()) == {
        "Final-Recipient", "Action", "Status", "Remote-MTA", "Diagnostic-Code", "Last-Attempt-Date",
    }  # fmt: skip
    assert "Bcc" not in report
    assert "Bcc" not in message


def test_a_subject_of_the_original_can_add_nothing_to_the_text() -> None:
    original = b"Subject: =?utf-8?q?x=0D=0A--=3D=5F0123456789?=\r\n\r\nbody\r\n"
    octets = notice(ANN, original=original)
    assert len(list(read(octets).iter_parts())) == 3
    assert "Subject:  x  --=_0123456789\n" in person(octets).replace("\r", "")


replies = st.builds(Reply, st.integers(400, 599), st.text(max_size=4000), st.none() | st.text(max_size=10))
peers = st.none() | st.builds(Peer, st.text(max_size=255), st.text(max_size=50))


texts = st.text(max_size=300)
actions = st.sampled_from(["failed", "delayed", "delivered", "relayed", "expanded"])


@given(replies, peers, texts, texts | st.none(), actions, texts, texts, st.booleans())
def test_whatever_was_said_the_structure_holds(
    reply: Reply, peer: Peer | None, spelled: str, given: str | None, action: str, orcpt: str, envid: str, utf8: bool
) -> None:
    recipient = Recipient(spelled, given, orcpt=orcpt)
    envelope = Envelope(
        "0123456789abc",
        "bob@example.org",
        (recipient,),
        NOW,
        options=Options(smtputf8=utf8, envid=envid or "x", hold=envid or "x"),
    )
    octets = notice(ReportedRecipient(recipient, reply, peer, NOW), action=action, retry_until=NOW, envelope=envelope)
    global_ = is_international(envelope, [ReportedRecipient(recipient, reply, peer, NOW)], Body(ORIGINAL, len(ORIGINAL)))
    assert octets.isascii() or global_
    octets.decode("utf-8")
    assert max(map(len, octets.split(b"\r\n"))) <= 998
    assert octets.count(b"\r\n") == octets.count(b"\r") == octets.count(b"\n")
    report = read(octets)
    assert [part.get_content_type() for part in report.iter_parts()] == [
        "text/plain",
        "message/global-delivery-status" if global_ else "message/delivery-status",
        ("message/global" if global_ else "message/rfc822")
        if action == "failed"
        else ("message/global-headers" if global_ else "text/rfc822-headers"),
    ]
    message, fields = groups(octets)
    assert message.keys() == [
        "Original-Envelope-Id", "Reporting-MTA", "X-Waymail-Queue-ID", "Arrival-Date", "Future-Release-Request",
    ]  # fmt: skip
    assert fields.get_all("Action") == [action]
    assert re.fullmatch(r"[245]\.\d+\.\d+", fields["Status"])
    assert len(fields.get_all("Final-Recipient", [])) == 1
    assert returned(octets) == (ORIGINAL if action == "failed" else headers.header_section(ORIGINAL))


def test_a_long_reply_is_cut_and_folded() -> None:
    reply = Reply(550, "\n".join(["word " * 100, "x" * 5000] * 50), "5.7.1")
    octets = notice(ReportedRecipient(ANN.recipient, reply, ANN.peer, NOW))
    assert len(octets) < 8000
    assert max(map(len, octets.split(b"\r\n"))) <= 998


# --- what the sender asked for: RFC 3461, RFC 2852, RFC 4865, RFC 8689 ---


@pytest.mark.parametrize(
    ("options", "size", "whole"),
    [
        ({}, WHOLE_ORIGINAL, True),
        ({}, WHOLE_ORIGINAL + 1, False),
        ({"ret": "HDRS"}, 200, False),
        ({"ret": "FULL"}, WHOLE_ON_REQUEST, True),
        ({"ret": "FULL"}, WHOLE_ON_REQUEST + 1, False),
        ({"ret": "FULL", "require_tls": True}, 200, False),
        ({"require_tls": True}, 200, False),
    ],
)
def test_ret_says_how_much_of_the_original_comes_back_with_a_failure(options: dict[str, Any], size: int, whole: bool) -> None:
    original = ORIGINAL + b"x" * (size - len(ORIGINAL))
    octets = asked(original=original, **options)
    assert returned(octets) == (original if whole else headers.header_section(original))
    assert third_part(octets) == ("message/rfc822" if whole else "text/rfc822-headers")


@pytest.mark.parametrize("action", ["delayed", "delivered", "relayed", "expanded"])
def test_where_nothing_failed_the_headers_alone_come_back(action: str) -> None:
    assert third_part(asked(action=action, ret="FULL")) == "text/rfc822-headers"


@pytest.mark.parametrize(
    ("action", "reply", "status", "subject"),
    [
        ("delivered", Reply(250, "saved", "2.1.5"), "2.1.5", "Delivered: your message to ann@example.net"),
        ("relayed", Reply(250, "queued"), "2.0.0", "Handed on: your message to ann@example.net"),
        ("expanded", Reply(250, "odd", "5.1.1"), "2.0.0", "Handed on to several: your message to ann@example.net"),
    ],
)
def test_good_news_has_a_status_of_class_2(action: str, reply: Reply, status: str, subject: str) -> None:
    octets = asked(ReportedRecipient(Recipient("ann@example.net"), reply, None, NOW), action=action)
    fields = groups(octets)[1]
    assert (fields["Action"], fields["Status"], read(octets)["Subject"]) == (action, status, subject)


def test_the_envelope_id_comes_back_decoded_and_only_where_it_was_given() -> None:
    assert groups(asked(envid="QQ+2B314+3D159"))[0]["Original-Envelope-Id"] == "QQ+314=159"
    assert "Original-Envelope-Id" not in groups(asked())[0]


def test_the_original_recipient_comes_back_with_its_type_and_decoded() -> None:
    for orcpt, field in (
        ("rfc822;Ann+2Bx@Example.NET", "rfc822; Ann+x@Example.NET"),
        ("X400;/S=ann/", "X400; /S=ann/"),
        (r"utf-8;j\x{F6}rg@example.net", r"utf-8; j\x{F6}rg@example.net"),
    ):
        alias = Recipient("ann@example.net", "sales@example.org", "FAILURE", orcpt)
        assert groups(asked(ReportedRecipient(alias, ANN.reply, None, NOW)))[1]["Original-Recipient"] == field


def test_times_that_the_sender_set_are_repeated() -> None:
    message = groups(asked(deliver_by=DeliverBy(NOW, "R"), hold="until;2027-01-15T07:30:00Z"))[0]
    assert message["Deliver-By-Date"] == "Fri, 15 Jan 2027 08:00:00 +0000"
    assert message["Future-Release-Request"] == "until;2027-01-15T07:30:00Z"
    assert message["Arrival-Date"] == "Fri, 15 Jan 2027 07:00:00 +0000"


# --- a message without a sender ---


def test_of_a_message_without_a_sender_somebody_else_is_told() -> None:
    envelope = Envelope("0123456789abc", "", (ANN.recipient,), NOW)
    report = read(notice(ANN, envelope=envelope, to="postmaster@example.org"))
    assert report["To"] == "postmaster@example.org"
    assert report["Subject"] == "Not delivered: a notice to ann@example.net"
    assert report["Auto-Submitted"] == "auto-generated"
    with pytest.raises(ValueError, match="null reverse-path"):
        notice(ANN, envelope=envelope, to="postmaster@example.org", action="delayed")
