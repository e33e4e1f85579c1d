"""iprev (RFC 8601 §3), from zones."""

from __future__ import annotations

import pytest
from tests.senderauth.dmarc.evidence import Asked

from waymail import lookups
from waymail.senderauth import iprev
from waymail.senderauth.iprev import IprevResult
from waymail.testing import Zone

V4 = "1.2.0.192.in-addr.arpa"
V6 = "1" + ".0" * 23 + ".8.b.d.0.1.0.0.2.ip6.arpa"


def test_an_address_whose_name_has_the_address_passes() -> None:
    zone = Zone(
        {V4: {"PTR": ["MX.example.org."]}, "mx.example.org": {"A": ["192.0.2.9", "192.0.2.1"]}}, authentic=[V4, "mx.example.org"]
    )
    found = IprevResult("pass", "mx.example.org", ("mx.example.org",), authentic=True)
    assert lookups.run(iprev.check("192.0.2.1"), zone) == found
    assert lookups.run(iprev.check("::ffff:192.0.2.1"), zone) == found


def test_an_ipv6_address_is_looked_for_among_ipv6_addresses_however_they_are_spelled() -> None:
    zone = Zone({V6: {"PTR": ["mx.example.org"]}, "mx.example.org": {"AAAA": ["2001:DB8:0::1"]}})
    assert lookups.run(iprev.check("2001:db8::1"), zone).result == "pass"
    assert lookups.run(iprev.check("2001:db8::1%eth0"), zone).result == "pass"


def test_of_several_names_the_first_that_has_the_address_counts() -> None:
    zone = Zone(
        {
            V4: {"PTR": ["a.example", "b.example", "c.example", "b.example"]},
            "a.example": "TIMEOUT",
            "b.example": {"A": ["192.0.2.1"]},
            "c.example": {"A": ["192.0.2.1"]},
        }
    )
    assert lookups.run(iprev.check("192.0.2.1"), zone) == IprevResult(
        "pass", "b.example", ("a.example", "b.example", "c.example")
    )


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        ({"mx.example.org": {"A": ["192.0.2.2", "garbage"]}}, "192.0.2.1 is not an address of mx.example.org"),
        ({}, "192.0.2.1 is not an address of mx.example.org"),
        ({"mx.example.org": {"AAAA": ["::ffff:192.0.2.1"]}}, "192.0.2.1 is not an address of mx.example.org"),
    ],
)
def test_a_name_without_the_address_fails(names: dict[str, dict[str, list[str]]], reason: str) -> None:
    found = lookups.run(iprev.check("192.0.2.1"), Zone({V4: {"PTR": ["mx.example.org"]}, **names}))
    assert (found.result, found.name, found.reason) == ("fail", "", reason)


def test_some_of_many_names_are_told() -> None:
    found = lookups.run(iprev.check("192.0.2.1"), Zone({V4: {"PTR": [f"{letter}.example" for letter in "abcde"]}}))
    assert found.reason == "192.0.2.1 is not an address of a.example, b.example, c.example, ..."


def test_no_answer_is_a_temporary_error() -> None:
    found = lookups.run(iprev.check("192.0.2.1"), Zone({V4: "SERVFAIL"}))
    assert found == IprevResult("temperror", reason=f"{V4}: SERVFAIL")
    found = lookups.run(iprev.check("192.0.2.1"), Zone({V4: {"PTR": ["a.example", "b.example"]}, "b.example": "TIMEOUT"}))
    assert found == IprevResult("temperror", "", ("a.example", "b.example"), "b.example: timeout")


@pytest.mark.parametrize("names", [{}, {V4: {"A": ["192.0.2.1"]}}, {V4: {"PTR": ["", "bad name", "[192.0.2.1]", "x" * 300]}}])
def test_an_address_without_a_name_is_a_permanent_error(names: dict[str, dict[str, list[str]]]) -> None:
    found = lookups.run(iprev.check("192.0.2.1"), Zone(names))
    assert (found.result, found.reason) == ("permerror", "192.0.2.1 has no name")


def test_what_is_no_address_is_a_permanent_error_and_nothing_is_asked() -> None:
    zone = Asked(Zone({}))
    assert lookups.run(iprev.check("unix\x00"), zone) == IprevResult("permerror", reason=r"'unix\x00' is no address")
    assert zone.questions == []


def test_ten_names_are_looked_at_and_no_more() -> None:
    zone = Asked(Zone({V4: {"PTR": [f"n{number}.example" for number in range(1000)]}, "n10.example": {"A": ["192.0.2.1"]}}))
    assert lookups.run(iprev.check("192.0.2.1"), zone).result == "fail"
    assert zone.questions == [V4, *(f"n{number}.example" for number in range(10))]
