from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from waymail.lookups import Answer, Lookups, Mx, Query, Status
from waymail.net.blocking_resolver import BlockingResolver, drive
from waymail.testing import Zone
from waymail.testing.dns import DnsServer, serving

ZONE: dict[str, Any] = {
    "example.org": {
        "A": ["192.0.2.1", "192.0.2.2"],
        "AAAA": ["2001:db8::1"],
        "MX": [(10, "mx.example.org")],
        "TXT": ["y" * 5000],
    },
    "null.example.org": {"MX": [(0, ".")]},
    "alias.example.org": {"CNAME": ["example.org"]},
    "broken.example.org": "SERVFAIL",
    "slow.example.org": "TIMEOUT",
}


@pytest.fixture(scope="module")
def server() -> Iterator[DnsServer]:
    with serving(Zone(ZONE, ttl=300)) as server:
        yield server


def asks(server: DnsServer) -> BlockingResolver:
    return BlockingResolver([server.address], timeout=0.3, lifetime=0.6)


@pytest.mark.parametrize(
    ("name", "kind", "records"),
    [
        ("EXAMPLE.org.", "A", {"192.0.2.1", "192.0.2.2"}),
        ("example.org", "AAAA", {"2001:db8::1"}),
        ("alias.example.org", "MX", {Mx(10, "mx.example.org")}),
        ("null.example.org", "MX", {Mx(0, "")}),
        ("example.org", "TXT", {"y" * 5000}),  # which comes by TCP
    ],
)
def test_records_are_those_that_the_other_resolver_gives(server: DnsServer, name: str, kind: str, records: set[object]) -> None:
    answer = asks(server).answer(Query(name, kind))
    assert (answer.status, set(answer.records), answer.ttl) == (Status.RECORDS, records, 300)


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("gone.example.org", Status.NO_NAME),
        ("null.example.org", Status.NO_RECORDS),
        ("broken.example.org", Status.FAILURE),
        ("slow.example.org", Status.FAILURE),
        ("x" * 64 + ".example.org", Status.NO_NAME),
    ],
)
def test_what_is_no_answer_is_told_apart(server: DnsServer, name: str, status: Status) -> None:
    answer = asks(server).answer(Query(name, "TXT"))
    assert (answer.status, answer.records) == (status, ())
    assert bool(answer.reason) == (status is Status.FAILURE or len(name) > 64)


def test_a_question_takes_no_longer_than_there_is_time_for_it(server: DnsServer) -> None:
    resolver = BlockingResolver([server.address], timeout=20, lifetime=20)
    assert "0.05 s" in resolver.answer(Query("slow.example.org", "A"), seconds=0.05).reason
    assert "0 s" in BlockingResolver([server.address]).answer(Query("slow.example.org", "A"), seconds=0).reason


def test_code_that_asks_is_driven_within_its_time(server: DnsServer) -> None:
    def asks_two() -> Lookups[list[Status]]:
        first: Answer = yield Query("example.org", "A")
        second: tuple[Answer, ...] = yield (Query("slow.example.org", "A"), Query("example.org", "AAAA"))
        return [answer.status for answer in (first, *second)]

    resolver = BlockingResolver([server.address], timeout=20, lifetime=20)
    assert drive(asks_two(), resolver, deadline=0.1) == [Status.RECORDS, Status.FAILURE, Status.FAILURE]


def test_an_answer_is_remembered_and_many_threads_may_ask(server: DnsServer) -> None:
    resolver = asks(server)
    answers: list[Answer] = []

    def ask() -> None:
        answers.append(resolver.answer(Query("example.org", "AAAA")))

    ask()
    before = len(server.asked)
    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {answer.records for answer in answers} == {("2001:db8::1",)}
    assert len(server.asked) == before


def test_a_resolver_that_is_no_address_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="by its IP address"):
        BlockingResolver(["dns.example"])
