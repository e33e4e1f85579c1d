from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waymail.wire.sasl.saslprep import PreparationProblem, saslprep


# RFC 4013 §3, rows 1-5.
@pytest.mark.parametrize(
    ("given", "prepared"),
    [("I\u00adX", "IX"), ("user", "user"), ("USER", "USER"), ("\u00aa", "a"), ("\u2168", "IX")],
)
def test_the_examples_of_rfc_4013_come_out_as_printed(given: str, prepared: str) -> None:
    assert saslprep(given) == prepared


# RFC 4013 §3, rows 6 and 7, and one of each other table.
@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("\u0007", "control"),
        ("a\x7f", "control"),
        ("\u06dd", "control"),
        ("\u0627\u0031", "first and last"),
        ("\u0627a\u0627", "mixes"),
        ("\ue000", "private-use"),
        ("\ufdd0", "noncharacter"),
        ("\ud800", "surrogate"),
        ("\ufff9x", "control"),
        ("\ufffd", "plain text"),
        ("\u2ff0", "canonical"),
        ("\u200e", "display"),
        ("\U000e0001", "tagging"),
        ("", "empty"),
        ("\u00ad", "empty"),
    ],
)
def test_a_prohibited_string_is_refused_with_the_reason(given: str, why: str) -> None:
    with pytest.raises(PreparationProblem, match=why):
        saslprep(given)


def test_other_spaces_become_the_ordinary_one() -> None:
    assert saslprep("a\u00a0b\u3000c") == "a b c"


def test_right_to_left_letters_at_both_ends_are_fine() -> None:
    assert saslprep("\u0627\u0031\u0628") == "\u0627\u0031\u0628"


def test_a_newer_character_passes_in_a_query_but_is_not_stored() -> None:
    assert saslprep("\u0221x") == "\u0221x"
    with pytest.raises(PreparationProblem, match=r"Unicode 3\.2"):
        saslprep("\u0221x", stored=True)


def test_the_reason_does_not_repeat_the_password() -> None:
    with pytest.raises(PreparationProblem) as caught:
        saslprep("secret\x00")
    assert "secret" not in str(caught.value)


@given(st.text())
def test_preparing_twice_changes_nothing(text: str) -> None:
    try:
        once = saslprep(text)
    except PreparationProblem:
        return
    assert saslprep(once) == once
