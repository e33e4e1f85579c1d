from __future__ import annotations

import pytest

from waymail.senderauth.dkim import tags


def test_tags_are_given_in_their_order_without_the_white_space_around_values() -> None:
    found = tags.parse(b" v = 1 ;\r\n\ta=rsa-sha256; h=From :\r\n To;b=ab\r\n cd ")
    assert list(found.items()) == [("v", "1"), ("a", "rsa-sha256"), ("h", "From :\r\n To"), ("b", "ab\r\n cd")]


def test_a_semicolon_may_end_the_list_and_white_space_may_follow_it() -> None:
    assert tags.parse("v=1;") == tags.parse("v=1; \r\n ") == tags.parse("v=1") == {"v": "1"}


def test_an_empty_list_has_no_tags() -> None:
    assert tags.parse("") == tags.parse(b" ") == {}


def test_an_empty_value_is_a_value() -> None:
    assert tags.parse("p=; t=") == {"p": "", "t": ""}


def test_names_are_told_apart_by_case() -> None:
    assert tags.parse("a=1; A=2") == {"a": "1", "A": "2"}


def test_a_value_may_have_equals_signs_and_characters_beyond_ascii() -> None:
    assert tags.parse("b=YQ==; i=@b\u00fccher.example") == {"b": "YQ==", "i": "@b\u00fccher.example"}
    assert tags.parse("i=@b\u00fccher.example".encode()) == {"i": "@b\u00fccher.example"}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("v=1; a=x; v=1", "the tag 'v' stands twice"),
        ("v=1;; a=x", "'' is no tag=value"),
        ("v", "'v' is no tag=value"),
        ("=1", "'=1' is no tag=value"),
        ("1v=1", "'1v=1' is no tag=value"),
        ("a b=1", "'a b=1' is no tag=value"),
        ("v=\x001", "the character '\\x00' may not stand in it"),
        ("v=1\x7f", "the character '\\x7f' may not stand in it"),
        ("v=1\n;a=2", "the character '\\n' may not stand in it"),
        ("v=1\r;a=2", "the character '\\r' may not stand in it"),
        ("v=1\r\na=2", "the character '\\r' may not stand in it"),
        ("v=\udcff", "the character '\\udcff' may not stand in it"),
        (b"v=\xff", "it is not UTF-8"),
        ("x" * 100, f"{'x' * 40 + '…'!r} is no tag=value"),
    ],
)
def test_what_is_no_tag_list_is_refused_with_the_reason(text: bytes | str, why: str) -> None:
    with pytest.raises(ValueError) as refused:  # noqa: PT011 - the text is compared
        tags.parse(text)
    assert str(refused.value) == why


def test_characters_that_cannot_be_printed_but_are_no_controls_may_stand() -> None:
    assert tags.parse("n=a\u2028b") == {"n": "a\u2028b"}


def test_white_space_can_be_taken_out_of_a_value() -> None:
    assert tags.compact("YW\r\n\t Jj ZA==") == "YWJjZA=="


def test_a_list_is_cut_at_its_colons() -> None:
    assert tags.listed("From :\r\n To:  Subject") == ("From", "To", "Subject")
    assert tags.listed("a::b") == ("a", "", "b")
