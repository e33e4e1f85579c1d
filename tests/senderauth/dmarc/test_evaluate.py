"""DMARC evaluated (RFC 9989 §5.3), from zones and from what SPF and DKIM found."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.senderauth.dmarc.evidence import Asked, Dkim, Spf, dmarc_zone

from waymail import lookups
from waymail.senderauth.dmarc import DmarcResult, author_domain, evaluate, evaluate_author
from waymail.testing import Zone


def judged(author: str, zone: Asked | Zone, *evidence: Spf | Dkim) -> DmarcResult:
    spf = next((one for one in evidence if isinstance(one, Spf)), None)
    return lookups.run(evaluate(author, spf=spf, dkim=[one for one in evidence if isinstance(one, Dkim)]), zone)


REJECT = {"example.org": "v=DMARC1; p=reject"}


def test_a_message_of_an_aligned_domain_passes_and_one_question_is_asked() -> None:
    zone = dmarc_zone(REJECT, authentic=True)
    found = judged("example.org", zone, Spf("example.org"), Dkim("example.org"))
    assert found == DmarcResult(
        result="pass",
        domain="example.org",
        reason="aligned: SPF and DKIM",
        policy="reject",
        published="reject",
        record_domain="example.org",
        record="v=DMARC1; p=reject",
        spf_aligned=True,
        dkim_aligned=True,
        authentic=True,
    )
    assert zone.questions == ["_dmarc.example.org"]


def test_a_message_that_nobody_authenticated_fails_and_the_result_says_why() -> None:
    zone = dmarc_zone(REJECT)
    found = judged("Example.ORG.", zone, Spf("example.org", "fail"), Dkim("example.org", "fail"))
    assert (found.result, found.policy, found.domain) == ("fail", "reject", "example.org")
    assert (found.spf_aligned, found.dkim_aligned) == (False, False)
    assert found.reason == "neither SPF nor DKIM authenticated a domain"
    assert zone.questions == ["_dmarc.example.org"]
    assert not found.authentic


def test_without_spf_and_dkim_a_message_fails() -> None:
    assert judged("example.org", dmarc_zone(REJECT)).result == "fail"


def test_who_was_authenticated_but_is_somebody_else_is_named() -> None:
    found = judged("example.org", dmarc_zone(REJECT), Spf("a.example.net"), *map(Dkim, ["b.example", "c.example", "d.example"]))
    assert found.reason == "authenticated, but not aligned with example.org: a.example.net, b.example, c.example, ..."
    assert judged("example.org", dmarc_zone(REJECT), Dkim("b.example")).reason.endswith("example.org: b.example")


@pytest.mark.parametrize(
    ("author", "authenticated", "aligned"),
    [
        # Table 1 and Appendix B.1
        ("news.example.com", "foo.example.com", True),
        ("news.example.com", "news.example.com", True),
        ("news.example.com", "foo.example.net", False),
        ("example.com", "child.example.com", True),
        ("child.example.com", "example.com", True),
        ("example.com", "EXAMPLE.com", True),
        ("example.com", "notexample.com", False),
        ("example.com", "com", False),
        ("example.com", "example.com.evil.example", False),
    ],
)
@pytest.mark.parametrize("method", [Spf, Dkim])
def test_relaxed_alignment_is_that_of_organizational_domains(
    author: str, authenticated: str, aligned: bool, method: type[Spf] | type[Dkim]
) -> None:
    found = judged(author, dmarc_zone({"example.com": "v=DMARC1; p=reject", "example.net": "v=DMARC1"}), method(authenticated))
    assert found.result == ("pass" if aligned else "fail")
    assert (found.spf_aligned, found.dkim_aligned) == (aligned and method is Spf, aligned and method is Dkim)


def test_strict_alignment_is_that_of_the_same_name_and_each_method_has_its_own_mode() -> None:
    zone = dmarc_zone({"example.org": "v=DMARC1; p=reject; aspf=s", "com": "v=DMARC1"})
    assert judged("example.org", zone, Spf("a.example.org")).result == "fail"
    assert judged("example.org", zone, Spf("Example.org")).result == "pass"
    assert judged("example.org", zone, Dkim("a.example.org")).result == "pass"
    zone = dmarc_zone({"example.org": "v=DMARC1; p=reject; adkim=s"})
    assert judged("example.org", zone, Dkim("a.example.org")).result == "fail"
    assert zone.questions == ["_dmarc.example.org"]
    assert judged("example.org", zone, Spf("a.example.org")).result == "pass"


def test_subdomains_that_are_organizations_of_their_own_are_not_aligned() -> None:
    records = {"example.org": "v=DMARC1; p=reject", "lab.example.org": "v=DMARC1; p=none; psd=n"}
    assert judged("example.org", dmarc_zone(records), Dkim("a.lab.example.org")).result == "fail"
    assert judged("x.lab.example.org", dmarc_zone(records), Dkim("a.lab.example.org")).result == "pass"
    assert judged("x.lab.example.org", dmarc_zone(records), Dkim("example.org")).result == "fail"


def test_customers_of_a_public_suffix_are_not_aligned_with_each_other() -> None:
    zone = dmarc_zone({"co.example": "v=DMARC1; p=reject; psd=y"})
    found = judged("bank.co.example", zone, Dkim("evil.co.example"), Dkim("co.example"))
    assert (found.result, found.policy, found.record_domain) == ("fail", "reject", "co.example")
    assert found.organizational_domain == "bank.co.example"
    assert judged("bank.co.example", zone, Dkim("a.bank.co.example")).result == "pass"


def test_only_spf_for_mail_from_counts() -> None:
    # §4.4.2
    assert judged("example.org", dmarc_zone(REJECT), Spf("example.org", identity="helo")).result == "fail"


def test_any_signature_that_passes_and_is_aligned_is_enough() -> None:
    signatures = [Dkim("evil.example"), Dkim("example.org", "fail"), Dkim("mail.example.org"), Dkim("example.org", "policy")]
    found = judged("example.org", dmarc_zone(REJECT), Spf("evil.example"), *signatures)
    assert (found.result, found.spf_aligned, found.dkim_aligned, found.reason) == ("pass", False, True, "aligned: DKIM")


def test_a_domain_without_a_record_is_not_judged() -> None:
    zone = dmarc_zone({})
    found = judged("a.example.org", zone, Spf("a.example.org"))
    assert (found.result, found.policy, found.reason) == ("none", "", "no DMARC record")
    assert zone.questions == ["_dmarc.a.example.org", "_dmarc.example.org", "_dmarc.org"]


def test_a_record_that_cannot_be_read_ends_the_search() -> None:
    # §4.10.1: "the Mail Receiver applies no DMARC processing to this message"
    zone = dmarc_zone({"a.example.org": "v=DMARC1; p=bogus", "example.org": "v=DMARC1; p=reject"})
    found = judged("a.example.org", zone)
    assert (found.result, found.reason) == ("none", "the policy of a.example.org cannot be read")
    assert found.notes == ("_dmarc.a.example.org: p='bogus' is none of none, quarantine, reject",)
    asking = dmarc_zone({"example.org": "v=DMARC1; p=bogus; rua=mailto:a@example.org"})
    assert (judged("example.org", asking).result, judged("example.org", asking).policy) == ("fail", "none")


@pytest.mark.parametrize(
    ("record", "author", "published"),
    [
        ("p=reject", "example.org", "reject"),
        ("p=reject; sp=none; np=none", "example.org", "reject"),
        ("p=none; sp=quarantine; np=reject", "host.example.org", "quarantine"),
        ("p=none; sp=quarantine; np=reject", "ghost.example.org", "reject"),
        ("p=none; sp=quarantine", "ghost.example.org", "quarantine"),
        ("p=quarantine; np=reject", "host.example.org", "quarantine"),
        ("p=quarantine; np=reject", "ghost.example.org", "reject"),
        ("p=quarantine", "ghost.example.org", "quarantine"),
        # Something stands below it, so it exists (RFC 8020).
        ("p=none; np=reject", "parent.example.org", "none"),
    ],
)
def test_the_policy_is_that_of_the_domain_or_of_its_subdomains_or_of_those_that_do_not_exist(
    record: str, author: str, published: str
) -> None:
    zone = dmarc_zone({"example.org": f"v=DMARC1; {record}"}, "host.example.org", "www.parent.example.org")
    found = judged(author, zone)
    assert (found.result, found.published, found.policy) == ("fail", published, published)


def test_whether_the_author_domain_exists_is_asked_only_where_it_matters_and_is_not_known() -> None:
    same = dmarc_zone({"example.org": "v=DMARC1; p=reject; np=reject"})
    judged("ghost.example.org", same)
    assert same.questions == ["_dmarc.ghost.example.org", "_dmarc.example.org", "_dmarc.org"]
    known = Asked(
        Zone({"_dmarc.a.example.org": {"TXT": ["else"]}, "_dmarc.example.org": {"TXT": ["v=DMARC1; p=none; np=reject"]}})
    )
    assert judged("a.example.org", known).policy == "none"
    assert "a.example.org" not in known.questions
    other = dmarc_zone({"example.org": "v=DMARC1; p=none; np=reject"})
    judged("ghost.example.org", other)
    assert other.questions[-1] == "ghost.example.org"


@pytest.mark.parametrize(("published", "policy"), [("reject", "quarantine"), ("quarantine", "none"), ("none", "none")])
def test_an_owner_who_is_testing_asks_for_one_step_less(published: str, policy: str) -> None:
    found = judged("example.org", dmarc_zone({"example.org": f"v=DMARC1; p={published}; t=y"}))
    assert (found.published, found.policy, found.is_testing) == (published, policy, True)


def test_the_result_keeps_who_wants_reports() -> None:
    record = "v=DMARC1; p=none; rua=mailto:a@example.org; ruf=mailto:f@example.org; fo=1:d"
    found = judged("example.org", dmarc_zone({"example.org": record}))
    assert (found.report_to, found.failure_report_to, found.fo) == (("mailto:a@example.org",), ("mailto:f@example.org",), "1:d")


@pytest.mark.parametrize("domain", ["", "a..b", "[192.0.2.1]", "x" * 64, "ex\udc80mple.org"])
def test_an_author_domain_that_cannot_be_is_a_permanent_error_and_nothing_is_asked(domain: str) -> None:
    zone = dmarc_zone({})
    assert judged(domain, zone, Spf("example.org")).result == "permerror"
    assert zone.questions == []


@pytest.mark.parametrize("domain", ["a.example.org", "example.org", "org"])
def test_where_the_record_cannot_be_asked_for_the_result_is_a_temporary_error(domain: str) -> None:
    found = judged("a.example.org", dmarc_zone({domain: "TIMEOUT"}), Spf("a.example.org"))
    assert (found.result, found.reason, found.policy) == ("temperror", f"_dmarc.{domain}: timeout", "")


def test_a_question_that_the_result_does_not_depend_on_may_stay_open() -> None:
    zone = dmarc_zone({"example.org": "v=DMARC1; p=reject", "org": "TIMEOUT"})
    assert judged("example.org", zone, Dkim("example.org")).result == "pass"
    assert judged("example.org", zone, Dkim("evil.example")).result == "fail"
    assert judged("example.org", zone).result == "fail"
    assert judged("example.org", zone, Dkim("a.example.org")).reason == "_dmarc.org: timeout"


def test_a_walk_without_an_end_leaves_the_result_open_unless_another_domain_is_aligned() -> None:
    zone = dmarc_zone({"example.org": "v=DMARC1; p=reject", "a.example.org": "TIMEOUT"})
    found = judged("example.org", zone, Dkim("a.example.org"), Spf("evil.example"))
    assert (found.result, found.reason, found.policy) == ("temperror", "_dmarc.a.example.org: timeout", "reject")
    assert judged("example.org", zone, Dkim("a.example.org"), Dkim("b.example.org")).result == "pass"
    assert judged("example.org", zone, Dkim("a.example.org"), Spf("b.example.org")).result == "pass"


def test_a_walk_that_ends_well_does_not_make_another_one_forgotten_that_did_not() -> None:
    records = {"example.org": "v=DMARC1; p=reject", "a.example.org": "TIMEOUT", "lab.example.org": "v=DMARC1; psd=n"}
    assert judged("example.org", dmarc_zone(records), Spf("a.example.org"), Dkim("x.lab.example.org")).result == "temperror"


def test_no_walk_is_made_for_a_domain_that_cannot_be_aligned() -> None:
    zone = dmarc_zone(REJECT)
    assert judged("example.org", zone, Spf("evil.example"), Dkim("a.other.org"), Dkim("b.a.other.org")).result == "fail"
    assert zone.questions == ["_dmarc.example.org", "_dmarc.org"]


@pytest.mark.parametrize(
    ("evidence", "result"),
    [
        ([Spf("example.org", "temperror")], "temperror"),
        ([Dkim("a.example.org", "temperror"), Spf("evil.example")], "temperror"),
        ([Spf("evil.example", "temperror"), Dkim("evil.example", "temperror")], "fail"),
        ([Spf("example.org", "temperror"), Dkim("a.example.org")], "pass"),
        ([Spf("example.org", "temperror", identity="helo")], "fail"),
        ([Spf("example.org", "permerror"), Dkim("example.org", "permerror")], "fail"),
    ],
)
def test_an_answer_that_spf_or_dkim_lacked_counts_where_it_could_have_made_the_message_pass(
    evidence: list[Spf | Dkim], result: str
) -> None:
    found = judged("example.org", dmarc_zone(REJECT), *evidence)
    assert (found.result, found.policy) == (result, "reject")
    if result == "temperror":
        assert found.reason.startswith("no answer for ")


def test_where_only_the_existence_of_the_domain_is_unknown_the_failing_message_is_left_open() -> None:
    zone = Zone({"_dmarc.example.org": {"TXT": ["v=DMARC1; p=none; np=reject"]}, "a.example.org": "TIMEOUT"})
    found = judged("a.example.org", zone)
    assert (found.result, found.reason, found.published) == ("temperror", "a.example.org: timeout", "none")
    assert judged("a.example.org", zone, Dkim("example.org")).result == "pass"


def test_u_labels_and_a_labels_are_one_domain() -> None:
    zone = dmarc_zone({"xn--bcher-kva.example": "v=DMARC1; p=reject"})
    assert judged("bücher.example", zone, Dkim("xn--bcher-kva.example")).result == "pass"
    assert judged("xn--bcher-kva.example", zone, Spf("BÜCHER.example")).domain == "xn--bcher-kva.example"
    assert judged("bücher.example", zone, Spf("no domain"), Dkim("")).result == "fail"


@pytest.mark.parametrize(
    ("value", "result", "policy", "domain"),
    [
        ("x@evil.example", "pass", "none", "evil.example"),
        # The domain that would refuse it is the one that matters, wherever it stands.
        ("x@evil.example, ceo@bank.example", "fail", "reject", "bank.example"),
        ("ceo@bank.example <x@evil.example>", "fail", "reject", "bank.example"),
        ("ceo@bank.example <x@evil.example", "fail", "reject", "bank.example"),
        ("x@evil.example\r\nFrom: ceo@bank.example", "fail", "reject", "bank.example"),
        ('"ceo@bank.example"', "fail", "reject", "bank.example"),
        ("a@shop.example, ceo@bank.example", "fail", "reject", "bank.example"),
        ("a@shop.example, b@slow.example", "fail", "quarantine", "shop.example"),
        ("x@evil.example, b@slow.example", "temperror", "", "slow.example"),
        ("c@watching.example, b@slow.example", "temperror", "", "slow.example"),
        ("c@watching.example, x@evil.example", "fail", "none", "watching.example"),
        # Nobody who minds: but nobody who vouches for the other one, either.
        ("x@evil.example, y@evil2.example", "permerror", "", ""),
        ("x@evil.example, d@nothing.example", "permerror", "", ""),
        ("nobody", "permerror", "", ""),
    ],
)
def test_a_message_of_several_authors_has_the_worst_of_their_results(value: str, result: str, policy: str, domain: str) -> None:
    zone = dmarc_zone(
        {
            "bank.example": "v=DMARC1; p=reject",
            "shop.example": "v=DMARC1; p=quarantine",
            "watching.example": "v=DMARC1; p=none",
            "evil.example": "v=DMARC1; p=none",
            "evil2.example": "v=DMARC1; p=none",
            "slow.example": "TIMEOUT",
        }
    )
    author = author_domain(f"From: {value}\r\n".encode())
    found = lookups.run(evaluate_author(author, spf=Spf("evil.example"), dkim=[Dkim("evil2.example")]), zone)
    assert (found.result, found.policy, found.domain) == (result, policy, domain)
    assert found.reason.startswith(author.reason)


def test_a_crowd_of_authors_is_taken_for_a_domain_that_asks_for_the_strictest_policy() -> None:
    crowd = ", ".join(f"a@d{number}.example" for number in range(10))
    zone = dmarc_zone({"example.org": "v=DMARC1; p=reject"})
    author = author_domain(f"From: {crowd}, ceo@example.org\r\n".encode())
    found = lookups.run(evaluate_author(author, spf=None, dkim=[]), zone)
    assert (found.result, found.policy, found.published) == ("fail", "reject", "reject")
    assert found.reason == "the From field names 11 domains, more than can be asked about"
    assert zone.questions == []


def test_the_questions_for_a_message_have_an_upper_bound() -> None:
    # Twenty passing signatures of a domain of the author's own, each with its own eight labels.
    zone = dmarc_zone({"evil.example": "v=DMARC1; p=reject; aspf=s"})
    signatures = [Dkim(f"{'.'.join(f's{number}x{at}' for at in range(100))}.evil.example") for number in range(300)]
    short = [Dkim(f"{'.'.join(f's{number}x{at}' for at in range(9))}.other.evil.example") for number in range(300)]
    zone = dmarc_zone({"evil.example": "v=DMARC1; p=reject", "other.evil.example": "v=DMARC1; psd=n"})
    assert judged("evil.example", zone, *short, *signatures).result == "fail"
    assert len(zone.questions) <= 2 + 20 * 8


@given(
    author=st.lists(st.sampled_from(["a", "b", "com"]), min_size=1, max_size=5).map(".".join),
    others=st.lists(st.lists(st.sampled_from(["a", "b", "com"]), min_size=1, max_size=5).map(".".join), max_size=3),
    records=st.dictionaries(
        st.lists(st.sampled_from(["a", "b", "com"]), min_size=1, max_size=4).map(".".join),
        st.sampled_from(["v=DMARC1", "v=DMARC1; psd=y", "v=DMARC1; psd=n", "v=DMARC1; adkim=s", "TIMEOUT"]),
    ),
)
def test_the_short_cuts_come_to_what_the_rules_say_when_every_walk_is_made(
    author: str, others: list[str], records: dict[str, str]
) -> None:
    from waymail.senderauth.dmarc import walk as walks

    found = judged(author, dmarc_zone(records), *map(Dkim, others))
    tree = walks.Tree()
    zone = dmarc_zone(records)
    made = {name: lookups.run(tree.walk(name), zone) for name in (author, *others)}
    if any(walk.failure for walk in made.values()):
        return  # what has to be asked may be less than that
    applicable = walks.policy_of(made[author])
    if applicable is None:
        assert found.result == "none"
        return
    assert found.record_domain == applicable[0]
    organizations = {name: walks.organizational_domain(walk) for name, walk in made.items()}
    strict = applicable[1].adkim == "s"
    aligned = any(one == author or (not strict and organizations[one] == organizations[author]) for one in others)
    assert found.result == ("pass" if aligned else "fail")
