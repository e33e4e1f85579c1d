"""From a recipient to its destination, and from a destination to outcomes."""

from __future__ import annotations

import logging
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from waymail.client import mx
from waymail.client.target import Host, NextHop
from waymail.delivery import dispatch as module
from waymail.delivery.dispatch import MX_MEMORY, Dispatch
from waymail.delivery.maildir import MaildirTransport
from waymail.delivery.routes import ByMx, Final, Mailboxes, Routes, parse_target
from waymail.delivery.smtp import SmtpTransport
from waymail.lookups import Answer, Query
from waymail.mail.envelope import Body, Envelope, Recipient
from waymail.mail.outcome import Deferred, Delivered, Failed, Outcome
from waymail.net.drive import drive
from waymail.net.resolver import Resolver
from waymail.testing.clock import JumpingClock
from waymail.testing.dns import DnsServer
from waymail.testing.peer import Peer
from waymail.testing.zone import Zone
from waymail.wire.replies import Reply

CONTENT = b"Subject: x\r\n\r\nhello\r\n"
BODY = Body(CONTENT, len(CONTENT))
BOB, CARL = Recipient("bob@there.example"), Recipient("carl@there.example")
ENVELOPE = Envelope("0123456789abc", "ann@example.org", (BOB, CARL), 1_800_000_000.0)
OK = Delivered(Reply(250, "taken", "2.0.0"))
HOP = NextHop("mx.there.example", (Host("mx.there.example", 25, ("192.0.2.1",)),))
ROUTES = Routes(
    {"example.org": parse_target("maildir:/mail/{local}")},
    {"smart.example": parse_target("smtp://relay.example"), "*": ByMx()},
)
ZONE = Zone({
    "there.example": {"MX": [(10, "mx.there.example")]},
    "mx.there.example": {"A": ["192.0.2.1"]},
    "dark.example": "TIMEOUT",
    "null.example": {"MX": [(0, ".")]},
    "ours.example": {"MX": [(10, "mail.example.org")]},
})  # fmt: skip


@dataclass
class CountingZone:
    """Answers nothing from memory, and counts the questions."""

    zone: Zone = ZONE
    asked: list[Query] = field(default_factory=list)

    def cached(self, query: Query) -> Answer | None:
        return None

    async def ask(self, query: Query) -> Answer:
        self.asked.append(query)
        return self.zone.answer(query)


@dataclass
class Scripted:
    """A transport that gives these outcomes, or raises."""

    outcomes: Mapping[str, Outcome] = field(default_factory=dict)
    raises: Exception | None = None
    attempts: list[tuple[NextHop, Envelope, Body, Sequence[Recipient]]] = field(default_factory=list)

    async def deliver(
        self, next_hop: NextHop, envelope: Envelope, body: Body, recipients: Sequence[Recipient]
    ) -> Mapping[str, Outcome]:
        self.attempts.append((next_hop, envelope, body, recipients))
        if self.raises is not None:
            raise self.raises
        return self.outcomes


class Bench:
    def __init__(
        self,
        smtp: Scripted | SmtpTransport | None = None,
        mailboxes: Mapping[Final, MaildirTransport] | None = None,
        routes: Routes = ROUTES,
    ) -> None:
        self.clock = JumpingClock()
        self.dns = CountingZone()
        self.dispatch = Dispatch(
            routes,
            smtp or Scripted(),
            mailboxes or {},
            resolver=self.dns,
            clock=self.clock,
            rng=random.Random(1),
            own_names={"mail.example.org"},
        )

    def known(self, domain: str) -> NextHop | Final | None:
        return self.dispatch.known(Recipient(f"x@{domain}"))

    async def locate(self, domain: str) -> NextHop | Final | Deferred | Failed:
        return await self.dispatch.locate(Recipient(f"x@{domain}"))


# --- where to ---


async def test_local_domains_and_smarthosts_are_known_without_asking() -> None:
    bench = Bench()
    local, smart = Mailboxes("/mail/{local}"), parse_target("smtp://relay.example")
    assert (bench.known("example.org"), bench.known("EXAMPLE.org"), bench.known("smart.example")) == (local, local, smart)
    assert [await bench.locate("example.org"), await bench.locate("smart.example")] == [local, smart]
    assert bench.dns.asked == []


async def test_dns_names_the_hosts_of_all_others() -> None:
    bench = Bench()
    assert bench.known("there.example") is None
    assert await bench.locate("there.example") == HOP
    assert bench.dns.asked[0] == Query("there.example", "MX")


@pytest.mark.parametrize(
    ("domain", "outcome"),
    [
        ("nowhere.example", Failed(Reply(550, "the domain nowhere.example does not exist", "5.1.2"))),
        ("null.example", Failed(Reply(556, "the domain null.example does not accept mail (null MX)", "5.1.10"))),
        ("ours.example", Failed(Reply(550, "mail for ours.example loops back to this host", "5.4.6"))),
        (
            "dark.example",
            Deferred(Reply(451, "DNS lookup for dark.example failed", "4.4.3"), destination_down=True, cause="timeout"),
        ),
    ],
)
async def test_where_there_is_no_way_an_outcome_says_why(domain: str, outcome: Outcome) -> None:
    assert await Bench().locate(domain) == outcome


async def test_an_answer_is_remembered_for_a_minute_and_then_asked_for_anew() -> None:
    bench = Bench()
    found = await bench.locate("there.example")
    questions = len(bench.dns.asked)
    await bench.clock.advance(MX_MEMORY - 1)
    assert bench.known("there.example") is found
    assert bench.known("THERE.example") is found
    assert await bench.locate("there.example") is found
    assert len(bench.dns.asked) == questions
    await bench.clock.advance(1)
    assert bench.known("there.example") is None
    bench.dns.zone = Zone({"there.example": {"A": ["192.0.2.9"]}})
    assert await bench.locate("there.example") == NextHop("there.example", (Host("there.example", 25, ("192.0.2.9",)),))


@pytest.mark.parametrize("domain", ["dark.example", "nowhere.example", "null.example"])
async def test_that_there_is_no_way_is_not_remembered_here(domain: str) -> None:
    bench = Bench()
    await bench.locate(domain)
    assert bench.known(domain) is None
    bench.dns.zone = Zone({domain: {"A": ["192.0.2.1"]}})
    assert isinstance(await bench.locate(domain), NextHop)


async def test_what_is_remembered_is_bounded() -> None:
    bench = Bench()
    bench.dns.zone = Zone({f"d{number}.example": {"A": ["192.0.2.1"]} for number in range(module.MX_ENTRIES + 1)})
    for number in range(module.MX_ENTRIES + 1):
        await bench.locate(f"d{number}.example")
    assert sum(bench.known(f"d{number}.example") is not None for number in range(module.MX_ENTRIES + 1)) <= module.MX_ENTRIES
    assert bench.known(f"d{module.MX_ENTRIES}.example") is not None


# --- the attempt ---


async def test_a_next_hop_gets_the_message_by_smtp_and_its_outcomes_are_given_back() -> None:
    smtp = Scripted({BOB.address: OK, CARL.address: Failed(Reply(550, "no carl", "5.1.1"))})
    outcomes = await Bench(smtp).dispatch.deliver(HOP, ENVELOPE, BODY, (BOB, CARL))
    assert outcomes == smtp.outcomes
    assert smtp.attempts == [(HOP, ENVELOPE, BODY, (BOB, CARL))]


async def test_a_mailbox_gets_it_from_the_transport_of_its_own_template(tmp_path: Path) -> None:
    places = [Mailboxes(str(tmp_path / name / "{local}")) for name in ("a", "b")]
    bench = Bench(mailboxes={place: MaildirTransport(place.template, "mail.example.org") for place in places})
    outcomes = await bench.dispatch.deliver(places[1], ENVELOPE, BODY, (BOB,))
    assert isinstance(outcomes[BOB.address], Delivered)
    assert [file.parents[1] for file in tmp_path.glob("*/*/new/*")] == [tmp_path / "b" / "bob"]


async def test_a_transport_that_raises_defers_and_the_cause_stays_private(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench(Scripted(raises=RuntimeError("secret path /srv/x")))
    with caplog.at_level(logging.ERROR):
        outcomes = await bench.dispatch.deliver(HOP, ENVELOPE, BODY, (BOB, CARL))
    assert set(outcomes) == {BOB.address, CARL.address}
    for outcome in outcomes.values():
        assert isinstance(outcome, Deferred)
        assert outcome.reply.status == "4.3.0"
        assert "secret" not in str(outcome.reply)
        assert outcome.cause == "RuntimeError('secret path /srv/x')"
        assert not outcome.destination_down, "a bug that one message meets must not hold up the others"
    [record] = caplog.records
    assert record.exc_info is not None
    assert record.fields == {"id": ENVELOPE.id, "destination": HOP.key}  # type: ignore[attr-defined]


async def test_a_maildir_without_a_transport_defers_instead_of_ending_the_attempt() -> None:
    outcomes = await Bench().dispatch.deliver(Mailboxes("/mail/{local}"), ENVELOPE, BODY, (BOB,))
    outcome = outcomes[BOB.address]
    assert isinstance(outcome, Deferred)
    assert outcome.reply.status == "4.3.0"


async def test_a_recipient_whom_the_transport_forgot_is_deferred_and_one_whom_nobody_asked_for_is_left_out() -> None:
    smtp = Scripted({BOB.address: OK, "stranger@there.example": OK})
    outcomes = await Bench(smtp).dispatch.deliver(HOP, ENVELOPE, BODY, (BOB, CARL))
    assert set(outcomes) == {BOB.address, CARL.address}
    assert outcomes[BOB.address] == OK
    forgotten = outcomes[CARL.address]
    assert isinstance(forgotten, Deferred)
    assert forgotten.reply.status == "4.3.0"
    assert "no outcome" in forgotten.cause


# --- with a real resolver, and a real host behind the MX record ---


async def test_a_message_goes_to_the_host_that_the_mx_record_names() -> None:
    zone = Zone({"there.example": {"MX": [(10, "mx.there.example")]}, "mx.there.example": {"A": ["127.0.0.1"]}})
    transport = SmtpTransport(hello_name="mail.example.org")
    async with DnsServer(zone) as dns, Peer() as peer:
        resolver = Resolver([dns.address])
        # What the product refuses: a host on loopback, and another port than 25.
        lookups = mx.next_hop(
            "there.example", own_names={"mail.example.org"}, rng=random.Random(1), port=peer.port, allow_loopback=True
        )
        found = await drive(lookups, resolver, deadline=5)
        assert isinstance(found, NextHop)
        outcomes = await Bench(transport).dispatch.deliver(found, ENVELOPE, BODY, (BOB, CARL))
        assert [outcome.reply.code for outcome in outcomes.values()] == [250, 250]
        assert [message.content for message in peer.messages] == [CONTENT]
        await transport.close()
        await resolver.close()


async def test_a_host_on_loopback_is_this_host_and_refused() -> None:
    zone = Zone({"there.example": {"MX": [(10, "mx.there.example")]}, "mx.there.example": {"A": ["127.0.0.1"]}})
    async with DnsServer(zone) as dns:
        resolver = Resolver([dns.address])
        dispatch = Dispatch(
            ROUTES, Scripted(), {}, resolver=resolver, clock=JumpingClock(), rng=random.Random(1), own_names={"mail.example.org"}
        )
        found = await dispatch.locate(BOB)
        assert isinstance(found, Failed)
        assert found.reply.status == "5.4.6"
        await resolver.close()
