from __future__ import annotations

from typing import Any

import pytest

from waymail import lookups
from waymail.senderauth import spf
from waymail.testing.zone import Zone

IP = "192.0.2.1"
IP6 = "2001:db8::1"


def step(term: str, others: dict[str, Any], ip: str = IP, **options: Any) -> tuple[str, str]:
    """The outcome of a term in the record of example.org, and what is told of it."""
    zone = Zone({"example.org": {"TXT": [f"v=spf1 {term} -all"], **others.pop("example.org", {})}, **others})
    return next(
        (one.outcome, one.note) for one in lookups.run(spf.check(ip, "ann@example.org", "mx", **options), zone).steps if one.term
    )


def test_a_compares_the_addresses_of_the_clients_family() -> None:
    here = {"TXT": ["v=spf1 a"], "A": ["198.51.100.1", "192.0.2.9"], "AAAA": ["2001:db8::9"]}
    assert step("a", {"example.org": here}) == ("no match", "example.org A 198.51.100.1, 192.0.2.9")
    assert step("a:a.test/24", {"a.test": here})[0] == "match"
    assert step("a:a.test//64", {"a.test": here})[0] == "no match"
    assert step("a:a.test//64", {"a.test": here}, IP6) == ("match", "a.test AAAA 2001:db8::9")
    assert step("a:a.test/0", {"a.test": here}, IP6)[0] == "no match"
    assert step("a:a.test/0", {"a.test": {"AAAA": ["2001:db8::9"]}}) == ("no match", "a.test has no A")


@pytest.mark.parametrize("term", ["a:down.test", "mx:down.test", "exists:down.test", "include:down.test"])
def test_where_dns_does_not_answer_the_check_ends_with_temperror(term: str) -> None:
    outcome, note = step(term, {"down.test": "SERVFAIL"})
    assert outcome == "temperror"
    assert note.startswith("down.test ")
    assert note.endswith(": SERVFAIL")


@pytest.mark.parametrize("term", ["a:%{h}..test", "mx:%{h}..test", "exists:%{h}..test", "ptr:%{h}..test"])
def test_a_target_that_is_no_name_is_not_asked_for_and_does_not_match(term: str) -> None:
    assert step(term, {}) == ("no match", "'mx..test' is no domain name")


def test_a_target_with_a_line_end_in_it_is_no_name() -> None:
    zone = Zone({"example.org": {"TXT": ["v=spf1 a:%{h}.test a:%{l}.test -all"]}})
    found = lookups.run(spf.check(IP, '"x y"@example.org', "a\r\nb"), zone)
    assert [(step.outcome, step.note) for step in found.steps[1:3]] == [
        ("no match", r"'a\r\nb.test' is no domain name"),
        ("no match", '"x y".test does not exist'),
    ]


def test_a_target_of_which_nothing_is_left_does_not_match() -> None:
    zone = Zone({"example.org": {"TXT": ["v=spf1 a:%{l} -all"]}})
    found = lookups.run(spf.check(IP, f"{'x' * 300}@example.org", "mx"), zone)
    assert (found.steps[1].outcome, found.steps[1].note) == ("no match", "that comes to no domain name")


def test_mx_compares_the_addresses_of_all_hosts() -> None:
    names: dict[str, Any] = {
        "m.test": {"MX": [(10, "a.test"), (20, "b.test")]},
        "a.test": {"A": ["198.51.100.1"]},
        "b.test": {"A": ["192.0.2.9"], "AAAA": ["2001:db8::9"]},
    }
    assert step("mx:m.test/24", names) == ("match", "m.test MX b.test A 192.0.2.9")
    assert step("mx:m.test", names) == ("no match", "m.test MX a.test A 198.51.100.1; b.test A 192.0.2.9")
    assert step("mx:m.test//32", names, IP6) == ("match", "m.test MX b.test AAAA 2001:db8::9")


def test_one_host_of_an_mx_that_matches_is_enough() -> None:
    names: dict[str, Any] = {"m.test": {"MX": [(10, "down.test"), (20, "b.test")]}, "down.test": "TIMEOUT", "b.test": {"A": [IP]}}
    assert step("mx:m.test", names)[0] == "match"
    names["b.test"] = {"A": ["192.0.2.9"]}
    assert step("mx:m.test", names) == ("temperror", "down.test A: timeout")


def test_mx_without_hosts_does_not_match_and_the_domains_own_address_is_not_asked_for() -> None:
    assert step("mx:m.test", {"m.test": {"A": [IP]}}) == ("no match", "m.test has no MX")
    assert step("mx:m.test", {"m.test": {"A": [IP], "MX": [(0, ".")]}}) == ("no match", "m.test has no MX")
    assert step("mx:m.test", {}) == ("no match", "m.test does not exist")


@pytest.mark.parametrize(("count", "outcome"), [(10, "match"), (11, "permerror")])
def test_an_mx_has_ten_hosts_at_most(count: int, outcome: str) -> None:
    hosts = {f"{number}.test": {"A": ["192.0.2.9"]} for number in range(count - 1)} | {"here.test": {"A": [IP]}}
    assert step("mx:m.test", {"m.test": {"MX": [(0, host) for host in hosts]}, **hosts})[0] == outcome


def test_hosts_without_an_address_make_an_mx_one_void_lookup() -> None:
    names: dict[str, Any] = {"m.test": {"MX": [(0, f"{number}.test") for number in range(5)]}}
    assert step("mx:m.test", dict(names), limits=spf.Limits(void_lookups=1))[0] == "no match"
    assert step("mx:m.test", dict(names), limits=spf.Limits(void_lookups=0))[0] == "permerror"
    names["4.test"] = {"A": ["192.0.2.9"]}
    assert step("mx:m.test", dict(names), limits=spf.Limits(void_lookups=0))[0] == "no match"


def test_exists_asks_for_an_ipv4_address_whatever_the_client_is() -> None:
    names = {f"{IP}._spf.test": {"A": ["127.0.0.2"]}, "v6._spf.test": {"AAAA": ["::1"]}, "any._spf.test": {"A": ["127.0.0.2"]}}
    assert step("exists:%{i}._spf.test", dict(names)) == ("match", f"{IP}._spf.test A 127.0.0.2")
    assert step("exists:any._spf.test", dict(names), IP6)[0] == "match"
    assert step("exists:v6._spf.test", dict(names), IP6) == ("no match", "v6._spf.test has no A")


REVERSE = "1.2.0.192.in-addr.arpa"


@pytest.mark.parametrize(
    ("names", "outcome"),
    [
        (["mail.Example.org."], "match"),
        (["example.org"], "match"),
        (["bad-example.org", "other.test"], "no match"),
        (["liar.example.org"], "no match"),
        (["down.example.org"], "no match"),
        (["down.example.org", "liar.example.org", "mail.example.org"], "match"),
        ([], "no match"),
        ("SERVFAIL", "no match"),
    ],
)
def test_ptr_matches_a_name_within_the_domain_that_leads_back_to_the_client(names: Any, outcome: str) -> None:
    zone = {
        REVERSE: {"PTR": names},
        "mail.example.org": {"A": ["192.0.2.9", IP]},
        "liar.example.org": {"A": ["192.0.2.9"]},
        "down.example.org": "TIMEOUT",
        "bad-example.org": {"A": [IP]},
        "example.org": {"A": [IP]},
    }
    assert step("ptr", dict(zone))[0] == outcome
    assert step("ptr:EXAMPLE.org", dict(zone))[0] == outcome


def test_what_is_told_of_a_clients_names() -> None:
    assert step("ptr", {REVERSE: {"PTR": ["mail.test", "liar.test"]}, "mail.test": {"A": [IP]}}) == (
        "no match",
        f"{IP} is mail.test",
    )
    assert step("ptr", {REVERSE: {"PTR": ["liar.test"]}}) == ("no match", f"no name of {IP} leads back to it")
    assert step("ptr", {}) == ("no match", f"{IP} has no name")
    assert step("ptr", {REVERSE: "TIMEOUT"}) == ("no match", f"{REVERSE} PTR: timeout")


@pytest.mark.parametrize(("place", "outcome"), [(10, "match"), (11, "no match")])
def test_ten_names_of_a_client_are_looked_at(place: int, outcome: str) -> None:
    names = [f"{number}.test" for number in range(1, place)] + ["mail.example.org"]
    assert step("ptr", {REVERSE: {"PTR": names}, "mail.example.org": {"A": [IP]}})[0] == outcome


def test_a_client_without_a_name_is_no_void_lookup() -> None:
    assert step("ptr", {}, limits=spf.Limits(void_lookups=0)) == ("no match", f"{IP} has no name")


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (["other.test", "mail.example.org", "example.org"], "example.org"),
        (["other.test", "mail.example.org"], "mail.example.org"),
        (["other.test", "third.test"], "other.test"),
        ([], "unknown"),
    ],
)
def test_the_macro_p_is_the_domain_or_a_name_below_it_or_any(names: list[str], chosen: str) -> None:
    zone: dict[str, Any] = {name: {"A": [IP]} for name in names} | {REVERSE: {"PTR": names}}
    assert step("exists:%{p}.x.test", zone) == ("no match", f"{chosen}.x.test does not exist")


def test_the_names_of_a_client_are_asked_for_once_and_the_first_macro_counts() -> None:
    asked: list[str] = []

    class Watched(Zone):
        def answer(self, query: lookups.Query) -> lookups.Answer:
            asked.append(query.type)
            return super().answer(query)

    zone = Watched({"example.org": {"TXT": ["v=spf1 exists:%{p}.%{p}.x.test ptr exists:%{p}.y.test +all"]}})
    check = spf.check(IP, "ann@example.org", "mx", limits=spf.Limits(lookups=4))
    assert lookups.run(check, zone).result == "pass"
    assert asked == ["TXT", "PTR", "A", "A"]
    assert lookups.run(spf.check(IP, "ann@example.org", "mx", limits=spf.Limits(lookups=3)), zone).result == "permerror"


def test_of_many_addresses_ten_are_told() -> None:
    addresses = [f"198.51.100.{number}" for number in range(12)]
    assert step("a:a.test", {"a.test": {"A": addresses}})[1].endswith("198.51.100.9, ...")
