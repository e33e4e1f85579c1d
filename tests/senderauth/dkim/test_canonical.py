from __future__ import annotations

import pytest

from waymail.senderauth.dkim.canonical import HeaderFields, header, without_signature


def test_the_example_of_the_rfc_in_relaxed_form() -> None:
    # RFC 6376 §3.4.5
    assert header(b"A", b" X", relaxed=True) == b"a:X\r\n"
    assert header(b"B ", b" Y\t\r\n\tZ  ", relaxed=True) == b"b:Y Z\r\n"


def test_simple_form_changes_nothing() -> None:
    assert header(b"B ", b" Y\t\r\n\tZ  ", relaxed=False) == b"B : Y\t\r\n\tZ  \r\n"


@pytest.mark.parametrize("odd", [b"\x0b", b"\x0c", b"\r", b"\n"])
def test_what_is_no_white_space_to_dkim_stays(odd: bytes) -> None:
    assert header(b"A", b" x \t " + odd + b"  y ", relaxed=True) == b"a:x " + odd + b" y\r\n"


def test_an_empty_value_stays_empty() -> None:
    assert header(b"A", b" \r\n ", relaxed=True) == b"a:\r\n"


def test_of_fields_with_one_name_the_last_is_picked_first() -> None:
    fields = HeaderFields(b"Received: A\r\nReceived: B\r\nFrom: x\r\nReceived: C\r\n")
    assert [field.value for field in fields.picked(["received", "Received", "FROM"])] == [b" C", b" B", b" x"]


def test_a_name_for_which_no_field_is_left_picks_nothing() -> None:
    fields = HeaderFields(b"From: x\r\n")
    assert [field.value for field in fields.picked(["Cc", "From", "From"])] == [b" x"]


def test_the_signature_itself_is_never_picked() -> None:
    fields = HeaderFields(b"DKIM-Signature: a\r\nDKIM-Signature: b\r\n")
    first, second = fields.named(b"dkim-signature")
    assert fields.picked(["DKIM-Signature", "DKIM-Signature"], leave_out=second) == [first]


def test_folds_belong_to_their_field_and_lines_that_are_none_are_passed_over() -> None:
    fields = HeaderFields(b"Subject: a\r\n b\r\njunk\r\nsubject\t: c\r\n")
    assert [(field.name, field.value) for field in fields.named(b"subject")] == [(b"Subject", b" a\r\n b"), (b"subject\t", b" c")]


def test_a_fold_without_a_field_before_it_is_none() -> None:
    fields = HeaderFields(b" From: a\r\nFrom: b\r\n")
    assert [field.value for field in fields.named(b"from")] == [b" b"]


def test_the_canonical_forms_of_a_field() -> None:
    [field] = HeaderFields(b"Subject : a  b\r\n").named(b"subject")
    assert field.canonical(relaxed=False) == b"Subject : a  b\r\n"
    assert field.canonical(relaxed=True) == field.canonical(relaxed=True) == b"subject:a b\r\n"


@pytest.mark.parametrize(
    ("value", "without"),
    [
        (b" b=abc", b" b="),
        (b" v=1; b = ab\r\n cd ; bh=xb=y", b" v=1; b =; bh=xb=y"),
        (b" bh=b=1;\r\n\tb=ab", b" bh=b=1;\r\n\tb="),
        (b"v=1; bh=1", b"v=1; bh=1"),
        (b"b; b=1", b"b; b="),
    ],
)
def test_only_the_value_of_b_is_taken_out(value: bytes, without: bytes) -> None:
    assert without_signature(value) == without
