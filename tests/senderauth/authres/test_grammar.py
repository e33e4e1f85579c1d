"""Authentication-Results fields are read by the grammar of RFC 8601 §2.2."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waymail.senderauth.authres.grammar import (
    LONGEST,
    AuthenticationResults,
    Method,
    arc_instance,
    parse,
    parse_arc,
    without_comments,
)


def spf(value: str, result: str = "pass") -> Method:
    return Method("spf", result, "", (("smtp", "mailfrom", value),))


# RFC 8601 Appendix B.2 to B.7
EXAMPLES = {
    b" example.org 1; none": AuthenticationResults("example.org"),
    b" example.com;\r\n          spf=pass smtp.mailfrom=example.net": AuthenticationResults("example.com", (spf("example.net"),)),
    b" example.com;\r\n    auth=pass (cram-md5) smtp.auth=sender@example.net;\r\n    spf=pass smtp.mailfrom=example.net": (
        AuthenticationResults(
            "example.com", (Method("auth", "pass", "", (("smtp", "auth", "sender@example.net"),)), spf("example.net"))
        )
    ),
    b" example.com; iprev=pass\r\n          policy.iprev=192.0.2.200": AuthenticationResults(
        "example.com", (Method("iprev", "pass", "", (("policy", "iprev", "192.0.2.200"),)),)
    ),
    b' example.com;\r\n  dkim=pass reason="good signature"\r\n    header.i=@mail-router.example.net;\r\n'
    b'  dkim=fail reason="bad signature"\r\n    header.i=@newyork.example.com': AuthenticationResults(
        "example.com",
        (
            Method("dkim", "pass", "good signature", (("header", "i", "@mail-router.example.net"),)),
            Method("dkim", "fail", "bad signature", (("header", "i", "@newyork.example.com"),)),
        ),
    ),
    b" foo.example.net (foobar) 1 (baz);\r\n    dkim (Because I like it) / 1 (One yay) = (wait for it) fail\r\n"
    b"      policy (A dot can go here) . (like that) expired\r\n"
    b"      (this surprised me) = (as I wasn't expecting it) 1362471462": AuthenticationResults(
        "foo.example.net", (Method("dkim", "fail", "", (("policy", "expired", "1362471462"),)),)
    ),
}


@pytest.mark.parametrize("raw", EXAMPLES)
def test_the_examples_of_the_rfc_are_read(raw: bytes) -> None:
    assert parse(raw) == EXAMPLES[raw]


def test_what_big_providers_write_is_read() -> None:
    google = (
        b" mx.google.com;\r\n       dkim=pass header.i=@example.org header.s=s1 header.b=Vg/3+a=;\r\n"
        b"       spf=pass (google.com: domain of a@example.org designates 2001:db8::1 as permitted sender)"
        b" smtp.mailfrom=a@example.org;\r\n"
        b"       dmarc=pass (p=REJECT sp=REJECT dis=NONE) header.from=example.org"
    )
    microsoft = (
        b" mx.microsoft.com 1; spf=none; dmarc=none\r\n action=none header.from=example.org;"
        b" dkim=none (message not signed);\r\n arc=none;"
    )
    assert parse(google) == AuthenticationResults(
        "mx.google.com",
        (
            Method("dkim", "pass", "", (("header", "i", "@example.org"), ("header", "s", "s1"), ("header", "b", "Vg/3+a="))),
            spf("a@example.org"),
            Method("dmarc", "pass", "", (("header", "from", "example.org"),)),
        ),
    )
    assert parse(microsoft) == AuthenticationResults(
        "mx.microsoft.com",
        (
            Method("spf", "none"),
            Method("dmarc", "none", "", (("header", "from", "example.org"),)),
            Method("dkim", "none"),
            Method("arc", "none"),
        ),
    )


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("example.org", "example.org"),
        ("a@example.org", "a@example.org"),
        ("@example.org", "@example.org"),
        ('"a b"@example.org', '"a b"@example.org'),
        ('"a;b" (c) @ (d) example.org', '"a;b"@example.org'),
        ("a (c) @ example.org", "a@example.org"),
        ("a@ example.org", "a@example.org"),
        ('"a \\"quoted\\" b"', 'a "quoted" b'),
        ('""', ""),
        ("2001:db8::1", "2001:db8::1"),
        ("bücher@bücher.example", "bücher@bücher.example"),
    ],
)
def test_the_value_of_a_property_is_a_value_or_an_address(written: str, meant: str) -> None:
    assert parse(f"x; spf=pass smtp.mailfrom={written} smtp.helo=y".encode()) == AuthenticationResults(
        "x", (Method("spf", "pass", "", (("smtp", "mailfrom", meant), ("smtp", "helo", "y"))),)
    )


def test_an_authserv_id_may_be_quoted_and_of_letters_beyond_ascii() -> None:
    assert parse(b'"mx \\"1\\"" 1; none') == AuthenticationResults('mx "1"')
    assert parse("bücher.example; none".encode()) == AuthenticationResults("bücher.example")


def test_names_are_read_in_any_case() -> None:
    assert parse(b"x; SPF=Pass SMTP.MailFrom=A@b.example") == AuthenticationResults("x", (spf("A@b.example"),))


def test_after_an_unknown_version_nothing_is_read() -> None:
    assert parse(b"x 2; spf=pass and all that") == AuthenticationResults("x", (), 2)


def test_a_method_of_an_unknown_version_is_left_out() -> None:
    assert parse(b"x; dkim/2=pass; spf/1=pass smtp.mailfrom=y") == AuthenticationResults("x", (spf("y"),))


def test_a_method_may_be_called_none() -> None:
    assert parse(b"x; none=pass") == AuthenticationResults("x", (Method("none", "pass"),))


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"example.org",
        b"example.org;",
        b"example.org; none; spf=pass",
        b"example.org spf=pass",
        b"example.org 1234567890; none",
        b"example.org; spf",
        b"example.org; spf=",
        b"example.org; spf/=pass",
        b"example.org; -spf=pass",
        b"example.org; spf=pass smtp",
        b"example.org; spf=pass smtp.mailfrom",
        b"example.org; spf=pass smtp.mailfrom=",
        b"example.org; spf=pass smtp.mailfrom=a@",
        b"example.org; spf=pass reason",
        b"example.org; spf=pass, dkim=pass",
        b"example.org; spf=pass (never closed",
        b"example.org; spf=pass (ends with a backslash\\",
        b'"never closed; none',
        b"spf=pass (sender IP is 192.0.2.1) smtp.mailfrom=example.org",
        b"\x00; none",
    ],
)
def test_what_the_grammar_does_not_allow_is_none(raw: bytes) -> None:
    assert parse(raw) is None


def test_an_arc_field_has_an_instance_in_front() -> None:
    raw = b" i=1; lists.example.org;\r\n spf=pass smtp.mailfrom=y"
    assert arc_instance(raw) == 1
    assert parse_arc(raw) == AuthenticationResults("lists.example.org", (spf("y"),))
    raw = b"(c) i (c) = (c) 12 (c) ; x; none"
    assert (arc_instance(raw), parse_arc(raw)) == (12, AuthenticationResults("x"))


def test_an_arc_field_whose_results_cannot_be_read_still_has_its_instance() -> None:
    assert (arc_instance(b"i=3; spf=pass (no id)"), parse_arc(b"i=3; spf=pass (no id)")) == (3, None)


@pytest.mark.parametrize("raw", [b"", b"x; none", b"I=1; x; none", b"i=; x; none", b"i=123; x; none", b"i=1 x; none", b"i=-1; x"])
def test_an_arc_field_without_an_instance_is_none(raw: bytes) -> None:
    assert (arc_instance(raw), parse_arc(raw)) == (None, None)


def test_comments_are_taken_out_unless_something_is_never_closed() -> None:
    assert without_comments(b'a(b(c)\\))"(d)"e') == 'a"(d)"e'
    assert without_comments(b"a(b)c(d(e)") == "ac(d(e)"
    assert without_comments(b'a(b)c"d(e)') == 'ac"d(e)'


@given(st.lists(st.sampled_from([*'();"\\=./@ \t\r\ni1a-', "spf", "none", "reason", "smtp.helo", "é", "\x00"])).map("".join))
def test_no_garbage_raises(text: str) -> None:
    parse(text.encode())
    parse_arc(text.encode())
    without_comments(text.encode())


@given(st.binary())
def test_no_octets_raise(raw: bytes) -> None:
    for found in (parse(raw), parse_arc(raw)):
        assert found is None or found.authserv_id


@pytest.mark.parametrize("piece", [b"(", b"()", b'"\\', b'"\\"', b"\\", b"x; spf=pass ", b"a-", b"@", b"i=1;", b"1"])
def test_the_longest_value_is_read_in_time(piece: bytes) -> None:
    raw = b"x; spf=" + piece * ((LONGEST - 7) // len(piece))
    start = time.process_time()
    parse(raw)
    without_comments(raw)
    assert time.process_time() - start < 2


def test_a_value_that_is_too_long_is_none() -> None:
    assert parse(b"x; none" + b" " * LONGEST) is None
    assert parse_arc(b"i=1; x; none" + b" " * LONGEST) is None
    assert arc_instance(b"i=1; x; none" + b" " * LONGEST) is None
