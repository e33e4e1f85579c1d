from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waymail.senderauth.spf import macros

VALUES = {
    "s": "strong-bad@email.example.com",
    "l": "strong-bad",
    "o": "email.example.com",
    "d": "email.example.com",
    "i": "192.0.2.3",
    "p": "mx.example.org",
    "v": "in-addr",
    "h": "mx.example.org",
    "c": "192.0.2.3",
    "r": "receiver.example",
    "t": "1700000000",
}
IPV6 = {**VALUES, "v": "ip6", "i": "2.0.0.1.0.d.b.8.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.c.b.0.1"}


def expanded(text: str, values: dict[str, str] = VALUES) -> str:
    return macros.parse(text).expand(values, 1000)


@pytest.mark.parametrize(
    ("text", "expansion"),
    [
        ("%{s}", "strong-bad@email.example.com"),
        ("%{o}", "email.example.com"),
        ("%{d}", "email.example.com"),
        ("%{d4}", "email.example.com"),
        ("%{d3}", "email.example.com"),
        ("%{d2}", "example.com"),
        ("%{d1}", "com"),
        ("%{dr}", "com.example.email"),
        ("%{d2r}", "example.email"),
        ("%{l}", "strong-bad"),
        ("%{l-}", "strong.bad"),
        ("%{lr}", "strong-bad"),
        ("%{lr-}", "bad.strong"),
        ("%{l1r-}", "strong"),
        ("%{ir}.%{v}._spf.%{d2}", "3.2.0.192.in-addr._spf.example.com"),
        ("%{lr-}.lp._spf.%{d2}", "bad.strong.lp._spf.example.com"),
        ("%{lr-}.lp.%{ir}.%{v}._spf.%{d2}", "bad.strong.lp.3.2.0.192.in-addr._spf.example.com"),
        ("%{ir}.%{v}.%{l1r-}.lp._spf.%{d2}", "3.2.0.192.in-addr.strong.lp._spf.example.com"),
        ("%{d2}.trusted-domains.example.net", "example.com.trusted-domains.example.net"),
    ],
)
def test_the_examples_of_rfc_7208_section_7_4(text: str, expansion: str) -> None:
    assert expanded(text) == expansion


def test_the_example_of_rfc_7208_section_7_4_for_ipv6() -> None:
    nibbles = "1.0.b.c.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2"
    assert expanded("%{ir}.%{v}._spf.%{d2}", IPV6) == f"{nibbles}.ip6._spf.example.com"


def test_percent_underscore_and_hyphen_stand_for_percent_space_and_escaped_space() -> None:
    assert expanded("%%{d}%_%-") == "%{d} %20"


def test_consecutive_delimiters_make_empty_parts() -> None:
    assert macros.parse("%{lr+-}").expand({"l": "a--b+c"}, 1000) == "c.b..a"


def test_upper_case_letters_are_escaped_as_in_a_url() -> None:
    assert macros.parse("%{S}").expand({"s": "a b~._-/é@x"}, 1000) == "a%20b~._-%2F%C3%A9%40x"
    assert macros.parse("%{L}").expand({"l": "\ud800"}, 1000) == "%3F"  # no text at all: nothing is raised


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("%{x}", "no macro begins with '%{x}'"),
        ("100%", "no macro begins with '%'"),
        ("%(d)", "no macro begins with '%(d)'"),
        ("%{d", "no macro begins with '%{d'"),
        ("%{drr}", "no macro"),
        ("%{d0}", "the macro %{d0} keeps no part at all"),
        ("%{d00r}", "the macro %{d00r} keeps no part at all"),
        ("a\tb", "not visible ASCII"),
        ("é", "not visible ASCII"),
        ("%{\u017f}", "not visible ASCII"),  # which is an "s" to what does not look closely
    ],
)
def test_what_the_grammar_does_not_allow_is_told(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=re.escape(told)):
        macros.parse(text)


def test_a_number_of_any_length_keeps_all_parts() -> None:
    assert expanded(f"%{{d{'9' * 10_000}}}") == "email.example.com"


@pytest.mark.parametrize("letter", ["c", "R", "t"])
def test_letters_for_explanations_are_not_allowed_in_domains(letter: str) -> None:
    assert expanded(f"%{{{letter}}}")
    with pytest.raises(ValueError, match="for explanations only"):
        macros.parse_domain(f"%{{{letter}}}.example")


@pytest.mark.parametrize(
    "text", ["example.org", "a.b-c", "x.example.", "%{d}", "a%%", "_spf.%{d2}", ".x1", "a..xn--p1ai", "a:b/c.example", "%{i}.1a"]
)
def test_a_domain_ends_in_a_top_level_domain_or_a_macro(text: str) -> None:
    assert macros.parse_domain(text).text == text


@pytest.mark.parametrize(
    "text", ["", "museum", "museum.", "a.1", "192.0.2.1", "a.-b", "a.b-", "a.b..", "%{d}com", "a.b/24", "a.", "a.b c"]
)
def test_what_ends_otherwise_is_no_domain(text: str) -> None:
    with pytest.raises(ValueError, match=r"domain|macro"):
        macros.parse_domain(text)


def test_a_name_for_dns_has_no_dot_at_its_end() -> None:
    assert macros.parse_domain("example.org.").expand_name({}) == "example.org"


@pytest.mark.parametrize("spec", ["%{l}.example.org", "%{l}%{l}%{l}.example.org"])
def test_a_name_for_dns_loses_labels_at_the_left_until_it_has_253_characters(spec: str) -> None:
    local_part = ".".join(["x" * 20] * 20)
    name = macros.parse_domain(spec).expand_name({"l": local_part})
    assert name == ".".join(["x" * 20] * 11) + ".example.org"
    assert len(name) <= macros.LONGEST_NAME < len(name) + 21


@pytest.mark.parametrize(("length", "left"), [(253, 253), (254, 3)])
def test_a_name_of_just_the_right_length_stays(length: int, left: int) -> None:
    name = macros.parse_domain("%{l}.abc").expand_name({"l": "x" * (length - 4)})
    assert len(name) == left


def test_nothing_is_left_of_a_name_whose_last_label_is_too_long() -> None:
    assert macros.parse_domain("%{l}").expand_name({"l": "x" * 300}) == ""


def test_an_expansion_ends_where_it_is_long_enough() -> None:
    assert macros.parse("%{l}" * 20_000).expand({"l": "x" * 300}, 400) == "x" * 400


@given(st.text(), st.booleans())
def test_any_text_is_either_refused_or_can_be_expanded(text: str, is_domain: bool) -> None:
    try:
        parsed = macros.parse_domain(text) if is_domain else macros.parse(text)
    except ValueError:
        return
    parsed.expand(VALUES, 1000)
    assert len(parsed.expand_name(VALUES)) <= macros.LONGEST_NAME


@given(
    st.lists(st.sampled_from(["%{", "d", "l", "S", "2", "r", "-", "}", "%%", ".", "x", "%{d}", "%{lr-}"])).map("".join),
    st.text("ab.-@", max_size=300),
)
def test_a_name_made_from_the_right_is_what_is_left_of_the_whole_expansion(text: str, local_part: str) -> None:
    try:
        parsed = macros.parse(text)
    except ValueError:
        return
    values = {**VALUES, "l": local_part}
    left = parsed.expand(values, 1_000_000).removesuffix(".")
    while len(left) > macros.LONGEST_NAME:
        left = left.partition(".")[2]
    assert parsed.expand_name(values) == left


@pytest.mark.parametrize(("length", "left"), [(248, 253), (249, 250), (252, 253), (253, 0)])
def test_a_name_of_several_macros_is_cut_where_a_label_ends(length: int, left: int) -> None:
    name = macros.parse("%{l}%{d}%{o}").expand_name({"l": "abc.", "d": "z", "o": "x" * length})
    assert name == f"abc.z{'x' * length}"[-left:] * (left > 0)
