"""The tests that every store has to pass, continued: messages that go to another store and come from one."""

# ruff: noqa: S101 - these are tests

from __future__ import annotations

from dataclasses import replace

import pytest

from waymail.mail.envelope import Body, Options, Recipient
from waymail.store.contract import EVERYTHING, Change, Event, NewMessage, Packed, Selection, State, Store
from waymail.store.memory import MemoryStore
from waymail.testing.store_asked import EVERYTHING as ALL_OPTIONS
from waymail.testing.store_cases import CONTENT, START, Messages, Place, StoreCase, deferred, kinds, octets, outcome, states

LATER = START + 3600


async def mixed(store: Store, messages: Messages) -> NewMessage:
    """A message with a recipient that waits, and two that are done."""
    people = (
        Recipient("done@example.net"),
        Recipient("late@example.net", "sales@example.org", "SUCCESS,DELAY", "rfc822;sales@example.org"),
        Recipient("gone@example.net", notify="NEVER"),
    )
    new = messages.new(*people, message_id="<mixed@example.org>")
    delivery = await store.accept(new)
    changes = (
        Change(0, State.DELIVERED, 1, "250 2.0.0 taken"),
        Change(1, State.QUEUED, 3, "451 4.2.0 busy", LATER, True),
        Change(2, State.FAILED, 1, "550 5.1.1 no"),
    )
    await store.settle(
        outcome(delivery, *changes, events=[Event(START + 1, "attempt", {"destination": "example.net", "results": []})])
    )
    return new


class MovingContract(StoreCase):
    """Packing, holding for it, putting back, handing over, unpacking."""

    async def test_live_messages_are_listed_page_by_page(self, store: Store, messages: Messages) -> None:
        made = [messages.new(claim=False) for _ in range(5)]
        for one in made:
            await store.accept(one)
        await store.remove(Selection(ids=(made[1].envelope.id,)), START)
        live = [one.envelope.id for one in made if one is not made[1]]
        assert await store.ids(limit=2) == live[:2]
        assert await store.ids(live[1], 2) == live[2:]
        assert await store.ids(live[-1]) == []

    async def test_what_is_packed_is_all_that_there_is_and_changes_nothing(self, store: Store, messages: Messages) -> None:
        new = await mixed(store, messages)
        before = await store.get(new.envelope.id)
        (packed,) = await store.pack([new.envelope.id, "nonsense", messages.new().envelope.id], START + 5)
        assert packed.story == before == await store.get(new.envelope.id)
        assert octets(packed.body) == CONTENT
        assert [one.warned for one in packed.story.recipients] == [False, True, False]
        assert packed.story.envelope == new.envelope

    async def test_with_hold_what_is_queued_waits_for_nobody_and_a_crash_leaves_it_so(
        self, place: Place, messages: Messages
    ) -> None:
        store = await place.open()
        new = await mixed(store, messages)
        (packed,) = await store.pack([new.envelope.id], START + 5, hold=True)
        assert [one.state for one in packed.story.recipients] == [State.DELIVERED, State.QUEUED, State.FAILED]
        await place.crash(store)
        store = await place.open()
        assert await states(store, new.envelope.id) == [State.DELIVERED, State.HELD, State.FAILED]
        assert not await store.claim(LATER + 1, 10)
        assert await kinds(store, new.envelope.id) == ["attempt", "held"]
        await store.put_back([packed], START + 6)
        assert await store.next_due() == LATER
        assert await kinds(store, new.envelope.id) == ["attempt", "held", "released"]
        (again,) = await store.claim(LATER, 10)
        assert [(one.number, one.attempts, one.warned) for one in again.pending] == [(1, 3, True)]
        await store.close()

    async def test_what_was_held_before_is_not_let_go_when_it_is_put_back(self, store: Store, messages: Messages) -> None:
        new = messages.new("a@example.net", "b@example.net", claim=False)
        await store.accept(new)
        await store.hold(Selection(ids=(new.envelope.id,)), START)
        (packed,) = await store.pack([new.envelope.id], START + 5, hold=True)
        await store.put_back([packed], START + 6)
        assert await states(store, new.envelope.id) == [State.HELD, State.HELD]
        assert await kinds(store, new.envelope.id) == ["held"]

    async def test_what_was_removed_meanwhile_is_not_put_back(self, store: Store, messages: Messages) -> None:
        new = await mixed(store, messages)
        (packed,) = await store.pack([new.envelope.id], START + 5, hold=True)
        await store.remove(Selection(ids=(new.envelope.id,)), START + 6)
        await store.put_back([packed], START + 7)
        assert await states(store, new.envelope.id) == [State.DELIVERED, State.REMOVED, State.FAILED]
        assert await kinds(store, new.envelope.id) == ["attempt", "held", "removed"]

    async def test_a_message_that_is_being_attempted_is_left_alone(self, store: Store, messages: Messages) -> None:
        delivery = await store.accept(messages.new("a@example.net", "b@example.net"))
        await store.settle(outcome(delivery, Change(0, State.QUEUED, 1, "451", LATER)))
        (packed,) = await store.pack([delivery.envelope.id], START, hold=True)
        assert packed.is_attempted
        assert await states(store, delivery.envelope.id) == [State.QUEUED, State.ACTIVE]
        assert await store.hand_over([delivery.envelope.id], START, "to a file") == []
        await store.settle(outcome(delivery, Change(1, State.DELIVERED, 1, "250")))

    async def test_what_is_handed_over_is_no_longer_delivered_and_says_where_it_went(
        self, place: Place, messages: Messages
    ) -> None:
        store = await place.open()
        new = await mixed(store, messages)
        await store.pack([new.envelope.id], START + 5, hold=True)
        assert await store.hand_over([new.envelope.id, "nonsense"], START + 6, "to a file") == [new.envelope.id]
        assert await store.hand_over([new.envelope.id], START + 6, "to a file") == []
        await place.crash(store)
        store = await place.open()
        assert await states(store, new.envelope.id) == [State.DELIVERED, State.REMOVED, State.FAILED]
        assert await store.body(new.envelope.id) is None
        story = await store.get(new.envelope.id)
        assert story is not None
        assert story.events[-1] == Event(START + 6, "exported", {"to": ["late@example.net"], "why": "to a file"})
        await store.close()

    async def test_what_was_released_meanwhile_is_not_handed_over(self, store: Store, messages: Messages) -> None:
        new = await mixed(store, messages)
        await store.pack([new.envelope.id], START + 5, hold=True)
        await store.release(Selection(ids=(new.envelope.id,)), START + 6)
        assert await store.hand_over([new.envelope.id], START + 7, "to a file") == []
        assert (await states(store, new.envelope.id))[1] is State.QUEUED

    @pytest.mark.parametrize("options", [None, ALL_OPTIONS], ids=["ordinary", "with all that can be asked for"])
    async def test_what_is_unpacked_goes_on_as_it_stood(self, place: Place, messages: Messages, options: Options | None) -> None:
        other = MemoryStore(now=lambda: START)
        if options is None:
            new = await mixed(other, messages)
        else:
            new = messages.new(Recipient("a@example.net", notify="NEVER"), options=options, claim=False)
            await other.accept(new)
        (packed,) = await other.pack([new.envelope.id], START)
        store = await place.open()
        assert await store.unpack(packed)
        await place.crash(store)
        store = await place.open()
        assert await store.get(new.envelope.id) == packed.story
        assert [one.envelope.id for one in await store.find(packed.story.recipients[-1].address)] == [new.envelope.id]
        assert (await store.waiting()).queued == 1
        due = max(one.next_at for one in packed.story.recipients if one.state is State.QUEUED)
        assert await store.next_due() == due
        assert not await store.claim(due - 1, 10)
        (delivery,) = await store.claim(due, 10)
        assert delivery.envelope == new.envelope
        assert octets(delivery.body) == CONTENT
        await store.close()

    async def test_held_and_done_recipients_stay_so_where_they_are_unpacked(self, store: Store, messages: Messages) -> None:
        other = MemoryStore(now=lambda: START)
        new = messages.new("a@example.net", "b@example.net")
        await other.settle(
            outcome(await other.accept(new), Change(0, State.DELIVERED, 1, "250"), Change(1, State.QUEUED, 1, "451"))
        )
        await other.hold(EVERYTHING, START)
        (packed,) = await other.pack([new.envelope.id], START)
        assert await store.unpack(packed)
        assert await states(store, new.envelope.id) == [State.DELIVERED, State.HELD]
        assert not await store.claim(LATER, 10)

    async def test_a_large_body_is_unpacked_from_where_it_was_spooled(self, place: Place, messages: Messages) -> None:
        new = messages.new(content=b"X: y\r\n\r\n" + b"x" * 200_000)
        other = MemoryStore(now=lambda: START)
        await other.accept(NewMessage(new.envelope, new.body, claim=False))
        (packed,) = await other.pack([new.envelope.id], START)
        store = await place.open()
        spool = store.spool(new.envelope.id)
        spool.write(octets(packed.body))
        assert await store.unpack(Packed(packed.story, spool.finish()))
        spool.discard()
        await place.crash(store)
        store = await place.open()
        kept = await store.body(new.envelope.id)
        assert kept is not None
        assert octets(kept) == octets(new.body)
        await store.close()

    @pytest.mark.parametrize("is_live", [True, False])
    async def test_an_id_that_is_there_is_not_unpacked(self, store: Store, messages: Messages, is_live: bool) -> None:
        new = messages.new(claim=False)
        await store.accept(new)
        (packed,) = await store.pack([new.envelope.id], START)
        if not is_live:
            await store.remove(Selection(ids=(new.envelope.id,)), START)
        before = await store.get(new.envelope.id)
        other = Packed(packed.story, Body(b"other", 5))
        assert not await store.unpack(other)
        assert await store.get(new.envelope.id) == before
        assert (await store.body(new.envelope.id) is not None) == is_live

    async def test_what_was_handed_over_comes_back_once_and_with_what_happened_meanwhile(
        self, place: Place, messages: Messages
    ) -> None:
        store = await place.open()
        new = await mixed(store, messages)
        (packed,) = await store.pack([new.envelope.id], START + 5, hold=True)
        await store.hand_over([new.envelope.id], START + 6, "to a file")
        happened = Event(START + 50, "attempt", {"destination": "elsewhere", "results": []})
        story = replace(packed.story, events=(*packed.story.events, happened))
        assert await store.unpack(Packed(story, Body(CONTENT, len(CONTENT))))
        assert not await store.unpack(Packed(story, Body(CONTENT, len(CONTENT))))
        assert await states(store, new.envelope.id) == [State.DELIVERED, State.QUEUED, State.FAILED]
        assert await kinds(store, new.envelope.id) == ["attempt", "held", "exported", "attempt"]
        (delivery,) = await store.claim(LATER, 10)
        assert octets(delivery.body) == CONTENT
        await store.settle(deferred(delivery, LATER + 100))
        await store.close()

    async def test_a_message_for_nobody_is_not_unpacked(self, store: Store, messages: Messages) -> None:
        new = messages.new(claim=False)
        await store.accept(new)
        (packed,) = await store.pack([new.envelope.id], START)
        nobody = messages.new()
        story = replace(packed.story, envelope=replace(nobody.envelope, recipients=()), recipients=())
        with pytest.raises(ValueError, match="no recipients"):
            await store.unpack(Packed(story, Body(b"other", 5)))
