from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, get_args

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest
import uvloop

from waymail.lookups import Mx, Query, Status
from waymail.net.answers import FAILURE_TTL, LONGEST_NEGATIVE_TTL, ad_is_believed
from waymail.net.resolver import AVOIDED, Resolver
from waymail.testing import Zone
from waymail.testing.clock import JumpingClock
from waymail.testing.dns import DnsServer, FaultWord

ZONE = Zone(
    {
        "example.org": {
            "A": ["192.0.2.1", "192.0.2.2"],
            "AAAA": ["2001:db8::1"],
            "MX": [(10, "mx.example.org"), (20, "mx2.example.org")],
            "TXT": [("v=spf1 ", "-all"), "back\\slash ü"],
            "TLSA": [(3, 1, 1, "ab" * 32)],
        },
        "null.example.org": {"MX": [(0, ".")]},
        "big.example.org": {"TXT": ["y" * 5000]},
        "alias.example.org": {"CNAME": ["example.org"]},
        "broken.example.org": "SERVFAIL",
        "slow.example.org": "TIMEOUT",
        "1.2.0.192.in-addr.arpa": {"PTR": ["example.org"]},
        "a\\b.example.org": {"A": ["192.0.2.3"]},
    },
    authentic={"example.org", "gone.example.org"},
    ttl=300,
)


class Garbage(DnsServer):
    """Answers every question with octets that mean nothing."""

    def respond(self, octets: bytes, transport: str) -> bytes | None:
        super().respond(octets, transport)
        return octets[:2] + b"\xff" * 20


class Flood(DnsServer):
    """Says over UDP that the answer is too large, and over TCP nothing sensible."""

    def respond(self, octets: bytes, transport: str) -> bytes | None:
        response = dns.message.make_response(dns.message.from_wire(octets))
        response.flags |= dns.flags.TC
        return response.to_wire() if transport == "udp" else b"\xff\xff"


def resolver(server: DnsServer | str, **options: Any) -> Resolver:
    address = server if isinstance(server, str) else server.address
    return Resolver([address], **{"timeout": 0.3, "lifetime": 0.6, **options})


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not holds():  # noqa: ASYNC110 - what the server was asked is not an event
            await asyncio.sleep(0)


RECORDS = [
    ("example.org", "A", ("192.0.2.1", "192.0.2.2")),
    ("EXAMPLE.org.", "AAAA", ("2001:db8::1",)),
    ("example.org", "MX", (Mx(10, "mx.example.org"), Mx(20, "mx2.example.org"))),
    ("null.example.org", "MX", (Mx(0, ""),)),
    ("example.org", "TXT", ("v=spf1 -all", "back\\slash ü")),
    ("example.org", "TLSA", ((3, 1, 1, b"\xab" * 32),)),
    ("1.2.0.192.in-addr.arpa", "PTR", ("example.org",)),
    ("alias.example.org", "MX", (Mx(10, "mx.example.org"), Mx(20, "mx2.example.org"))),
    ("alias.example.org", "CNAME", ("example.org",)),
]


async def every_type_of_record() -> None:
    async with DnsServer(ZONE) as server:
        asks = resolver(server)
        for name, kind, records in RECORDS:
            answer = await asks.ask(Query(name, kind))
            assert (answer.status, set(answer.records), answer.ttl) == (Status.RECORDS, set(records), 300), (name, kind)


async def a_large_answer() -> None:
    async with DnsServer(ZONE) as server:
        answer = await resolver(server).ask(Query("big.example.org", "TXT"))
        assert answer.records == ("y" * 5000,)
        assert [transport for transport, _ in server.asked] == ["udp", "tcp"]


async def a_resolver_that_is_not_there() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    before = asyncio.get_running_loop().time()
    answer = await resolver(f"127.0.0.1:{port}", timeout=5, lifetime=20).ask(Query("example.org", "A"))
    assert answer.status is Status.FAILURE
    assert "refused" in answer.reason
    assert asyncio.get_running_loop().time() - before < 3


@pytest.mark.parametrize("case", [every_type_of_record, a_large_answer, a_resolver_that_is_not_there])
@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_it_works_on_both_loops(run: Callable[..., None], case: Callable[[], Coroutine[Any, Any, None]]) -> None:
    run(case())


@pytest.mark.parametrize(
    ("name", "status", "reason"),
    [
        ("nowhere.example.org", Status.NO_NAME, ""),
        ("example.org", Status.NO_RECORDS, ""),
        ("broken.example.org", Status.FAILURE, "SERVFAIL"),
        ("slow.example.org", Status.FAILURE, "no answer within 0.6 s"),
        ("a" * 64 + ".example.org", Status.NO_NAME, "no possible name"),
        ("a..example.org", Status.NO_NAME, "no possible name"),
        (".".join(["a" * 60] * 5), Status.NO_NAME, "no possible name"),
    ],
)
async def test_what_is_no_answer_is_told_apart(name: str, status: Status, reason: str) -> None:
    async with DnsServer(ZONE) as server:
        answer = await resolver(server).ask(Query(name, "PTR"))
    assert (answer.status, answer.records) == (status, ())
    assert reason in answer.reason


async def test_octets_that_mean_something_in_zone_files_mean_nothing_in_names() -> None:
    async with DnsServer(ZONE) as server:
        await resolver(server).ask(Query("a\\046b@.example.org", "A"))
        asked = server.asked[0][1].name
    assert asked == r"a\\046b\@.example.org"


@pytest.mark.parametrize("server_type", [Garbage, Flood])
async def test_a_resolver_that_talks_nonsense_gives_a_failure(server_type: type[DnsServer]) -> None:
    async with server_type(ZONE) as server:
        answer = await resolver(server).ask(Query("example.org", "A"))
    assert answer.status is Status.FAILURE
    assert answer.reason


async def test_the_next_resolver_is_asked_where_the_first_one_fails() -> None:
    class Refuses(DnsServer):
        def respond(self, octets: bytes, transport: str) -> bytes | None:
            response = dns.message.make_response(dns.message.from_wire(octets))
            response.set_rcode(dns.rcode.REFUSED)
            return response.to_wire()

    async with Refuses(ZONE) as bad, DnsServer(ZONE) as good:
        answer = await Resolver([bad.address, good.address], timeout=0.3, lifetime=2).ask(Query("example.org", "A"))
    assert answer.status is Status.RECORDS


async def test_a_resolver_that_is_silent_is_asked_last_for_a_while() -> None:
    clock = JumpingClock()
    silent = Zone({f"n{number}.example.org": "TIMEOUT" for number in range(4)})
    speaks = Zone({"example.org": {"A": ["192.0.2.1"]}})  # says that the others do not exist
    async with DnsServer(silent) as first, DnsServer(speaks) as second:
        asks = Resolver([first.address, second.address], timeout=0.1, lifetime=2, clock=clock)
        for number in range(3):
            assert (await asks.ask(Query(f"n{number}.example.org", "A"))).status is Status.NO_NAME
        assert [len(first.asked), len(second.asked)] == [1, 3]
        await clock.advance(AVOIDED)
        await asks.ask(Query("n3.example.org", "A"))
        assert [len(first.asked), len(second.asked)] == [2, 4]


def test_resolvers_that_vouch_for_nothing_are_never_asked_before_a_near_one() -> None:
    for dnssec, order in (("trust-ad", ["127.0.0.1", "192.0.2.53"]), ("off", ["192.0.2.53", "127.0.0.1"])):
        asks = Resolver(["127.0.0.1", "192.0.2.53"], dnssec=dnssec)  # type: ignore[arg-type]
        assert asks._servers
        asks._servers[0].avoided_until = float("inf")
        assert [str(server) for server in asks._in_order()] == [f"Do53:{address}@53" for address in order]


async def test_questions_beyond_the_bound_wait_for_their_turn() -> None:
    silent = Zone({f"n{number}.example.org": "TIMEOUT" for number in range(6)})
    async with DnsServer(silent) as server:
        asks = resolver(server, at_once=2, timeout=60, lifetime=60)
        waiting = [asyncio.create_task(asks.ask(Query(f"n{number}.example.org", "A"))) for number in range(6)]
        await until(lambda: len(server.asked) == 2)
        server.zone = Zone({})
        later = asyncio.create_task(asks.ask(Query("later.example.org", "A")))
        await asyncio.sleep(0.05)
        assert len(server.asked) == 2
        asks._open["n0.example.org", "A"].cancel()
        await asyncio.gather(*waiting[2:], later)
        assert len(server.asked) == 7
        await asks.close()
        await asyncio.gather(*waiting, return_exceptions=True)


@pytest.mark.parametrize(
    ("soa_ttl", "minimum", "seconds"),
    [(900, 60, 60), (60, 900, 60), (864_000, 864_000, LONGEST_NEGATIVE_TTL), (None, None, FAILURE_TTL)],
)
@pytest.mark.parametrize("name", ["example.org", "nowhere.example.org"])
async def test_what_is_not_there_is_remembered_as_the_soa_says(
    name: str, soa_ttl: int | None, minimum: int | None, seconds: int
) -> None:
    class Negative(DnsServer):
        def respond(self, octets: bytes, transport: str) -> bytes | None:
            response = dns.message.make_response(dns.message.from_wire(octets))
            response.set_rcode(dns.rcode.NOERROR if name == "example.org" else dns.rcode.NXDOMAIN)
            if soa_ttl is not None:
                soa = f". . 1 3600 600 86400 {minimum}"
                response.authority.append(dns.rrset.from_text("example.org.", soa_ttl, "IN", "SOA", soa))
            return response.to_wire()

    async with Negative(ZONE) as server:
        answer = await resolver(server).ask(Query(name, "TXT"))
    assert (answer.status is not Status.RECORDS, answer.ttl) == (True, seconds)


async def test_an_answer_to_another_question_is_passed_over_and_the_question_asked_again() -> None:
    async with DnsServer(ZONE) as server:
        for fault in ("wrong id", "timeout"):
            server.fail("example.org", fault, times=1)
            answer = await resolver(server, timeout=0.1, lifetime=5).ask(Query("example.org", "A"))
            assert answer.status is Status.RECORDS
        assert server.count() == 4


async def test_a_resolver_that_cannot_speak_tcp_gives_a_failure_for_what_is_truncated() -> None:
    async with DnsServer(ZONE) as server:
        server.fail("big.example.org", "refused", transport="tcp")
        answer = await resolver(server).ask(Query("big.example.org", "TXT"))
    assert (answer.status, server.count(transport="tcp")) == (Status.FAILURE, 1)


async def test_an_answer_that_nobody_vouched_for_is_authentic_where_the_near_resolver_says_so() -> None:
    async with DnsServer(ZONE) as server:
        server.fail("big.example.org", "ad")
        assert (await resolver(server).ask(Query("big.example.org", "TXT"))).authentic
        assert not (await resolver(server, dnssec="off").ask(Query("big.example.org", "TXT"))).authentic


async def test_every_kind_of_trouble_ends_within_the_lifetime() -> None:
    async with DnsServer(ZONE) as server:
        for fault in get_args(FaultWord):
            server.heal()
            server.fail("", fault, seconds=60)
            async with asyncio.timeout(3):
                answer = await resolver(server, timeout=0.1, lifetime=0.3).ask(Query("example.org", "TXT"))
            said = Status.RECORDS if fault in ("ad", "truncation") else Status.FAILURE
            assert (answer.status, bool(answer.reason)) == (said, said is Status.FAILURE), fault


async def test_octets_of_a_text_that_are_no_utf_8_survive() -> None:
    async with DnsServer(Zone({"example.org": {"TXT": ["v=DKIM1; n=\udcff\udc80"]}})) as server:
        assert (await resolver(server).ask(Query("example.org", "TXT"))).records == ("v=DKIM1; n=\udcff\udc80",)


async def test_an_answer_is_authentic_where_a_resolver_on_loopback_says_so() -> None:
    async with DnsServer(ZONE) as server:
        assert (await resolver(server).ask(Query("example.org", "A"))).authentic
        assert (await resolver(server).ask(Query("gone.example.org", "A"))).authentic
        assert not (await resolver(server).ask(Query("big.example.org", "TXT"))).authentic
        assert not (await resolver(server, dnssec="off").ask(Query("example.org", "A"))).authentic


@pytest.mark.parametrize(
    ("servers", "ad", "believed"),
    [
        (["127.0.0.53"], True, True),
        (["::1"], True, True),
        (["127.0.0.1"], False, False),
        (["192.0.2.53"], True, False),
        (["127.0.0.1", "192.0.2.53"], True, False),
        ([], True, False),
    ],
)
def test_the_ad_bit_is_believed_from_loopback_alone(servers: list[str], ad: bool, believed: bool) -> None:
    response = dns.message.make_response(dns.message.make_query("example.org", "A"))
    response.flags |= dns.flags.AD if ad else 0
    assert ad_is_believed(response, servers) is believed


@pytest.mark.parametrize("name", ["example.org", "nowhere.example.org"])
async def test_an_answer_is_remembered_until_its_ttl_is_over(name: str) -> None:
    clock = JumpingClock()
    async with DnsServer(ZONE) as server:
        asks = resolver(server, clock=clock)
        question = Query(name, "A")
        assert asks.cached(question) is None
        first = await asks.ask(question)
        assert asks.cached(Query(name.upper() + ".", "a")) is first
        await clock.advance(299)
        assert await asks.ask(question) is first
        await clock.advance(1)
        assert asks.cached(question) is None
        await asks.ask(question)
        assert len(server.asked) == 2


async def test_a_failure_is_remembered_for_seconds_only() -> None:
    clock = JumpingClock()
    async with DnsServer(ZONE) as server:
        asks = resolver(server, clock=clock)
        question = Query("broken.example.org", "A")
        await asks.ask(question)
        count = len(server.asked)
        await asks.ask(question)
        assert len(server.asked) == count
        await clock.advance(FAILURE_TTL)
        await asks.ask(question)
        assert len(server.asked) > count


async def test_the_same_question_asked_by_many_is_looked_up_once() -> None:
    async with DnsServer(ZONE) as server:
        asks = resolver(server)
        answers = await asyncio.gather(*(asks.ask(Query("example.org", "A")) for _ in range(20)))
        assert len(server.asked) == 1
    assert {answer.status for answer in answers} == {Status.RECORDS}


async def test_one_askers_end_is_not_the_end_of_the_others_lookup() -> None:
    async with DnsServer(ZONE) as server:
        asks = resolver(server)
        first = asyncio.create_task(asks.ask(Query("example.org", "A")))
        second = asyncio.create_task(asks.ask(Query("example.org", "A")))
        await asyncio.sleep(0)
        first.cancel()
        assert (await second).status is Status.RECORDS
        assert len(server.asked) == 1


async def test_closing_ends_the_open_lookups() -> None:
    async with DnsServer(ZONE) as server:
        asks = resolver(server, timeout=60, lifetime=60)
        waiting = asyncio.create_task(asks.ask(Query("slow.example.org", "A")))
        await asyncio.sleep(0)
        await asks.close()
        with pytest.raises(asyncio.CancelledError):
            await waiting


async def test_the_cache_is_bounded_and_keeps_what_came_last() -> None:
    async with DnsServer(ZONE) as server:
        asks = resolver(server, entries=20)
        for number in range(25):
            await asks.ask(Query(f"n{number}.example.org", "A"))
        known = [number for number in range(25) if asks.cached(Query(f"n{number}.example.org", "A"))]
    assert len(known) <= 20
    assert known[-10:] == list(range(15, 25))


async def test_expired_answers_make_room_first() -> None:
    clock = JumpingClock()
    zone = Zone({f"n{number}.example.org": "SERVFAIL" for number in range(15)} | {"example.org": {"A": ["192.0.2.1"]}})
    async with DnsServer(zone) as server:
        asks = resolver(server, entries=20, clock=clock, lifetime=0.05)
        await asks.ask(Query("example.org", "A"))  # what was learnt first would go first
        await asyncio.gather(*(asks.ask(Query(f"n{number}.example.org", "A")) for number in range(15)))
        await clock.advance(FAILURE_TTL)
        for number in range(10):
            await asks.ask(Query(f"new{number}.example.org", "A"))
        assert asks.cached(Query("example.org", "A"))


async def test_a_missing_resolv_conf_is_a_failure_when_something_is_asked(tmp_path: Path) -> None:
    answer = await Resolver(resolv_conf=str(tmp_path / "resolv.conf")).ask(Query("example.org", "A"))
    assert answer.status is Status.FAILURE
    assert "resolv.conf" in answer.reason


async def test_the_systems_resolvers_are_those_of_resolv_conf(tmp_path: Path) -> None:
    (tmp_path / "resolv.conf").write_text("search example.org\nnameserver 127.0.0.1\n")
    stub = Resolver(resolv_conf=str(tmp_path / "resolv.conf"))._make_stub()
    assert [str(server) for server in stub.nameservers] == ["Do53:127.0.0.1@53"]


def test_a_resolver_is_given_by_its_ip_address() -> None:
    with pytest.raises(ValueError, match=r"127\.0\.0\.53"):
        Resolver(["localhost:53"])
