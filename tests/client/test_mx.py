from __future__ import annotations

import random
from typing import Any

import pytest

from waymail.client.mx import MAX_ADDRESSES, MAX_HOSTS, next_hop
from waymail.client.target import Host, NextHop
from waymail.lookups import run
from waymail.mail.outcome import Deferred, Failed
from waymail.testing import Zone

OWN = ("mail.here.example",)


def resolve(zone: dict[str, Any], domain: str = "there.example", seed: int = 0, **options: Any) -> NextHop | Deferred | Failed:
    return run(next_hop(domain, own_names=OWN, rng=random.Random(seed), **options), Zone(zone))


def hop(zone: dict[str, Any], domain: str = "there.example", seed: int = 0, **options: Any) -> NextHop:
    result = resolve(zone, domain, seed, **options)
    assert isinstance(result, NextHop), result
    return result


def status(zone: dict[str, Any], domain: str = "there.example", **options: Any) -> tuple[type, int, str | None]:
    result = resolve(zone, domain, **options)
    assert isinstance(result, Deferred | Failed), result
    return type(result), result.reply.code, result.reply.enhanced


def names(result: NextHop) -> list[str]:
    return [host.name for host in result.hosts]


def with_hosts(*mx: tuple[int, str], **more: Any) -> dict[str, Any]:
    """There.example with these MX records, and an address for each host."""
    hosts = {host: {"A": [f"198.51.100.{at + 1}"]} for at, (_, host) in enumerate(mx)}
    return {"there.example": {"MX": list(mx)}, **hosts, **more}


def test_hosts_come_in_the_order_of_preference() -> None:
    result = hop(with_hosts((30, "c.example"), (10, "a.example"), (20, "b.example")))
    assert names(result) == ["a.example", "b.example", "c.example"]
    assert result.hosts[0] == Host("a.example", 25, ("198.51.100.2",))


def test_equal_preferences_are_shuffled_and_stay_within_their_preference() -> None:
    zone = with_hosts((10, "a.example"), (10, "b.example"), (10, "c.example"), (5, "first.example"), (90, "last.example"))
    orders = {tuple(names(hop(zone, seed=seed))) for seed in range(60)}
    assert {order[0] for order in orders} == {"first.example"}
    assert {order[-1] for order in orders} == {"last.example"}
    assert len(orders) == 6


def test_domains_with_the_same_hosts_share_a_key_whatever_the_order() -> None:
    one = hop(with_hosts((10, "a.example"), (10, "B.example.")), seed=1)
    other = hop({**with_hosts((10, "b.example"), (20, "a.example"))}, seed=2)
    assert one.key == other.key == "a.example,b.example"
    assert hop(with_hosts((10, "a.example")), port=2525).key == "a.example:2525"


def test_a_host_without_an_address_today_does_not_change_the_key() -> None:
    zone = with_hosts((10, "a.example"), (20, "b.example"))
    assert hop({**zone, "b.example": "TIMEOUT"}).key == hop(zone).key


@pytest.mark.parametrize("own", ["mail.here.example", "MAIL.here.example."])
def test_our_own_host_and_all_of_its_preference_and_beyond_are_dropped(own: str) -> None:
    zone = with_hosts((10, "a.example"), (20, own), (20, "equal.example"), (30, "worse.example"))
    assert names(hop(zone)) == ["a.example"]


def test_nothing_left_above_our_own_host_is_a_loop() -> None:
    assert status(with_hosts((10, "mail.here.example"), (20, "b.example"))) == (Failed, 550, "5.4.6")


@pytest.mark.parametrize("address", ["203.0.113.7", "127.0.0.1", "0.0.0.0"])  # noqa: S104
def test_a_host_at_our_own_address_is_our_own_host(address: str) -> None:
    zone = with_hosts((10, "a.example"), (20, "b.example"), (30, "c.example"), **{"b.example": {"A": [address]}})
    assert names(hop(zone, own_addresses=["203.0.113.7"])) == ["a.example"]
    zone = with_hosts((20, "b.example"), **{"b.example": {"A": [address]}})
    assert status(zone, own_addresses=["203.0.113.7"]) == (Failed, 550, "5.4.6")


@pytest.mark.parametrize("address", ["::1", "::ffff:127.0.0.1", "::"])
def test_loopback_in_ipv6_is_our_own_as_well(address: str) -> None:
    assert status({"there.example": {"AAAA": [address]}}) == (Failed, 550, "5.4.6")


def test_loopback_is_an_address_like_any_other_where_it_is_allowed() -> None:
    result = hop({"there.example": {"A": ["127.0.0.1"]}}, allow_loopback=True, allow_private=False)
    assert result.hosts[0].addresses == ("127.0.0.1",)


def test_without_mx_records_the_domain_itself_takes_its_mail() -> None:
    result = hop({"there.example": {"A": ["198.51.100.1"]}})
    assert result == NextHop("there.example", (Host("there.example", 25, ("198.51.100.1",)),))


def test_mx_records_of_no_use_never_lead_to_the_domains_own_address() -> None:
    zone = {
        "there.example": {"MX": [(10, "gone.example"), (20, "empty.example")], "A": ["198.51.100.1"]},
        "empty.example": {"TXT": ["x"]},
    }
    assert status(zone) == (Failed, 550, "5.4.4")


def test_a_host_whose_address_is_not_known_now_makes_it_wait() -> None:
    zone = {"there.example": {"MX": [(10, "gone.example"), (20, "slow.example")]}, "slow.example": {"A": "TIMEOUT"}}
    assert status(zone) == (Deferred, 451, "4.4.3")


def test_what_is_known_of_a_host_is_used_while_the_rest_is_not_known() -> None:
    half_known = {"A": ["198.51.100.1"], "AAAA": "SERVFAIL"}
    zone = with_hosts((10, "a.example"), (20, "b.example"), **{"a.example": half_known, "b.example": "TIMEOUT"})
    assert names(hop(zone)) == ["a.example"]


def test_neither_mx_nor_address_fails() -> None:
    assert status({"there.example": {"TXT": ["nothing here"]}}) == (Failed, 550, "5.4.4")


def test_a_domain_that_does_not_exist_fails_at_once() -> None:
    assert status({}) == (Failed, 550, "5.1.2")


@pytest.mark.parametrize("trouble", ["SERVFAIL", "TIMEOUT"])
def test_dns_trouble_defers_and_never_fails(trouble: str) -> None:
    result = resolve({"there.example": {"MX": trouble, "A": ["198.51.100.1"]}})
    assert isinstance(result, Deferred)
    assert (result.reply.code, result.reply.enhanced, result.destination_down) == (451, "4.4.3", True)
    assert result.cause
    assert result.cause not in result.reply.text


def test_null_mx_fails_with_556_and_no_look_at_the_address() -> None:
    assert status({"there.example": {"MX": [(0, ".")], "A": ["198.51.100.1"]}}) == (Failed, 556, "5.1.10")


def test_a_dot_beside_real_hosts_is_ignored() -> None:
    assert names(hop(with_hosts((0, "."), (10, "a.example")))) == ["a.example"]


def test_an_alias_is_followed_to_the_mx_records_of_its_target() -> None:
    zone = with_hosts((10, "a.example"), **{"alias.example": {"CNAME": ["there.example"]}})
    assert names(hop(zone, "Alias.example.")) == ["a.example"]


def test_a_host_named_twice_counts_with_its_better_preference() -> None:
    assert names(hop(with_hosts((30, "a.example"), (20, "b.example"), (10, "A.example")))) == ["a.example", "b.example"]


def test_both_families_take_turns_and_either_may_go_first() -> None:
    zone = {"there.example": {"A": ["198.51.100.1", "198.51.100.2"], "AAAA": ["2001:db8::1", "2001:db8::2"]}}
    orders = {hop(zone, seed=seed, allow_private=True).hosts[0].addresses for seed in range(40)}
    kinds = {tuple(":" in address for address in order) for order in orders}
    assert kinds == {(True, False, True, False), (False, True, False, True)}


def test_private_addresses_are_none_where_they_are_not_allowed() -> None:
    zone = {"there.example": {"A": ["10.0.0.5", "8.8.8.8"], "AAAA": ["fe80::1", "fd00::1"]}}
    assert hop(zone, allow_private=False).hosts[0].addresses == ("8.8.8.8",)
    assert status({"there.example": {"A": ["192.168.1.1"]}}, allow_private=False) == (Failed, 550, "5.4.4")
    assert hop({"there.example": {"A": ["10.0.0.5"]}}).hosts[0].addresses == ("10.0.0.5",)


def test_multicast_and_broadcast_are_never_connected_to() -> None:
    assert status({"there.example": {"A": ["224.0.0.1", "255.255.255.255"], "AAAA": ["ff02::1"]}}) == (Failed, 550, "5.4.4")


def test_hosts_and_addresses_are_bounded() -> None:
    many = with_hosts(*[(at, f"h{at:02}.example") for at in range(50)])
    assert names(hop(many)) == [f"h{at:02}.example" for at in range(MAX_HOSTS)]
    crowded = with_hosts((10, "a.example"), (20, "b.example"), (30, "c.example"))
    for host in ("a", "b", "c"):
        crowded[f"{host}.example"] = {"A": [f"198.51.100.{at}" for at in range(60)]}
    counts = [len(host.addresses) for host in hop(crowded).hosts]
    assert counts == [60, MAX_ADDRESSES - 60]


def test_address_literals_are_refused_unless_allowed() -> None:
    assert status({}, "[192.0.2.1]") == (Failed, 550, "5.7.1")
    assert hop({}, "[198.51.100.1]", allow_literal=True) == NextHop(
        "[198.51.100.1]", (Host("[198.51.100.1]", 25, ("198.51.100.1",)),)
    )
    assert hop({}, "[IPv6:2001:DB8::1]", allow_literal=True).hosts[0].addresses == ("2001:db8::1",)


@pytest.mark.parametrize(
    ("literal", "enhanced"),
    [("[nonsense]", "5.1.2"), ("[127.0.0.1]", "5.4.6"), ("[IPv6:::ffff:127.0.0.1]", "5.4.6"), ("[10.1.1.1]", "5.4.4")],
)
def test_an_allowed_literal_still_leads_nowhere_dangerous(literal: str, enhanced: str) -> None:
    assert status({}, literal, allow_literal=True, allow_private=False) == (Failed, 550, enhanced)
