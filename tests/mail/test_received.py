"""The trace fields."""

from __future__ import annotations

import re
from email.utils import parsedate_to_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waymail.mail import headers
from waymail.mail.envelope import Origin
from waymail.mail.received import delivered_to, protocol, received_field, return_path, without_return_path

NOW = 1_800_000_000.0
ORIGIN = Origin("ESMTPS", "client.example.org", "192.0.2.1", "TLSv1.3 TLS_AES_256_GCM_SHA384 unverified", "ann")


def field(origin: Origin = ORIGIN, recipient: str | None = None, by: str = "mx.example.net") -> bytes:
    return received_field(origin, by=by, id="0123456789abc", now=NOW, recipient=recipient)


def line(origin: Origin = ORIGIN, recipient: str | None = None) -> str:
    """The field as one line."""
    return " ".join(field(origin, recipient).decode("ascii").split())


@pytest.mark.parametrize(
    ("secure", "authenticated", "extended", "name"),
    [
        (False, False, False, "SMTP"),
        (True, False, False, "SMTP"),
        (False, False, True, "ESMTP"),
        (True, False, True, "ESMTPS"),
        (False, True, True, "ESMTPA"),
        (True, True, True, "ESMTPSA"),
    ],
)
def test_the_protocol_has_its_registered_name(secure: bool, authenticated: bool, extended: bool, name: str) -> None:
    assert protocol(secure=secure, authenticated=authenticated, extended=extended) == name


def test_the_clauses_stand_in_the_order_of_the_grammar() -> None:
    assert line(recipient="bob@example.net") == (
        "Received: from client.example.org ([192.0.2.1]) by mx.example.net with ESMTPS"
        " (TLSv1.3 TLS_AES_256_GCM_SHA384 unverified) id 0123456789abc for <bob@example.net>; Fri, 15 Jan 2027 08:00:00 +0000"
    )


def test_the_field_is_folded_to_78_octets() -> None:
    octets = field(recipient="bob@example.net")
    assert octets.endswith(b"\r\n")
    lines = octets.split(b"\r\n")[:-1]
    assert len(lines) == 3
    assert all(len(part) <= 78 for part in lines)
    assert all(part.startswith(b"\t") for part in lines[1:])


def test_the_authenticated_user_is_not_told_to_the_recipient() -> None:
    assert b"ann" not in field()


def test_an_ipv6_address_has_its_tag_and_no_scope() -> None:
    assert "from c.example ([IPv6:fe80::1]) by" in line(Origin("ESMTP", "c.example", "fe80::1%eth0"))


def test_no_recipient_is_named_unless_one_is_given() -> None:
    assert " for " not in line()


def test_a_message_made_on_this_host_has_no_from_and_no_protocol() -> None:
    assert line(Origin()) == "Received: by mx.example.net id 0123456789abc; Fri, 15 Jan 2027 08:00:00 +0000"


def test_the_date_can_be_read_back() -> None:
    assert parsedate_to_datetime(line().rpartition("; ")[2]).timestamp() == NOW


@pytest.mark.parametrize(
    ("helo", "shown"),
    [
        ("[192.0.2.1]", "[192.0.2.1]"),
        ("under_score.example", "under_score.example"),
        ("x) by evil (y", "x??by?evil??y"),
        ("a\r\nBcc: b", "a??Bcc:?b"),
        ("", "unknown"),
        ("münchen", "m?nchen"),
    ],
)
def test_a_helo_name_shows_what_was_said_without_what_could_do_harm(helo: str, shown: str) -> None:
    assert f"from {shown} ([192.0.2.1]) by" in line(Origin("SMTP", helo, "192.0.2.1"))


def test_a_comment_about_tls_cannot_be_closed_from_within() -> None:
    assert "(TLSv1.3 cn=x?? by evil?) id" in line(Origin("ESMTPS", "c.example", "192.0.2.1", "TLSv1.3 cn=x)\\ by evil\n"))


@pytest.mark.parametrize("recipient", ['"a) (b"@example.org', r'"a\"b"@example.org', "a+b=c@[IPv6:2001:db8::1]"])
def test_every_form_of_mailbox_can_be_named(recipient: str) -> None:
    assert f" for <{recipient}>;" in line(recipient=recipient)


@pytest.mark.parametrize(
    "recipient", ["a(b@example.org", "a@b>; x", "a\r\n b@example.org", 'a"b@example.org', "jörg@example.org", ""]
)
def test_what_is_no_mailbox_is_not_named(recipient: str) -> None:
    assert " for " not in line(recipient=recipient)


@given(st.builds(Origin, st.text(), st.text(), st.text(), st.text()), st.text(), st.text(min_size=1))
def test_nothing_that_was_said_breaks_the_field(origin: Origin, recipient: str, by: str) -> None:
    octets = field(origin, recipient, by)
    assert octets.isascii()
    assert [name for name, _ in headers.fields(octets)] == [b"Received"]
    assert octets.count(b"\r") == octets.count(b"\n") == octets.count(b"\r\n")
    assert all(len(part) <= 998 for part in octets.split(b"\r\n"))
    outside_quotes = re.sub(rb'"(?:[^"\\]|\\.)*"', b"", octets)
    comments = re.findall(rb"\([^()\\]*\)", outside_quotes)
    assert outside_quotes.count(b"(") == outside_quotes.count(b")") == len(comments)
    assert re.sub(rb"\([^()]*\)", b"", outside_quotes).count(b";") == 1


@given(st.text(alphabet="ab.", min_size=200, max_size=255))
def test_names_of_the_greatest_length_fit(name: str) -> None:
    octets = field(Origin("ESMTPS", name, "2001:db8::1", "T" * 300), f"{'l' * 64}@{'d' * 255}", name)
    assert all(len(part) <= 998 for part in octets.split(b"\r\n"))


def test_the_return_path_is_the_reverse_path() -> None:
    assert return_path("ann@example.org") == b"Return-Path: <ann@example.org>\r\n"
    assert return_path("") == b"Return-Path: <>\r\n"
    assert return_path("a\r\nX: y@example.org") == b"Return-Path: <a??X: y@example.org>\r\n"


def test_existing_return_paths_are_taken_out_and_nothing_else() -> None:
    head = b"Return-Path: <a>\r\nTo: x\r\nreturn-path:\r\n <b>\r\nX-Return-Path: c\r\n\r\nReturn-Path: body\r\n"
    assert without_return_path(head) == b"To: x\r\nX-Return-Path: c\r\n\r\nReturn-Path: body\r\n"


def test_a_message_without_return_path_comes_back_as_it_is() -> None:
    head = b"To: x\r\n\r\nReturn-Path: body\r\n"
    assert without_return_path(head) is head


def test_delivered_to_has_the_address_alone() -> None:
    assert delivered_to("bob@example.net") == b"Delivered-To: bob@example.net\r\n"
    assert delivered_to("bob\n@example.net") == b"Delivered-To: bob?@example.net\r\n"
