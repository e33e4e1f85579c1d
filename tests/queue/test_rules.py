"""Other schedules for some domains, destinations and kinds of failure."""

from __future__ import annotations

import random

import pytest

from waymail.mail.outcome import Deferred
from waymail.queue.plan import DestinationState
from waymail.queue.retry import DAY, HOUR, MINUTE, Rule, RuledSchedules, Schedule
from waymail.store.contract import State
from waymail.testing.queue import Bench, ScriptedCarrier
from waymail.wire.replies import Reply

ORDINARY = Schedule(jitter=0.0)
OTHER = Schedule(intervals=(7 * MINUTE,), jitter=0.0)
GREYLISTED = Reply(450, "Greylisted, see http://postgrey.example/", "4.2.0")
FULL = Reply(452, "mailbox full", "4.2.2")


@pytest.mark.parametrize(
    ("pattern", "reply", "fits"),
    [
        ("greylist", GREYLISTED, True),
        ("greylist", FULL, False),
        ("4.2.2", FULL, True),
        ("4.2.2", Reply(450, "x", "4.2.20"), False),
        ("4.2", FULL, True),
        ("4.4", FULL, False),
        ("452", FULL, True),
        ("45", FULL, True),
        ("421", FULL, False),
        ("4.0.0", Reply(451, "an old server says no more"), True),
    ],
)
def test_a_rule_is_for_the_replies_that_it_names(pattern: str, reply: Reply, fits: bool) -> None:
    assert Rule(OTHER, replies=(pattern,)).fits("example.net", "mx.example.net", reply) is fits


@pytest.mark.parametrize(
    ("pattern", "fits"),
    [
        ("example.net", True),
        ("*.example.net", False),
        ("*.mail.example", True),
        ("mx1.mail.example", True),
        ("mail.example", False),
        ("other.example", False),
    ],
)
def test_a_rule_is_for_the_domains_that_it_names_and_for_the_hosts_that_mail_goes_to(pattern: str, fits: bool) -> None:
    assert Rule(OTHER, domains=(pattern,)).fits("example.net", "mx1.mail.example,mx2.mail.example", FULL) is fits


def test_the_host_of_a_route_counts_without_its_scheme_and_port() -> None:
    assert Rule(OTHER, domains=("relay.example",)).fits("example.net", "smtp://relay.example:587", FULL)
    assert Rule(OTHER, domains=("mx.example",)).fits("example.net", "mx.example:2525", FULL)


def test_the_first_rule_that_fits_counts() -> None:
    schedules = RuledSchedules((Rule(OTHER, ("a.example",)), Rule(ORDINARY, replies=("4.2.2",))), Schedule(expire=1))
    assert schedules.of("a.example", "", FULL) is OTHER
    assert schedules.of("b.example", "", FULL) is ORDINARY
    assert schedules.of("b.example", "", GREYLISTED).expire == 1
    assert schedules.longest == schedules.otherwise.longest == pytest.approx(4.4 * HOUR)


async def test_a_message_waits_and_ends_by_the_rule_for_what_was_said_of_it() -> None:
    replies = {"grey.example": GREYLISTED, "full.example": FULL, "other.example": Reply(451, "later", "4.3.0")}
    bench = Bench(ScriptedCarrier(answer=lambda one: Deferred(replies.get(one.domain) or Reply(451, "notices wait", "4.3.0"))))
    rules = (
        Rule(Schedule((10 * MINUTE,), jitter=0.0), replies=("greylist",)),
        Rule(Schedule((4 * HOUR,), expire=2 * DAY, delay_warning=None, jitter=0.0), replies=("4.2.2",)),
    )
    bench.runner.reconfigure(
        bench.carrier, bench.runner._notices, RuledSchedules(rules, bench.schedule), bench.runner._lanes._limits
    )
    async with bench.running():
        ids = {domain: await bench.accept(f"x@{domain}") for domain in replies}
        await bench.pass_time(HOUR, step=60)
        tried = [address for _, address in bench.carrier.attempts]
        assert [tried.count(f"x@{domain}") for domain in replies] == [7, 1, 6]
        await bench.pass_time(2 * DAY, step=HOUR)
        assert await bench.state(ids["full.example"]) == [State.FAILED]
        assert await bench.state(ids["grey.example"]) == [State.QUEUED]
        assert "delayed" not in await bench.kinds(ids["full.example"])
        assert "delayed" in await bench.kinds(ids["grey.example"])


def test_a_destination_that_is_down_backs_off_by_its_rule() -> None:
    state = DestinationState("mx.partner.example")
    rules = RuledSchedules((Rule(OTHER, ("*.partner.example",)),), ORDINARY)
    state.took_down(Reply(451, "no connection", "4.4.1"), started=0, now=0, rng=random.Random(1), schedules=rules)
    assert state.down_until == 7 * MINUTE
