"""What an aggregate report would say of a message (RFC 9990 §3.1.1)."""

from __future__ import annotations

import json
from base64 import b64encode

import pytest
from tests.senderauth.dmarc.evidence import Dkim, Spf, dmarc_zone

from waymail import lookups
from waymail.senderauth import dkim, spf
from waymail.senderauth.dmarc import Observation, Override, evaluate, observe
from waymail.senderauth.dmarc.observation import Signature
from waymail.testing import Zone

RECORD = "v=DMARC1; p=reject; sp=quarantine; fo=1; t=y; nonsense; rua=mailto:a@example.org; ruf=mailto:f@example.org"


def observed(
    author: str, *, spf: Spf | None = None, dkim: tuple[Dkim, ...] = (), disposition: str = "none", record: str = RECORD
) -> Observation | None:
    found = lookups.run(evaluate(author, spf=spf, dkim=dkim), dmarc_zone({"example.org": record}))
    return observe(
        found,
        ip="192.0.2.1",
        mail_from="<>" if spf is None else f"x@{spf.domain}",
        recipient_domain="home.example",
        spf=spf,
        dkim=dkim,
        disposition=disposition,
        overrides=[Override("local_policy", "known to be a list")] if disposition == "none" else [],
    )


def test_a_failing_message_is_observed_with_all_that_its_owner_may_know() -> None:
    seen = observed("a.example.org", spf=Spf("evil.example", "softfail", reason="~all"), dkim=(Dkim("b.example", reason="ok"),))
    assert seen is not None
    assert seen == Observation(
        policy_domain="example.org",
        p="reject",
        sp="quarantine",
        np="",
        adkim="r",
        aspf="r",
        fo="1",
        testing="y",
        source_ip="192.0.2.1",
        disposition="none",
        dkim="fail",
        spf="fail",
        reasons=(Override("local_policy", "known to be a list"),),
        header_from="a.example.org",
        envelope_from="evil.example",
        envelope_to="home.example",
        signatures=(Signature("b.example", "s1", "pass", "ok"),),
        spf_domain="evil.example",
        spf_result="softfail",
        spf_human_result="~all",
        errors=("_dmarc.example.org: 'nonsense' is not name=value",),
        report_to=("mailto:a@example.org",),
    )
    assert Observation.from_dict(json.loads(json.dumps(seen.to_dict()))) == seen
    assert hash(Observation.from_dict(seen.to_dict() | {"later": 1})) == hash(seen)


def test_what_is_done_as_the_test_mode_of_the_owner_asks_is_said_to_be_done_for_that() -> None:
    seen = observed("example.org", disposition="quarantine")
    assert seen is not None
    assert seen.reasons == (Override("policy_test_mode", "t=y"),)
    refused = observed("example.org", disposition="reject")
    assert refused is not None
    assert refused.reasons == ()


def test_a_passing_message_of_an_enforcing_domain_has_the_disposition_pass() -> None:
    seen = observed("example.org", spf=Spf("example.org"))
    assert seen is not None
    assert (seen.disposition, seen.spf, seen.dkim) == ("pass", "pass", "fail")
    monitored = observed("example.org", spf=Spf("example.org"), record="v=DMARC1; p=none; rua=mailto:a@example.org")
    assert monitored is not None
    assert (monitored.disposition, monitored.testing) == ("none", "n")
    refused = observed("example.org", spf=Spf("example.org"), disposition="reject")
    assert refused is not None
    assert (refused.disposition, refused.reasons) == ("reject", ())


def test_spf_for_helo_is_not_reported() -> None:
    seen = observed("example.org", spf=Spf("example.org", identity="helo"))
    assert seen is not None
    assert (seen.spf_domain, seen.spf_result, seen.spf_human_result) == ("", "", "")
    without = observed("example.org")
    assert without is not None
    assert (without.spf_domain, without.envelope_from) == ("", "")


@pytest.mark.parametrize("record", ["v=DMARC1; p=reject", "v=spf1 -all", "TIMEOUT", "v=DMARC1; p=bogus"])
def test_where_no_report_is_asked_for_or_there_is_no_result_nothing_is_observed(record: str) -> None:
    assert observed("example.org", record=record) is None


def test_a_temporary_error_is_not_observed() -> None:
    assert observed("example.org", spf=Spf("example.org", "temperror")) is None


def test_signatures_stand_in_the_order_of_their_weight_and_there_are_a_hundred_at_most() -> None:
    names = ["else.example", "a.example.org", "example.org", "b.example.org"]
    results = ["pass", "pass", "fail", "pass"]
    seen = observed("b.example.org", dkim=tuple(map(Dkim, names, results)) + (Dkim("example.org", "fail"),) * 200)
    assert seen is not None
    assert [one.domain for one in seen.signatures[:4]] == ["b.example.org", "a.example.org", "else.example", "example.org"]
    assert len(seen.signatures) == 100


def test_what_spf_and_dkim_themselves_found_can_be_observed() -> None:
    zone = Zone({"example.org": {"TXT": ["v=spf1 -all"]}, "_dmarc.example.org": {"TXT": [RECORD]}})
    message = (
        b"DKIM-Signature: v=1; a=ed25519-sha256; d=example.org; s=s1; h=from;\r\n bh=" + b64encode(bytes(32)) + b"; b=AAAA\r\n"
        b"From: ann@example.org\r\n\r\nHello\r\n"
    )
    by_spf = lookups.run(spf.check("192.0.2.1", "ann@example.org", "mx.example.org"), zone)
    by_dkim = lookups.run(dkim.verify(message, now=0.0), zone)
    found = lookups.run(evaluate("example.org", spf=by_spf, dkim=by_dkim), zone)
    seen = observe(found, ip="192.0.2.1", mail_from="ann@example.org", spf=by_spf, dkim=by_dkim, disposition="quarantine")
    assert seen is not None
    assert (seen.spf_domain, seen.spf_result) == ("example.org", "fail")
    assert [(one.domain, one.selector, one.result) for one in seen.signatures] == [("example.org", "s1", "permerror")]
    assert seen.signatures[0].human_result == "there is no key at s1._domainkey.example.org"
