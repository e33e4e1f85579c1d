"""DMARC against authheaders, an implementation of RFC 7489, on generated zones and messages.

They are asked only where both RFCs say the same:
- RFC 7489 takes the Organizational Domain from a list of public suffixes, RFC 9989 from the records that a tree walk meets. Both
  come to example.com where that has a record and neither com nor anything below has `psd`: so it always has one here.
- RFC 7489 knows no `t` and no `psd`.
- authheaders applies `sp` to the domain that published it, too (RFC 7489 §6.3 says "subdomains"), so its policy is compared only
  for records without `sp`; and it lowers the case of nothing but the record, so domains are in lower case here.
- authheaders gives up on a record with a part that is no tag; RFC 9989 §4.8 passes over that part.
"""

from __future__ import annotations

from functools import cache
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.senderauth.dmarc.evidence import Dkim, Spf, dmarc_zone

from waymail import lookups
from waymail.senderauth.dmarc import evaluate

oracle: Any = pytest.importorskip("authheaders")
# It reads its list of public suffixes anew for every question.
oracle.get_org_domain = oracle.dmarc_lookup.get_org_domain = cache(oracle.get_org_domain)

POLICIES = st.sampled_from(["none", "quarantine", "reject", "Reject"])
MODES = st.sampled_from(["", "; adkim=s", "; aspf=s", "; aspf=s; adkim=s", "; adkim = r ;aspf=r", "; ADKIM=S"])
OTHERS = st.sampled_from(["", ";", "; zz=1", "; pct=100; rf=afrf; ri=86400", "; rua=mailto:a@example.com; fo=1"])
RECORDS = st.builds("v=DMARC1; p={}{}{}".format, POLICIES, MODES, OTHERS)
NAMES = st.sampled_from(
    ["example.com", "a.example.com", "b.example.com", "x.a.example.com", "notexample.com", "example.net", "com.example.net"]
)
RESULTS = st.sampled_from(["pass", "fail", "softfail", "none"])


def asked(author: str, records: dict[str, str], spf: Spf, dkim: Dkim) -> tuple[str, str]:
    """The result and the policy to which authheaders comes."""
    result, _, _, policy = oracle.dmarc_per_from(
        author,
        spf_result=SimpleNamespace(result=spf.result, smtp_mailfrom=f"x@{spf.domain}"),
        dkim_result=SimpleNamespace(result=dkim.result, header_d=dkim.domain),
        dnsfunc=lambda name: records.get(name.removeprefix("_dmarc.")),
    )
    return result, policy


@given(
    author=NAMES,
    organization=RECORDS,
    subdomain=st.none() | RECORDS,
    spf=st.builds(Spf, NAMES, RESULTS),
    dkim=st.builds(Dkim, NAMES, RESULTS),
)
def test_both_come_to_the_same_result_and_policy(
    author: str, organization: str, subdomain: str | None, spf: Spf, dkim: Dkim
) -> None:
    records = {"example.com": organization} | ({"a.example.com": subdomain} if subdomain else {})
    found = lookups.run(evaluate(author, spf=spf, dkim=[dkim]), dmarc_zone(records))
    assert (found.result, found.policy) == asked(author, records, spf, dkim)


@given(author=st.sampled_from(["a.example.com", "x.a.example.com"]), p=POLICIES, sp=POLICIES)
def test_both_take_the_policy_for_subdomains_from_sp(author: str, p: str, sp: str) -> None:
    records = {"example.com": f"v=DMARC1; p={p}; sp={sp}"}
    nobody = Spf("evil.example", "fail"), Dkim("evil.example", "fail")
    found = lookups.run(evaluate(author, spf=nobody[0], dkim=[nobody[1]]), dmarc_zone(records))
    assert (found.result, found.policy) == asked(author, records, *nobody) == ("fail", sp.lower())


@given(record=st.sampled_from(["v=dmarc1; p=reject", "v=spf1 -all", "p=reject; v=DMARC1", ""]))
def test_neither_takes_another_text_for_a_record(record: str) -> None:
    nobody = Spf("example.com"), Dkim("example.com")
    found = lookups.run(evaluate("example.com", spf=nobody[0], dkim=[nobody[1]]), dmarc_zone({"example.com": record}))
    assert (found.result, found.policy) == asked("example.com", {"example.com": record}, *nobody) == ("none", "")
