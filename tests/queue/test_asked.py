"""What DSN, DELIVERBY, FUTURERELEASE and MT-PRIORITY mean in the queue, told by whole stories."""

from __future__ import annotations

import asyncio
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import SMTP
from typing import Any

import pytest

from waymail.mail.envelope import DeliverBy, Envelope, Options, Recipient
from waymail.mail.expansion import inherit
from waymail.mail.outcome import Deferred, Delivered, Failed, Outcome
from waymail.queue.retry import HOUR
from waymail.store.contract import Selection, State
from waymail.testing.queue import Bench, ScriptedCarrier
from waymail.wire.replies import Reply

BUSY = Deferred(Reply(451, "try again later", "4.2.0"))
REFUSED = Deferred(Reply(451, "connection refused", "4.4.1"), destination_down=True)
NEVER = Failed(Reply(550, "no such user", "5.1.1"))
TAKEN = Reply(250, "taken", "2.0.0")
MAILBOX = Delivered(TAKEN, final=True)
PLAIN_HOP = Delivered(TAKEN)
DSN_HOP = Delivered(TAKEN, dsn=True)
BY_HOP = Delivered(TAKEN, dsn=True, deliver_by=True)


def bench(outcome: Outcome, **limits: Any) -> Bench:
    """A queue all of whose attempts end so, but those to the sender, who gets his notices."""
    return Bench(ScriptedCarrier(answer=lambda one: MAILBOX if one.domain == "example.org" else outcome), **limits)


def told(queue: Bench) -> list[tuple[str, str]]:
    """(action, status) of each recipient in each notice so far."""
    found = []
    for _, octets in queue.notices():
        strict: Any = message_from_bytes(octets, policy=SMTP.clone(raise_on_defect=True))
        status: Any = list(strict.iter_parts())[1].get_payload()
        found += [(group["Action"], group["Status"]) for group in status[1:]]
    return found


def report(queue: Bench) -> tuple[Envelope, EmailMessage]:
    ((envelope, octets),) = queue.notices()
    return envelope, message_from_bytes(octets, policy=SMTP)


async def attempted_at(queue: Bench, address: str = "bob@x.example") -> list[float]:
    return [round(at - 1_800_000_000.0) for at, to in queue.carrier.attempts if to == address]


# --- NOTIFY: RFC 3461 §5.2 ---

FAIL = ("failed", "5.1.1")
LATE = ("delayed", "4.2.0")
GOT = ("delivered", "2.0.0")
GONE = ("relayed", "2.0.0")


@pytest.mark.parametrize(
    ("notify", "into_a_mailbox", "to_a_hop_with_dsn", "to_one_without", "fails", "is_late"),
    [
        ("", None, None, None, FAIL, LATE),
        ("NEVER", None, None, None, None, None),
        ("FAILURE", None, None, None, FAIL, None),
        ("DELAY", None, None, None, None, LATE),
        ("SUCCESS", GOT, None, GONE, None, None),
        ("SUCCESS,FAILURE", GOT, None, GONE, FAIL, None),
        ("SUCCESS,FAILURE,DELAY", GOT, None, GONE, FAIL, LATE),
    ],
)
async def test_the_sender_is_told_what_he_asked_to_be_told(
    notify: str,
    into_a_mailbox: tuple[str, str] | None,
    to_a_hop_with_dsn: tuple[str, str] | None,
    to_one_without: tuple[str, str] | None,
    fails: tuple[str, str] | None,
    is_late: tuple[str, str] | None,
) -> None:
    for outcome, expected in (
        (MAILBOX, into_a_mailbox),
        (DSN_HOP, to_a_hop_with_dsn),
        (PLAIN_HOP, to_one_without),
        (NEVER, fails),
        (BUSY, is_late),
    ):
        queue = bench(outcome)
        async with queue.running():
            await queue.accept(Recipient("bob@x.example", notify=notify))
            await queue.settled()
            if outcome is BUSY:
                assert told(queue) == []
                await queue.pass_time(4.5 * HOUR, step=300)
            assert told(queue) == ([] if expected is None else [expected]), (notify, outcome)


async def test_a_failure_that_nobody_wants_to_hear_of_is_in_the_trace() -> None:
    queue = bench(NEVER)
    async with queue.running():
        id = await queue.accept(Recipient("bob@x.example", notify="NEVER"))
        await queue.settled()
        assert await queue.state(id) == [State.FAILED]
        story = await queue.store.get(id)
        assert story is not None
        assert (story.events[-1].kind, story.events[-1].detail["why"]) == ("bounced", "the sender asked not to be told")


async def test_a_notice_names_those_alone_whose_sender_wants_to_know() -> None:
    queue = bench(NEVER)
    async with queue.running():
        await queue.accept(Recipient("bob@x.example", notify="NEVER"), "eve@x.example")
        await queue.settled()
        assert told(queue) == [FAIL]
        assert b"bob@x.example" not in queue.notices()[0][1]


async def test_the_null_sender_is_told_of_no_success() -> None:
    queue = bench(PLAIN_HOP)
    async with queue.running():
        id = await queue.accept(Recipient("bob@x.example", notify="SUCCESS"), sender="")
        await queue.settled()
        assert queue.notices() == []
        assert await queue.kinds(id) == ["attempt"]


async def test_a_success_is_in_the_trace_with_its_notice() -> None:
    queue = bench(MAILBOX)
    async with queue.running():
        id = await queue.accept(Recipient("bob@x.example", notify="SUCCESS"))
        await queue.settled()
        story = await queue.store.get(id)
        assert story is not None
        event = story.events[-1]
        assert (event.kind, event.detail["why"], event.detail["to"]) == ("confirmed", "delivered", ["bob@x.example"])
        assert event.detail["notice"] == queue.notices()[0][0].id


async def test_a_notice_takes_over_tls_and_priority_and_asks_for_nothing_else() -> None:
    queue = bench(NEVER)
    async with queue.running():
        options = Options(require_tls=True, priority=3, ret="FULL", envid="x", hold_until=1.0, deliver_by=DeliverBy(9e9, "N"))
        await queue.accept("bob@x.example", options=options)
        await queue.settled()
        envelope, notice = report(queue)
        assert envelope.options == Options(require_tls=True, priority=3)
        assert envelope.recipients == (Recipient("ann@example.org"),)
        assert [part.get_content_type() for part in notice.iter_parts()][2] == "text/rfc822-headers"


async def test_a_notice_in_utf_8_needs_smtputf8() -> None:
    queue = bench(NEVER)
    async with queue.running():
        await queue.accept("jörg@x.example", options=Options(smtputf8=True))
        await queue.settled()
        envelope, _ = report(queue)
        assert (envelope.options, envelope.body) == (Options(smtputf8=True), "8BITMIME")


# --- aliases: RFC 3461 §5.2.7 ---


async def test_an_alias_of_several_is_told_of_once_as_expanded() -> None:
    people = [Recipient(address, "sales@here.example") for address in ("a@x.example", "b@y.example")]
    queue = bench(MAILBOX)
    async with queue.running():
        await queue.accept(*inherit(people, "SUCCESS,FAILURE", "rfc822;Sales@here.example"))
        await queue.settled()
        assert told(queue) == [("expanded", "2.0.0")]
        fields = queue.notices()[0][1]
        assert b"\r\nFinal-Recipient: rfc822; sales@here.example\r\n" in fields
        assert b"\r\nOriginal-Recipient: rfc822; Sales@here.example\r\n" in fields
        assert b"a@x.example" not in fields


async def test_an_expansion_is_told_once_however_often_the_recipients_are_tried() -> None:
    people = [Recipient(address, "sales@here.example") for address in ("a@x.example", "b@x.example")]
    queue = bench(BUSY)
    async with queue.running():
        await queue.accept(*inherit(people, "SUCCESS,FAILURE", ""))
        await queue.pass_time(2 * HOUR, step=60)
        assert told(queue) == [("expanded", "2.0.0")]


# --- DELIVERBY: RFC 2852 ---


def by(mode: Any, seconds: float, *, trace: bool = False) -> Options:
    return Options(deliver_by=DeliverBy(1_800_000_000.0 + seconds, mode, trace))


@pytest.mark.parametrize("outcome", [BUSY, REFUSED])
async def test_with_mode_r_nothing_is_attempted_when_the_time_is_over(outcome: Outcome) -> None:
    queue = bench(outcome)
    async with queue.running():
        id = await queue.accept("bob@x.example", options=by("R", 200))
        await queue.pass_time(190, step=10)
        assert await queue.state(id) == [State.QUEUED]
        await queue.pass_time(20, step=10)
        assert await queue.state(id) == [State.FAILED]
        assert told(queue) == [("failed", "5.4.7")]
        assert max(await attempted_at(queue)) < 200
        _, notice = report(queue)
        assert "by 15 January 2027" in " ".join(next(iter(notice.iter_parts())).get_content().split())


async def test_with_mode_n_the_sender_is_told_once_and_it_goes_on() -> None:
    queue = bench(BUSY)
    async with queue.running():
        id = await queue.accept("bob@x.example", options=by("N", 200))
        await queue.pass_time(190, step=10)
        assert told(queue) == []
        await queue.pass_time(20, step=10)
        assert told(queue) == [("delayed", "4.4.7")]
        await queue.pass_time(6 * HOUR, step=300)
        assert told(queue) == [("delayed", "4.4.7")]
        assert await queue.state(id) == [State.QUEUED]
        assert len(await attempted_at(queue)) > 5


async def test_with_mode_n_the_sender_is_told_also_where_it_is_delivered_right_after() -> None:
    queue = bench(BUSY)
    async with queue.running():
        id = await queue.accept("bob@x.example", options=by("N", 200))
        await queue.pass_time(190, step=10)
        queue.carrier.answer = lambda _: MAILBOX
        await queue.pass_time(30, step=10)
        assert await queue.state(id) == [State.DELIVERED]
        assert told(queue) == [("delayed", "4.4.7")]


async def test_a_message_that_was_late_when_it_came_is_not_told_of_again() -> None:
    queue = bench(MAILBOX)
    async with queue.running():
        await queue.accept("bob@x.example", options=by("N", -10))
        await queue.settled()
        assert told(queue) == []
        assert len(await attempted_at(queue)) == 1


async def test_with_mode_n_a_delay_that_nobody_wants_to_hear_of_is_not_told() -> None:
    queue = bench(BUSY)
    async with queue.running():
        id = await queue.accept(Recipient("bob@x.example", notify="FAILURE"), options=by("N", 200))
        await queue.pass_time(700, step=10)
        assert told(queue) == []
        assert await queue.state(id) == [State.QUEUED]
        assert len(await attempted_at(queue)) == 3, "before the time is over, at the first interval, and after it"


@pytest.mark.parametrize(
    ("options", "outcome", "notify", "expected"),
    [
        (by("R", 200, trace=True), BY_HOP, "", [GONE]),
        (by("N", 200, trace=True), BY_HOP, "FAILURE", [GONE]),
        (by("N", 200, trace=True), BY_HOP, "NEVER", []),
        (by("N", 200), BY_HOP, "", []),
        (by("N", 200), DSN_HOP, "", [GONE]),
        (by("N", 200), DSN_HOP, "NEVER", []),
        (by("N", -1), DSN_HOP, "", []),
        (by("R", 200, trace=True), MAILBOX, "", []),
        (by("R", 200, trace=True), MAILBOX, "SUCCESS", [GOT]),
    ],
)
async def test_relaying_is_told_where_a_trace_or_the_next_hop_makes_it_so(
    options: Options, outcome: Outcome, notify: str, expected: list[tuple[str, str]]
) -> None:
    queue = bench(outcome)
    async with queue.running():
        await queue.accept(Recipient("bob@x.example", notify=notify), options=options)
        await queue.settled()
        assert told(queue) == expected


# --- FUTURERELEASE: RFC 4865 ---


async def test_a_held_message_is_attempted_when_its_time_comes() -> None:
    queue = bench(MAILBOX)
    async with queue.running():
        id = await queue.accept("bob@x.example", options=Options(hold_until=queue.clock.now() + 3600))
        await queue.pass_time(3590, step=10)
        assert await queue.state(id) == [State.QUEUED]
        await queue.pass_time(20, step=10)
        assert await queue.state(id) == [State.DELIVERED]
        assert 3600 <= (await attempted_at(queue))[0] <= 3610


async def test_no_operator_lets_go_what_its_sender_wants_held() -> None:
    queue = bench(MAILBOX)
    async with queue.running():
        id = await queue.accept("bob@x.example", options=Options(hold_until=queue.clock.now() + 3600))
        await queue.store.hold(Selection(ids=(id,)), queue.clock.now())
        await queue.store.release(Selection(ids=(id,)), queue.clock.now())
        await queue.pass_time(60, step=10)
        assert await queue.state(id) == [State.QUEUED]
        assert await queue.store.next_due() == queue.clock.now() - 60 + 3600
        await queue.pass_time(3600, step=30)
        assert await queue.state(id) == [State.DELIVERED]


async def test_a_hold_counts_for_neither_expiry_nor_delay() -> None:
    queue = bench(BUSY)
    async with queue.running():
        await queue.accept("bob@x.example", options=Options(hold_until=queue.clock.now() + 6 * HOUR))
        await queue.pass_time(9 * HOUR, step=300)
        assert told(queue) == []
        await queue.pass_time(1.5 * HOUR, step=300)
        assert told(queue) == [LATE]


# --- MT-PRIORITY: RFC 6710 ---


async def test_the_higher_priority_goes_first_and_the_older_within_one() -> None:
    queue = bench(MAILBOX, per_destination=1)
    async with queue.running():
        for _ in range(4):  # the destination is known to take mail: there is room for all in its lane
            await queue.accept("known@x.example")
            await queue.settled()
        queue.carrier.attempts.clear()
        queue.carrier.hold = hold = asyncio.Event()
        await queue.accept("first@x.example")
        for number, priority in enumerate((0, -3, 5, 0, 9, 5)):
            await queue.accept(f"{priority}.{number}@x.example", options=Options(priority=priority))
        hold.set()
        await queue.settled()
        order = [to.partition("@")[0] for _, to in queue.carrier.attempts]
        assert order == ["first", "9.4", "5.2", "5.5", "0.0", "0.3", "-3.1"]


async def test_a_full_lane_keeps_out_nobody_who_goes_before_the_others() -> None:
    queue = bench(MAILBOX, per_destination=1, waiting=3)
    queue.carrier.hold = hold = asyncio.Event()
    async with queue.running():
        for number in range(6):
            await queue.accept(f"{number}@x.example")
        await queue.accept("urgent@x.example", options=Options(priority=1))
        hold.set()
        await queue.settled()
        assert queue.carrier.attempts[1][1] == "urgent@x.example"


# --- ETRN: RFC 1985 ---


async def test_a_flushed_domain_is_attempted_at_once_though_it_was_down() -> None:
    queue = bench(REFUSED)
    async with queue.running():
        ids = [await queue.accept(f"{number}@x.example") for number in range(3)]
        other = await queue.accept("bob@y.example")
        await queue.pass_time(500, step=10)
        queue.carrier.answer = lambda _: MAILBOX
        assert await queue.runner.flush_domain("x.example") == 3
        await queue.settled()
        assert [State.DELIVERED] in [await queue.state(id) for id in ids], "one probes at once"
        await queue.pass_time(40, step=5)  # one has probed; those who waited for that follow
        assert [await queue.state(id) for id in ids] == [[State.DELIVERED]] * 3
        assert await queue.state(other) == [State.QUEUED]


async def test_a_domain_for_which_nothing_waits_has_nothing_to_flush() -> None:
    queue = bench(MAILBOX)
    async with queue.running():
        assert await queue.runner.flush_domain("x.example", below=True) == 0
