"""The byte-exact view of a header section."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waymail.mail import headers

CORPUS = sorted((Path(__file__).parents[1] / "suites/mail").glob("*.eml"))
SECTION = (
    b"Received: from a\r\n\tby b; today\r\n"
    b"received: from c\r\n"
    b"X-Received: no\r\n"
    b"Received-SPF: pass\r\n"
    b"Subject: Received: not a field\r\n received: nor this\r\n"
    b"RECEIVED \t: obsolete\r\n"
    b"Message-ID:\r\n <1@example.org>\r\n"
)
# Octets of which header sections are made, so that hypothesis meets the edges often.
garbage = st.lists(st.sampled_from([b"\r\n", b"\r", b"\n", b":", b" ", b"\t", b"a", b"A", b"bcc", b"\x00", b"\xff"])).map(
    b"".join
)
names = st.sampled_from([b"a", b"bcc", b"received"])


def wire(path: Path) -> bytes:
    return path.read_bytes().replace(b"\n", b"\r\n")


def test_the_section_ends_before_the_empty_line() -> None:
    assert headers.header_section(b"A: 1\r\nB: 2\r\n\r\nbody\r\n\r\n") == b"A: 1\r\nB: 2\r\n"


def test_a_message_that_begins_with_the_empty_line_has_no_fields() -> None:
    assert headers.header_section(b"\r\nA: 1\r\n\r\n") == b""


def test_all_is_section_where_no_empty_line_is_seen() -> None:
    assert headers.header_section(b"A: 1\r\nB") == b"A: 1\r\nB"


def test_a_bare_line_feed_ends_no_section() -> None:
    assert headers.header_section(b"A: 1\n\nB: 2\r\n\r\n") == b"A: 1\n\nB: 2\r\n"


def test_fields_come_with_name_as_spelled_and_raw_value() -> None:
    assert list(headers.fields(b"To : x\r\n\ty\r\njunk\r\n more junk\r\nb@d name: 1\r\nSubject:\r\n")) == [
        (b"To", b" x\r\n\ty"),
        (b"Subject", b""),
    ]


def test_fields_are_counted_in_any_case_and_only_by_their_whole_name() -> None:
    assert headers.count(SECTION, b"received") == 3
    assert headers.count(SECTION, b"received-spf") == 1
    assert headers.count(SECTION, b"bcc") == 0


def test_the_first_field_is_found_with_its_folds() -> None:
    assert headers.first(SECTION, b"received") == b" from a\r\n\tby b; today"
    assert headers.first(SECTION, b"message-id") == b"\r\n <1@example.org>"
    assert headers.first(SECTION, b"bcc") is None


def test_an_empty_value_is_not_an_absent_field() -> None:
    assert headers.first(b"Bcc:\r\nTo: x\r\n", b"bcc") == b""
    assert headers.has(b"Bcc:\r\nTo: x\r\n", b"bcc")


def test_text_is_unfolded_and_stripped() -> None:
    assert headers.text(SECTION, b"message-id") == "<1@example.org>"
    assert headers.text(SECTION, b"subject") == "Received: not a field received: nor this"
    assert headers.text(SECTION, b"bcc") == ""
    assert headers.text(b"Subject: \xff\r\n", b"subject") == "\ufffd"


def test_without_cuts_out_every_such_field_and_nothing_else() -> None:
    section = b"Bcc: a\r\n b\r\nTo: x\r\nBCC : c\r\nbcc: d\r\nSubject: bcc: e\r\n bcc: f\r\nbcc: end"
    assert headers.without(section, b"bcc") == b"To: x\r\nSubject: bcc: e\r\n bcc: f\r\n"


def test_without_gives_back_the_same_octets_where_nothing_is_cut() -> None:
    assert headers.without(SECTION, b"bcc") is SECTION


def test_a_first_line_that_is_no_field_is_known() -> None:
    assert headers.starts_with_field(b"Subject : x")
    assert not headers.starts_with_field(b"Hello there: x")
    assert not headers.starts_with_field(b" folded: x")
    assert not headers.starts_with_field(b": x")
    assert not headers.starts_with_field(b"")


def test_a_date_is_in_universal_time_with_a_numeric_zone() -> None:
    assert headers.date_time(1_800_000_000.9) == "Fri, 15 Jan 2027 08:00:00 +0000"


def test_a_message_id_is_made_of_its_left_part_or_taken_whole() -> None:
    assert headers.message_id("1", "example.org") == "<1@example.org>"
    assert headers.message_id("<1@example.com>", "example.org") == "<1@example.com>"


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.stem)
def test_the_fields_of_real_mail_join_to_the_same_octets(path: Path) -> None:
    message = wire(path)
    section = headers.header_section(message)
    found = list(headers.fields(section))
    assert b"".join(name + b":" + value + b"\r\n" for name, value in found) == section
    assert message[len(section) :].startswith(b"\r\n")
    for name in {name.lower() for name, _ in found}:
        values = [value for spelled, value in found if spelled.lower() == name]
        assert headers.count(section, name) == len(values)
        assert headers.first(section, name) == values[0]
        cut = headers.without(section, name)
        assert list(headers.fields(cut)) == [field for field in found if field[0].lower() != name]


@given(garbage, names)
def test_no_octets_make_it_raise_and_all_views_agree(section: bytes, name: bytes) -> None:
    values = [value for spelled, value in headers.fields(section) if spelled.lower() == name]
    value = headers.first(section, name)
    assert headers.has(section, name) == (value is not None) == (headers.count(section, name) > 0) == bool(values)
    assert headers.count(section, name) == len(values)
    assert value == (values[0] if values else None)
    assert not headers.has(headers.without(section, name), name)
    headers.text(section, name)


@given(st.binary())
def test_the_section_is_always_a_beginning_of_the_message(message: bytes) -> None:
    section = headers.header_section(message)
    assert message.startswith(section)
    assert b"\r\n\r\n" not in section
