"""The Author Domain read from header sections (RFC 9989 §5.3.1)."""

from __future__ import annotations

from email import policy
from email.parser import BytesParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waymail.mail import headers
from waymail.senderauth.dmarc import author
from waymail.senderauth.dmarc.author import AuthorDomain, author_domain

MAIL = Path(__file__).resolve().parents[2] / "suites/mail"


def of(value: str) -> AuthorDomain:
    return author_domain(
        b"To: x@other.example\r\nFrom:" + value.encode("utf-8", "surrogateescape") + b"\r\nSubject: a@b.example\r\n"
    )


@pytest.mark.parametrize(
    ("value", "domain"),
    [
        (" a@example.org", "example.org"),
        (" A <a@Example.ORG>", "example.org"),
        (" <a@example.org>", "example.org"),
        (" a@example.org.", "example.org"),
        # Names that look like addresses.
        (' "ceo@bank.example" <x@evil.example>', "evil.example"),
        (r' "\"ceo@bank.example\" <y@bank.example>" <x@evil.example>', "evil.example"),
        (" =?utf-8?q?ceo=40bank.example?= <x@evil.example>", "evil.example"),
        (" ceo (y@bank.example (and <z@bank.example>)) <x@evil.example> (w@bank.example)", "evil.example"),
        (r" (\) y@bank.example \() x@evil.example", "evil.example"),
        (' "<y@bank.example>"@evil.example', "evil.example"),
        (" [y@bank.example] <x@evil.example>", "evil.example"),
        # The same domain in both places misleads nobody.
        (" x@example.org <x@example.org>", "example.org"),
        # Obsolete forms (RFC 5322 §4.4).
        (" <@bank.example:x@evil.example>", "evil.example"),
        (" <@bank.example,@[192.0.2.1] , @b.example (c) :x@evil.example>", "evil.example"),
        (" a (c) . b @ example (c) . (d) org", "example.org"),
        (" John Q. Public <a@example.org>", "example.org"),
        # Local parts that only some programs write.
        (" a.@example.org", "example.org"),
        (" .a..b@example.org", "example.org"),
        # Several addresses of one domain, and what names no domain.
        (" a@example.org, B <b@EXAMPLE.org>,", "example.org"),
        (" Doe, John <john@example.org>", "example.org"),
        (" a@example.org;", "example.org"),
        (" Staff: a@example.org, b@example.org;", "example.org"),
        # Folds, and 8-bit text in names.
        ("\r\n\tA\r\n <a@example\r\n .org>", "example.org"),
        (" J\udce9r\udcf4me <a@example.org>", "example.org"),
        (" 用户 <用户@例子.广告>", "xn--fsqu00a.xn--4rr70v"),
        (" a@例子。广告", "xn--fsqu00a.xn--4rr70v"),
        (" a@BÜCHER.example, b@xn--bcher-kva.example", "xn--bcher-kva.example"),
        (" a@localhost", "localhost"),
    ],
)
def test_the_domain_of_the_author_is_found(value: str, domain: str) -> None:
    assert of(value) == AuthorDomain(domain, "", (domain,))


@pytest.mark.parametrize(
    ("value", "domains"),
    [
        (" a@one.example, b@two.example", ("one.example", "two.example")),
        (" ceo@bank.example <x@evil.example>", ("bank.example", "evil.example")),
        (" <a@one.example> <b@two.example>", ("one.example", "two.example")),
        (" Staff: a@one.example, b@two.example;, c@three.example", ("one.example", "two.example", "three.example")),
    ],
)
def test_a_field_with_several_domains_gives_none_and_says_which(value: str, domains: tuple[str, ...]) -> None:
    assert of(value) == AuthorDomain("", f"the From field names {len(domains)} domains", domains)


def test_of_many_domains_some_are_told() -> None:
    found = of(",".join(f"a@d{number}.example" for number in range(500)))
    assert (found.domain, found.reason, len(found.domains)) == ("", "the From field names 500 domains", 10)
    assert found.is_crowded


def test_what_stands_beyond_the_longest_field_may_be_a_domain_too() -> None:
    found = of(f"a@one.example {'x' * 64 * 1024}")
    assert (found.domains, found.is_crowded) == (("one.example",), True)


def test_a_domain_with_nul_in_it_is_read_as_by_those_who_drop_it_and_by_those_who_end_there() -> None:
    found = of("ceo@bank\0.example")
    assert (found.domain, found.domains, found.is_crowded) == ("", ("bank", "bank.example"), False)


@pytest.mark.parametrize(
    "value", ["", " ", " root", " Robot:;", " <>", ' "a@bank.example"', " =?utf-8?q?a=40bank.example?=", " (a@b.example)"]
)
def test_a_field_without_an_address_gives_none(value: str) -> None:
    found = of(value)
    assert (found.domain, found.reason) == ("", "the From field has no address with a domain")


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (' "a <x@evil.example>', "'\"' where it cannot be, or without its counterpart"),
        (" a <x@evil.example> \\", r"'\\' where it cannot be, or without its counterpart"),
        (r" \"a@bank.example\" <x@evil.example>", r"'\\' where it cannot be, or without its counterpart"),
        (" [a <x@evil.example>", "'[' where it cannot be, or without its counterpart"),
        (" a) <x@evil.example>", "')' where it cannot be, or without its counterpart"),
        (" a\x00 <x@evil.example>", r"'\x00' where it cannot be, or without its counterpart"),
        (" (a <x@evil.example>", "a comment that is not closed"),
        (" ((a) <x@evil.example>", "a comment that is not closed"),
        (" <x@evil.example", "an angle bracket that is not closed"),
        (" <", "an angle bracket that is not closed"),
        (" x@evil.example>", "something behind the domain of an address"),
        (" a>", "an angle bracket that was not opened"),
        (" a <b <x@evil.example>>", "an angle bracket within angle brackets"),
        (" <a, b@evil.example>", ", within angle brackets"),
        (" <a@bank.example, b@evil.example>", "something behind the domain of an address"),
        (" <a@bank.example b@evil.example>", "something behind the domain of an address"),
        (" a@bank.example b@evil.example", "something behind the domain of an address"),
        (" a@bank.example@evil.example", "something behind the domain of an address"),
        (' a@bank.example"x"', "something behind the domain of an address"),
        (" a@bank.example evil.example", "something behind the domain of an address"),
        (" a@bank..example", "something behind the domain of an address"),
        (" a@bank.example: x@bank.example;", "something behind the domain of an address"),
        (" a@bank.example..", "something behind the domain of an address"),
        (" @evil.example", "an @ without a local part"),
        (" <a>@evil.example", "an @ without a local part"),
        (" a,@evil.example", "an @ without a local part"),
        (" a@", "'' is no domain"),
        (" a@ <x@evil.example>", "'' is no domain"),
        (' a@"evil.example"', "'' is no domain"),
        (" a@.example", "'' is no domain"),
        (" a@[192.0.2.1]", "'[192.0.2.1]' is no domain"),
        (" a@exa_mple!.org", "'exa_mple!.org' is no domain"),
        (" a@=?utf-8?q?evil.example?=", "'=?utf-8?q?evil.example?=' is no domain"),
        (" a@ex\udce9mple.org", r"'ex\udce9mple.org' is no domain"),
        (" a@" + "x" * 64 + ".example", "'" + "x" * 64 + ".example' is no domain"),
        (" <@evil.example>", "a route without an address"),
        (" <@bank.example", "a route without an address"),
        (" <@a.example:@b.example:x@evil.example>", "an @ without a local part"),
    ],
)
def test_a_field_that_may_be_read_in_two_ways_gives_none_and_says_why(value: str, why: str) -> None:
    found = of(value)
    assert (found.domain, found.reason) == ("", f"the From field gives no domain: {why}")


@pytest.mark.parametrize(
    ("value", "domains"),
    [
        (' "ceo@bank.example"', ("bank.example",)),
        (" (ceo@bank.example)", ("bank.example",)),
        (' "ceo@Bank.example" <x@evil.example', ("bank.example", "evil.example")),
        (" 'ceo@bank.example' <x@evil.example>", ("bank.example", "evil.example")),
        (" ceo@ bank.example. <x@[192.0.2.1]>", ("bank.example",)),
        (" ceo@bank.example x@!!! x@b\udcff.example @", ("bank.example",)),
        (" ceo@bücher.example\\,x@xn--bcher-kva.example", ("xn--bcher-kva.example",)),
        (" ((" + ",".join(f"a@d{number}.example" for number in range(500)), tuple(f"d{number}.example" for number in range(10))),
        (" ceo@bank.example" + " " * 70_000, ("bank.example",)),
    ],
)
def test_a_field_that_gives_no_domain_is_still_searched_for_those_that_a_reader_may_be_shown(
    value: str, domains: tuple[str, ...]
) -> None:
    found = of(value)
    assert (found.domain, found.domains) == ("", domains)


def test_of_several_fields_all_are_searched() -> None:
    fields = b"From: x@evil.example\r\nTo: a@home.example\r\nFrom: ceo@bank.example\r\n"
    assert author_domain(fields) == AuthorDomain("", "2 From fields", ("evil.example", "bank.example"))


def test_there_must_be_exactly_one_field() -> None:
    assert author_domain(b"") == AuthorDomain("", "no From field")
    assert author_domain(b"Subject: x\r\nSender: a@example.org\r\n") == AuthorDomain("", "no From field")
    assert author_domain(b"From: a@example.org\r\nFROM : a@example.org\r\n") == AuthorDomain(
        "", "2 From fields", ("example.org",)
    )
    assert author_domain(b"X: y\r\n From: b@bank.example\r\nfrom\t: a@example.org\r\n").domain == "example.org"


def test_a_very_long_field_is_not_read() -> None:
    assert of(" " * 10_000_000 + "a@example.org").reason == "a From field of 10000013 octets"
    assert of(" " * (author.MAX_FIELD - 14) + "a@example.org").domain == "example.org"


@pytest.mark.parametrize(
    "unit", ["(", ")", "()", '"', '""', "<", "<>", "@", "a@b,", "[", "\\", "a.", ",", ":", ";", "<@a", "(\\", "é", "."]
)
def test_every_field_takes_time_in_proportion_to_its_size(unit: str) -> None:
    # Something that is tried again from each place would take minutes here.
    assert of(" " + unit * (60_000 // len(unit.encode()))).domain == ("b" if unit == "a@b," else "")


@pytest.mark.parametrize("path", sorted(MAIL.glob("*.eml")), ids=lambda path: path.stem)
def test_real_messages_have_the_author_that_the_standard_library_reads(path: Path) -> None:
    octets = path.read_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    message = BytesParser(policy=policy.default).parsebytes(octets, headersonly=True)
    domains = {address.domain.lower() for address in message["From"].addresses}
    assert author_domain(headers.header_section(octets)).domains == tuple(domains)


@given(st.text(alphabet='ab.@<>(),:;"\\[] é\x00\t', max_size=40))
def test_any_field_is_read_without_an_exception(value: str) -> None:
    found = of(" " + value)
    assert bool(found.domain) != bool(found.reason)


@given(
    name=st.text(alphabet=st.characters(codec="utf-8", exclude_characters='\\"', exclude_categories=["Cc", "Cs"]), max_size=30),
    comment=st.text(alphabet="ab@<>,:;.[] é", max_size=20),
    route=st.sampled_from(["", "@bank.example:", "@bank.example,@b.example:"]),
)
def test_nothing_but_the_address_counts(name: str, comment: str, route: str) -> None:
    assert of(f' "{name}" ({comment}) <{route}x@evil.example> ({comment})').domain == "evil.example"
