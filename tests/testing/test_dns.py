from __future__ import annotations

import dns.asyncquery
import dns.flags
import dns.message
import dns.rcode
import pytest

from waymail.lookups import Query
from waymail.testing import Zone
from waymail.testing.dns import DnsServer

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
