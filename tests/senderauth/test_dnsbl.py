"""Lists in DNS: what is asked, what counts as an answer, what a listing counts, and which lists are not to be used."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waymail import lookups
from waymail.lookups import Answer, Lookups, Query, Status
from waymail.senderauth.dnsbl import MOST_DOMAINS, DnsblResult, Zone, check, code, health
from waymail.testing import Zone as Dns

CLIENT = "192.0.2.99"
NAME = "99.2.0.192"
# RFC 5782 §2.4's example
IPV6, IPV6_NAME = "2001:db8:1:2:3:4:567:89ab", "b.a.9.8.7.6.5.0.4.0.0.0.3.0.0.0.2.0.0.0.1.0.0.0.8.b.d.0.1.0.0.2"
BL = Zone("bad.example.com")


def judged(dns: Dns, zones: Sequence[Zone] = (BL,), ip: str = CLIENT, domains: Sequence[str] = ()) -> DnsblResult:
    return lookups.run(check(ip, domains, zones), dns)


def asked(asking: Lookups[Any]) -> list[str]:
    """The names that are asked about at once, first of all."""
    queries = next(asking)
    assert isinstance(queries, tuple)
    return [query.name for query in queries]


def listing(*answers: str, name: str = f"{NAME}.bad.example.com") -> Dns:
    return Dns({name: {"A": list(answers)}})


# --- what is asked ---


def test_a_listed_ipv4_address_is_found_by_its_reversed_octets_and_the_list_says_why() -> None:
    reason = "Dynamic address, see http://bad.example.com?192.0.2.99"
    result = judged(Dns({f"{NAME}.bad.example.com": {"A": ["127.0.0.2"], "TXT": [reason]}}))
    (hit,) = result.hits
    assert (hit.zone, hit.subject, hit.answer, hit.text, hit.score) == ("bad.example.com", CLIENT, "127.0.0.2", reason, 1.0)
    assert (result.score, result.failures) == (1.0, ())
    assert result.reason == "192.0.2.99 is on bad.example.com (127.0.0.2)"


def test_an_ipv6_address_is_asked_by_its_nibbles() -> None:
    result = judged(listing("127.0.0.2", name=f"{IPV6_NAME}.bad.example.com"), ip=IPV6)
    assert [hit.subject for hit in result.hits] == [IPV6]


@pytest.mark.parametrize("ip", ["::ffff:192.0.2.99", "::ffff:c000:263"])
def test_an_ipv4_address_in_the_clothes_of_an_ipv6_one_is_asked_as_what_it_is(ip: str) -> None:
    assert judged(listing("127.0.0.2"), ip=ip).score == 1.0


def test_domains_are_asked_of_domain_lists_in_their_normal_form_and_once() -> None:
    dns = Dns(
        {"invalid.edu.doms.example.net": {"A": ["127.0.0.2"]}, "xn--bcher-kva.example.doms.example.net": {"A": ["127.0.0.2"]}}
    )
    zone = Zone("doms.example.net", "domain")
    result = judged(dns, [zone], domains=["Invalid.EDU.", "invalid.edu", "bücher.example", "fine.example"])
    assert [hit.subject for hit in result.hits] == ["invalid.edu", "xn--bcher-kva.example"]
    assert result.score == 1.0, "one list has one opinion"


@pytest.mark.parametrize(
    "domain", ["", "localhost", "[192.0.2.1]", "a..b.example", "192.0.2.1", "x" * 64 + ".example", "a b.example", "."]
)
def test_what_cannot_be_on_a_list_is_not_asked_about(domain: str) -> None:
    assert judged(Dns({}), [Zone("doms.example.net", "domain")], domains=[domain]).reason == "no list to ask"


def test_no_name_longer_than_dns_allows_is_asked_for() -> None:
    label = "x" * 60
    zones = [Zone("doms.example.net", "domain")]
    assert judged(Dns({}), zones, domains=[f"{label}.{label}.{label}.{label}.example"]).reason == "no list to ask"


@pytest.mark.parametrize("ip", ["", "unknown", "192.0.2", "::1::"])
def test_what_is_no_address_is_not_asked_about(ip: str) -> None:
    assert judged(Dns({}), ip=ip) == DnsblResult(reason="no list to ask")


def test_all_lists_are_asked_at_once_and_why_only_of_those_that_have_the_client() -> None:
    zones = [Zone("a.example"), Zone("b.example"), Zone("d.example", "domain")]
    asking = check("192.0.2.1", ["example.org"], zones)
    names = ["1.2.0.192.a.example", "1.2.0.192.b.example", "example.org.d.example"]
    assert next(asking) == tuple(Query(name, "A") for name in names)
    no = Answer(Status.NO_NAME)
    assert asking.send((no, Answer(Status.RECORDS, ("127.0.0.2",)), no)) == (Query(names[1], "TXT"),)


def test_nobody_is_asked_why_where_nobody_wants_to_know() -> None:
    dns = Dns({f"{NAME}.bad.example.com": {"A": ["127.0.0.2"], "TXT": ["spam"]}})
    result = lookups.run(check(CLIENT, [], [BL], explain=False), dns)
    assert (result.score, result.hits[0].text) == (1.0, "")


def test_a_client_with_a_thousand_domains_is_asked_about_by_few() -> None:
    names = asked(check("", [f"d{number}.example" for number in range(1000)], [Zone("d.example.net", "domain")]))
    assert len(names) == MOST_DOMAINS


def test_a_domain_that_is_named_twice_takes_the_place_of_no_other() -> None:
    names = asked(check("", [*["a.example"] * 20, "b.example"], [Zone("d.example.net", "domain")]))
    assert names == ["a.example.d.example.net", "b.example.d.example.net"]


# --- what is an answer ---


def test_who_is_on_no_list_counts_nothing() -> None:
    result = judged(Dns({"bad.example.com": {"A": ["192.0.2.80"]}, f"1.{NAME}.bad.example.com": {"A": ["127.0.0.2"]}}))
    assert (result.hits, result.score, result.failures, result.reason) == ((), 0.0, (), "on none of 1 lists")


@pytest.mark.parametrize("answer", ["192.0.2.80", "128.0.0.2", "126.255.255.255", "::1", "garbage"])
def test_an_answer_outside_of_127_8_lists_nobody_and_is_told(answer: str) -> None:
    result = judged(listing(answer))
    assert (result.hits, result.score) == ((), 0.0)
    assert result.failures == (
        f"bad.example.com: {answer} is no answer of a list: it has gone, or the resolver answers for names that do not exist",
    )


@pytest.mark.parametrize("answer", ["127.255.255.252", "127.255.255.254", "127.255.255.255", "127.0.0.1"])
def test_a_list_that_refuses_to_answer_lists_nobody(answer: str) -> None:
    result = judged(listing(answer))
    assert (result.hits, result.score) == ((), 0.0)
    assert "refuses to answer" in result.failures[0]


def test_a_good_answer_beside_a_bad_one_counts_and_both_are_told() -> None:
    result = judged(listing("192.0.2.80", "127.0.0.2"))
    assert (result.score, len(result.failures)) == (1.0, 1)


@pytest.mark.parametrize("trouble", ["TIMEOUT", "SERVFAIL"])
def test_trouble_with_dns_never_lists_anybody(trouble: str) -> None:
    result = judged(Dns({f"{NAME}.bad.example.com": trouble}), [BL, Zone("other.example")])
    assert (result.score, result.hits) == (0.0, ())
    assert result.failures == (f"bad.example.com: no answer: {'timeout' if trouble == 'TIMEOUT' else trouble}",)


def test_a_failure_without_a_reason_is_told_too() -> None:
    asking = check(CLIENT, [], [BL])
    next(asking)
    with pytest.raises(StopIteration) as stop:
        asking.send((Answer(Status.FAILURE),))
    assert stop.value.value.failures == ("bad.example.com: no answer",)


@pytest.mark.parametrize("txt", [{}, {"TXT": []}, {"TXT": "SERVFAIL"}])
def test_a_list_without_a_reason_lists_all_the_same(txt: dict[str, list[str] | str]) -> None:
    result = judged(Dns({f"{NAME}.bad.example.com": {"A": ["127.0.0.2"], **txt}}))
    assert [(hit.text, hit.score) for hit in result.hits] == [("", 1.0)]


def test_a_reason_is_made_fit_for_a_reply() -> None:
    dns = Dns({f"{NAME}.bad.example.com": {"A": ["127.0.0.2"], "TXT": ["spam\r\n250 ok \x1b[31m\xff" + "x" * 1000]}})
    text = judged(dns).hits[0].text
    assert text.startswith("spam??250 ok ?[31m?xxx")
    assert len(text) == 200


def test_dnssec_that_vouches_for_a_listing_is_told() -> None:
    name = f"{NAME}.bad.example.com"
    assert judged(Dns({name: {"A": ["127.0.0.2"]}}, authentic={name})).hits[0].is_authentic
    assert not judged(listing("127.0.0.2")).hits[0].is_authentic


def test_a_list_that_is_asked_by_key_is_shown_by_its_title() -> None:
    zone = Zone("secretkey.bl.example", title="bl.example")
    result = judged(Dns({f"{NAME}.secretkey.bl.example": {"A": ["127.0.0.2", "192.0.2.1"]}}), [zone])
    assert "secretkey" not in str(result)
    assert result.hits[0].zone == "bl.example"


# --- what it counts ---


@pytest.mark.parametrize(
    ("codes", "answers", "score"),
    [
        ({"127.0.0.4": 2.0}, ["127.0.0.4"], 2.0),
        ({"127.0.0.4": 2.0}, ["127.0.0.5"], 0.0),
        ({"127.0.0.4": 2.0}, ["127.0.1.4"], 0.0),
        ({"127.0.0.2,4,9-11": 2.0}, ["127.0.0.10"], 2.0),
        ({"127.0.0.2, 4, 9-11": 2.0}, ["127.0.0.4"], 2.0),
        ({"127.0.0.2,4,9-11": 2.0}, ["127.0.0.8"], 0.0),
        # RFC 5782 §2.3: bit masks, and several records
        ({"127.0.0.&2": 1.0, "127.0.0.&4": 3.0}, ["127.0.0.6"], 3.0),
        ({"127.0.0.&2": 1.0, "127.0.0.&4": 3.0}, ["127.0.0.2"], 1.0),
        ({"127.0.0.&8": 1.0}, ["127.0.0.6"], 0.0),
        ({"127.0.1.1": 1.0, "127.0.1.2": 2.5}, ["127.0.1.1", "127.0.1.2"], 2.5),
        ({"127.0.0.2": -2.0}, ["127.0.0.2"], -2.0),
        ({"127.0.0.2": -2.0, "127.0.0.&2": 1.0}, ["127.0.0.2"], -2.0),
        ({"127.0.0.2": 0.0}, ["127.0.0.2"], 0.0),
    ],
)
def test_an_answer_counts_what_its_code_says_and_a_list_what_its_strongest_answer_does(
    codes: dict[str, float], answers: list[str], score: float
) -> None:
    assert judged(listing(*answers), [Zone("bad.example.com", codes=codes)]).score == score


def test_an_answer_that_no_code_names_is_no_listing() -> None:
    result = judged(listing("127.0.0.9"), [Zone("bad.example.com", codes={"127.0.0.4": 2.0})])
    assert (result.hits, result.failures) == ((), ())


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("192.0.2.1", "must be like"),
        ("127.0.0", "must be like"),
        ("127.0.0.", "must be like"),
        ("127.0.0.x", "must be like"),
        ("127.0.0.9-2", "ends before it begins"),
        ("127.0.0.256", "255 at most"),
        ("127.0.0.2-300", "255 at most"),
        ("127.0.999.2", "255 at most"),
        ("127.0.0.&256", "255 at most"),
        ("127.0.0.&0", "matches nothing"),
    ],
)
def test_a_code_that_is_none_says_what_is_wrong(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        code(text)


def test_scores_of_several_lists_are_added_and_one_that_speaks_for_the_client_takes_away() -> None:
    dns = Dns({f"{NAME}.{zone}": {"A": ["127.0.0.2"]} for zone in ("a.example", "b.example", "good.example")})
    zones = [Zone("a.example", score=1.0), Zone("b.example", score=2.0), Zone("good.example", score=-2.5), Zone("c.example")]
    result = judged(dns, zones)
    assert result.score == 0.5
    assert not result.is_allowed
    assert len(result.hits) == 3


def test_who_is_on_an_allow_list_is_not_refused_for_being_on_others() -> None:
    dns = Dns({f"{NAME}.a.example": {"A": ["127.0.0.2"]}, f"{NAME}.good.example": {"A": ["127.0.10.3"]}})
    result = judged(dns, [Zone("a.example", score=9.0), Zone("good.example", allow=True)])
    assert result.is_allowed
    assert result.score == 0.0
    assert [(hit.zone, hit.allow) for hit in result.hits] == [("a.example", False), ("good.example", True)]


@given(st.ip_addresses(), st.lists(st.text(max_size=20), max_size=5))
def test_whatever_is_asked_about_nothing_is_raised_and_every_name_can_be_one(
    ip: ipaddress.IPv4Address | ipaddress.IPv6Address, domains: list[str]
) -> None:
    zones = [BL, Zone("doms.example.net", "domain")]
    for name in asked(check(str(ip), domains, zones)):
        assert all(0 < len(label) < 64 for label in name.split("."))
        assert name.isascii()
        assert len(name) < 254


# --- which lists work ---

WELL = {"2.0.0.127.bad.example.com": {"A": ["127.0.0.2"]}}
MAPPED_1 = "1.0.0.0.0.0.f.7.f.f.f.f.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.bad.example.com"


def test_the_name_that_no_ipv6_list_may_have_is_that_of_the_mapped_address() -> None:
    assert ipaddress.IPv6Address("::ffff:7f00:1").reverse_pointer.replace("ip6.arpa", "bad.example.com") == MAPPED_1


def test_a_list_with_its_test_entry_and_without_the_forbidden_one_is_well() -> None:
    assert lookups.run(health(BL), Dns(WELL)) == ""
    assert lookups.run(health(Zone("d.example", "domain")), Dns({"test.d.example": {"A": ["127.0.0.2"]}})) == ""


def test_all_test_entries_are_asked_for_at_once() -> None:
    assert asked(health(BL)) == ["2.0.0.127.bad.example.com", "1.0.0.127.bad.example.com", MAPPED_1]


@pytest.mark.parametrize(
    ("zone", "names", "problem"),
    [
        (BL, {}, "is not listed, which RFC 5782 demands"),
        (BL, WELL | {"1.0.0.127.bad.example.com": {"A": ["127.0.0.2"]}}, "may list everything"),
        (BL, WELL | {MAPPED_1: {"A": ["127.0.0.2"]}}, "may list everything"),
        (BL, {"2.0.0.127.bad.example.com": {"A": ["192.0.2.80"]}}, "is no answer of a list"),
        (BL, {"2.0.0.127.bad.example.com": {"A": ["127.255.255.254"]}}, "refuses to answer"),
        (BL, {"2.0.0.127.bad.example.com": "TIMEOUT"}, "no answer about 2.0.0.127.bad.example.com: timeout"),
        (BL, WELL | {"1.0.0.127.bad.example.com": "SERVFAIL"}, "no answer about 1.0.0.127.bad.example.com: SERVFAIL"),
        (Zone("d.example", "domain"), {}, "test.d.example is not listed"),
        (
            Zone("d.example", "domain"),
            {f"{name}.d.example": {"A": ["127.0.0.2"]} for name in ("test", "invalid")},
            "invalid.d.example is listed",
        ),
    ],
)
def test_a_list_that_is_not_well_says_what_is_wrong(
    zone: Zone, names: dict[str, dict[str, list[str]] | str], problem: str
) -> None:
    assert problem in lookups.run(health(zone), Dns(names))
