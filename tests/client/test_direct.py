from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest

from waymail.client.direct import Plan, plan
from waymail.client.target import Tls
from waymail.lookups import run
from waymail.testing import Zone

ZONE: dict[str, Any] = {
    "one.example": {"MX": [(10, "mx.host.example"), (20, "mx2.host.example")]},
    "two.example": {"MX": [(5, "mx2.host.example"), (9, "mx.host.example")]},
    "three.example": {"MX": [(10, "mx.other.example")]},
    "implicit.example": {"A": ["192.0.2.9"]},
    "xn--bcher-kva.example": {"MX": [(10, "mx.other.example")]},
    "null.example": {"MX": [(0, ".")]},
    "broken.example": "SERVFAIL",
    "here.example": {"A": ["127.0.0.1"]},
    "mx.host.example": {"A": ["192.0.2.1"], "AAAA": ["2001:db8::1"]},
    "mx2.host.example": {"A": ["192.0.2.2"]},
    "mx.other.example": {"A": ["192.0.2.3"]},
}


def planned(addresses: Sequence[str], **options: Any) -> Plan:
    asked: dict[str, Any] = {"tls": Tls.OPPORTUNISTIC, "rng": random.Random(0)}
    return run(plan(addresses, **asked | options), Zone(ZONE))


def test_recipients_whose_domains_have_the_same_hosts_go_together() -> None:
    found = planned(["ann@one.example", "bob@THREE.example", "cid@two.example", "dan@bücher.example", "eve@implicit.example"])
    assert {hop.key: addresses for hop, addresses in found.hops} == {
        "mx.host.example,mx2.host.example": ("ann@one.example", "cid@two.example"),
        "mx.other.example": ("bob@THREE.example", "dan@bücher.example"),
        "implicit.example": ("eve@implicit.example",),
    }
    assert found.results == {}


@pytest.mark.parametrize(
    ("address", "code", "enhanced"),
    [
        ("ann@null.example", 556, "5.1.10"),
        ("ann@gone.example", 550, "5.1.2"),
        ("ann@broken.example", 451, "4.4.3"),
        ("ann@here.example", 550, "5.4.6"),
        ("ann@[127.0.0.1]", 550, "5.4.6"),
        ("postmaster", 550, "5.1.2"),
    ],
)
def test_what_dns_decides_is_a_result_that_needs_no_connection(address: str, code: int, enhanced: str) -> None:
    found = planned([address, "bob@three.example"])
    result = found.results[address]
    assert result.reply is not None
    assert (result.reply.code, result.reply.enhanced, result.is_accepted) == (code, enhanced, False)
    assert [addresses for _, addresses in found.hops] == [("bob@three.example",)]


def test_the_tls_that_was_asked_for_is_asked_of_each_host() -> None:
    assert [hop.tls for hop, _ in planned(["a@one.example", "b@three.example"], tls=Tls.REQUIRED).hops] == [Tls.REQUIRED] * 2


def test_an_address_literal_is_a_host() -> None:
    ((hop, _),) = planned(["ann@[192.0.2.77]"]).hops
    assert hop.hosts[0].addresses == ("192.0.2.77",)


def test_hosts_are_reached_by_addresses_of_the_family_of_our_own() -> None:
    ((hop, _),) = planned(["ann@one.example"], source_address="2001:db8::9").hops
    assert [(host.name, host.addresses) for host in hop.hosts] == [("mx.host.example", ("2001:db8::1",))]
    reply = planned(["ann@three.example"], source_address="::1").results["ann@three.example"].reply
    assert "no mail host of three.example has an address of IPv6" in str(reply)


def test_this_machine_is_a_host_where_that_was_said() -> None:
    assert len(planned(["ann@here.example"], allow_loopback=True).hops) == 1
