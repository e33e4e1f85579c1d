"""Lists in DNS that do not work are not used."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

import pytest

from waymail.lookups import Answer, Query
from waymail.senderauth.dnsbl import Zone
from waymail.server.dnsbl_health import AGAIN, EVERY, DnsblHealth
from waymail.testing import Zone as Dns
from waymail.testing.clock import JumpingClock

WELL, ILL = Zone("well.example"), Zone("ill.example", title="the other list")
WORKS = {"2.0.0.127.well.example": {"A": ["127.0.0.2"]}}
BOTH = WORKS | {"2.0.0.127.ill.example": {"A": ["127.0.0.2"]}}


class Resolver:
    """Answers from a zone that can be exchanged, and counts what it is asked."""

    def __init__(self, dns: Dns) -> None:
        self.dns = dns
        self.asked: list[str] = []

    def cached(self, query: Query) -> Answer | None:
        return None

    async def ask(self, query: Query) -> Answer:
        self.asked.append(query.name)
        return self.dns.answer(query)


async def running(health: DnsblHealth, clock: JumpingClock, story: Callable[[], Awaitable[None]]) -> None:
    task = asyncio.ensure_future(health.run())
    await clock.wait_for_sleepers()
    await story()
    task.cancel()


def used(health: DnsblHealth) -> list[Zone]:
    return list(health.usable)


async def pass_by(clock: JumpingClock, seconds: float) -> None:
    """Let time pass, in steps in which every test comes to its end."""
    for _ in range(int(seconds // AGAIN)):
        await clock.advance(AGAIN)
        await clock.wait_for_sleepers()
    await clock.advance(seconds % AGAIN)
    await clock.wait_for_sleepers()


def asked_about(resolver: Resolver, zone: Zone) -> int:
    """How often a list was tested since the last time."""
    number = resolver.asked.count(f"2.0.0.127.{zone.name}")
    resolver.asked = [name for name in resolver.asked if not name.endswith(zone.name)]
    return number


async def test_before_its_first_test_no_list_is_used() -> None:
    health = DnsblHealth([WELL], Dns(WORKS))
    assert used(health) == []
    await health.look()
    assert used(health) == [WELL]


async def test_a_list_that_fails_its_test_is_not_used_and_that_is_told(caplog: pytest.LogCaptureFixture) -> None:
    health = DnsblHealth([WELL, ILL], Dns(WORKS))
    with caplog.at_level(logging.ERROR, "waymail.server"):
        await health.look()
        await health.look()
    assert used(health) == [WELL]
    assert list(health.ill) == ["the other list"]
    assert "is not listed" in health.ill["the other list"]
    assert caplog.text.count("a list in DNS is not used") == 1, "the same trouble is told once"


async def test_a_list_is_used_as_soon_as_it_is_well_again() -> None:
    clock, resolver = JumpingClock(), Resolver(Dns(WORKS))
    health = DnsblHealth([WELL, ILL], resolver, clock=clock)

    async def story() -> None:
        assert used(health) == [WELL]
        resolver.dns = Dns(BOTH)
        await pass_by(clock, AGAIN)
        assert used(health) == [WELL, ILL]
        assert health.ill == {}

    await running(health, clock, story)


async def test_a_list_that_breaks_is_found_out_within_the_hour() -> None:
    clock, resolver = JumpingClock(), Resolver(Dns(BOTH))
    health = DnsblHealth([WELL, ILL], resolver, clock=clock)

    async def story() -> None:
        assert used(health) == [WELL, ILL]
        resolver.dns = Dns(BOTH | {"1.0.0.127.ill.example": {"A": ["127.0.0.2"]}})
        await pass_by(clock, EVERY)
        assert used(health) == [WELL]

    await running(health, clock, story)


async def test_lists_that_work_are_tested_once_an_hour_and_others_more_often() -> None:
    clock, resolver = JumpingClock(), Resolver(Dns(WORKS))
    health = DnsblHealth([WELL, ILL], resolver, clock=clock)

    async def story() -> None:
        assert (asked_about(resolver, WELL), asked_about(resolver, ILL)) == (1, 1)
        await pass_by(clock, EVERY - 1)
        assert (asked_about(resolver, WELL), asked_about(resolver, ILL)) == (0, EVERY / AGAIN - 1)
        await pass_by(clock, 1)
        assert (asked_about(resolver, WELL), asked_about(resolver, ILL)) == (1, 1)

    await running(health, clock, story)


async def test_a_list_whose_servers_do_not_answer_is_not_used() -> None:
    health = DnsblHealth([WELL], Dns({"2.0.0.127.well.example": "TIMEOUT"}))
    await health.look()
    assert used(health) == []
    assert "timeout" in health.ill["well.example"]
