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
        "all.example": LocalDomain(frozenset({"ann"}), {"*": ("ann", "carol@elsewhere.example"), "sales": ("ann",)}, "+"),
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


def test_complaints_are_always_accepted_by_the_postmaster_where_nobody_else_is_named_for_them() -> None:
    assert DIRECTORY.resolve("Abuse@example.org") == (Recipient("postmaster@example.org", "Abuse@example.org"),)
    assert addresses("abuse@any.example") == ["abuse@any.example"]
    assert addresses("abuse@all.example") == addresses("nobody@all.example")
    named = LocalDomain(frozenset({"ann"}), {"abuse": ("ann",)})
    assert Directory("mail.example.org", {"example.org": named}).resolve("abuse@example.org") == (
        Recipient("ann@example.org", "abuse@example.org"),
    )


DETAILED = Directory(
    "mail.example.org",
    {
        "example.org": LocalDomain(
            frozenset({"ann", "bob", "bob+work"}),
            {
                "sales": ("bob", "ann+orders", "carol@elsewhere.example", "dora@plain.example", "eve@minus.example"),
                "ann+news": ("bob",),
                "ann": ("ann", "archive@elsewhere.example"),
                "round": ("about+x",),
                "about": ("round",),
            },
            detail="+",
        ),
        "plain.example": LocalDomain(frozenset({"dora", "ann"})),
        "minus.example": LocalDomain(frozenset({"eve"}), detail="-"),
        "any.example": LocalDomain(None, {"sales": ("bob@example.org",), "x+news": ("bob@example.org",)}, detail="+"),
    },
)


def asked(address: str) -> list[str]:
    found = DETAILED.resolve(address)
    assert isinstance(found, tuple), found
    return [recipient.address for recipient in found]


def test_a_detail_is_accepted_where_the_user_exists_and_stays_in_the_address() -> None:
    assert DETAILED.resolve("bob+lists@example.org") == (Recipient("bob+lists@example.org"),)
    assert DETAILED.resolve("Bob+Lists@Example.org") == (Recipient("bob+lists@example.org", "Bob+Lists@Example.org"),)
    assert asked("postmaster+x@example.org") == ["postmaster+x@example.org"]
    assert asked("whoever+x@any.example") == ["whoever+x@any.example"]


@pytest.mark.parametrize(
    "address", ["nobody+lists@example.org", "+lists@example.org", "ann+lists@plain.example", "bob-x@example.org"]
)
def test_a_detail_makes_nobody_exist(address: str) -> None:
    assert DETAILED.resolve(address) == NO_SUCH_USER


def test_a_name_that_only_begins_with_a_dot_is_refused_with_a_detail_too() -> None:
    assert DETAILED.resolve('".ssh+x"@any.example') == NO_SUCH_USER


def test_a_mailbox_or_alias_of_that_name_comes_before_a_detail() -> None:
    assert asked("bob+work@example.org") == ["bob+work@example.org"]
    assert asked("ann+news@example.org") == ["bob@example.org"]
    assert asked("x+news@any.example") == ["bob@example.org"]


def test_a_detail_of_an_alias_goes_where_the_alias_leads_if_the_domain_takes_details() -> None:
    assert asked("sales+vip@example.org") == [
        "bob+vip@example.org",
        "ann+orders@example.org",
        "archive@elsewhere.example",
        "carol@elsewhere.example",
        "dora@plain.example",
        "eve-vip@minus.example",
    ]
    assert asked("sales+vip@any.example") == ["bob+vip@example.org"]


def test_an_alias_that_names_itself_keeps_a_copy_with_the_detail() -> None:
    assert DETAILED.resolve("ann+lists@example.org") == (
        Recipient("ann+lists@example.org", "ann+lists@example.org"),
        Recipient("archive@elsewhere.example", "ann+lists@example.org"),
    )


def test_details_do_not_make_aliases_go_round_for_ever() -> None:
    assert DETAILED.resolve("round+y@example.org") == ALIAS_LOOP


@pytest.mark.parametrize("address", ["postmaster@mail.example.org", "Postmaster@Mail.Example.ORG"])
def test_the_postmaster_of_this_host_is_that_of_the_first_domain_where_the_host_is_no_domain(address: str) -> None:
    assert DIRECTORY.resolve(address) == (Recipient("postmaster@example.org", address),)
    assert DIRECTORY.resolve("ann@mail.example.org") is None


def test_the_postmaster_of_a_host_without_domains_is_not_ours() -> None:
    assert Directory("relay.example.org", {}).resolve("postmaster@relay.example.org") is None


def test_a_catch_all_is_for_those_who_are_neither_recipient_nor_alias() -> None:
    assert DIRECTORY.resolve("ann@all.example") == (Recipient("ann@all.example"),)
    assert addresses("sales@all.example") == addresses("ann@all.example") == ["ann@all.example"]
    assert addresses("ann+x@all.example") == ["ann+x@all.example"]
    for unknown in ("nobody@all.example", "no+body@all.example", "*@all.example"):
        assert addresses(unknown) == ["ann@all.example", "carol@elsewhere.example"]
        found = DIRECTORY.resolve(unknown)
        assert isinstance(found, tuple)
        assert {one.original for one in found} == {unknown}
    assert addresses("postmaster@all.example") == ["postmaster@all.example"]
