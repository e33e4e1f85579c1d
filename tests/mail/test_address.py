"""Addresses compared and routed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waymail.mail import address


@pytest.mark.parametrize(
    ("spelled", "local", "domain"),
    [
        ("ann@example.org", "ann", "example.org"),
        ("Ann@Example.ORG", "Ann", "Example.ORG"),
        ('"ann@home"@example.org', '"ann@home"', "example.org"),
        (r'"a\"@b"@example.org', r'"a\"@b"', "example.org"),
        ('"ann@home"', '"ann@home"', ""),
        ("ann@[192.0.2.1]", "ann", "[192.0.2.1]"),
        ("ann@[x:a@b]", "ann", "[x:a@b]"),
        ('"a@[b"@[192.0.2.1]', '"a@[b"', "[192.0.2.1]"),
        ("postmaster", "postmaster", ""),
        ("", "", ""),
        # No grammar allows it; the last "@" decides, as it does for the server that would get it.
        ("ann@foreign.example@example.org", "ann@foreign.example", "example.org"),
    ],
)
def test_an_address_is_split_where_the_domain_begins(spelled: str, local: str, domain: str) -> None:
    assert address.split(spelled) == (local, domain)


@pytest.mark.parametrize(
    ("mailbox", "parts"),
    [
        ("Ann <ann@example.org>", ("Ann", "ann@example.org")),
        ('"Doe, \\"Ann\\"" <ann@example.org>', ('Doe, "Ann"', "ann@example.org")),
        ("<ann@example.org>", ("", "ann@example.org")),
        ("Ann <>", ("Ann", "")),
        ("ann@example.org", None),
        ("Ann <ann@example.org> ", None),
        ("Ann <ann@example.org>, Bob <bob@example.org>", None),
        ("Ann\t<ann@example.org>", None),
        ("Ann (( <ann@example.org>", None),
    ],
)
def test_a_mailbox_with_a_name_is_one_or_none(mailbox: str, parts: tuple[str, str] | None) -> None:
    assert address.named(mailbox) == parts


def test_the_normal_form_changes_the_domain_only() -> None:
    assert address.normalise("Ann.B@Example.ORG.") == "Ann.B@example.org"
    assert address.normalise('"Ann@X"@Example.ORG') == '"Ann@X"@example.org'
    assert address.normalise("ann@[IPv6:2001:DB8::1]") == "ann@[ipv6:2001:db8::1]"
    assert address.normalise("Postmaster") == "Postmaster"


def test_a_domain_is_the_same_in_any_case_and_with_a_trailing_dot() -> None:
    assert address.domain_of("ann@EXAMPLE.org") == address.domain_of("bob@example.org.") == "example.org"


def test_local_parts_in_another_case_are_other_mailboxes() -> None:
    assert address.same("ann@example.org", "ann@EXAMPLE.ORG")
    assert not address.same("ann@example.org", "Ann@example.org")
    assert not address.same("ann@example.org", "ann@example.com")


def test_all_quoted_forms_of_a_local_part_are_the_same_mailbox() -> None:
    assert address.same('"joe"@example.org', "joe@example.org")
    assert address.same(r'"j\oe"@example.org', "joe@example.org")
    assert not address.same('"joe smith"@example.org', "joesmith@example.org")


def test_the_mailbox_name_has_no_quoting() -> None:
    assert address.mailbox_name(r'"joe \"x\" @home"@example.org') == 'joe "x" @home'
    assert address.mailbox_name('"') == '"'


@pytest.mark.parametrize(
    "spelled", ["postmaster", "Postmaster@example.org", "POSTMASTER@[192.0.2.1]", '"postmaster"@example.org']
)
def test_postmaster_is_known_in_any_case_with_or_without_domain(spelled: str) -> None:
    assert address.is_postmaster(spelled)


@pytest.mark.parametrize("spelled", ["postmaster.x@example.org", "ann@postmaster", "", "@postmaster"])
def test_others_are_not_postmaster(spelled: str) -> None:
    assert not address.is_postmaster(spelled)


@given(st.text())
def test_any_string_has_a_normal_form_that_is_stable(text: str) -> None:
    normal = address.normalise(text)
    assert address.split(normal)[0] == address.split(text)[0] or not address.split(text)[1]
    assert address.same(text, text)
    address.is_postmaster(text)


@given(st.from_regex(r'"([ !#-\[\]-~]|\\[ -~])*"', fullmatch=True), st.sampled_from(["example.org", "[192.0.2.1]", "[x:a@b]"]))
def test_every_quoted_local_part_is_split_off_whole(local: str, domain: str) -> None:
    assert address.split(f"{local}@{domain}") == (local, domain)


def test_a_mailbox_beyond_ascii_needs_no_quotes() -> None:
    assert address.from_name("jürgen", "example.org") == "jürgen@example.org"
    assert address.from_name("a b", "example.org") == '"a b"@example.org'
