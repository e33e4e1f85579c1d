"""What is asked about an envelope, and how long that holds."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from waymail.lookups import Answer, Query
from waymail.senderauth import dnsbl
from waymail.server.checks import KEPT, RECENT, Checks
from waymail.testing.zone import Zone

NOW = 1_796_000_000.0
IP = "192.0.2.1"


@dataclass
class Counting:
    """A resolver that counts what it is asked."""

    zone: Zone
    asked: list[Query] = field(default_factory=list)

    def cached(self, query: Query) -> Answer | None:
        self.asked.append(query)
        return self.zone.answer(query)

    async def ask(self, query: Query) -> Answer:
        raise AssertionError("all is known")


def zone(spf: str = "v=spf1 ip4:192.0.2.0/24 -all", ttl: int = 300) -> Zone:
    return Zone({"example.org": {"TXT": [spf]}}, ttl=ttl)


async def spf_of(checks: Checks, sender: str = "ann@example.org", now: float = NOW) -> tuple[str, list[Query]]:
    asking = checks.asking()
    evidence = await checks.of_envelope(asking, IP, "mx.example.org", sender, talked_early=False, now=now)
    assert evidence.spf is not None
    return evidence.spf.result, [query for query, _ in asking.record]


async def test_whoever_sends_many_messages_is_looked_at_once_and_each_history_has_the_answers() -> None:
    resolver = Counting(zone())
    checks = Checks(resolver, "mail.example.net")
    first = await spf_of(checks)
    count = len(resolver.asked)
    assert first[0] == "pass"
    assert count > 0
    assert await spf_of(checks, now=NOW + KEPT - 1) == first
    assert len(resolver.asked) == count
    assert (await spf_of(checks, "bob@example.org"))[0] == "pass"
    assert len(resolver.asked) > count


@pytest.mark.parametrize(("ttl", "later"), [(300, KEPT), (5, 5), (0, 0), (300, -1)])
async def test_what_dns_says_anew_counts_when_the_old_answers_are_over(ttl: int, later: float) -> None:
    resolver = Counting(zone(ttl=ttl))
    checks = Checks(resolver, "mail.example.net")
    assert (await spf_of(checks))[0] == "pass"
    resolver.zone = zone("v=spf1 -all", ttl)
    assert (await spf_of(checks, now=NOW + later))[0] == "fail"


async def test_a_list_that_is_used_from_now_on_is_asked_at_once() -> None:
    resolver = Counting(Zone({"example.org": {"TXT": ["v=spf1 -all"]}, "1.2.0.192.bl.example": {"A": ["127.0.0.2"]}}))
    zones: list[dnsbl.Zone] = []
    checks = Checks(resolver, "mail.example.net", lambda: tuple(zones))
    await spf_of(checks)
    zones.append(dnsbl.Zone("bl.example"))
    evidence = await checks.of_envelope(checks.asking(), IP, "mx.example.org", "ann@example.org", talked_early=False, now=NOW)
    assert evidence.dnsbl is not None
    assert [hit.zone for hit in evidence.dnsbl.hits] == ["bl.example"]


async def test_there_is_an_end_to_what_is_kept() -> None:
    checks = Checks(Counting(zone()), "mail.example.net")
    for number in range(RECENT + 10):
        await spf_of(checks, f"{number}@example.org")
    assert len(checks._recent) == RECENT
