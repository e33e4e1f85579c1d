"""Notices that hold what is not ASCII: in the words of their own, and in addresses (RFC 6533)."""

from __future__ import annotations

from binascii import a2b_qp
from dataclasses import replace
from email import message_from_bytes
from email.policy import SMTP

import pytest
from tests.mail.reports import ANN, NOW, asked, groups, notice, person, read, returned, third_part

from waymail.mail.dsn import ReportedRecipient, in_ascii
from waymail.mail.envelope import Recipient
from waymail.mail.needs import needs
from waymail.mail.notices import LANGUAGES, shipped

# --- words that are not English ---


def test_words_beyond_ascii_are_encoded_words_in_the_fields() -> None:
    text = replace(
        shipped("de"), sender="Zustelldienst für Köln", texts={**shipped("de").texts, "subject.failed": "Grüße an {to}"}
    )
    octets = notice(ANN, text=text)
    assert octets.isascii()
    report = message_from_bytes(octets, policy=SMTP.clone(raise_on_defect=True))
    assert report["From"].addresses[0].display_name == "Zustelldienst für Köln"
    assert report["From"].addresses[0].addr_spec == "postmaster@mail.example.org"
    assert report["Subject"] == "Grüße an ann@example.net"


def test_a_name_with_special_characters_is_quoted() -> None:
    for name in ("Mail, delivery", 'The "post" \\ office', "post@office"):
        report = message_from_bytes(notice(ANN, text=replace(shipped(), sender=name)), policy=SMTP.clone(raise_on_defect=True))
        assert report["From"].addresses[0].display_name == name


def test_an_address_that_looks_like_an_encoded_word_is_not_taken_for_one() -> None:
    odd = ReportedRecipient(Recipient("=?utf-8?q?x?=@example.net"), ANN.reply, None, NOW)
    assert read(notice(odd))["Subject"] == "Not delivered: your message to =?utf-8?q?x?=@example.net"


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_text_says_its_language(language: str) -> None:
    [text, *_] = read(notice(ANN, text=shipped(language))).iter_parts()
    assert text["Content-Language"] == language


# --- addresses ---

JOERG = ReportedRecipient(Recipient("jörg@exämple.net", orcpt=r"utf-8;J\x{F6}rg@exämple.net"), ANN.reply, None, NOW)


def test_an_international_message_is_told_of_in_utf_8() -> None:
    original = "Subject: grüße\r\n\r\nhallo\r\n".encode()
    octets = asked(JOERG, original, smtputf8=True, sender="björn@example.org")
    kinds = [part.get_content_type() for part in read(octets).iter_parts()]
    assert kinds == ["text/plain", "message/global-delivery-status", "message/global"]
    fields = octets.decode()
    assert "\r\nFinal-Recipient: utf-8; jörg@exämple.net\r\n" in fields
    assert "\r\nOriginal-Recipient: utf-8; Jörg@exämple.net\r\n" in fields
    assert "\r\nTo: <björn@example.org>\r\n" in fields
    assert read(octets)["Subject"] == "Not delivered: your message to jörg@exämple.net"
    assert read(octets)["Content-Transfer-Encoding"] == "8bit"
    assert returned(octets) == original


def test_the_headers_of_an_international_message_come_back_as_they_are() -> None:
    octets = asked(JOERG, "Subject: grüße\r\n\r\nhallo\r\n".encode(), smtputf8=True, ret="HDRS")
    assert third_part(octets) == "message/global-headers"
    assert returned(octets) == "Subject: grüße\r\n".encode()


def test_without_smtputf8_an_address_beyond_ascii_is_escaped() -> None:
    octets = asked(JOERG)
    assert octets.isascii()
    fields = groups(octets)[1]
    assert fields["Final-Recipient"] == r"utf-8; j\x{F6}rg@ex\x{E4}mple.net"
    assert fields["Original-Recipient"] == r"utf-8; J\x{F6}rg@ex\x{E4}mple.net"


def test_an_international_message_that_is_all_ascii_is_told_of_in_the_old_forms() -> None:
    octets = asked(smtputf8=True)
    assert octets.isascii()
    assert third_part(octets) == "message/rfc822"


def test_an_international_notice_cannot_go_without_smtputf8_whatever_is_beyond_ascii_in_it() -> None:
    assert needs([asked(original="Subject: grüße\r\n\r\nhallo\r\n".encode(), smtputf8=True)]).utf8_headers


@pytest.mark.parametrize("ret", ["FULL", "HDRS"])
def test_an_international_notice_is_written_again_in_ascii(ret: str) -> None:
    original = "Subject: grüße\r\n\r\n--=_x hallo = ö \r\n.\r\n".encode()
    first = asked(JOERG, original, smtputf8=True, sender="bob@bücher.example", ret=ret)
    octets = in_ascii(first, "bob@xn--bcher-kva.example")
    assert octets.isascii()
    assert max(map(len, octets.split(b"\r\n"))) <= 998
    report = message_from_bytes(octets, policy=SMTP.clone(raise_on_defect=True))
    assert report.get_all("To") == ["bob@xn--bcher-kva.example"]
    assert "Content-Transfer-Encoding" not in report
    assert {name: report[name] for name in ("From", "Subject", "Message-ID")} == {
        name: read(first)[name] for name in ("From", "Subject", "Message-ID")
    }
    assert person(octets) == person(first)
    assert [part.get_content_type() for part in report.iter_parts()] == [
        "text/plain", "message/delivery-status", "message/global" if ret == "FULL" else "message/global-headers",
    ]  # fmt: skip
    message, fields = groups(octets)
    assert message.keys() == groups(first)[0].keys()
    assert fields.keys() == groups(first)[1].keys()
    assert fields["Final-Recipient"] == r"utf-8; j\x{F6}rg@ex\x{E4}mple.net"
    assert fields["Original-Recipient"] == r"utf-8; J\x{F6}rg@ex\x{E4}mple.net"
    assert a2b_qp(returned(octets)) == returned(first)


@pytest.mark.parametrize(
    "octets", [b"", b"Subject: x\r\n\r\nhello\r\n", notice(ANN).replace(b"--\r\n", b"\r\n--=_0123456789\r\n")]
)
def test_what_is_no_notice_is_not_written_again(octets: bytes) -> None:
    with pytest.raises(ValueError, match="not a notice"):
        in_ascii(octets, "bob@example.org")


def test_an_escaped_control_character_stays_escaped() -> None:
    hostile = Recipient("ann@example.net", orcpt=r"utf-8;a\x{0D}\x{0A}Status:\x{20}2.0.0\x{D800}")
    fields = groups(asked(ReportedRecipient(hostile, ANN.reply, None, NOW), smtputf8=True))[1]
    assert fields["Original-Recipient"] == r"utf-8; a\x{0D}\x{0A}Status: 2.0.0\x{D800}"
