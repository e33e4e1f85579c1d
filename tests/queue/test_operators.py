"""What a person does with a queue that runs, and with one that does not."""

from __future__ import annotations

import asyncio
import random
from email import message_from_bytes, policy

import pytest

from waymail.mail.envelope import Options, Recipient
from waymail.mail.outcome import Deferred, Failed, Outcome
from waymail.queue.bounce import NoticeWriter
from waymail.queue.operators import Operators
from waymail.store.contract import Changed, Selection, State
from waymail.testing.queue import TAKEN, Bench, Place, ScriptedCarrier
from waymail.wire.replies import Reply

DOWN = Deferred(Reply(451, "no connection", "4.4.1"), destination_down=True)
BUSY = Deferred(Reply(450, "greylisted", "4.2.0"))
EVERYTHING = Selection(everything=True)


def bench(answer: Outcome) -> tuple[Bench, Operators]:
    queue = Bench(ScriptedCarrier(lambda _: answer))
    return queue, operators(queue, runs=True)


def operators(queue: Bench, *, runs: bool) -> Operators:
    notices = NoticeWriter("mail.example.org", queue.ids.next)
    runner = queue.runner if runs else None
    return Operators(queue.store, notices, clock=queue.clock, rng=random.Random(1), queue=runner)


async def test_what_is_flushed_is_tried_at_once() -> None:
    queue, operator = bench(BUSY)
    async with queue.running():
        id = await queue.accept("bob@x.example")
        await queue.settled()
        queue.carrier.answer = lambda _: TAKEN
        assert await operator.act("flush", Selection(ids=(id,))) == Changed(1, 1, ("x.example",))
        await queue.settled()
        assert await queue.state(id) == [State.DELIVERED]


@pytest.mark.parametrize("action", ["flush", "release"])
async def test_a_destination_that_was_down_is_probed_at_once(action: str) -> None:
    queue, operator = bench(DOWN)
    async with queue.running():
        ids = [await queue.accept(f"{name}@x.example") for name in "abc"]
        await queue.pass_time(400, step=10)
        tried = len(queue.carrier.attempts)
        if action == "release":
            await operator.act("hold", EVERYTHING)
        queue.carrier.answer = lambda _: TAKEN
        await operator.act("flush" if action == "flush" else "release", Selection(domain="x.example"))
        await queue.settled()
        assert len(queue.carrier.attempts) > tried
        await queue.pass_time(60, step=5)
        assert [await queue.state(id) for id in ids] == [[State.DELIVERED]] * 3


async def test_asking_often_does_not_make_the_back_off_long() -> None:
    queue, operator = bench(DOWN)
    async with queue.running():
        await queue.accept("bob@x.example")
        for _ in range(6):
            await queue.pass_time(10, step=1)
            await operator.act("flush", EVERYTHING)
        await queue.settled()
        (state,) = queue.runner.states()
        assert len(queue.carrier.attempts) >= 6
        assert state.down_until - queue.clock.now() <= 300


class Asking(ScriptedCarrier):
    """Knows nothing without asking DNS."""

    def known(self, recipient: Recipient) -> Place | None:
        return None

    async def locate(self, recipient: Recipient) -> Place | Deferred | Failed:
        return Place(recipient.domain)


async def test_destinations_that_dns_names_are_probed_too() -> None:
    queue = Bench(Asking(lambda _: DOWN))
    async with queue.running():
        for domain in "xyz":
            await queue.accept(f"bob@{domain}.example")
        await queue.pass_time(400, step=10)
        tried = len(queue.carrier.attempts)
        await operators(queue, runs=True).act("flush", EVERYTHING)
        await queue.settled()
        assert sorted(address for _, address in queue.carrier.attempts[tried:]) == [f"bob@{domain}.example" for domain in "xyz"]


async def test_what_is_held_is_not_tried() -> None:
    queue, operator = bench(BUSY)
    async with queue.running():
        id = await queue.accept("bob@x.example")
        await queue.settled()
        assert (await operator.act("hold", EVERYTHING)).recipients == 1
        await queue.pass_time(7 * 86400, step=3600)
        assert len(queue.carrier.attempts) == 1
        assert await queue.state(id) == [State.HELD]


async def test_what_is_removed_is_told_to_nobody() -> None:
    queue, operator = bench(BUSY)
    async with queue.running():
        id = await queue.accept("bob@x.example")
        await queue.settled()
        await operator.act("remove", EVERYTHING)
        await queue.pass_time(3600)
        assert await queue.state(id) == [State.REMOVED]
        assert queue.notices() == []


async def test_what_is_bounced_comes_back_with_the_reason() -> None:
    queue, operator = bench(BUSY)
    async with queue.running():
        id = await queue.accept("bob@x.example", "eve@y.example")
        await queue.settled()
        await operator.act("hold", Selection(domain="y.example"))
        queue.carrier.answer = lambda _: TAKEN
        done = await operator.bounce(EVERYTHING, "the account was stolen")
        await queue.settled()
        assert done == Changed(2, 1, ("x.example", "y.example"))
        assert await queue.state(id) == [State.FAILED, State.FAILED]
        assert await queue.kinds(id) == ["attempt", "attempt", "held", "returned", "bounced"]
        ((envelope, body),) = queue.notices()
        assert [one.address for one in envelope.recipients] == ["ann@example.org"]
        status = "\n".join(str(part) for part in message_from_bytes(body, policy=policy.default).walk())
        assert status.count("554 5.0.0 given up by the administrator: the account was stolen") >= 2


@pytest.mark.parametrize(
    ("sender", "recipient"),
    [("", Recipient("bob@x.example")), ("ann@example.org", Recipient("bob@x.example", notify="NEVER"))],
    ids=["null sender", "not asked for"],
)
async def test_a_bounce_tells_nobody_who_is_not_to_be_told(sender: str, recipient: Recipient) -> None:
    queue, operator = bench(BUSY)
    async with queue.running():
        id = await queue.accept(recipient, sender=sender)
        await queue.settled()
        assert (await operator.bounce(EVERYTHING)).recipients == 1
        await queue.settled()
        assert await queue.state(id) == [State.FAILED]
        assert queue.notices() == []


async def test_what_is_being_attempted_is_not_bounced() -> None:
    queue, operator = bench(TAKEN)
    queue.carrier.hold = hold = asyncio.Event()
    async with queue.running():
        id = await queue.accept("bob@x.example")
        assert await operator.bounce(EVERYTHING) == Changed()
        hold.set()
        await queue.settled()
        assert await queue.state(id) == [State.DELIVERED]


async def test_without_a_running_queue_the_notice_waits_in_the_store() -> None:
    queue = Bench(ScriptedCarrier())
    held = Options(hold_until=queue.clock.now() + 3600)
    id = await queue.accept("bob@x.example", options=held)
    assert (await operators(queue, runs=False).bounce(EVERYTHING)).messages == 1
    assert await queue.state(id) == [State.FAILED]
    (notice,) = await queue.store.list()
    assert notice.envelope.recipients == (Recipient("ann@example.org"),)
