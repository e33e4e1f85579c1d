"""What MIME's header fields say."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waymail.mail.mime_fields import Fields, read

garbage = st.lists(
    st.sampled_from(
        (
            *(
                b"Content-Type:",
                b"multipart/mixed",
                b";",
                b"boundary",
                b"*0",
                b"*",
                b"=",
                b'"',
                b"\\",
                b"\r\n",
                b" ",
                b"'",
                b"%f",
            ),
            *(b"Content-Transfer-Encoding:", b"\xff", b"\n", b"\r", b"a", b"/", b":", b"("),
        )
    )
).map(b"".join)


def test_without_fields_the_defaults_hold() -> None:
    assert read(b"Subject: Content-Type: text/html\r\n") == Fields()


def test_names_and_values_are_read_in_any_case_and_over_folds() -> None:
    section = (
        b"content-TYPE:\r\n Multipart/MIXED;\r\n\tBOUNDARY=b\r\nContent-Transfer-Encoding: (c)\r\n 8BIT\r\nMIME-Version: 1.0\r\n"
    )
    fields = read(section)
    assert (fields.media_type, fields.boundary, fields.encoding) == ("multipart/mixed", b"b", "8bit")
    assert fields.has_version
    assert fields.encoding_at is not None
    assert section[slice(*fields.encoding_at)] == b" (c)\r\n 8BIT"


@pytest.mark.parametrize(
    ("parameters", "boundary"),
    [
        (b"; boundary=simple", b"simple"),
        (b'; boundary="with space; and semicolon"', b"with space; and semicolon"),
        (b'; boundary="quoted\\"pair"', b'quoted"pair'),
        (b"; boundary=gc0pJq0M:08jU534c0p", b"gc0pJq0M:08jU534c0p"),
        (b"; boundary==_1=2", b"=_1=2"),
        (b"; charset=x; boundary = b (comment); y=z", b"b"),
        (b'; name="; boundary=no"; boundary=yes', b"yes"),
        (b'; boundary="trailing  "', b"trailing"),
        (b";; boundary=b", b"b"),
        (b"; boundary*=us-ascii'en'a%20b", b"a b"),
        (b'; boundary*0=a; boundary*1="b c"', b"ab c"),
        (b"; boundary*0*=us-ascii''a%3D; boundary*1*=%3Db", b"a==b"),
        (b'; boundary="unterminated', b"unterminated"),
        (b"", None),
        (b'; boundary=""', None),
        (b"; boundary*=utf-8''%C3%A9", None),
        (b"; boundary=" + b"b" * 201, None),
    ],
)
def test_the_boundary_is_read_in_every_form(parameters: bytes, boundary: bytes | None) -> None:
    fields = read(b"Content-Type: multipart/mixed%b\r\n" % parameters)
    assert (fields.media_type, fields.boundary, fields.doubt) == ("multipart/mixed", boundary, "")


def test_a_type_without_subtype_is_plain_text() -> None:
    assert read(b"Content-Type: text\r\n") == Fields(media_type="text/plain")


@pytest.mark.parametrize(
    "section",
    [
        b"Content-Type: text/plain\r\nContent-Type: text/html\r\n",
        b"Content-Transfer-Encoding: 8bit\r\nContent-Transfer-Encoding: base64\r\n",
        b"Content-Type: multipart/mixed; boundary=a; boundary=b\r\n",
        b"Content-Type: multipart/mixed; boundary=a; boundary*=us-ascii''b\r\n",
        b"Content-Type: (c) multipart/mixed; boundary=a\r\n",
        b"Content-Type: text/plain charset=utf-8\r\n",
        b"Content-Type: text/plain" + b";a=b" * 5000 + b"\r\n",
        b"From somebody\r\nContent-Type: text/plain\r\n",
        b" folded: first\r\n",
    ],
)
def test_what_readers_may_disagree_about_is_in_doubt(section: bytes) -> None:
    assert read(section).doubt


@pytest.mark.parametrize("name", [b"DKIM-Signature", b"ARC-Message-Signature"])
def test_a_signature_over_the_body_is_seen(name: bytes) -> None:
    assert read(name + b": v=1\r\n").is_signed
    assert not read(b"X-" + name + b": v=1\r\n").is_signed


@given(garbage)
def test_no_section_raises_and_the_place_of_the_encoding_is_in_it(section: bytes) -> None:
    fields = read(section)
    if fields.encoding_at is not None:
        start, end = fields.encoding_at
        assert 0 < start <= end <= len(section)
        assert section[start - 1 : start] == b":"
