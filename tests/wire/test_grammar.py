"""The grammar of arguments (RFC 5321 §4.1.2, §4.1.3, §4.5.3.1)."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waymail.wire import grammar
from waymail.wire.errors import SyntaxProblem

LABEL = "a" * 63
MAILBOXES = [
    "a@b",
    "ann@example.org",
    "Ann.Lee+x@Example.ORG",
    "!#$%&'*+-/=?^_`{|}~@example.org",
    "1@2.3",
    '"a b"@example.org',
    '""@example.org',
    r'"a\"b\\c\@"@example.org',
    '"a@b"@example.org',
    "a@[192.0.2.1]",
    "a@[IPv6:2001:db8::1]",
    "a@[ipv6:::]",
    "a@[IPv6:::ffff:192.0.2.1]",
    "a@[x400:c=us]",
    "a@a-b.c--d",
    f"{'a' * 64}@example.org",
    f"a@{LABEL}.org",
    f"a@{'.'.join(['a' * 60] * 4)}",
    '"é"@c',
    "é@c",
    "a@é",
    "用户@例え.example",
    "é@[192.0.2.1]",
    "a.é@xn--bcher-kva.example",
    f"{'é' * 32}@c",
]
NO_MAILBOXES = [
    "",
    "a",
    "@b",
    "a@",
    "a@b@c",
    ".a@b",
    "a.@b",
    "a..b@c",
    "a b@c",
    "a@b c",
    "a@-b",
    "a@b-",
    "a@b..c",
    "a@.b",
    "a@b.",
    "a@b_c",
    '"a@b',
    '"a"b@c',
    '"a\nb"@c',
    "a@é..c",
    "é\u0085@c",
    "a@é_c",
    '"é\n"@c',
    "é@[é]",
    "\ud800@c",
    "a@[192.0.2.256]",
    "a@[192.0.2]",
    "a@[192.0.2.01]",
    "a@[IPv6:2001:db8::1%eth0]",
    "a@[IPv6:1:2]",
    "a@[]",
    "a@[x-:y]",
    "a@[x:]",
    "a@[x:y[z]",
    "a@[192.0.2.1",
    "a@b\r\n",
    "a@b\n",
    f"{'a' * 65}@example.org",
    f"a@{LABEL}a.org",
    f"a@{'.'.join(['a' * 62] * 4)}.org",
]


@pytest.mark.parametrize("text", MAILBOXES)
def test_a_mailbox_is_accepted(text: str) -> None:
    assert grammar.is_mailbox(text)
    assert grammar.parse_path(b"<%s>" % text.encode()) == text


@pytest.mark.parametrize("text", NO_MAILBOXES)
def test_what_is_no_mailbox_is_refused(text: str) -> None:
    assert not grammar.is_mailbox(text)


@pytest.mark.parametrize("text", [text for text in NO_MAILBOXES if text])
def test_a_path_without_a_mailbox_is_refused_with_501_or_for_ill_formed_utf8_with_553(text: str) -> None:
    octets = text.encode("utf-8", "surrogatepass")
    with pytest.raises(SyntaxProblem) as caught:
        grammar.parse_path(b"<%s>" % octets)
    reply = caught.value.reply
    assert (reply.code, reply.enhanced) == ((553, "5.6.7") if "\ud800" in text else (501, "5.1.7"))


def test_the_null_path_is_a_reverse_path_and_no_forward_path() -> None:
    assert grammar.parse_path(b"<>") == ""
    with pytest.raises(SyntaxProblem):
        grammar.parse_forward_path(b"<>")


@pytest.mark.parametrize("path", [b"<postmaster>", b"<Postmaster>", b"<POSTMASTER>"])
def test_postmaster_without_a_domain_is_a_forward_path_in_any_case(path: bytes) -> None:
    assert grammar.parse_forward_path(path) == path[1:-1].decode()
    with pytest.raises(SyntaxProblem):
        grammar.parse_path(path)


def test_a_source_route_is_parsed_and_dropped() -> None:
    assert grammar.parse_forward_path(b"<@a.example,@b.example:ann@example.org>") == "ann@example.org"
    for broken in (
        b"<@a.example>",
        b"<@a.example:>",
        b"<@a.example,:a@b>",
        b"<@a_b:a@b>",
        b"<a.example:a@b>",
        b"<@[192.0.2.1]:a@b>",
    ):
        with pytest.raises(SyntaxProblem):
            grammar.parse_forward_path(broken)


def test_a_long_source_route_that_leads_nowhere_is_refused_at_once() -> None:
    began = time.process_time()
    with pytest.raises(SyntaxProblem):
        grammar.parse_forward_path(b"<" + b",".join([b"@a"] * 25) + b">")  # it took seconds, and twice as long with each hop
    assert time.process_time() - began < 0.5


def test_a_path_of_256_octets_is_accepted_and_one_of_257_is_refused() -> None:
    local = "a" * 64
    domain = ".".join(["b" * 62] * 3)  # 188 octets; with the local part, "@", "<" and ">" 255
    assert grammar.parse_path(f"<{local}@{domain}c>".encode()) == f"{local}@{domain}c"
    with pytest.raises(SyntaxProblem):
        grammar.parse_path(f"<{local}@{domain}.c>".encode())


def test_a_source_route_counts_towards_the_length_of_a_path() -> None:
    route = f"@{'.'.join(['c' * 60] * 4)}:"
    with pytest.raises(SyntaxProblem, match="too long"):
        grammar.parse_path(f"<{route}ann@example.org>".encode())


def test_a_domain_of_255_octets_is_accepted_and_one_of_256_is_not() -> None:
    domain = ".".join(["a" * 63] * 4)
    assert len(domain) == 255
    assert grammar.is_domain(domain)
    assert not grammar.is_domain(f"{domain[:-2]}.aa")


@pytest.mark.parametrize("name", ["example.org", "host", "my_pc", "example.org.", "[192.0.2.1]", "[IPv6:::1]", "a-b", "_dmarc.x"])
def test_a_hello_name_is_accepted(name: str) -> None:
    assert grammar.is_hello_name(name)


@pytest.mark.parametrize(
    "name", ["", "-", ".", "a b", "é", "[192.0.2.1", "192.0.2.1]", "[]", "a\0b", "a(b", "a" * 256, "a@b", "<a>"]
)
def test_what_is_no_hello_name_is_refused(name: str) -> None:
    assert not grammar.is_hello_name(name)


def test_parameters_have_their_keywords_in_upper_case_and_their_values_as_sent() -> None:
    assert grammar.parse_parameters(b"size=10 BODY=8bitmime X-1") == {"SIZE": "10", "BODY": "8bitmime", "X-1": None}


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"=1",
        b"SIZE=",
        b"SIZE=1  BODY=7BIT",
        b"-A",
        b"A=b=c",
        b"A=\xc3",
        b"A=\xc2\x85",
        b"A\xc3\xa9",
        b"A=\x01",
        b"A=1 ",
        b"a_b",
    ],
)
def test_malformed_parameters_are_refused_with_501(octets: bytes) -> None:
    with pytest.raises(SyntaxProblem) as caught:
        grammar.parse_parameters(octets)
    assert (caught.value.reply.code, caught.value.reply.enhanced) == (501, "5.5.4")


def test_a_parameter_that_comes_twice_is_refused_with_501() -> None:
    with pytest.raises(SyntaxProblem) as caught:
        grammar.parse_parameters(b"SIZE=1 size=1")
    assert caught.value.reply.code == 501


@given(st.text(st.characters(max_codepoint=127), max_size=20))
def test_xtext_decodes_to_what_was_encoded(text: str) -> None:
    encoded = grammar.encode_xtext(text)
    assert grammar.PARAMETER.fullmatch(f"A={encoded}") is not None or not text
    assert grammar.decode_xtext(encoded) == text


@pytest.mark.parametrize("text", ["a=b", "+", "+2", "+2b", "+GG", "a b", "é"])
def test_what_is_no_xtext_is_refused(text: str) -> None:
    with pytest.raises(SyntaxProblem):
        grammar.decode_xtext(text)


@pytest.mark.parametrize(
    ("xtext", "text"),
    [("", ""), ("+2B+3D", "+="), ("a+20b", "a b"), ("+41", "A"), ("+00", "\0"), ("+C3+A9", "é"), ("+7E~", "~~")],
)
def test_xtext_stands_for_octets(xtext: str, text: str) -> None:
    assert grammar.decode_xtext(xtext) == text


@pytest.mark.parametrize("xtext", ["+E9", "+C0+AF", "+ED+A0+80", "+C3", "+C3x", "+80"])
def test_xtext_that_stands_for_ill_formed_utf8_is_refused(xtext: str) -> None:
    with pytest.raises(SyntaxProblem):
        grammar.decode_xtext(xtext)


def test_xtext_is_made_of_ascii_only() -> None:
    with pytest.raises(ValueError, match="ASCII"):
        grammar.encode_xtext("é")
    assert grammar.encode_xtext("a+b=c d\r\n\0~!") == "a+2Bb+3Dc+20d+0D+0A+00~!"


def test_a_parameter_beyond_ascii_is_grammatical() -> None:
    assert grammar.parse_parameters("A=é".encode()) == {"A": "é"}


@given(st.binary(max_size=60))
def test_no_octets_make_the_grammar_raise_anything_but_a_syntax_problem(octets: bytes) -> None:
    for parse in (grammar.parse_path, grammar.parse_forward_path, grammar.parse_parameters):
        for argument in (octets, b"<" + octets + b">"):
            try:
                found = parse(argument)
            except SyntaxProblem:
                continue
            if isinstance(found, str):
                assert found == "" or found.lower() == "postmaster" or grammar.is_mailbox(found)
            else:
                assert found
                assert all(keyword == keyword.upper() for keyword in found)


def test_an_address_made_to_backtrack_costs_no_time() -> None:
    for text in (
        "a." * 50_000 + "@",
        "a" * 100_000,
        '"' + "\\a" * 50_000,
        "a@" + "b-" * 50_000,
        "a@[x:" + "y" * 100_000,
        "@a," * 30_000,
        "é." * 50_000 + "@",
        '"' + "é" * 100_000,
        "a@é" + "b-" * 50_000,
        "@é," * 30_000,
    ):
        assert not grammar.is_mailbox(text)
