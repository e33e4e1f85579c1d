"""What each check found has its method and its registered properties."""

from __future__ import annotations

import pytest

from waymail.senderauth import authres
from waymail.senderauth.arc import ArcResult
from waymail.senderauth.authres import Method
from waymail.senderauth.dkim import DkimResult
from waymail.senderauth.dmarc import DmarcResult
from waymail.senderauth.dnsbl import DnsblResult, Hit
from waymail.senderauth.iprev import IprevResult
from waymail.senderauth.spf import SpfResult

SENDER, HELO, IP = "ann@example.org", "mx.example.org", "192.0.2.1"


def spf(identity: str = "mailfrom", mechanism: str = "ip4:192.0.2.0/24") -> SpfResult:
    return SpfResult("pass", "", identity, "example.org", mechanism, "it matches", ())


def test_spf_tells_the_identity_that_was_checked_and_no_local_part() -> None:
    assert authres.of_spf(spf(), SENDER, HELO) == Method("spf", "pass", "it matches", (("smtp", "mailfrom", "example.org"),))
    assert authres.of_spf(spf("helo"), SENDER, HELO).properties == (("smtp", "helo", "mx.example.org"),)


@pytest.mark.parametrize("sender", ["", "<>"])
def test_spf_of_the_null_path_is_that_of_helo(sender: str) -> None:
    assert authres.of_spf(spf(), sender, HELO).properties == (("smtp", "helo", "mx.example.org"),)


@pytest.mark.parametrize("mechanism", ["exists:%{l}._spf.%{d}", "exists:%{S}.example.org", "exists:%{l1r-}.x"])
def test_spf_tells_the_local_part_where_the_record_looks_at_it(mechanism: str) -> None:
    assert authres.of_spf(spf(mechanism=mechanism), SENDER, HELO).properties == (("smtp", "mailfrom", "ann@example.org"),)


def test_dkim_tells_which_signature_is_meant() -> None:
    result = DkimResult("fail", "example.org", "s1", "@example.org", "rsa-sha256", 2048, "Vg/3+abc", "the body was changed")
    assert authres.field("x", [authres.of_dkim(result)]) == (
        b"Authentication-Results: x;\r\n"
        b'    dkim=fail reason="the body was changed" header.d=example.org\r\n'
        b'    header.i=@example.org header.s=s1 header.a=rsa-sha256 header.b="Vg/3+abc"\r\n'
    )


def test_what_is_not_known_of_a_signature_is_not_told() -> None:
    assert authres.of_dkim(DkimResult("neutral", reason="?")) == Method("dkim", "neutral", "?")


def test_dmarc_tells_the_author_domain_and_the_policy() -> None:
    result = DmarcResult("fail", "example.org", "nothing is aligned", "quarantine", "reject")
    assert authres.of_dmarc(result) == Method(
        "dmarc", "fail", "nothing is aligned", (("header", "from", "example.org"), ("policy", "dmarc", "quarantine"))
    )
    assert authres.of_dmarc(DmarcResult("none", "example.org")).properties == (("header", "from", "example.org"),)


def test_arc_tells_the_oldest_signature_of_a_chain_that_passes() -> None:
    assert authres.of_arc(ArcResult("pass", oldest_pass=2), IP).properties == (
        ("header", "oldest-pass", "2"),
        ("smtp", "remote-ip", "192.0.2.1"),
    )
    assert authres.of_arc(ArcResult("pass"), IP).properties[0] == ("header", "oldest-pass", "0")
    assert authres.of_arc(ArcResult("fail", "broken"), IP) == Method("arc", "fail", "broken", (("smtp", "remote-ip", IP),))


def test_iprev_tells_the_address() -> None:
    assert authres.of_iprev(IprevResult("permerror", reason="no name"), IP) == Method(
        "iprev", "permerror", "no name", (("policy", "iprev", "192.0.2.1"),)
    )


def test_of_lists_in_dns_only_those_that_allow_are_told() -> None:
    hits = (
        Hit("block.example", IP, "127.0.0.2", "bad", 5.0),
        Hit("allow.example", IP, "127.0.5.1", "good", -5.0, allow=True, is_authentic=True),
        Hit("other.example", IP, "127.0.5.2", "", -1.0, allow=True),
    )
    assert authres.of_dnsbl(DnsblResult(hits, -6.0)) == (
        Method(
            "dnswl",
            "pass",
            "",
            (("dns", "zone", "allow.example"), ("policy", "ip", "127.0.5.1"), ("policy", "txt", "good"), ("dns", "sec", "yes")),
        ),
        Method("dnswl", "pass", "", (("dns", "zone", "other.example"), ("policy", "ip", "127.0.5.2"), ("dns", "sec", "na"))),
    )
