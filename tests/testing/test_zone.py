from __future__ import annotations

from typing import Any

import pytest

from waymail.lookups import Answer, Lookups, Mx, Query, Status, run
from waymail.testing import Zone

ZONE = Zone(
    {
        "Example.ORG": {
            "MX": [(10, "mx.example.org."), (20, "mx2.example.org")],
            "TXT": ["v=spf1 -all", ("in two ", "strings")],
            "AAAA": [],
        },
        "mx.example.org": {"A": ["192.0.2.1"], "AAAA": "SERVFAIL", "TLSA": [(3, 1, 1, "AB12")]},
        "a.b.deep.example.org": {"A": "192.0.2.9"},
        "www.example.org": {"CNAME": ["hop.example.org"]},
        "hop.example.org": {"CNAME": ["mx.example.org"]},
        "dangling.example.org": {"CNAME": ["nowhere.example.org"]},
        "ping.example.org": {"CNAME": ["pong.example.org"]},
        "pong.example.org": {"CNAME": ["ping.example.org"]},
        "slow.example.org": "TIMEOUT",
        "null.example.org": {"MX": [(0, ".")]},
    },
    authentic={"mx.example.org", "Hop.example.org"},
    ttl=60,
)


def ask(name: str, kind: str) -> Answer:
    return ZONE.answer(Query(name, kind))


def test_records_come_in_the_form_of_their_type() -> None:
    assert ask("example.org", "MX").records == (Mx(10, "mx.example.org"), Mx(20, "mx2.example.org"))
    assert ask("example.org", "TXT").records == ("v=spf1 -all", "in two strings")
    assert ask("mx.example.org", "TLSA").records == ((3, 1, 1, b"\xab\x12"),)
    assert ask("a.b.deep.example.org", "A").records == ("192.0.2.9",)
    assert ask("null.example.org", "MX").records == (Mx(0, ""),)


def test_names_and_types_are_compared_without_case_or_trailing_dot() -> None:
    assert ask("EXAMPLE.org.", "mx").status is Status.RECORDS


@pytest.mark.parametrize(
    ("name", "kind", "status", "reason"),
    [
        ("nowhere.example.org", "A", Status.NO_NAME, ""),
        ("org.example", "A", Status.NO_NAME, ""),
        ("example.org", "A", Status.NO_RECORDS, ""),
        ("example.org", "AAAA", Status.NO_RECORDS, ""),
        ("deep.example.org", "A", Status.NO_RECORDS, ""),
        ("org", "A", Status.NO_RECORDS, ""),
        ("mx.example.org", "AAAA", Status.FAILURE, "SERVFAIL"),
        ("slow.example.org", "TXT", Status.FAILURE, "timeout"),
        ("dangling.example.org", "A", Status.NO_NAME, ""),
        ("ping.example.org", "A", Status.FAILURE, "CNAME loop"),
    ],
)
def test_what_is_not_there_is_told_apart(name: str, kind: str, status: Status, reason: str) -> None:
    answer = ask(name, kind)
    assert (answer.status, answer.reason, answer.records) == (status, reason, ())


def test_aliases_are_followed_unless_asked_for() -> None:
    assert ask("www.example.org", "A").records == ("192.0.2.1",)
    assert ask("www.example.org", "CNAME").records == ("hop.example.org",)
    assert ZONE.chain(Query("www.example.org", "A"))[0] == ["www.example.org", "hop.example.org", "mx.example.org"]


def test_an_answer_is_authentic_only_where_every_name_passed_is() -> None:
    assert ask("mx.example.org", "A").authentic
    assert ask("hop.example.org", "A").authentic
    assert not ask("www.example.org", "A").authentic
    assert not ask("example.org", "MX").authentic


def test_answers_have_the_zones_ttl() -> None:
    assert ask("mx.example.org", "A").ttl == 60


@pytest.mark.parametrize(
    "names",
    [
        {"a.example": "GONE"},
        {"a.example": {"MX": ["mx.example"]}},
        {"a.example": {"A": [4]}},
        {"a.example": {"TLSA": ["3 1 1"]}},
    ],
)
def test_what_can_be_no_record_is_refused(names: Any) -> None:
    with pytest.raises(ValueError, match=r"is no|is neither"):
        Zone(names)


def test_it_drives_lookups() -> None:
    def both() -> Lookups[tuple[Any, ...]]:
        mx: Answer = yield Query("example.org", "MX")
        answers = yield tuple(Query(record.host, "A") for record in mx.records)
        return tuple(answer.status for answer in answers)

    assert run(both(), ZONE) == (Status.RECORDS, Status.NO_NAME)


def test_a_wildcard_stands_for_names_that_do_not_exist_below_its_parent_alone() -> None:
    zone = Zone(
        {
            "*.example.org": {"TXT": ["any"]},
            "here.example.org": {"A": ["192.0.2.1"]},
            "*.web.example.org": {"CNAME": ["here.example.org"]},
        }
    )
    assert zone.answer(Query("x.example.org", "TXT")).records == ("any",)
    assert zone.answer(Query("y.x.example.org", "TXT")).records == ("any",)
    assert zone.answer(Query("x.example.org", "A")).status is Status.NO_RECORDS
    assert zone.answer(Query("here.example.org", "TXT")).status is Status.NO_RECORDS
    # RFC 4592 §3.3.1: what is below a name that exists has that one's wildcard or none
    assert zone.answer(Query("x.here.example.org", "TXT")).status is Status.NO_NAME
    assert zone.answer(Query("example.org", "TXT")).status is Status.NO_RECORDS
    assert zone.answer(Query("shop.web.example.org", "A")).records == ("192.0.2.1",)


def test_it_changes_while_it_is_used() -> None:
    zone = Zone.from_text("a.b.example 60 TXT old", ttl=9)
    zone.put("A.b.example.", {"TXT": ["new"]})
    assert zone.answer(Query("a.b.example", "TXT")) == Answer(Status.RECORDS, ("new",), ttl=9)
    zone.put("a.b.example", "SERVFAIL")
    assert zone.answer(Query("a.b.example", "TXT")).status is Status.FAILURE
    zone.drop("a.b.example")
    assert zone.answer(Query("a.b.example", "TXT")).status is Status.NO_NAME
    assert zone.answer(Query("b.example", "TXT")).status is Status.NO_NAME
    zone.drop("a.b.example")
    with pytest.raises(ValueError, match="neither records nor"):
        zone.put("a.b.example", "SERVEFAIL")


def test_records_are_added_by_type_and_others_stay() -> None:
    zone = Zone({"example.org": {"TXT": ["old"], "A": ["192.0.2.1"]}, "broken.example": "SERVFAIL"})
    zone.add("Example.org.", {"txt": ["new"], "MX": [(10, "mx.example.org")]})
    assert [zone.answer(Query("example.org", kind)).records for kind in ("TXT", "A")] == [("new",), ("192.0.2.1",)]
    zone.add("broken.example", {"A": ["192.0.2.2"]})
    assert zone.answer(Query("broken.example", "A")).records == ("192.0.2.2",)
