from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waymail import lookups
from waymail.lookups import Answer, Query, Status
from waymail.senderauth import spf
from waymail.senderauth.spf import SpfResult, Step
from waymail.testing.zone import Zone

IP = "192.0.2.1"


def checked(
    record: str, ip: str = IP, sender: str = "ann@example.org", others: dict[str, Any] | None = None, **options: Any
) -> SpfResult:
    """What comes out for a sender of example.org, which has this record."""
    zone = Zone({"example.org": {"TXT": [record]}, **(others or {})})
    return lookups.run(spf.check(ip, sender, "mx.example.net", **options), zone)


@pytest.mark.parametrize(
    ("record", "result", "mechanism"),
    [
        ("v=spf1 ip4:192.0.2.0/24 -all", "pass", "ip4:192.0.2.0/24"),
        ("v=spf1 ip4:198.51.100.0/24 -all", "fail", "-all"),
        ("v=spf1 ip6:::ffff:192.0.2.1 ~all", "softfail", "~all"),
        ("v=spf1 ?ip4:192.0.2.1 -all", "neutral", "?ip4:192.0.2.1"),
        ("v=spf1 -ip4:192.0.2.1 +all", "fail", "-ip4:192.0.2.1"),
        ("v=spf1", "neutral", ""),
    ],
)
def test_the_first_mechanism_that_matches_decides(record: str, result: str, mechanism: str) -> None:
    found = checked(record)
    assert (found.result, found.mechanism, found.identity, found.domain) == (result, mechanism, "mailfrom", "example.org")


def test_an_ipv6_client_is_compared_with_ip6_alone() -> None:
    record = "v=spf1 ip4:0.0.0.0/0 ip6:2001:db8::/32 -all"
    assert checked(record, "2001:db8::9").mechanism == "ip6:2001:db8::/32"
    assert checked(record, "2001:db9::9").result == checked(record, "::1").result == "fail"
    assert checked(record, "::ffff:192.0.2.1").mechanism == "ip4:0.0.0.0/0"


@pytest.mark.parametrize("sender", ["", "<>"])
def test_for_the_null_path_postmaster_at_the_helo_domain_is_checked(sender: str) -> None:
    zone = Zone({"mx.example.net": {"TXT": ["v=spf1 exists:%{l}.%{o}.test -all"]}, "postmaster.mx.example.net.test": {"A": [IP]}})
    found = lookups.run(spf.check(IP, sender, "MX.Example.net"), zone)
    assert (found.result, found.identity, found.domain) == ("pass", "mailfrom", "mx.example.net")


def test_the_helo_identity_is_checked_by_itself() -> None:
    zone = Zone({"mx.example.net": {"TXT": ["v=spf1 exists:%{s}.test -all"]}, "postmaster@mx.example.net.test": {"A": [IP]}})
    found = lookups.run(spf.check_helo(IP, "mx.example.net."), zone)
    assert (found.result, found.identity, found.domain) == ("pass", "helo", "mx.example.net")


def test_a_sender_in_angle_brackets_and_one_without_a_local_part_are_understood() -> None:
    record, others = "v=spf1 exists:%{l}.test -all", {"ann.test": {"A": [IP]}, "postmaster.test": {"A": [IP]}}
    assert checked(record, sender="<ann@example.org>", others=others).result == "pass"
    assert checked(record, sender="@example.org", others=others).result == "pass"


def test_the_address_of_the_client_has_to_be_one() -> None:
    with pytest.raises(ValueError, match="does not appear to be"):
        spf.check("mx.example.net", "ann@example.org", "mx.example.net")
    with pytest.raises(ValueError, match="does not appear to be"):
        spf.check_helo("", "mx.example.net")


@pytest.mark.parametrize(
    "domain", ["localhost", "a..b", "a.b..", f"{'x' * 64}.org", "[192.0.2.1]", "x y.org", ".org", ".".join(["x" * 50] * 6)]
)
def test_what_is_no_domain_has_no_record_and_is_not_asked_for(domain: str) -> None:
    with pytest.raises(StopIteration) as ended:
        next(spf.check_helo(IP, domain))
    assert ended.value.value.result == "none"
    assert "is not a domain name of several labels" in ended.value.value.reason


@pytest.mark.parametrize(
    ("txt", "result", "reason"),
    [
        ([], "none", "example.org has no TXT"),
        (["hello"], "none", "example.org has no SPF record"),
        (["v=spf1 -all", "hello"], "fail", "-all of example.org matches"),
        (["v=spf1 -all", "v=spf1 +all"], "permerror", "example.org has 2 SPF records"),
        ("TIMEOUT", "temperror", "example.org TXT: timeout"),
    ],
)
def test_the_record_is_chosen_among_the_txt_of_the_domain(txt: Any, result: str, reason: str) -> None:
    found = lookups.run(spf.check(IP, "ann@example.org", "mx"), Zone({"example.org": {"TXT": txt}}))
    assert (found.result, found.reason) == (result, reason)


def test_a_domain_that_does_not_exist_has_no_record() -> None:
    found = lookups.run(spf.check(IP, "ann@example.org", "mx"), Zone({}))
    assert (found.result, found.reason) == ("none", "example.org does not exist")


def test_a_mistake_anywhere_in_the_record_is_a_permerror_that_names_it() -> None:
    found = checked("v=spf1 +all ip4:192.0.2")
    assert found.result == "permerror"
    assert found.reason == "mistake in the record of example.org: ip4:192.0.2: Expected 4 octets in '192.0.2'"
    assert found.steps == (Step(0, "example.org", "", "permerror", "v=spf1 +all ip4:192.0.2"),)


@pytest.mark.parametrize(
    ("included", "result"),
    [
        ("v=spf1 +all", "pass"),
        ("v=spf1 -all", "softfail"),
        ("v=spf1 ~all", "softfail"),
        ("v=spf1 ?all", "softfail"),
        ("v=spf1 foo", "permerror"),
        ("hello", "permerror"),
        ("v=spf1 a:down.test", "temperror"),
    ],
)
def test_an_include_matches_where_the_other_domain_says_pass(included: str, result: str) -> None:
    others = {"_spf.test": {"TXT": [included]}, "down.test": "SERVFAIL"}
    assert checked("v=spf1 include:_spf.test ~all", others=others).result == result


def test_a_redirect_decides_where_nothing_matched() -> None:
    others = {"_spf.test": {"TXT": ["v=spf1 -ip4:192.0.2.1 +all"]}}
    found = checked("v=spf1 ip4:198.51.100.1 redirect=_spf.test", others=others)
    assert (found.result, found.mechanism, found.domain) == ("fail", "-ip4:192.0.2.1", "example.org")
    assert checked("v=spf1 ?ip4:192.0.2.1 redirect=_spf.test", others=others).result == "neutral"


@pytest.mark.parametrize("target", ["nothing.test", "%{h}..test", "%{h}"])
def test_a_redirect_to_what_has_no_record_is_a_permerror(target: str) -> None:
    found = checked(f"v=spf1 redirect={target}")
    assert found.result == "permerror"
    assert found.steps[-2].outcome == "permerror"


def test_the_explanation_is_that_of_the_record_that_decided() -> None:
    others = {
        "_spf.test": {"TXT": ["v=spf1 -all exp=why.%{d}"]},
        "why._spf.test": {"TXT": ["%{d} does not know %{c}, %{r} said at %{t}"]},
        "why.test": {"TXT": ["%{s} is not %{h}"]},
    }
    included = checked(
        "v=spf1 -include:pass.test include:_spf.test -all exp=why.test", others=others | {"pass.test": {"TXT": ["v=spf1"]}}
    )
    assert included.explanation == "ann@example.org is not mx.example.net"
    redirected = checked("v=spf1 redirect=_spf.test exp=why.test", others=others, now=1.5, receiver="here.example")
    assert redirected.explanation == "_spf.test does not know 192.0.2.1, here.example said at 1"
    assert (
        checked("v=spf1 redirect=_spf.test", others=others).explanation == "_spf.test does not know 192.0.2.1, unknown said at 0"
    )
    assert checked("v=spf1 ~all exp=why.test", others=others).explanation == ""


@pytest.mark.parametrize(
    ("exp", "txt", "note"),
    [
        ("why.test", [], "why.test has no TXT"),
        ("why.test", ["one", "two"], "why.test has several TXT"),
        ("why.test", "SERVFAIL", "why.test TXT: SERVFAIL"),
        ("why.test", ["100%"], "no macro begins with '%'"),
        ("why.test", ["caf\u00e9"], "there are characters in it that are not visible ASCII"),
        ("why.test", ["two\nlines"], "there are characters in it that are not visible ASCII"),
        ("why.test", ["%{l}"], "it comes to text that is not ASCII"),
        ("%{h}..test", ["text"], "'mx.example.net..test' is no domain name"),
        ("%{l}.test", ["text"], "the local part of the sender is not ASCII"),
    ],
)
def test_an_explanation_that_cannot_be_had_is_no_error(exp: str, txt: Any, note: str) -> None:
    found = checked(f"v=spf1 -all exp={exp}", sender="j\u00fcrgen@example.org", others={"why.test": {"TXT": txt}})
    assert (found.result, found.explanation) == ("fail", "")
    assert found.steps[-1] == Step(0, "example.org", f"exp={exp}", "ignored", note)


def test_an_explanation_is_cut() -> None:
    found = checked("v=spf1 -all exp=why.test", others={"why.test": {"TXT": ["x" * 1000]}})
    assert found.explanation == "x" * 400


def test_a_name_of_the_client_in_an_explanation_counts_for_no_limit() -> None:
    others = {"why.test": {"TXT": ["%{p}"]}, "why.unknown": {"TXT": ["hello"]}}
    assert checked("v=spf1 -all exp=why.test", others=others, limits=spf.Limits(lookups=0)).explanation == "unknown"
    assert checked("v=spf1 -all exp=why.%{p}", others=others, limits=spf.Limits(lookups=0)).explanation == "hello"


def test_u_labels_are_asked_for_as_a_labels() -> None:
    zone = Zone(
        {
            "xn--bcher-kva.example": {"TXT": ["v=spf1 exists:%{o}.%{d}.%{h}.test -all"]},
            "xn--bcher-kva.example.xn--bcher-kva.example.xn--mller-kva.example.test": {"A": [IP]},
        }
    )
    found = lookups.run(spf.check(IP, "ann@B\u00fccher.example", "m\u00fcller.example"), zone)
    assert (found.result, found.domain) == ("pass", "xn--bcher-kva.example")


def test_what_is_no_internationalised_domain_name_has_no_record() -> None:
    found = lookups.run(spf.check(IP, "ann@\u2763.\u00fc\ud800", "mx"), Zone({}))
    assert (found.result, found.domain, found.reason) == ("none", "", "there is no domain")


@pytest.mark.parametrize("letter", ["s", "l", "L1r-"])
def test_terms_that_need_a_local_part_beyond_ascii_match_nothing(letter: str) -> None:
    others = {"x.test": {"TXT": ["v=spf1 +all"], "A": [IP]}}
    for term in (
        f"a:%{{{letter}}}.x.test",
        f"exists:%{{{letter}}}.x.test",
        f"include:%{{{letter}}}.x.test",
        f"redirect=%{{{letter}}}.x.test",
    ):
        found = checked(f"v=spf1 {term}", sender="j\u00fcrgen@example.org", others=others)
        assert found.result == "neutral"
        assert found.steps[1] == Step(0, "example.org", term, "no match", "the local part of the sender is not ASCII")


def test_the_steps_tell_the_whole_evaluation_in_its_order() -> None:
    others = {
        "_spf.test": {"TXT": ["v=spf1 ip4:198.51.100.0/24 redirect=more.test"]},
        "more.test": {"TXT": ["v=spf1 a ?all"], "A": ["192.0.2.9"]},
    }
    found = checked("v=spf1 exists:%{l}.x.test include:_spf.test -all", others=others)
    assert found.steps == (
        Step(0, "example.org", "", "record", "v=spf1 exists:%{l}.x.test include:_spf.test -all"),
        Step(0, "example.org", "exists:%{l}.x.test", "no match", "ann.x.test does not exist"),
        Step(0, "example.org", "include:_spf.test", "no match", "_spf.test says neutral"),
        Step(1, "_spf.test", "", "record", "v=spf1 ip4:198.51.100.0/24 redirect=more.test"),
        Step(1, "_spf.test", "ip4:198.51.100.0/24", "no match"),
        Step(1, "_spf.test", "redirect=more.test", "neutral"),
        Step(2, "more.test", "", "record", "v=spf1 a ?all"),
        Step(2, "more.test", "a", "no match", "more.test A 192.0.2.9"),
        Step(2, "more.test", "?all", "match"),
        Step(0, "example.org", "-all", "match"),
    )


def test_an_error_far_below_ends_every_term_above_it() -> None:
    others = {"b.test": {"TXT": ["v=spf1 redirect=c.test"]}, "c.test": {"TXT": ["v=spf1 a"], "A": "TIMEOUT"}}
    found = checked("v=spf1 include:b.test +all", others=others)
    assert (found.result, found.reason, found.mechanism) == ("temperror", "c.test A: timeout", "")
    assert [(step.depth, step.term, step.outcome) for step in found.steps if step.term] == [
        (0, "include:b.test", "temperror"),
        (1, "redirect=c.test", "temperror"),
        (2, "a", "temperror"),
    ]


@pytest.mark.parametrize(("terms", "result"), [(10, "pass"), (11, "permerror")])
def test_ten_terms_may_ask_dns(terms: int, result: str) -> None:
    record = f"v=spf1 {'a:other.test ' * (terms - 1)}a:here.test"
    found = checked(record, others={"other.test": {"A": ["192.0.2.9"]}, "here.test": {"A": [IP]}})
    assert found.result == result
    assert found.reason == ("more than 10 terms ask DNS" if result == "permerror" else "a:here.test of example.org matches")


@pytest.mark.parametrize(
    ("terms", "result"),
    [("a:x.test exists:y.test", "pass"), ("a:x.test exists:y.test mx:z.test", "permerror"), ("mx:m.test " * 3, "permerror")],
)
def test_two_of_them_may_ask_for_what_does_not_exist(terms: str, result: str) -> None:
    found = checked(f"v=spf1 {terms} +all", others={"z.test": {}, "m.test": {"MX": [(0, "x.test")]}})
    assert found.result == result
    if result == "permerror":
        assert found.reason == "more than 2 terms ask DNS for what does not exist"


@pytest.mark.parametrize(
    "record", ["v=spf1 include:example.org", "v=spf1 redirect=example.org", "v=spf1 include:b.test", "v=spf1 redirect=b.test"]
)
def test_a_loop_ends_by_the_limit(record: str) -> None:
    found = checked(record, others={"b.test": {"TXT": ["v=spf1 include:example.org"]}})
    assert (found.result, found.reason) == ("permerror", "more than 10 terms ask DNS")
    assert len(found.steps) < 30


def test_a_thousand_mechanisms_are_evaluated_and_a_flood_of_them_is_not() -> None:
    assert checked(f"v=spf1 {'ip4:198.51.100.1 ' * 1000}ip4:192.0.2.1 -all").mechanism == "ip4:192.0.2.1"
    big = "v=spf1 " + "ip4:198.51.100.1 " * 1000
    others = {f"_{number}.test": {"TXT": [big]} for number in range(9)}
    flood = checked(f"v=spf1 {' '.join(f'include:{name}' for name in others)} -all", others=others)
    assert (flood.result, flood.reason) == ("permerror", "the records are longer than 65536 octets")
    assert sum(step.outcome == "record" for step in flood.steps) == 4


def test_the_answers_of_a_check_can_be_given_again() -> None:
    record = "v=spf1 mx ptr include:_spf.test ~all"
    names: dict[str, Any] = {
        "example.org": {"TXT": [record], "MX": [(0, "mx.example.org")]},
        "mx.example.org": {"A": ["192.0.2.9"]},
        "1.2.0.192.in-addr.arpa": {"PTR": ["mx.example.org"]},
        "_spf.test": {"TXT": ["v=spf1 ip4:192.0.2.0/24 -all"]},
    }
    asked: list[tuple[Query, Answer]] = []
    first = lookups.run(lookups.recorded(spf.check(IP, "ann@example.org", "mx"), asked), Zone(names))
    assert [query.type for query, _ in asked] == ["TXT", "MX", "A", "PTR", "A", "TXT"]
    assert lookups.run(spf.check(IP, "ann@example.org", "mx"), lookups.Replay(asked)) == first


class Anything:
    """Answers each question with something that hypothesis draws, records with garbage among it."""

    def __init__(self, data: st.DataObject) -> None:
        self._data = data

    def answer(self, query: Query) -> Answer:
        texts = st.text("v=spf1 aimxptrcludexsnw:/.-+~?%{}0123456789\x00\udc96\u00e9", max_size=60).map(
            lambda text: f"v=spf1 {text}"
        )
        terms = st.lists(
            st.sampled_from(["a", "mx", "ptr", "include:%{d}", "exists:%{p}.x", "redirect=%{h}.x", "exp=%{l}.x", "-all"]),
            max_size=4,
        )
        record = {
            "TXT": st.one_of(texts, terms.map(lambda some: " ".join(["v=spf1", *some])), st.text(max_size=20)),
            "MX": st.builds(lookups.Mx, st.integers(), st.text(max_size=20)),
        }.get(query.type, st.one_of(st.text(max_size=20), st.just(IP), st.just("2001:db8::1")))
        records = tuple(self._data.draw(st.lists(record, max_size=3)))
        return Answer(self._data.draw(st.sampled_from(Status)) if not records else Status.RECORDS, records)


@given(st.data(), st.sampled_from([IP, "2001:db8::1"]), st.text(max_size=30), st.text(max_size=30))
def test_whatever_the_sender_and_dns_say_there_is_a_result(data: st.DataObject, ip: str, local_part: str, helo: str) -> None:
    found = lookups.run(spf.check(ip, f"{local_part}@example.org", helo, receiver="here"), Anything(data))
    assert found.result in {"none", "neutral", "pass", "fail", "softfail", "temperror", "permerror"}
    assert found.explanation.isascii()
    assert all(step.outcome for step in found.steps)
