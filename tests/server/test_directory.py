"""Who is local."""

import pytest

from waymail.mail.envelope import Recipient
from waymail.server.directory import ALIAS_LOOP, NO_SUCH_USER, Directory, LocalDomain

DIRECTORY = Directory(
    "mail.example.org",
    {
        "example.org": LocalDomain(
            frozenset({"ann", "bob"}),
            {
                "sales": ("bob", "carol@elsewhere.example"),
                "all": ("sales", "ann", "bob"),
                "round": ("about",),
                "about": ("round",),
                "ann": ("ann", "archive@elsewhere.example"),
                "gone": ("nobody",),
            },
        ),
        "any.example": LocalDomain(None),
    },
)


def addresses(address: str) -> list[str]:
    found = DIRECTORY.resolve(address)
    assert isinstance(found, tuple)
    return [recipient.address for recipient in found]


@pytest.mark.parametrize("address", ["Bob@Example.ORG", "BOB@example.org", '"bob"@example.org'])
def test_a_known_recipient_has_one_spelling_and_what_was_asked_for_is_remembered(address: str) -> None:
    assert DIRECTORY.resolve(address) == (Recipient("bob@example.org", address),)
    assert DIRECTORY.resolve("bob@example.org") == (Recipient("bob@example.org"),)


@pytest.mark.parametrize(
    "address", ['"a/b"@any.example', '".hidden"@any.example', '"../../x"@any.example', '"a\\\0"@any.example']
)
def test_a_name_that_cannot_be_a_mailbox_is_refused_where_any_is_taken(address: str) -> None:
    assert DIRECTORY.resolve(address) == NO_SUCH_USER


def test_a_quoted_spelling_of_an_alias_is_the_alias() -> None:
    assert addresses('"sales"@example.org') == ["bob@example.org", "carol@elsewhere.example"]


def test_an_unknown_recipient_of_a_local_domain_is_no_such_user() -> None:
    assert DIRECTORY.resolve("nobody@example.org") == NO_SUCH_USER


@pytest.mark.parametrize(
    "address",
    [
        "x@elsewhere.example",
        "ann@sub.example.org",
        "ann@example.org.evil.example",
        '"ann@example.org"@evil.example',
        "ann@[192.0.2.1]",
    ],
)
def test_what_only_looks_local_is_foreign(address: str) -> None:
    assert DIRECTORY.resolve(address) is None


@pytest.mark.parametrize("address", ["x%evil.example@example.org", "evil.example!x@example.org", '"x@evil.example"@example.org'])
def test_a_foreign_address_dressed_up_in_a_local_part_leads_nowhere(address: str) -> None:
    assert DIRECTORY.resolve(address) == NO_SUCH_USER


def test_an_alias_leads_to_all_its_targets_and_remembers_what_was_asked_for() -> None:
    found = DIRECTORY.resolve("sales@example.org")
    assert found == (
        Recipient("bob@example.org", "sales@example.org"),
        Recipient("carol@elsewhere.example", "sales@example.org"),
    )


def test_aliases_of_aliases_give_each_address_once() -> None:
    assert sorted(addresses("all@example.org")) == [
        "ann@example.org",
        "archive@elsewhere.example",
        "bob@example.org",
        "carol@elsewhere.example",
    ]


def test_an_alias_that_names_itself_keeps_a_copy() -> None:
    assert addresses("ann@example.org") == ["ann@example.org", "archive@elsewhere.example"]


def test_an_alias_that_goes_round_is_refused() -> None:
    assert DIRECTORY.resolve("round@example.org") == ALIAS_LOOP


def test_an_alias_that_leads_to_nobody_is_no_such_user() -> None:
    assert DIRECTORY.resolve("gone@example.org") == NO_SUCH_USER


def test_a_domain_may_take_any_recipient() -> None:
    assert addresses("whoever@any.example") == ["whoever@any.example"]


@pytest.mark.parametrize("address", ["postmaster", "Postmaster", "POSTMASTER@example.org", "postmaster@any.example"])
def test_postmaster_is_always_accepted(address: str) -> None:
    assert addresses(address)[0].lower().startswith("postmaster@")


def test_postmaster_without_a_domain_is_the_one_of_this_host() -> None:
    assert addresses("postmaster") == ["postmaster@example.org"]
    own = Directory("example.net", {"example.org": LocalDomain(frozenset()), "example.net": LocalDomain(frozenset())})
    assert own.resolve("postmaster") == (Recipient("postmaster@example.net"),)
