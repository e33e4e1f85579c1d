"""Fields that claim to be ours are taken out, and nothing else."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waymail.senderauth.authres.forged import Forged, forged, without
from waymail.senderauth.authres.grammar import LONGEST, parse

US = "mx.example.org"


def is_taken_out(value: bytes, name: bytes = b"Authentication-Results:") -> bool:
    field = name + value + b"\r\n"
    section = b"Received: from x\r\n" + field + b"Subject: mx.example.org; spf=pass\r\n"
    taken = [it.field for it in forged(section, US)]
    assert taken in ([], [field])
    assert without(section, US) == (section.replace(field, b"") if taken else section)
    return bool(taken)


@pytest.mark.parametrize(
    "value",
    [
        b" mx.example.org; spf=pass",
        b"mx.example.org;none",
        b" MX.Example.ORG; spf=pass",
        b" mx.example.org.; spf=pass",
        b" mx.example.org 1; spf=pass",
        b" mx.example.org 7; spf=pass",
        b' "mx.example.org"; spf=pass',
        b' "m\\x.example.org"; spf=pass',
        b"\r\n mx.example.org\r\n\t; spf=pass",
        b" (a (nested) comment; with \\) in it) mx.example.org (b) ; spf=pass",
        # What no grammar allows, but somebody may read.
        b" mx.example.org",
        b" mx.example.org;",
        b" mx.example.org spf=pass",
        b" mx.example.org; spf=pass (never closed",
        b' "mx.example.org; spf=pass',
        b" (mx.example.org; spf=pass",
        b" (; mx.example.org; spf=pass",
        b" (a=b) mx.example.org spf=pass",
        b" mx. example.org; spf=pass",
        b" mx.\r\n example.org; spf=pass",
        b" <mx.example.org>; spf=pass",
        b" \x00mx.example.org; spf=pass",
        b" ; mx.example.org; spf=pass",
        b" =?utf-8?q?mx=2Eexample=2Eorg?=; spf=pass",
        # What the grammar reads as another's, but who knows no comments and no quotes reads as ours.
        b" (mx.example.org;) example.net; spf=pass",
        b' "(mx.example.org)"; spf=pass',
        b" mx.exa\\mple.org; spf=pass",
    ],
)
def test_a_field_that_claims_to_be_ours_goes(value: bytes) -> None:
    assert is_taken_out(value)


@pytest.mark.parametrize("name", [b"authentication-results:", b"AUTHENTICATION-RESULTS \t:", b"Authentication-Results :"])
def test_the_name_is_known_however_it_is_spelled(name: bytes) -> None:
    assert is_taken_out(b" mx.example.org; spf=pass", name)


@pytest.mark.parametrize(
    "value",
    [
        b" example.org; spf=pass",
        b" mx.example.org.example.net; spf=pass",
        b" example.net; spf=pass smtp.helo=mx.example.org",
        b" example.net (mx.example.org); spf=pass",
        b" spf=pass (sender IP is 192.0.2.1) smtp.mailfrom=mx.example.org",
        b" example.net",
        b"",
    ],
)
def test_a_field_of_others_stays(value: bytes) -> None:
    assert not is_taken_out(value)


@pytest.mark.parametrize("name", [b"X-Authentication-Results:", b"ARC-Authentication-Results:", b"Authentication-Results-Old:"])
def test_a_field_with_another_name_stays(name: bytes) -> None:
    assert not is_taken_out(b" mx.example.org; spf=pass", name)


def test_a_field_in_a_version_that_nobody_knows_goes_whoever_wrote_it() -> None:
    assert is_taken_out(b" example.net 2; spf=pass")


@pytest.mark.parametrize("us", ["bücher.example", "xn--bcher-kva.example", "XN--bcher-kva.example."])
@pytest.mark.parametrize(
    "them",
    ["bücher.example; none", "xn--bcher-kva.example; none", "(BÜCHER.example", "BÜCHER.example (x", "xn--bcher-kva.example (x"],
)
def test_both_kinds_of_labels_are_one_id(us: str, them: str) -> None:
    assert without(f"Authentication-Results: {them}\r\n".encode(), us) == b""


def test_the_reason_says_why() -> None:
    section = (
        b"Authentication-Results: mx.example.org; none\r\nAuthentication-Results: (mx.example.org;) x; none\r\n"
        b"Authentication-Results: mx.example.org\r\nAuthentication-Results: =?a?q?b?=; none\r\n"
        b"Authentication-Results: x 2; none\r\n"
    )
    assert [it.reason for it in forged(section, US)] == [
        "it claims to be of mx.example.org",
        "it may be read as a claim to be of mx.example.org",
        "it may be read as a claim to be of mx.example.org",
        "it has an encoded word where none may be",
        "it is of version 2, which nobody here can read",
    ]
    assert forged(b"Authentication-Results: mx. (c) example.org\r\n", US) == [
        Forged(b"Authentication-Results: mx. (c) example.org\r\n", "it cannot be parsed, and may claim to be of mx.example.org")
    ]


def test_a_section_without_such_fields_is_the_same_object() -> None:
    section = b"Subject: Authentication-Results: mx.example.org; none\r\n"
    assert without(section, US) is section
    assert forged(section, US) == []


@given(
    st.lists(
        st.sampled_from(
            [b"Authentication-Results", b"A", b":", b" ", b"\r\n", b"mx.example.org", b";", b"(", b")", b"\n", b"\xff"]
        )
    )
)
def test_all_octets_that_are_not_of_a_forged_field_stay(pieces: list[bytes]) -> None:
    section = b"".join(pieces)
    rest = section
    for it in forged(section, US):
        assert it.field.lower().startswith(b"authentication-results")
        before, found, rest_of_it = rest.partition(it.field)
        assert found
        rest = before + rest_of_it
    assert without(section, US) == rest
    assert forged(rest, US) == []


@given(st.sampled_from([b"", b" ", b"(c)", b"\r\n ", b"\t(d (e))"]), st.sampled_from([b"", b" ", b" 1", b"(c) 1 (d)"]))
def test_white_space_and_comments_hide_nothing(before: bytes, behind: bytes) -> None:
    value = before + b"mx.example.org" + behind + b"; spf=pass"
    assert parse(value) is not None
    assert is_taken_out(value)


def test_what_is_too_long_to_be_judged_goes() -> None:
    field = b"Authentication-Results: " + b"()" * (LONGEST // 2) + b"mx.example.org; none\r\n"
    assert forged(field, US) == [Forged(field, "it is too long to be judged")]


def test_what_comes_behind_a_hundred_such_fields_goes() -> None:
    field = b"Authentication-Results: x; none\r\n"
    assert without((field + b"A: b\r\n") * 102, US) == (field + b"A: b\r\n") * 100 + b"A: b\r\n" * 2
    assert {it.reason for it in forged(field * 102, US)} == {"there are more than 100 such fields"}


def test_ten_megabytes_are_judged_in_time() -> None:
    start = time.process_time()
    for piece in (b"(", b"\xc3\xbc", b'"\\"', b"=?a", b"mx.example.or", b";", b"()"):
        without((b"Authentication-Results: " + piece * (30_000 // len(piece)) + b"\r\n") * 30, US)
    without(b"Authentication-Results: x; none\r\n" * 300_000, US)
    assert time.process_time() - start < 10
