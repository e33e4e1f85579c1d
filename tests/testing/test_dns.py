from __future__ import annotations

import asyncio
import threading
from typing import Any

import dns.asyncquery
import dns.exception
import dns.flags
import dns.message
import dns.query
import dns.rcode
import pytest

from waymail.lookups import Query
from waymail.testing import Zone
from waymail.testing.dns import DnsServer, FaultWord, serving

ZONE = Zone(
    {
        "example.org": {"MX": [(10, "mx.example.org"), (0, ".")], "TXT": ['quote " back\\slash ü' + "x" * 300]},
        "big.example.org": {"TXT": ["y" * 3000]},
        "alias.example.org": {"CNAME": ["example.org"]},
        "broken.example.org": "SERVFAIL",
        "slow.example.org": "TIMEOUT",
        "1.2.0.192.in-addr.arpa": {"PTR": ["example.org"]},
    },
    authentic={"example.org"},
)


async def query(server: DnsServer, name: str, kind: str, *, over: str = "udp", ad: bool = False) -> dns.message.Message:
    question = dns.message.make_query(name, kind)
    if ad:
        question.flags |= dns.flags.AD
    host, _, port = server.address.partition(":")
    exchange = dns.asyncquery.udp if over == "udp" else dns.asyncquery.tcp
    return await exchange(question, host, port=int(port), timeout=5)


async def test_records_survive_the_wire() -> None:
    async with DnsServer(ZONE) as server:
        assert "10 mx.example.org." in str((await query(server, "example.org", "MX")).answer[0])
        text = (await query(server, "example.org", "TXT")).answer[0][0]
        assert b"".join(text.strings).decode() == 'quote " back\\slash ü' + "x" * 300
        assert str((await query(server, "1.2.0.192.in-addr.arpa", "PTR")).answer[0][0]) == "example.org."
    assert server.asked[0] == ("udp", Query("example.org", "MX"))


async def test_an_answer_too_large_for_udp_is_truncated_and_whole_over_tcp() -> None:
    async with DnsServer(ZONE) as server:
        assert (await query(server, "big.example.org", "TXT")).flags & dns.flags.TC
        whole = await query(server, "big.example.org", "TXT", over="tcp")
        assert sum(map(len, whole.answer[0][0].strings)) == 3000


async def test_codes_say_what_the_zone_says() -> None:
    async with DnsServer(ZONE) as server:
        assert (await query(server, "nowhere.example.org", "A")).rcode() == dns.rcode.NXDOMAIN
        assert (await query(server, "broken.example.org", "A")).rcode() == dns.rcode.SERVFAIL
        nothing = await query(server, "example.org", "A")
        assert (nothing.rcode(), nothing.answer, len(nothing.authority)) == (dns.rcode.NOERROR, [], 1)
        alias = await query(server, "alias.example.org", "MX")
        assert [str(rrset.name) for rrset in alias.answer] == ["alias.example.org.", "example.org."]


@pytest.mark.parametrize(
    ("name", "ad", "expected"), [("example.org", True, True), ("example.org", False, False), ("big.example.org", True, False)]
)
async def test_ad_is_set_for_authentic_names_where_it_was_asked_for(name: str, ad: bool, expected: bool) -> None:
    async with DnsServer(ZONE) as server:
        assert bool((await query(server, name, "TXT", over="tcp", ad=ad)).flags & dns.flags.AD) is expected


async def asked(server: DnsServer, name: str = "example.org", kind: str = "MX", **options: Any) -> str:
    """In a word what became of a question."""
    question = dns.message.make_query(name, kind)
    host, _, port = server.address.partition(":")
    exchange = dns.asyncquery.tcp if options.get("over") == "tcp" else dns.asyncquery.udp
    try:
        response = await exchange(question, host, port=int(port), timeout=0.1)
    except dns.exception.Timeout:
        return "silence"
    except (dns.query.BadResponse, dns.exception.DNSException) as error:
        return type(error).__name__
    flags = response.flags & (dns.flags.TC | dns.flags.AD)
    return " ".join([dns.rcode.to_text(response.rcode()), dns.flags.to_text(flags), str(len(response.answer))]).replace("  ", " ")


@pytest.mark.parametrize(
    ("fault", "over_udp", "over_tcp"),
    [
        ("timeout", "silence", "silence"),
        ("servfail", "SERVFAIL 0", "SERVFAIL 0"),
        ("refused", "REFUSED 0", "REFUSED 0"),
        ("truncation", "NOERROR TC 0", "NOERROR 1"),
        ("slow", "silence", "silence"),
        ("wrong id", "BadResponse", "BadResponse"),
        ("ad", "NOERROR AD 1", "NOERROR AD 1"),
        ("garbage", "BadPointer", "BadPointer"),
    ],
)
async def test_what_goes_wrong_on_request(fault: FaultWord, over_udp: str, over_tcp: str) -> None:
    async with DnsServer(ZONE) as server:
        server.fail("EXAMPLE.org.", fault, seconds=0.3)
        assert [await asked(server), await asked(server, over="tcp")] == [over_udp, over_tcp]
        assert await asked(server, "alias.example.org") == "NOERROR 2"
        server.heal()
        assert await asked(server) == "NOERROR 1"


async def test_a_slow_answer_comes_after_its_seconds() -> None:
    async with DnsServer(ZONE) as server:
        server.fail("", "slow", seconds=0.05)
        began = asyncio.get_running_loop().time()
        assert await asked(server) == "NOERROR 1"
        assert asyncio.get_running_loop().time() - began >= 0.05


async def test_a_fault_may_be_for_one_type_one_transport_and_some_times_only() -> None:
    async with DnsServer(ZONE) as server:
        server.fail("example.org", "servfail", type="txt", transport="tcp", times=2)
        assert await asked(server, kind="MX", over="tcp") == "NOERROR 1"
        assert await asked(server, kind="TXT") == "NOERROR 1"
        answers = [await asked(server, kind="TXT", over="tcp") for _ in range(3)]
        assert answers == ["SERVFAIL 0", "SERVFAIL 0", "NOERROR 1"]
        assert [server.count(), server.count("Example.org.", "txt"), server.count(transport="udp")] == [5, 4, 1]


async def test_of_several_faults_the_last_one_happens() -> None:
    async with DnsServer(ZONE) as server:
        server.fail("", "servfail")
        server.fail("example.org", "refused", times=1)
        assert [await asked(server), await asked(server)] == ["REFUSED 0", "SERVFAIL 0"]


async def test_a_fault_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="servfail"):
        DnsServer(ZONE).fail("example.org", "SERVFAIL")  # type: ignore[arg-type]


async def test_the_zone_may_change_while_it_is_served() -> None:
    zone = Zone({})
    async with DnsServer(zone) as server:
        assert await asked(server) == "NXDOMAIN 0"
        zone.put("example.org", {"MX": [(10, "mx.example.org")]})
        assert await asked(server) == "NOERROR 1"


def test_it_serves_from_a_thread_where_there_is_no_loop() -> None:
    with serving(ZONE) as server:
        host, _, port = server.address.partition(":")
        response = dns.query.udp(dns.message.make_query("example.org", "MX"), host, port=int(port), timeout=5)
        assert len(response.answer) == 1
        assert server.count("example.org") == 1
    with pytest.raises(OSError, match="refused"):
        dns.query.tcp(dns.message.make_query("example.org", "MX"), host, port=int(port), timeout=5)


def test_what_fails_in_the_block_ends_the_thread_too() -> None:
    with pytest.raises(ZeroDivisionError), serving(ZONE):
        raise ZeroDivisionError
    assert not [thread for thread in threading.enumerate() if thread.name == "waymail.testing.dns"]
