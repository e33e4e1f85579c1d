"""Authentication-Results fields are written so that nothing in them does harm."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from waymail.mail import headers
from waymail.senderauth.authres.grammar import AuthenticationResults, Method, arc_instance, parse, parse_arc
from waymail.senderauth.authres.writing import field

keywords = st.from_regex(r"[a-z]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True)
texts = st.text(max_size=40) | st.sampled_from(
    ['"a b"@example.org', "a@b", "@b.example", "a/b+c=", "2001:db8::1", "\r\nX: y", "é@ü"]
)
methods = st.builds(Method, keywords, keywords, texts, st.lists(st.tuples(keywords, keywords, texts), max_size=4).map(tuple))


def value_of(written: bytes) -> bytes:
    return written.partition(b":")[2]


def test_each_result_has_its_line() -> None:
    written = field(
        "mx.example.org",
        [
            Method("spf", "pass", "", (("smtp", "mailfrom", "example.com"),)),
            Method("dkim", "fail", "the body was changed", (("header", "d", "example.com"), ("header", "b", "Vg/3+a="))),
        ],
    )
    assert written == (
        b"Authentication-Results: mx.example.org;\r\n"
        b"    spf=pass smtp.mailfrom=example.com;\r\n"
        b'    dkim=fail reason="the body was changed" header.d=example.com\r\n'
        b'    header.b="Vg/3+a="\r\n'
    )


def test_without_results_it_says_none() -> None:
    assert field("mx.example.org", []) == b"Authentication-Results: mx.example.org;\r\n    none\r\n"


def test_an_arc_field_begins_with_its_instance() -> None:
    written = field("mx.example.org", [Method("arc", "none")], name=b"ARC-Authentication-Results", instance=2)
    assert written == b"ARC-Authentication-Results: i=2; mx.example.org;\r\n    arc=none\r\n"
    assert arc_instance(value_of(written)) == 2
    assert parse_arc(value_of(written)) == AuthenticationResults("mx.example.org", (Method("arc", "none"),))


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("a@example.org", b"a@example.org"),
        ("@example.org", b"@example.org"),
        ('"a b"@example.org', b'"a b"@example.org'),
        ("a b@example.org", b'"a b@example.org"'),
        ("a@b@example.org", b'"a@b@example.org"'),
        ("2001:db8::1", b'"2001:db8::1"'),
        ("", b'""'),
        ('say "so"\\', b'"say \\"so\\"\\\\"'),
        ("a\r\nSubject: forged", b'"a?Subject: forged"'),
        ("a\x00\x7f\x85b", b'"a?b"'),
        ("\u202eb", b'"?b"'),
        ("\udcff", b'"?"'),
        ("bücher.example", "bücher.example".encode()),
        ("für dich", '"für dich"'.encode()),
    ],
)
def test_a_value_is_quoted_where_it_must_be(text: str, written: bytes) -> None:
    assert field("x", [Method("spf", "pass", "", (("smtp", "mailfrom", text),))]) == (
        b"Authentication-Results: x;\r\n    spf=pass smtp.mailfrom=" + written + b"\r\n"
    )


def test_a_message_in_ascii_stays_in_ascii() -> None:
    written = field("x", [Method("spf", "pass", "", (("smtp", "mailfrom", "bücher.example"),))], is_utf8=False)
    assert written.isascii()
    assert parse(value_of(written)) is not None


@settings(max_examples=30)
@given(texts, st.lists(methods, max_size=4), st.booleans())
def test_whatever_the_values_are_one_field_comes_out(authserv_id: str, results: list[Method], is_utf8: bool) -> None:
    written = field(authserv_id, results, is_utf8=is_utf8)
    assert written.endswith(b"\r\n")
    assert [name for name, _ in headers.fields(written)] == [b"Authentication-Results"]
    assert not any(octet < 32 for octet in written.replace(b"\r\n ", b"").removesuffix(b"\r\n"))
    assert written.decode("utf-8" if is_utf8 else "ascii")


@settings(max_examples=30)
@given(texts, st.lists(methods, max_size=4))
def test_what_was_written_is_read_as_it_was_meant(authserv_id: str, results: list[Method]) -> None:
    first = parse(value_of(field(authserv_id, results)))
    assert first is not None
    assert [(it.method, it.result) for it in first.methods] == [(it.method, it.result) for it in results]
    assert parse(value_of(field(first.authserv_id, first.methods))) == first


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=300))
def test_printable_values_survive_octet_for_octet(text: str) -> None:
    method = Method("spf", "fail", text, (("smtp", "helo", text),))
    parsed = parse(value_of(field("x", [method])))
    assert parsed == AuthenticationResults("x", (method,))


@given(st.text(min_size=200, max_size=2000))
def test_no_line_is_too_long(text: str) -> None:
    written = field(text, [Method("spf", "fail", text, (("smtp", "mailfrom", text),))] * 3)
    assert max(len(line) for line in written.split(b"\r\n")) <= 998


def test_lines_are_folded_at_78_where_words_are_short_enough() -> None:
    properties = tuple(("policy", f"p{number}", "x" * (number % 9)) for number in range(100))
    written = field("mx.example.org", [Method("spf", "pass", "", properties)])
    assert max(len(line) for line in written.split(b"\r\n")) <= 78
    parsed = parse(value_of(written))
    assert parsed is not None
    assert parsed.methods[0].properties == properties
