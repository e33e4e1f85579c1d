"""Users and details."""

import pytest

from waymail.mail.subaddress import split

USERS = {"ann", "mary-ann", "mary", "ann+vip"}


@pytest.mark.parametrize(
    ("name", "separator", "found"),
    [
        ("ann", "+", ("ann", "")),
        ("ann+lists", "+", ("ann", "lists")),
        ("ann+", "+", ("ann", "")),
        ("ann+a+b", "+", ("ann", "a+b")),
        ("ann+vip", "+", ("ann+vip", "")),
        ("ann+vip+x", "+", ("ann+vip", "x")),
        ("mary-ann-lists", "-", ("mary-ann", "lists")),
        ("mary-lists", "-", ("mary", "lists")),
        ("ann--lists", "--", ("ann", "lists")),
        ("ann+lists", "", None),
        ("ann+lists", "-", None),
        ("bob+lists", "+", None),
        ("+lists", "+", None),
        ("", "+", None),
    ],
)
def test_the_longest_user_that_exists_is_meant(name: str, separator: str, found: tuple[str, str] | None) -> None:
    assert split(name, separator, USERS.__contains__) == found


@pytest.mark.parametrize(
    ("name", "found"), [("ann", ("ann", "")), ("ann+a+b", ("ann", "a+b")), ("+x", ("+x", "")), ("+a+b", ("+a", "b"))]
)
def test_where_anybody_is_a_user_the_first_separator_counts(name: str, found: tuple[str, str]) -> None:
    assert split(name, "+", None) == found
