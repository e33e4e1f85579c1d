"""A received message's way into the queue."""

from __future__ import annotations

import logging

import pytest
from tests.server.conftest import CollectingQueue, Place, ScriptedStore

from waymail.mail.envelope import Envelope, Origin, QueueIds, Recipient, decode_id
from waymail.server.intake import REFUSED, REFUSED_OF_NETWORK, Intake
from waymail.store.contract import Delivery, Refusal, Spool, State
from waymail.testing.clock import JumpingClock

CONTENT = b"Subject: x\r\n\r\nhello\r\n"


class CrowdedQueue(CollectingQueue):
    """Has no room."""

    def has_room_for(self, envelope: Envelope) -> bool:
        return False


class BuggyQueue(CollectingQueue):
    def offer(self, delivery: Delivery) -> None:
        raise RuntimeError("a bug")


class DiscardingStore(ScriptedStore):
    """Its spools count how often they are discarded."""

    discarded = 0

    def spool(self, id: str) -> Spool:  # type: ignore[override]
        store, spool = self, super().spool(id)

        class Counting:
            write, finish = staticmethod(spool.write), staticmethod(spool.finish)

            def discard(self) -> None:
                store.discarded += 1
                spool.discard()

        return Counting()


class Desk:
    def __init__(self, queue: CollectingQueue | None = None) -> None:
        self.clock = JumpingClock()
        self.store = DiscardingStore()
        self.queue = queue or CollectingQueue()
        self.intake = Intake(self.store, self.queue, QueueIds(1), self.clock)

    async def take(self) -> tuple[str, str]:
        """Take a message: its id and what the client is told."""
        id = self.intake.new_id()
        spool = self.intake.spool(id)
        spool.write(CONTENT)
        recipients = (Recipient("bob@example.org"), Recipient("carl@example.org"))
        envelope = Envelope(id, "ann@example.org", recipients, self.intake.now(), origin=Origin("ESMTPSA", user="ann"))
        return id, str(await self.intake.take(envelope, spool.finish(), spool))


async def test_a_message_is_in_the_store_and_offered_to_the_queue_when_the_client_gets_its_250() -> None:
    desk = Desk()
    id, reply = await desk.take()
    assert reply == f"250 2.0.0 queued as {id}"
    story = await desk.store.get(id)
    assert story is not None
    assert [one.state for one in story.recipients] == [State.ACTIVE, State.ACTIVE], "claimed for an attempt at once"
    assert [len(delivery.pending) for delivery in desk.queue.deliveries] == [2]
    assert desk.queue.content() == CONTENT
    assert desk.store.discarded == 0


async def test_where_the_queue_has_no_room_the_message_waits_in_the_store() -> None:
    desk = Desk(CrowdedQueue())
    id, reply = await desk.take()
    assert reply.startswith("250 ")
    story = await desk.store.get(id)
    assert story is not None
    assert [one.state for one in story.recipients] == [State.QUEUED, State.QUEUED]
    assert [delivery.pending for delivery in desk.queue.deliveries] == [()], "the queue learns that something waits"


async def test_what_could_not_be_stored_is_refused_for_now_and_its_octets_are_dropped(caplog: pytest.LogCaptureFixture) -> None:
    desk = Desk()
    desk.store.fails = True
    id, reply = await desk.take()
    assert reply == "451 4.3.0 the message could not be stored, try again later"
    assert desk.queue.deliveries == []
    assert desk.store.discarded == 1
    assert "disk" not in reply
    [record] = caplog.records
    assert record.fields == {"id": id, "error": "the disk is full"}  # type: ignore[attr-defined]


async def test_a_bug_behind_the_store_does_not_take_back_the_250(caplog: pytest.LogCaptureFixture) -> None:
    desk = Desk(BuggyQueue())
    id, reply = await desk.take()
    assert reply.startswith("250 "), "it is stored: if the client sent it again, it would come twice"
    assert await desk.store.get(id) is not None
    assert desk.store.discarded == 0
    assert caplog.records[-1].exc_info is not None


async def test_ids_are_made_of_the_clock_s_time_and_never_repeat() -> None:
    desk = Desk()
    first = [desk.intake.new_id() for _ in range(3)]
    await desk.clock.advance(1)
    later = desk.intake.new_id()
    assert first == sorted(set(first))
    assert later > first[-1]
    numbers = [decode_id(id) for id in (first[0], later)]
    assert all(number is not None for number in numbers)
    assert [(number or 0) >> 11 for number in numbers] == [1_800_000_000_000_000, 1_800_000_001_000_000]
    assert desk.intake.now() == 1_800_000_001.0


async def test_debugging_shows_the_envelope_and_none_of_the_content(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "waymail.server"):
        id, _ = await Desk().take()
    [fields] = [record.fields for record in caplog.records]  # type: ignore[attr-defined]
    assert (fields["id"], fields["from"], fields["user"], fields["size"]) == (id, "ann@example.org", "ann", len(CONTENT))
    assert fields["to"] == ["bob@example.org", "carl@example.org"]
    assert not any("hello" in str(value) for value in fields.values())


def refusal(place: Place, address: str) -> Refusal:
    people, at = (Recipient("ann@example.org"),), place.intake.now()
    envelope = Envelope(place.intake.new_id(), "x@client.example", people, at, origin=Origin("SMTP", "client", address))
    return Refusal(envelope, "550 no")


async def test_one_network_cannot_fill_the_history_with_what_it_is_refused(place: Place) -> None:
    for number in range(REFUSED_OF_NETWORK + 20):
        await place.intake.record(refusal(place, f"192.0.2.{number}"))
    assert len(await place.store.find("x@client.example", 1000)) == REFUSED_OF_NETWORK
    await place.intake.record(refusal(place, "198.51.100.1"))
    assert len(await place.store.find("x@client.example", 1000)) == REFUSED_OF_NETWORK + 1


async def test_many_networks_together_cannot_either(place: Place) -> None:
    for number in range(REFUSED + 20):
        await place.intake.record(refusal(place, f"10.{number // 256}.{number % 256}.1"))
    assert len(await place.store.find("x@client.example", 1000)) <= REFUSED + 1
