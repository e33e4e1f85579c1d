from __future__ import annotations

import contextlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waymail.senderauth.spf.record import RecordError, parse, select


def test_a_record_begins_with_its_version_in_any_case_and_a_space_or_the_end() -> None:
    taken = ["v=spf1", "V=SPF1 -all", "v=spf1 "]
    assert select([*taken, "v=spf10", "v=spf1-all", "v=spf1\t-all", " v=spf1", "spf", "", "v=DMARC1"]) == taken


def test_terms_are_read_in_their_order_with_what_a_match_gives() -> None:
    record = parse("v=spf1  a ~MX  ?ptr -all ")
    assert [(one.text, one.name, one.result) for one in record.directives] == [
        ("a", "a", "pass"),
        ("~MX", "mx", "softfail"),
        ("?ptr", "ptr", "neutral"),
        ("-all", "all", "fail"),
    ]


def test_networks_are_numbers_without_the_bits_behind_the_prefix() -> None:
    one, two, three = parse("v=spf1 ip4:192.0.2.77/24 ip6:2001:db8::1 ip6:::/0").directives
    assert (one.version, one.network, one.shift) == (4, 0xC00002, 8)
    assert (two.version, two.network, two.shift) == (6, 0x20010DB8000000000000000000000001, 0)
    assert (three.network, three.shift) == (0, 128)


@pytest.mark.parametrize(
    ("term", "domain", "shifts"),
    [
        ("a", None, (0, 0)),
        ("mx/24", None, (8, 0)),
        ("a//64", None, (0, 64)),
        ("a:example.org/0//128", "example.org", (32, 0)),
        ("a:%{d}/24//64", "%{d}", (8, 64)),
        ("a:a/b.example/24", "a/b.example", (8, 0)),
        ("a:%{l/}.example", "%{l/}.example", (0, 0)),
    ],
)
def test_a_and_mx_have_a_prefix_for_each_family(term: str, domain: str | None, shifts: tuple[int, int]) -> None:
    directive = parse(f"v=spf1 {term}").directives[0]
    assert (directive.domain.text if directive.domain else None, directive.shifts) == (domain, shifts)


def test_a_redirect_counts_for_nothing_where_there_is_all() -> None:
    assert parse("v=spf1 redirect=example.org ?all").redirect is None
    redirect = parse("v=spf1 Redirect=example.org").redirect
    assert redirect is not None
    assert redirect.text == "example.org"


def test_unknown_modifiers_are_ignored_however_often_they_appear() -> None:
    assert parse("v=spf1 x-y.z_1=a x-y.z_1=%{c} ip4=1 all= redirect.x=").directives == ()


@pytest.mark.parametrize(
    ("term", "told"),
    [
        ("ip4:192.0.2", "Expected 4 octets"),
        ("ip4:192.0.02.1", "Leading zeros"),
        ("ip4:192.0.2.0/33", "/33 is longer than /32"),
        ("ip4:192.0.2.0/024", "'024' is no prefix length"),
        ("ip4:192.0.2.0/", "'' is no prefix length"),
        ("ip4:192.0.2.0//24", "'/24' is no prefix length"),
        ("ip4", "an address in the way of ip4:192.0.2.0 is missing"),
        ("ip4/24", "is missing"),
        ("ip6", "an address in the way of ip6:2001:db8:: is missing"),
        ("ip6:fe80::1%eth0", "is missing"),
        ("ip6:::1/129", "/129 is longer than /128"),
        ("ip6:192.0.2.1", "At least 3 parts"),
        ("all:example.org", "all takes no argument"),
        ("all/8", "all takes no argument"),
        ("a:", "a domain is missing"),
        ("a/33", "/33 is longer than /32"),
        ("a//129", "/129 is longer than /128"),
        ("a/", "'/' is not understood"),
        ("a/024", "'/024' is not understood"),
        ("a/8/8", "'/8' is not understood"),
        ("a:example.org/1a", "is no domain name"),
        ("a:example.com:8080", "is no domain name"),
        ("ptr/24", "'/24' is not understood"),
        ("exists", '":" and a domain are missing'),
        ("include", '":" and a domain are missing'),
        ("include:%{x}.example", "no macro begins with '%{x}.exa'"),
        ("+x=a", "no such mechanism"),
        ("+redirect=example.org", "no such mechanism"),
        ("ipv4:192.0.2.1", "no such mechanism"),
        ("a.b", "no such mechanism"),
        ("=", "neither a mechanism nor a modifier"),
        ("-", "neither a mechanism nor a modifier"),
        ("1x=a", "neither a mechanism nor a modifier"),
        ("\u017f=a", "neither a mechanism nor a modifier"),
        ("a\tmx", "'\\tmx' is not understood"),
        ("x=%", "no macro begins with '%'"),
        ("x=\u00e9", "not visible ASCII"),
        ("redirect=", "a domain is missing"),
        ("exp=a.b exp=a.b", "there are two modifiers exp="),
    ],
)
def test_a_mistake_is_told_with_the_term_it_is_in(term: str, told: str) -> None:
    with pytest.raises(RecordError) as raised:
        parse(f"v=spf1 ip4:192.0.2.1 {term} -all")
    message = str(raised.value)
    assert message.startswith(term.split(" ")[-1].encode("unicode_escape").decode())
    assert told in message


@pytest.mark.parametrize("character", ["x", "\u00e9", "\x00", "\r\n", "\udc96"])
def test_what_is_told_of_a_long_term_is_short_and_visible(character: str) -> None:
    with pytest.raises(RecordError) as raised:
        parse(f"v=spf1 ip4:{character * 50_000}")
    message = str(raised.value)
    assert len(message) < 2000
    assert re.fullmatch("[ -~]*", message)


def test_a_record_is_read_once_and_one_that_is_long_each_time() -> None:
    assert parse("v=spf1 a mx -all") is parse("v=spf1 a mx -all")
    long = f"v=spf1 {'ip4:192.0.2.1 ' * 1000}-all"
    assert parse(long) == parse(long)
    assert parse(long) is not parse(long)
    assert len(parse(long).directives) == 1001


@given(st.one_of(st.text(), st.text("v=spf1 aimxplcude:/.-+~?%{}dr0123456789_eé\u017f\t")))
def test_any_text_is_a_record_or_raises_record_error(text: str) -> None:
    with contextlib.suppress(RecordError):
        parse(f"v=spf1 {text}")
