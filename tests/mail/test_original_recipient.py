"""Addresses with their types, as notices have them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waymail.mail.envelope import Recipient
from waymail.mail.original_recipient import final_recipient, original_recipient


@pytest.mark.parametrize("utf8", [True, False])
def test_orcpt_comes_before_the_alias_and_without_both_there_is_none(utf8: bool) -> None:
    alias = Recipient("a@x.example", "sales@x.example")
    assert original_recipient(alias, utf8=utf8) == "rfc822; sales@x.example"
    asked = Recipient("a@x.example", "sales@x.example", orcpt="rfc822;Other+20one@x.example")
    assert original_recipient(asked, utf8=utf8) == "rfc822; Other one@x.example"
    assert original_recipient(Recipient("a@x.example"), utf8=utf8) == ""


def test_an_address_beyond_ascii_is_of_type_utf_8() -> None:
    assert final_recipient("jörg@x.example", utf8=True) == "utf-8; jörg@x.example"
    assert final_recipient("jörg@x.example", utf8=False) == r"utf-8; j\x{F6}rg@x.example"
    assert final_recipient(r'"ö +\\"@x.example', utf8=False) == r'utf-8; "\x{F6}\x{20}\x{2B}\x{5C}\x{5C}"@x.example'


def test_the_ascii_form_of_orcpt_is_written_out_where_utf_8_can_be_held() -> None:
    recipient = Recipient("a@x.example", orcpt=r"UTF-8;j\x{F6}rg\x{1F600}ü@x.example")
    assert original_recipient(recipient, utf8=True) == "UTF-8; jörg😀ü@x.example"
    assert original_recipient(recipient, utf8=False) == r"UTF-8; j\x{F6}rg\x{1F600}\x{FC}@x.example"


@given(st.text(max_size=50), st.text(max_size=50) | st.none(), st.text(max_size=50), st.booleans())
def test_nothing_that_stands_in_them_is_an_error(address: str, original: str | None, orcpt: str, utf8: bool) -> None:
    values = [
        final_recipient(address, utf8=utf8),
        original_recipient(Recipient(address, original, orcpt=orcpt), utf8=utf8),
        original_recipient(Recipient(address, original, orcpt=f"utf-8;{orcpt}"), utf8=utf8),
    ]
    assert utf8 or values[0].isascii()
    assert all("; " in value or not value for value in values)
