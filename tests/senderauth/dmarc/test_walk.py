"""The DNS Tree Walk (RFC 9989 §4.10)."""

from __future__ import annotations

import pytest
from tests.senderauth.dmarc.evidence import Asked, dmarc_zone

from waymail import lookups
from waymail.senderauth.dmarc import walk as walks
from waymail.senderauth.dmarc.walk import Tree, Walk, domain_name
from waymail.testing import Zone


def walked(start: str, zone: Asked) -> Walk:
    return lookups.run(Tree().walk(start), zone)


def test_the_walk_of_the_rfc_s_example_asks_its_eight_questions() -> None:
    zone = dmarc_zone({})
    assert walked("a.b.c.d.e.f.g.h.i.j.mail.example.com", zone) == Walk("a.b.c.d.e.f.g.h.i.j.mail.example.com", ())
    assert zone.questions == [
        "_dmarc.a.b.c.d.e.f.g.h.i.j.mail.example.com",
        "_dmarc.g.h.i.j.mail.example.com",
        "_dmarc.h.i.j.mail.example.com",
        "_dmarc.i.j.mail.example.com",
        "_dmarc.j.mail.example.com",
        "_dmarc.mail.example.com",
        "_dmarc.example.com",
        "_dmarc.com",
    ]


@pytest.mark.parametrize("labels", [1, 2, 7, 8, 9, 60, 120])
def test_a_walk_asks_for_each_label_but_never_more_than_eight_questions(labels: int) -> None:
    zone = dmarc_zone({})
    walked(".".join("a" * labels), zone)
    assert len(zone.questions) == min(labels, 8)


@pytest.mark.parametrize("flag", ["y", "n"])
def test_a_walk_stops_at_a_record_that_says_what_its_domain_is(flag: str) -> None:
    zone = dmarc_zone({"example.com": f"v=DMARC1; psd={flag}", "com": "v=DMARC1"})
    assert [domain for domain, _ in walked("a.mail.example.com", zone).records] == ["example.com"]
    assert zone.questions[-1] == "_dmarc.example.com"


def test_a_walk_ends_where_there_is_no_answer_and_says_so() -> None:
    zone = dmarc_zone({"mail.example.com": "v=DMARC1", "example.com": "TIMEOUT", "com": "v=DMARC1"})
    found = walked("mail.example.com", zone)
    assert [domain for domain, _ in found.records] == ["mail.example.com"]
    assert found.failure == "_dmarc.example.com: timeout"
    assert zone.questions[-1] == "_dmarc.example.com"


@pytest.mark.parametrize(
    ("start", "records", "organizational"),
    [
        # The three examples of §4.10.2.
        ("a.mail.example.com", {"mail.example.com": "v=DMARC1", "example.com": "v=DMARC1"}, "example.com"),
        ("a.mail.example.com", {"mail.example.com": "v=DMARC1; psd=n", "example.com": "v=DMARC1"}, "mail.example.com"),
        ("a.mail.example.com", {"com": "v=DMARC1; psd=y"}, "example.com"),
        # Step 2: where the public suffix is two labels up, the domain below it has no record of its own.
        ("a.mail.example.com", {"example.com": "v=DMARC1; psd=y", "a.mail.example.com": "v=DMARC1"}, "mail.example.com"),
        # The public suffix itself sends mail.
        ("example.com", {"example.com": "v=DMARC1; psd=y", "com": "v=DMARC1"}, "example.com"),
        # A suffix that does not say that it is one (§11.8).
        ("a.example.com", {"example.com": "v=DMARC1", "com": "v=DMARC1"}, "com"),
        ("a.example.com", {"example.com": "v=DMARC1; psd=n", "com": "v=DMARC1"}, "example.com"),
        # The label below a public suffix that the walk has jumped over.
        ("a.b.c.d.e.f.g.h.i.com", {"d.e.f.g.h.i.com": "v=DMARC1; psd=y"}, "c.d.e.f.g.h.i.com"),
        # §5.1.8: a record that no walk comes by.
        (
            "mail.a.b.c.d.e.f.g.example.com",
            {"b.c.d.e.f.g.example.com": "v=DMARC1; psd=n", "example.com": "v=DMARC1"},
            "example.com",
        ),
        # Nothing found: the domain itself.
        ("a.example.com", {}, "a.example.com"),
        ("localhost", {}, "localhost"),
        # A record whose policy cannot be read is a record.
        ("a.example.com", {"example.com": "v=DMARC1; p=bogus"}, "example.com"),
    ],
)
def test_the_organizational_domain_is_found(start: str, records: dict[str, str], organizational: str) -> None:
    assert walks.organizational_domain(walked(start, dmarc_zone(records))) == organizational


@pytest.mark.parametrize(
    ("author", "records", "where"),
    [
        ("a.example.com", {"a.example.com": "v=DMARC1", "example.com": "v=DMARC1"}, "a.example.com"),
        ("a.example.com", {"example.com": "v=DMARC1", "com": "v=DMARC1; psd=y"}, "example.com"),
        ("a.example.com", {"com": "v=DMARC1; psd=y"}, "com"),
        # §4.10.1: between the author domain and the Organizational Domain nothing counts.
        ("a.b.example.com", {"b.example.com": "v=DMARC1", "example.com": "v=DMARC1"}, "example.com"),
        # The Organizational Domain b.c.com has no record: that of its public suffix is taken, not that of a domain in between.
        ("x.a.b.c.com", {"a.b.c.com": "v=DMARC1", "c.com": "v=DMARC1; psd=y"}, "c.com"),
    ],
)
def test_the_record_that_applies_is_the_author_s_or_the_organization_s_or_the_suffix_s(
    author: str, records: dict[str, str], where: str
) -> None:
    found = walks.policy_of(walked(author, dmarc_zone(records)))
    assert found is not None
    assert found[0] == where


def test_where_no_record_is_met_none_applies() -> None:
    assert walks.policy_of(walked("a.example.com", dmarc_zone({}))) is None


def test_several_records_at_a_name_are_none_and_the_walk_goes_on() -> None:
    zone = Zone(
        {"_dmarc.a.example": {"TXT": ["v=DMARC1; p=reject", "v=DMARC1; p=none"]}, "_dmarc.example": {"TXT": ["v=DMARC1"]}}
    )
    tree = Tree()
    found = lookups.run(tree.walk("a.example"), zone)
    assert [domain for domain, _ in found.records] == ["example"]
    assert tree.notes == ["_dmarc.a.example: 2 DMARC records, so none of them counts"]


def test_a_name_is_asked_for_once_in_a_tree() -> None:
    zone = dmarc_zone({"example.com": "v=DMARC1; nonsense"})
    tree = Tree()
    lookups.run(tree.walk("a.example.com"), zone)
    lookups.run(tree.walk("b.example.com"), zone)
    assert zone.questions == ["_dmarc.a.example.com", "_dmarc.example.com", "_dmarc.com", "_dmarc.b.example.com"]
    assert tree.notes == ["_dmarc.example.com: 'nonsense' is not name=value"]


def test_a_name_that_is_too_long_for_its_record_has_none() -> None:
    start = ".".join(["a" * 61] * 4)
    assert len(start) == 247
    zone = dmarc_zone({})
    walked(start, zone)
    assert zone.questions[0] == "_dmarc." + ".".join(["a" * 61] * 3)


def test_an_answer_shows_whether_something_exists() -> None:
    tree = Tree()
    zone = Zone({"_dmarc.a.example": {"A": ["192.0.2.1"]}, "_dmarc.b.example": {"TXT": ["nothing"]}})
    assert lookups.run(tree.at("a.example"), zone).exists
    assert lookups.run(tree.at("b.example"), zone).exists
    assert not lookups.run(tree.at("c.example"), zone).exists


def test_a_tree_is_authentic_as_long_as_every_answer_is() -> None:
    tree = Tree()
    zone = Zone({"_dmarc.a.example": {"TXT": ["x"]}}, authentic=["_dmarc.a.example"])
    lookups.run(tree.at("a.example"), zone)
    assert tree.authentic
    lookups.run(tree.at("b.example"), zone)
    assert not tree.authentic


@pytest.mark.parametrize(
    ("spelled", "name"),
    [
        ("Example.ORG", "example.org"),
        ("example.org.", "example.org"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("BÜCHER.example。", "xn--bcher-kva.example"),
        ("_spf.example-1.org", "_spf.example-1.org"),
        ("localhost", "localhost"),
        ("a" * 63 + ".org", "a" * 63 + ".org"),
        ("a" * 64 + ".org", ""),
        (".".join(["a" * 63] * 4), ""),
        ("ü" * 100_000, ""),
        ("example..org", ""),
        (".example.org", ""),
        ("example.org..", ""),
        ("[192.0.2.1]", ""),
        ("exa mple.org", ""),
        ("ex\udcffample.org", ""),
        ("", ""),
    ],
)
def test_a_domain_has_one_spelling_and_what_cannot_be_in_dns_has_none(spelled: str, name: str) -> None:
    assert domain_name(spelled) == name
