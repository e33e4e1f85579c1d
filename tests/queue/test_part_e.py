"""The rules of queues and notices, by their numbers: what holds for retrying, for giving up, and for telling of it.

Those that are about what is said on the wire are in `tests/system/test_part_e_wire.py`.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from email import message_from_bytes
from email.message import EmailMessage, Message
from email.policy import SMTP, SMTPUTF8
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from waymail.app.config.load import parse
from waymail.mail.envelope import Body, Envelope, Options, Recipient
from waymail.mail.outcome import Deferred, Delivered, Failed, Outcome, Peer
from waymail.queue.bounce import NoticeWriter
from waymail.queue.plan import RunnerLimits
from waymail.queue.retry import DAY, HOUR, MINUTE, Schedule
from waymail.store.contract import EVERYTHING, NewMessage, State
from waymail.store.sqlite import SqliteStore
from waymail.testing.clock import JumpingClock
from waymail.testing.queue import TAKEN, Bench, ScriptedCarrier
from waymail.wire.replies import Reply

BUSY = Deferred(Reply(451, "try again later", "4.2.0"))
REFUSED = Deferred(Reply(451, "connection refused", "4.4.1"), destination_down=True)
LOST = Deferred(Reply(451, "the reply to the final dot was lost", "4.4.2"), uncertain=True)
NEVER = Failed(Reply(550, "no such user here", "5.1.1"), Peer("mx.x.example", "192.0.2.9"))
MAILBOX = Delivered(Reply(250, "taken", "2.0.0"), final=True)


def bench(outcome: Outcome) -> Bench:
    """A queue all of whose attempts end so, but those to the sender, who gets his notices."""
    return Bench(ScriptedCarrier(answer=lambda one: MAILBOX if one.domain == "example.org" else outcome))


def impatient(queue: Bench, **writer: Any) -> Bench:
    """One that gives up after some hours: what follows from that needs no days."""
    schedule = Schedule(intervals=(60, 300, 900), expire=3 * HOUR, delay_warning=HOUR, jitter=0.0)
    notices = NoticeWriter("mail.example.org", queue.ids.next, **writer)
    queue.runner.reconfigure(queue.carrier, notices, schedule, RunnerLimits())
    return queue


def times(queue: Bench, address: str) -> list[float]:
    return [at for at, to in queue.carrier.attempts if to == address]


def notice(queue: Bench) -> tuple[Envelope, EmailMessage, bytes]:
    ((envelope, octets),) = queue.notices()
    return envelope, message_from_bytes(octets, policy=SMTPUTF8.clone(raise_on_defect=True)), octets


def parts(report: EmailMessage) -> list[Any]:
    return list(report.iter_parts())


def groups(report: EmailMessage) -> list[Message]:
    """The groups of fields of message/delivery-status: the message's, and one for each recipient."""
    status: Any = parts(report)[1].get_payload()
    return list(status)


async def failed(*recipients: str | Recipient, outcome: Outcome = NEVER, **message: Any) -> tuple[Envelope, EmailMessage, bytes]:
    """The notice of a message that failed."""
    queue = bench(outcome)
    async with queue.running():
        await queue.accept(*recipients, **message)
        await queue.settled()
        return notice(queue)


# --- 76: when to try again ---


async def test_76_after_the_early_tries_half_an_hour_passes_at_least_and_five_days_until_it_is_given_up() -> None:
    queue = bench(BUSY)
    limits, writer = RunnerLimits(), NoticeWriter("mail.example.org", queue.ids.next)
    queue.runner.reconfigure(queue.carrier, writer, Schedule(), limits)
    async with queue.running():
        id = await queue.accept("bob@x.example")
        await queue.pass_time(5 * DAY - HOUR, step=300)
        assert await queue.state(id) == [State.QUEUED]
        await queue.pass_time(6 * HOUR, step=300)
        assert await queue.state(id) == [State.FAILED]
        made = times(queue, "bob@x.example")
        waits = [after - before for before, after in pairwise(made)]
        assert all(wait >= 0.9 * 30 * MINUTE for wait in waits[3:-1])  # the last is the moment when it expires
        assert 4 * DAY <= made[-1] - made[0] <= 5 * DAY + 5 * HOUR


def test_76_both_are_for_the_operator_to_choose(tmp_path: Path) -> None:
    text = 'hostname = "mail.example.org"\n'
    usual = parse(text, tmp_path / "waymail.toml").queue
    assert usual.expire >= 4 * DAY
    assert min(usual.retry[3:]) >= 30 * MINUTE
    chosen = parse(f'{text}[queue]\nretry = ["2m", "3h"]\nexpire = "2d"\n', tmp_path / "waymail.toml").queue
    assert (chosen.retry, chosen.expire) == ((120.0, 10_800.0), 2 * DAY)


async def test_76_a_destination_that_is_down_is_backed_off_from_as_a_whole_and_no_other_is() -> None:
    queue = Bench(ScriptedCarrier(answer=lambda one: REFUSED if one.domain == "down.example" else TAKEN))
    async with queue.running():
        waiting = [await queue.accept("first@down.example")]
        await queue.settled()
        waiting += [await queue.accept(f"bob{number}@down.example") for number in range(20)]
        await queue.pass_time(HOUR)
        other = await queue.accept("ann@up.example")
        late = await queue.accept("late@down.example")
        await queue.settled()
        attempts = [to for _, to in queue.carrier.attempts if to.endswith("@down.example")]
        assert len(attempts) <= 7  # with a schedule for each it would be more than a hundred
        assert times(queue, "late@down.example") == []
        assert await queue.state(other) == [State.DELIVERED]
        queue.carrier.answer = lambda one: TAKEN
        await queue.pass_time(HOUR)
        assert [await queue.state(id) for id in (*waiting, late)] == [[State.DELIVERED]] * 22


# --- 77: notices and the null sender ---


async def test_77_nobody_is_told_of_a_message_from_the_null_sender() -> None:
    queue = bench(NEVER)
    async with queue.running():
        id = await queue.accept("bob@x.example", sender="")
        await queue.settled()
        assert await queue.state(id) == [State.FAILED]
        assert queue.notices() == []
        assert await queue.store.list() == []


@pytest.mark.parametrize("outcome", [NEVER, BUSY])
async def test_77_a_notice_is_from_the_null_sender(outcome: Outcome) -> None:
    queue = bench(outcome)
    async with impatient(queue).running():
        await queue.accept("bob@x.example")
        await queue.pass_time(2 * HOUR, step=900)
        envelope, report, _ = notice(queue)
        assert envelope.sender == ""
        assert [one.address for one in envelope.recipients] == ["ann@example.org"]
        assert "Return-Path" not in report


async def test_77_a_notice_that_cannot_be_delivered_causes_nothing_more() -> None:
    queue = impatient(Bench(ScriptedCarrier(answer=lambda one: NEVER)))
    async with queue.running():
        await queue.accept("bob@x.example")
        await queue.pass_time(5 * HOUR, step=900)
        assert len(queue.notices()) == 1
        assert await queue.store.list() == []
        assert Counter(to for _, to in queue.carrier.attempts) == {"bob@x.example": 1, "ann@example.org": 1}


async def test_77_or_the_double_bounce_goes_to_whoever_looks_after_the_server() -> None:
    carrier = ScriptedCarrier(answer=lambda one: MAILBOX if one.address == "root@admin.example" else NEVER)
    queue = impatient(Bench(carrier), double_bounce="root@admin.example")
    async with queue.running():
        await queue.accept("bob@x.example")
        await queue.pass_time(5 * HOUR, step=900)
        told = [to for _, to in queue.carrier.attempts]
        assert told == ["bob@x.example", "ann@example.org", "root@admin.example"]
        assert {envelope.sender for envelope in queue.carrier.envelopes.values()} == {"ann@example.org", ""}


# --- 78: one outcome for each recipient ---


async def test_78_a_restart_in_the_middle_repeats_only_what_was_not_decided(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "queue", now=JumpingClock().now)
    first = Bench(ScriptedCarrier(), store)
    people = tuple(Recipient(one) for one in ("a@taken.example", "b@failed.example", "c@cut.example"))
    envelope = Envelope(first.ids.next(first.clock.now()), "", people, first.clock.now())
    delivery = await store.accept(NewMessage(envelope, Body(b"Subject: x\r\n\r\n", 14)))
    first.carrier.answer = lambda one: TAKEN if one.domain == "taken.example" else NEVER
    hanging = asyncio.Event()

    async def carry(destination: object, envelope: Envelope, body: Body, recipients: Sequence[Recipient]) -> dict[str, Outcome]:
        if recipients[0].domain == "cut.example":
            await hanging.wait()
        return {one.address: first.carrier.answer(one) for one in recipients}

    first.carrier.deliver = carry  # type: ignore[method-assign]
    running = asyncio.create_task(first.runner.run())
    await asyncio.sleep(0)
    first.runner.offer(delivery)
    while await first.state(envelope.id) != [State.DELIVERED, State.FAILED, State.ACTIVE]:  # noqa: ASYNC110 - the store tells nobody
        await asyncio.sleep(0.01)
    await store.abort()
    await first.runner.stop(grace=0)  # of what it would still say nothing is written any more
    await running

    store = await SqliteStore.open(tmp_path / "queue", now=JumpingClock().now)
    second = Bench(ScriptedCarrier(), store)
    async with second.running():
        while (await second.state(envelope.id))[2] is not State.DELIVERED:
            await second.pass_time(60)
            await asyncio.sleep(0.01)
    assert [to for _, to in second.carrier.attempts] == ["c@cut.example"]
    await store.close()


@pytest.mark.parametrize("seed", range(4))
async def test_78_no_recipient_is_both_delivered_and_bounced_nor_has_two_ends(seed: int) -> None:
    rng, outcomes = random.Random(seed), list[Outcome]([MAILBOX, NEVER, BUSY, BUSY, REFUSED, LOST])
    ends: dict[str, list[Outcome]] = defaultdict(list)

    def answer(one: Recipient) -> Outcome:
        if one.domain == "example.org":
            return MAILBOX
        outcome = rng.choice(outcomes)
        if not isinstance(outcome, Deferred):
            ends[one.address].append(outcome)
        return outcome

    queue = impatient(Bench(ScriptedCarrier(answer=answer)))
    async with queue.running():
        ids = []
        for number in range(20):
            people = [f"r{number}-{which}@d{rng.randrange(6)}.example" for which in range(rng.randrange(1, 5))]
            ids.append(await queue.accept(*people))
            await queue.pass_time(rng.choice([0, 30, 600]))
        await queue.pass_time(5 * HOUR, step=900)
        told = [group["Final-Recipient"].partition("; ")[2] for _, octets in queue.notices() for group in failures(octets)]
        stories = [story for id in ids if (story := await queue.store.get(id)) is not None]
    for one in (recipient for story in stories for recipient in story.recipients):
        assert one.state in (State.DELIVERED, State.FAILED)
        is_delivered = isinstance(ends[one.address][-1], Delivered) if ends[one.address] else False
        assert len(ends[one.address]) <= 1
        assert (one.state is State.DELIVERED) == is_delivered
        assert told.count(one.address) == (one.state is State.FAILED)


def failures(octets: bytes) -> list[Message]:
    report = message_from_bytes(octets, policy=SMTP)
    return [group for group in groups(report) if group["Action"] == "failed"]


# --- 79: what is not known to have arrived ---


@pytest.mark.parametrize("outcome", [LOST, BUSY])
async def test_79_what_may_have_arrived_is_sent_again_as_the_same_message(outcome: Outcome) -> None:
    queue = bench(outcome)
    seen: list[tuple[str, bytes]] = []

    def answer(one: Recipient) -> Outcome:
        id = list(queue.carrier.envelopes)[-1]
        seen.append((id, queue.carrier.bodies[id]))
        return outcome if len(seen) < 3 else TAKEN

    queue.carrier.answer = answer
    async with queue.running():
        id = await queue.accept("bob@x.example")
        await queue.pass_time(HOUR)
        assert await queue.state(id) == [State.DELIVERED]
    assert len(seen) == 3
    assert set(seen) == {(id, b"Subject: hello\r\n\r\nhello\r\n")}


async def test_79_two_messages_with_one_message_id_are_two_messages() -> None:
    queue = bench(TAKEN)
    content = b"Message-ID: <same@example.org>\r\nSubject: x\r\n\r\nx\r\n"
    async with queue.running():
        now = queue.clock.now()
        for _ in range(2):
            people = (Recipient("bob@x.example"),)
            envelope = Envelope(queue.ids.next(now), "ann@example.org", people, now, message_id="<same@example.org>")
            queue.runner.offer(await queue.store.accept(NewMessage(envelope, Body(content, len(content)))))
        await queue.settled()
    assert [to for _, to in queue.carrier.attempts] == ["bob@x.example"] * 2
    assert list(queue.carrier.bodies.values()) == [content] * 2


# --- 80, 81: how a notice is made ---


@pytest.mark.parametrize(("ret", "third"), [("FULL", "message/rfc822"), ("HDRS", "text/rfc822-headers"), ("", "message/rfc822")])
async def test_80_a_notice_is_a_report_of_three_parts(ret: str, third: str) -> None:
    _, report, _ = await failed("bob@x.example", options=Options(ret=ret))
    assert report.get_content_type() == "multipart/report"
    assert report.get_param("report-type") == "delivery-status"
    assert [part.get_content_type() for part in parts(report)] == ["text/plain", "message/delivery-status", third]
    assert "bob@x.example" in parts(report)[0].get_content()


async def test_81_the_envelope_id_is_there_where_it_was_given_and_nowhere_else() -> None:
    _, report, _ = await failed("bob@x.example")
    assert groups(report)[0]["Reporting-MTA"] == "dns; mail.example.org"
    assert "Original-Envelope-Id" not in groups(report)[0]
    _, report, _ = await failed("bob@x.example", options=Options(envid="QQ+2B314"))
    assert groups(report)[0]["Original-Envelope-Id"] == "QQ+314"


async def test_81_each_recipient_has_the_fields_that_must_be_there_and_what_the_other_side_said() -> None:
    other = Recipient("eve@x.example", orcpt="rfc822;Eve+2Bx@Somewhere.example")
    _, report, octets = await failed("bob@x.example", other)
    status = octets.split(b"Content-Type: message/delivery-status")[1].partition(b"\r\n\r\n")[2]
    assert (
        status.count(b"\r\n\r\nFinal-Recipient: ") + status.count(b"\r\n\r\nOriginal-Recipient: ") == 2
    )  # a blank line before each
    message, first, second = groups(report)
    assert "Reporting-MTA" in message
    for group, address in ((first, "bob@x.example"), (second, "eve@x.example")):
        assert group["Final-Recipient"] == f"rfc822; {address}"
        assert group["Action"] == "failed"
        assert group["Status"] == "5.1.1"
        assert group["Diagnostic-Code"] == "smtp; 550 5.1.1 no such user here"
        assert group["Remote-MTA"] == "dns; mx.x.example"
    assert "Original-Recipient" not in first
    # As it was given, and decoded from xtext: RFC 3464 §2.3.1.
    assert second["Original-Recipient"].replace(" ", "") == "rfc822;Eve+x@Somewhere.example"


# --- 82: who is told of what ---


@pytest.mark.parametrize("notify", ["", "NEVER", "SUCCESS", "FAILURE", "DELAY", "SUCCESS,FAILURE,DELAY"])
@pytest.mark.parametrize(
    ("outcome", "occasion", "action"),
    [
        (MAILBOX, "SUCCESS", "delivered"),
        (Delivered(Reply(250, "taken"), dsn=False), "SUCCESS", "relayed"),
        (Delivered(Reply(250, "taken"), dsn=True), "", ""),  # the next hop tells
        (NEVER, "FAILURE", "failed"),
        (BUSY, "DELAY", "delayed"),
    ],
    ids=["delivered", "relayed to a hop without DSN", "relayed to a hop with it", "failed", "late"],
)
async def test_82_the_sender_is_told_of_what_he_asked_for(notify: str, outcome: Outcome, occasion: str, action: str) -> None:
    queue = impatient(bench(outcome))
    async with queue.running():
        await queue.accept(Recipient("bob@x.example", notify=notify))
        await queue.pass_time(2 * HOUR, step=900)
        told = [group["Action"] for _, octets in queue.notices() for group in groups(message_from_bytes(octets, policy=SMTP))[1:]]
    wanted = notify.split(",") if notify else ["FAILURE", "DELAY"]
    assert told == ([action] if occasion in wanted else [])


async def test_82_never_is_nothing_until_the_end_of_a_message() -> None:
    queue = impatient(bench(BUSY))
    async with queue.running():
        id = await queue.accept(Recipient("bob@x.example", notify="NEVER"))
        await queue.pass_time(5 * HOUR, step=900)
        assert await queue.state(id) == [State.FAILED]
        assert queue.notices() == []


# --- 83: how much comes back ---


@pytest.mark.parametrize(
    ("outcome", "ret", "whole"),
    [
        (NEVER, "FULL", True),
        (NEVER, "HDRS", False),
        (BUSY, "FULL", False),
        (MAILBOX, "FULL", False),
        (MAILBOX, "", False),
    ],
    ids=["failed, FULL", "failed, HDRS", "late, FULL", "delivered, FULL", "delivered, not given"],
)
async def test_83_ret_is_about_failures_alone(outcome: Outcome, ret: str, whole: bool) -> None:
    queue = impatient(bench(outcome))
    async with queue.running():
        await queue.accept(Recipient("bob@x.example", notify="SUCCESS,FAILURE,DELAY"), options=Options(ret=ret))
        await queue.pass_time(2 * HOUR, step=900)
        _, report, octets = notice(queue)
    assert parts(report)[2].get_content_type() == ("message/rfc822" if whole else "text/rfc822-headers")
    assert octets.count(b"Subject: hello\r\n") == 1
    assert (b"\r\nhello\r\n" in octets) == whole


# --- 84: addresses beyond ASCII ---


async def test_84_an_international_message_is_told_of_in_the_forms_of_rfc_6533() -> None:
    envelope, report, octets = await failed("jürgen@x.example", sender="zoë@example.org", options=Options(smtputf8=True))
    assert envelope.options.smtputf8
    kinds = [part.get_content_type() for part in parts(report)]
    assert kinds == ["text/plain", "message/global-delivery-status", "message/global"]
    assert "\r\nFinal-Recipient: utf-8; jürgen@x.example\r\n".encode() in octets


async def test_84_where_it_has_to_be_ascii_the_address_is_escaped() -> None:
    _, report, octets = await failed("jürgen@x.example")
    assert octets.isascii()
    assert parts(report)[1].get_content_type() == "message/delivery-status"
    assert b"\r\nFinal-Recipient: utf-8; j\\x{FC}rgen@x.example\r\n" in octets


async def test_84_an_international_message_with_plain_addresses_needs_no_new_forms() -> None:
    envelope, report, octets = await failed("bob@x.example", options=Options(smtputf8=True))
    assert octets.isascii()
    assert not envelope.options.smtputf8
    assert parts(report)[1].get_content_type() == "message/delivery-status"


# --- 85: nothing answers what is automatic ---


@pytest.mark.parametrize("outcome", [NEVER, BUSY, MAILBOX])
async def test_85_a_notice_says_that_it_is_automatic(outcome: Outcome) -> None:
    queue = impatient(bench(outcome))
    async with queue.running():
        await queue.accept(Recipient("bob@x.example", notify="SUCCESS,FAILURE,DELAY"))
        await queue.pass_time(2 * HOUR, step=900)
        _, report, _ = notice(queue)
    assert report["Auto-Submitted"] == "auto-replied"


@pytest.mark.parametrize("outcome", [NEVER, BUSY, MAILBOX])
async def test_85_nothing_answers_a_notice_or_another_message_without_a_sender(outcome: Outcome) -> None:
    queue = impatient(bench(outcome))
    async with queue.running():
        await queue.accept(Recipient("bob@x.example", notify="SUCCESS,FAILURE,DELAY"), sender="")
        await queue.pass_time(5 * HOUR, step=900)
        assert len(queue.carrier.envelopes) == 1
        assert await queue.store.list(selection=EVERYTHING) == []


@pytest.mark.parametrize("value", [b"auto-generated", b"auto-replied", b"no"])
async def test_85_a_message_that_arrived_is_answered_by_nothing_whatever_it_says(value: bytes) -> None:
    queue = bench(MAILBOX)
    content = b"Auto-Submitted: " + value + b"\r\nSubject: x\r\n\r\nx\r\n"
    async with queue.running():
        now = queue.clock.now()
        envelope = Envelope(queue.ids.next(now), "ann@example.org", (Recipient("bob@x.example"),), now)
        queue.runner.offer(await queue.store.accept(NewMessage(envelope, Body(content, len(content)))))
        await queue.pass_time(HOUR)
        assert list(queue.carrier.envelopes) == [envelope.id]
