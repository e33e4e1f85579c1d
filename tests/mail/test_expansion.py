"""What the recipients of an alias inherit (RFC 3461 §5.2.7)."""

from __future__ import annotations

import pytest

from waymail.mail.envelope import Recipient
from waymail.mail.expansion import inherit

ORCPT = "rfc822;sales@example.org"
ONE = (Recipient("a@x.example", "sales@example.org"),)
TWO = (*ONE, Recipient("b@x.example", "sales@example.org"))


def test_one_recipient_gets_all_as_it_is() -> None:
    assert inherit(ONE, "SUCCESS,FAILURE", ORCPT) == (Recipient("a@x.example", "sales@example.org", "SUCCESS,FAILURE", ORCPT),)


@pytest.mark.parametrize(
    ("notify", "inherited", "expanded"),
    [
        ("SUCCESS,FAILURE", "FAILURE", True),
        ("DELAY,SUCCESS,FAILURE", "DELAY,FAILURE", True),
        ("SUCCESS", "NEVER", True),
        ("FAILURE", "FAILURE", False),
        ("NEVER", "NEVER", False),
        ("", "", False),
    ],
)
def test_several_get_no_success_and_the_first_tells_of_the_expansion(notify: str, inherited: str, expanded: bool) -> None:
    found = inherit(TWO, notify, ORCPT)
    assert [one.notify for one in found] == [inherited, inherited]
    assert [one.orcpt for one in found] == [ORCPT, ORCPT]
    assert [one.expanded for one in found] == [expanded, False]


def test_without_parameters_nothing_is_inherited() -> None:
    assert inherit(TWO, "", "") == TWO
