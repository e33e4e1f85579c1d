"""Which rule decides: each by itself, and where several apply."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from waymail.app.config.inbound import Inbound
from waymail.app.wiring_inbound import rules
from waymail.senderauth.arc import ArcResult
from waymail.senderauth.authres import AuthenticationResults, Method
from waymail.senderauth.dkim import DkimResult
from waymail.senderauth.dmarc import AuthorDomain, DmarcResult
from waymail.senderauth.dnsbl import DnsblResult, Hit
from waymail.senderauth.iprev import IprevResult
from waymail.senderauth.spf import SpfResult
from waymail.senderauth.verdict import RULES, Evidence, Override, Rules, Verdict, decide

DEFAULTS = rules(Inbound())
GOOD = Evidence("192.0.2.1", "mx.client.example", "a@client.example")


def spf(result: str, explanation: str = "") -> SpfResult:
    return SpfResult(result, explanation, "mailfrom", "client.example", "-all", "why", ())


def dmarc(result: str, policy: str = "reject", published: str = "", *, is_testing: bool = False) -> DmarcResult:
    return DmarcResult(result, "bank.example", "why", policy, published or policy, is_testing=is_testing)


def arc(result: str = "pass", domain: str = "lists.example", seen: str = "pass") -> ArcResult:
    results = AuthenticationResults(domain, (Method("dmarc", seen),)) if seen else None
    return ArcResult(result, domain=domain, instances=2, authserv_results=(results,))


LISTED = DnsblResult((Hit("bl.example", "192.0.2.1", "127.0.0.2", "spam", 1.0),), 1.0)
UNEXPLAINED = DnsblResult(
    (Hit("bl.example", "192.0.2.1", "127.0.0.2", "", 1.0), Hit("wl.example", "192.0.2.1", "127.0.0.2", "", -0.1)), 1.0
)

APPLY = [
    ("block_list", {"blocked": "an entry"}),
    ("dnsbl", {"dnsbl": LISTED}),
    ("dnsbl", {"dnsbl": UNEXPLAINED}),
    ("early_talker", {"talked_early": True}),
    ("iprev_fail", {"iprev": IprevResult("fail")}),
    ("iprev_fail", {"iprev": IprevResult("permerror", reason="no name")}),
    ("helo_fail", {"spf_helo": spf("fail")}),
    ("spf_fail", {"spf": spf("fail")}),
    ("spf_fail", {"spf": spf("fail", "go away")}),
    ("spf_softfail", {"spf": spf("softfail")}),
    ("spf_permerror", {"spf": spf("permerror")}),
    ("dkim_fail", {"dkim": (DkimResult("fail", "bank.example", reason="changed"), DkimResult("permerror"))}),
    ("no_author", {"author": AuthorDomain("", "2 From fields")}),
    ("dmarc_reject", {"dmarc": dmarc("fail")}),
    ("dmarc_reject", {"dmarc": dmarc("fail"), "arc": arc("fail")}),
    ("dmarc_reject_forwarded", {"dmarc": dmarc("fail"), "list_field": "List-Id"}),
    ("dmarc_reject_forwarded", {"dmarc": dmarc("fail"), "arc": arc()}),
    ("dmarc_quarantine", {"dmarc": dmarc("fail", "quarantine")}),
    ("dmarc_none", {"dmarc": dmarc("fail", "none")}),
    ("temperror", {"dmarc": dmarc("temperror")}),
]
DO_NOT_APPLY: list[dict[str, Any]] = [
    {},
    {"dnsbl": DnsblResult((Hit("bl.example", "192.0.2.1", "127.0.0.2", "", 0.5),), 0.5)},
    {"iprev": IprevResult("pass")},
    {"iprev": IprevResult("temperror")},
    {"spf_helo": spf("softfail")},
    {"spf": spf("pass"), "author": AuthorDomain("bank.example")},
    {"spf": spf("fail"), "dmarc": dmarc("pass")},
    {"spf": spf("softfail"), "dmarc": dmarc("pass")},
    {"spf": spf("permerror"), "dmarc": dmarc("pass")},
    {"spf": spf("temperror"), "dmarc": dmarc("pass")},
    {"spf": spf("temperror")},  # it could not have come to more than a mark
    {"dkim": (DkimResult("fail"),), "dmarc": dmarc("pass")},
    {"dkim": (DkimResult("fail"), DkimResult("pass"))},
    {"dkim": (DkimResult("temperror"),)},
    {"dmarc": dmarc("none", "")},
    {"dmarc": dmarc("permerror", ""), "list_field": "List-Id"},
]


def judged(found: dict[str, Any], by: Rules = DEFAULTS, **options: Any) -> Verdict:
    return decide(replace(GOOD, **found), by, options.pop("stage", "message"), **options)


@pytest.mark.parametrize(("rule", "found"), APPLY)
def test_a_rule_applies_and_no_other(rule: str, found: dict[str, Any]) -> None:
    [match] = judged(found).matches
    assert match.rule == rule
    assert match.text
    assert match.reason


@pytest.mark.parametrize("found", DO_NOT_APPLY)
def test_no_rule_applies(found: dict[str, Any]) -> None:
    assert judged(found) == Verdict("accept")


def test_of_too_many_authors_nobody_is_said_to_ask_for_anything() -> None:
    [match] = judged({"dmarc": DmarcResult("fail", "", "the From field names 11 domains", "reject", "reject")}).matches
    assert (match.rule, match.text) == ("dmarc_reject", "the From field names 11 domains")


def test_each_rule_is_a_key_of_the_configuration_and_is_tested_here() -> None:
    names = [rule.name for rule in RULES]
    assert sorted(names) == sorted(DEFAULTS.actions)
    assert set(names) == {rule for rule, _ in APPLY}


def test_at_rcpt_only_what_can_be_known_then_decides() -> None:
    found = {"dmarc": dmarc("fail"), "spf": spf("fail"), "talked_early": True}
    assert [match.rule for match in judged(found, stage="rcpt").matches] == ["early_talker"]


def test_the_most_severe_action_decides_and_of_equal_ones_the_first() -> None:
    found = {"spf": spf("fail"), "spf_helo": spf("fail"), "dmarc": dmarc("fail", "quarantine")}
    verdict = judged(found)
    assert (verdict.action, verdict.rule) == ("quarantine", "dmarc_quarantine")
    assert [match.rule for match in verdict.matches] == ["helo_fail", "dmarc_quarantine", "spf_fail"]
    assert judged(found | {"dmarc": None}).rule == "helo_fail"


def test_a_refusal_has_the_code_of_its_class_and_the_page_that_helps() -> None:
    by = replace(DEFAULTS, actions={"spf_fail": "defer", "helo_fail": "reject"}, help_url="https://x/{code}/{rule}/{ip}/{other}")
    assert str(judged({"spf": spf("fail", "go away")}, by).reply) == (
        "451 4.7.23 192.0.2.1 may not send for client.example (SPF); client.example explains: go away; "
        "see https://x/4.7.23/spf_fail/192.0.2.1/{other}"
    )
    assert str(judged({"spf_helo": spf("fail")}, by).reply).startswith(
        "550 5.7.23 192.0.2.1 may not call itself client.example (SPF)"
    )
    reply = judged({"spf": spf("fail", "x" * 1000), "spf_helo": None}, by).reply
    assert reply is not None
    assert len(reply.text) < 400


def test_without_an_answer_it_is_deferred_where_that_could_have_meant_more_than_a_mark() -> None:
    assert str(judged({"dmarc": dmarc("temperror")}).reply) == "451 4.4.3 DNS gave no answer about bank.example"
    strict = replace(DEFAULTS, actions={**DEFAULTS.actions, "spf_fail": "reject"})
    assert str(judged({"spf": spf("temperror")}, strict).reply) == "451 4.4.3 DNS gave no answer about client.example"
    assert judged({"dmarc": dmarc("temperror")}, Rules({"temperror": "defer"})).matches == ()


def test_an_allow_list_stands_above_all_rules() -> None:
    verdict = judged({"allowed": "an entry", "blocked": "another", "dmarc": dmarc("fail")})
    assert (verdict.action, verdict.rule, verdict.reply) == ("accept", "allow_list", None)
    assert verdict.override == Override("local_policy", "allow_list")
    assert [match.rule for match in verdict.matches] == ["block_list", "dmarc_reject"]


def test_postmaster_is_spared_but_told() -> None:
    verdict = judged({"dmarc": dmarc("fail")}, is_spared=True)
    assert (verdict.action, verdict.rule, verdict.reply) == ("mark", "dmarc_reject", None)
    assert verdict.override == Override("local_policy", "postmaster")
    assert judged({"spf": spf("fail")}, is_spared=True).reason == "192.0.2.1 may not send for client.example (SPF): why"


TRUSTING = replace(DEFAULTS, arc_trusted=frozenset({"lists.example"}))


@pytest.mark.parametrize("domain", ["lists.example", "a.Lists.example"])
def test_a_trusted_forwarder_overrides_dmarc(domain: str) -> None:
    verdict = judged({"dmarc": dmarc("fail"), "arc": arc(domain=domain)}, TRUSTING)
    assert (verdict.action, verdict.matches) == ("accept", ())
    assert verdict.override == Override("trusted_forwarder", f"{domain}, which is trusted, saw DMARC pass (ARC instance 2)")


@pytest.mark.parametrize(
    "chain", [arc("fail"), arc(domain="evil.example"), arc(seen="fail"), arc(seen=""), replace(arc(), authserv_results=()), None]
)
def test_nobody_else_does(chain: ArcResult | None) -> None:
    verdict = judged({"dmarc": dmarc("fail"), "arc": chain}, TRUSTING)
    assert verdict.rule.startswith("dmarc_reject")


@pytest.mark.parametrize(
    ("found", "override"),
    [
        (dmarc("fail"), None),
        (dmarc("fail", "none"), None),
        (dmarc("fail", "quarantine", "reject", is_testing=True), Override("policy_test_mode", "t=y")),
        (dmarc("fail", "none", "quarantine", is_testing=True), Override("policy_test_mode", "t=y")),
        (dmarc("temperror"), None),
        (dmarc("pass"), None),
    ],
)
def test_what_is_done_against_the_published_policy_is_recorded(found: DmarcResult, override: Override | None) -> None:
    assert judged({"dmarc": found}).override == override


def test_an_operator_who_does_less_or_more_is_local_policy() -> None:
    lenient = replace(DEFAULTS, actions={"dmarc_reject": "mark"})
    assert judged({"dmarc": dmarc("fail")}, lenient).override == Override("local_policy", "dmarc_reject")
    assert judged({"dmarc": dmarc("fail")}, Rules()).override == Override("local_policy", "on_dmarc_reject")
    listed = judged({"dmarc": dmarc("fail", "none"), "dnsbl": LISTED})
    assert listed.override == Override("local_policy", "dnsbl")
    putting_off = replace(DEFAULTS, actions={"dmarc_reject": "defer"})
    assert judged({"dmarc": dmarc("fail")}, putting_off).override is None
