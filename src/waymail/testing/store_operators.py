"""The tests that every store has to pass, continued: what operators do, and what people look for."""

# ruff: noqa: S101 - these are tests

from __future__ import annotations

import pytest

from waymail.mail.envelope import Recipient
from waymail.store.contract import Change, Event, StaleToken, State, Store
from waymail.testing.store_cases import START, Messages, Place, StoreCase, deferred, delivered, kinds, outcome, states, story_of


class OperatorContract(StoreCase):
    """Holding, releasing, flushing, removing, forgetting; listing and finding."""

    # --- operators ---

    async def test_held_recipients_wait_until_they_are_released(self, place: Place, messages: Messages) -> None:
        store = await place.open()
        new = messages.new("a@example.net", "b@example.net", claim=False)
        await store.accept(new)
        active = await store.accept(messages.new())
        ids = [new.envelope.id, active.envelope.id, "nonsense", messages.new().envelope.id]
        assert await store.hold(ids, START + 1) == 2
        assert await store.hold(ids, START + 1) == 0
        assert not await store.claim(START + 2, 10)
        assert await store.next_due() is None
        await place.crash(store)
        store = await place.open()
        assert await states(store, new.envelope.id) == [State.HELD, State.HELD]
        assert await store.release([new.envelope.id], START + 50) == 2
        assert await store.release([new.envelope.id], START + 50) == 0
        events = (await story_of(store, new)).events
        assert [(event.at, event.kind, event.detail) for event in events] == [
            (START + 1, "held", {"to": ["a@example.net", "b@example.net"]}),
            (START + 50, "released", {"to": ["a@example.net", "b@example.net"]}),
        ]
        assert [one.envelope for one in await store.claim(START + 49, 10)] == [active.envelope]
        assert [one.envelope for one in await store.claim(START + 50, 10)] == [new.envelope]
        await store.close()

    async def test_flushed_recipients_are_due_now(self, store: Store, messages: Messages) -> None:
        delivery = await store.accept(messages.new("a@example.net", "b@example.net"))
        await store.settle(deferred(delivery, START + 3600))
        assert await store.flush([delivery.envelope.id], START + 10) == 2
        assert await store.flush([delivery.envelope.id], START + 10) == 0
        assert await store.next_due() == START + 10
        assert await kinds(store, delivery.envelope.id) == ["flushed"]

    async def test_removed_recipients_are_nobodys(self, store: Store, messages: Messages) -> None:
        active = await store.accept(messages.new("a@example.net", "b@example.net"))
        await store.settle(outcome(active, Change(0, State.DELIVERED, 1, "250 ok")))
        queued = messages.new(claim=False)
        await store.accept(queued)
        assert await store.remove([active.envelope.id, queued.envelope.id, "nonsense"], START) == 2
        assert await store.remove([active.envelope.id], START) == 0
        assert await states(store, active.envelope.id) == [State.DELIVERED, State.REMOVED]
        with pytest.raises(StaleToken):
            await store.settle(outcome(active, Change(1, State.DELIVERED, 1, "250")))
        assert not await store.claim(START + 1, 10)
        assert await store.body(active.envelope.id) is None
        assert await store.list() == []
        assert (await story_of(store, active)).events[-1].detail == {"to": ["b@example.net"]}

    async def test_history_is_forgotten_and_live_messages_are_not(self, store: Store, messages: Messages) -> None:
        old = await store.accept(messages.new(message_id="<old@example.org>"))
        live = await store.accept(messages.new())
        new = await store.accept(messages.new(at=START + 100, message_id="<new@example.org>"))
        for one in (old, new):
            await store.settle(delivered(one))
        assert await store.forget(START + 50) == 1
        assert await store.get(old.envelope.id) is None
        assert await store.find("<old@example.org>") == []
        assert await states(store, live.envelope.id) == [State.ACTIVE]
        assert len(await store.find("<new@example.org>")) == 1
        assert await store.forget(START + 500) == 1
        assert await store.find("<new@example.org>") == []
        assert [one.envelope.id for one in await store.find("ann@example.org")] == [live.envelope.id]

    async def test_only_the_last_attempts_to_a_destination_keep_what_was_said(self, store: Store, messages: Messages) -> None:
        delivery = await store.accept(messages.new())
        for number in range(1, 21):
            change = Change(0, State.QUEUED, number, "451 x", START)
            events = [
                Event(START + number, "attempt", {"destination": place, "dialogue": [f"> \udce4 {number}"], "results": []})
                for place in ("example.net", "example.com")[: 2 if number == 1 else 1]
            ]
            await store.settle(outcome(delivery, change, events=events))
            [delivery] = await store.claim(START, 1)
        events = list((await story_of(store, delivery)).events)
        assert [event.at for event in events[2:]] == [START + number for number in range(2, 21)]
        said = [event.detail["dialogue"][0] for event in events if "dialogue" in event.detail]
        assert said == [f"> \udce4 {number}" for number in (1, *range(16, 21))]  # the first one is of another destination

    # --- looking ---

    async def test_the_list_has_live_messages_oldest_first_without_events(self, store: Store, messages: Messages) -> None:
        first, second, third = [await store.accept(messages.new(at=START + number)) for number in range(3)]
        await store.settle(delivered(second))
        await store.settle(deferred(first, START + 100))
        await store.hold([first.envelope.id], START)
        listed = await store.list()
        assert [one.envelope for one in listed] == [first.envelope, third.envelope]
        assert [one.events for one in listed] == [(), ()]
        assert [one.envelope for one in await store.list(1)] == [first.envelope]

    async def test_events_are_told_in_the_order_of_time(self, store: Store, messages: Messages) -> None:
        delivery = await store.accept(messages.new())
        events = [Event(START + at, kind, {"text": "ä\udce4"}) for at, kind in ((5, "b"), (1, "a"), (5, "c"))]
        await store.settle(outcome(delivery, Change(0, State.QUEUED, 1, "451"), events=events))
        story = await story_of(store, delivery)
        assert story.events == (events[1], events[0], events[2])

    async def test_what_is_not_there_is_none(self, store: Store, messages: Messages) -> None:
        for id in ("nonsense", "", messages.new().envelope.id):
            assert await store.get(id) is None
            assert await store.body(id) is None
            assert await store.find(id) == []

    async def test_a_message_is_found_by_all_that_names_it(self, store: Store, messages: Messages) -> None:
        bob = Recipient("bob@example.net", "Sales@example.org")
        done = await store.accept(messages.new(bob, "eve@Example.com", message_id="<A.b@example.org>"))
        await store.settle(delivered(done))
        await store.accept(messages.new("other@example.net", sender="someone@example.org", message_id="<c@example.org>"))
        for text in (
            done.envelope.id,
            done.envelope.id.upper(),
            "<A.b@example.org>",
            "a.b@EXAMPLE.ORG",
            " ann@example.org ",
            "<ann@example.org>",
            "bob@example.net",
            "eve@example.com",
            "sales@example.org",
        ):
            assert [one.envelope for one in await store.find(text)] == [done.envelope], text
        assert await store.find("b@example.org") == []
        assert await store.find("example.org") == []

    async def test_the_newest_is_found_first_and_the_limit_holds(self, store: Store, messages: Messages) -> None:
        ids = [(await store.accept(messages.new(at=START + 5000 * number))).envelope.id for number in range(10)]
        assert [one.envelope.id for one in await store.find("bob@example.net")] == ids[::-1]
        assert [one.envelope.id for one in await store.find("bob@example.net", 3)] == ids[:-4:-1]
