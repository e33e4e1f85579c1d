"""The tests that every store has to pass, continued: what operators do, and what people look for."""

# ruff: noqa: S101 - these are tests

from __future__ import annotations

import pytest

from waymail.mail.envelope import Options, Recipient
from waymail.store.contract import Backlog, Change, Changed, Event, Selection, State, Store, Waiting
from waymail.testing.store_cases import (
    CONTENT,
    START,
    Messages,
    Place,
    StoreCase,
    deferred,
    delivered,
    kinds,
    octets,
    outcome,
    states,
    story_of,
)


def chosen(*ids: str) -> Selection:
    return Selection(ids=ids)


async def some_waiting(store: Store, messages: Messages) -> dict[str, str]:
    """Four messages that wait, and one that is done. Their names by queue id."""
    names = {}
    for number, (name, sender, recipient) in enumerate(
        (
            ("a", "ann@example.org", Recipient("bob@example.net")),
            ("b", "", Recipient("carol@example.com", "Sales@example.org")),
            ("c", "eve@example.org", Recipient("bob@example.net")),
            ("d", "ann@example.org", Recipient("bob@sub.example.net")),
        )
    ):
        new = messages.new(recipient, at=START + 10 * number, sender=sender, claim=False)
        await store.accept(new)
        names[new.envelope.id] = name
    await store.hold(Selection(domain="sub.example.net"), START)
    await store.settle(delivered(await store.accept(messages.new())))
    return names


class OperatorContract(StoreCase):
    """Holding, releasing, flushing, removing, forgetting; listing and finding."""

    # --- operators ---

    async def test_held_recipients_wait_until_they_are_released(self, place: Place, messages: Messages) -> None:
        store = await place.open()
        new = messages.new("a@example.net", "b@example.net", claim=False)
        await store.accept(new)
        active = await store.accept(messages.new())
        ids = [new.envelope.id, active.envelope.id, "nonsense", messages.new().envelope.id]
        assert await store.hold(chosen(*ids), START + 1) == Changed(2, 1, ("example.net",), active=1)
        assert await store.hold(chosen(*ids), START + 1) == Changed(active=1)
        assert not await store.claim(START + 2, 10)
        assert await store.next_due() is None
        await place.crash(store)
        store = await place.open()
        assert await states(store, new.envelope.id) == [State.HELD, State.HELD]
        assert await store.release(chosen(new.envelope.id), START + 50, "me") == Changed(2, 1, ("example.net",))
        assert await store.release(chosen(new.envelope.id), START + 50) == Changed()
        events = (await story_of(store, new)).events
        assert [(event.at, event.kind, event.detail) for event in events] == [
            (START + 1, "held", {"to": ["a@example.net", "b@example.net"], "by": "operator"}),
            (START + 50, "released", {"to": ["a@example.net", "b@example.net"], "by": "me"}),
        ]
        assert [one.envelope for one in await store.claim(START + 49, 10)] == [active.envelope]
        assert [one.envelope for one in await store.claim(START + 50, 10)] == [new.envelope]
        await store.close()

    async def test_what_is_released_before_its_senders_time_is_due_at_that_time(self, store: Store, messages: Messages) -> None:
        new = messages.new(options=Options(hold_until=START + 600))
        await store.accept(new)
        assert await store.hold(chosen(new.envelope.id), START + 1) == Changed(1, 1, ("example.net",))
        assert await store.release(chosen(new.envelope.id), START + 2) == Changed(1, 1, ("example.net",))
        assert [one.next_at for one in (await story_of(store, new)).recipients] == [START + 600]
        assert not await store.claim(START + 599, 10)
        assert len(await store.claim(START + 600, 10)) == 1

    async def test_flushed_recipients_are_due_now(self, store: Store, messages: Messages) -> None:
        delivery = await store.accept(messages.new("a@example.net", "b@example.net"))
        await store.settle(deferred(delivery, START + 3600))
        for _ in range(2):  # those that are due already are counted, and nothing is told of them
            assert await store.flush(chosen(delivery.envelope.id), START + 10) == Changed(2, 1, ("example.net",))
        assert await store.next_due() == START + 10
        assert await kinds(store, delivery.envelope.id) == ["flushed"]

    async def test_removed_recipients_are_nobodys(self, store: Store, messages: Messages) -> None:
        partly = await store.accept(messages.new("a@example.net", "b@example.net"))
        changes = Change(0, State.DELIVERED, 1, "250 ok"), Change(1, State.QUEUED, 1, "451 later", START)
        await store.settle(outcome(partly, *changes))
        queued = await store.accept(messages.new(claim=False))
        assert await store.remove(chosen(partly.envelope.id, queued.envelope.id, "nonsense"), START) == Changed(
            2, 2, ("example.net",)
        )
        assert await store.remove(chosen(partly.envelope.id), START) == Changed()
        assert await states(store, partly.envelope.id) == [State.DELIVERED, State.REMOVED]
        assert not await store.claim(START + 1, 10)
        assert await store.body(partly.envelope.id) is None
        assert await store.list() == []
        assert (await story_of(store, partly)).events[-1].detail == {"to": ["b@example.net"], "by": "operator"}

    async def test_what_is_being_attempted_is_left_alone(self, store: Store, messages: Messages) -> None:
        active = await store.accept(messages.new())
        for act in (store.hold, store.release, store.flush, store.remove):
            assert await act(chosen(active.envelope.id), START) == Changed(active=1)
            assert await act(Selection(domain="example.net"), START) == Changed()
        assert [batch async for batch in store.take(chosen(active.envelope.id), START)] == []
        await store.settle(delivered(active))

    async def test_what_an_operator_takes_is_claimed(self, place: Place, messages: Messages) -> None:
        store = await place.open()
        held, queued = [await store.accept(messages.new("a@example.net", claim=False)) for _ in range(2)]
        other = await store.accept(messages.new("b@example.org", claim=False))
        await store.hold(chosen(held.envelope.id), START)
        taken = [one async for batch in store.take(Selection(domain="example.net"), START) for one in batch]
        assert sorted((one.envelope.id, len(one.pending)) for one in taken) == [(held.envelope.id, 1), (queued.envelope.id, 1)]
        assert [one.envelope for one in await store.claim(START + 9, 10)] == [other.envelope]
        assert [octets(one.body) for one in taken] == [CONTENT, CONTENT]
        await store.settle(outcome(taken[0], Change(0, State.FAILED, 0, "554 given up")))
        assert await states(store, taken[0].envelope.id) == [State.FAILED]
        await place.crash(store)
        store = await place.open()
        assert await states(store, taken[1].envelope.id) == [State.QUEUED]
        await store.close()

    # --- selections ---

    @pytest.mark.parametrize(
        ("selection", "found"),
        [
            (Selection(), ""),
            (Selection(states=(State.QUEUED,)), ""),
            (Selection(ids=("nonsense",)), ""),
            (Selection(everything=True), "abcd"),
            (Selection(everything=True, states=(State.HELD,)), "d"),
            (Selection(sender="ANN@example.org"), "ad"),
            (Selection(sender="ann@example.org", states=(State.QUEUED,)), "a"),
            (Selection(sender=""), "b"),
            (Selection(recipient="<Bob@example.net>"), "ac"),
            (Selection(recipient="sales@example.org"), "b"),
            (Selection(domain="example.net"), "ac"),
            (Selection(domain="example.net", below=True), "acd"),
            (Selection(domain="net", below=True), "acd"),
            (Selection(domain="net"), ""),
            (Selection(domains=frozenset({"example.net", "example.com", "nobody.example"})), "abc"),
            (Selection(domains=frozenset({"example.net", "sub.example.net"}), domain="sub.example.net"), "d"),
            (Selection(domains=frozenset({"example.net"}), sender="eve@example.org"), "c"),
            (Selection(older=START + 15), "ab"),
            (Selection(older=START), ""),
            (Selection(domain="example.net", older=START + 15), "a"),
            (Selection(recipient="bob@example.net", sender="eve@example.org", domain="example.net"), "c"),
            (Selection(recipient="bob@example.net", domain="example.org"), ""),
        ],
        ids=str,
    )
    async def test_a_selection_is_what_all_of_it_is_true_of(
        self, store: Store, messages: Messages, selection: Selection, found: str
    ) -> None:
        names = await some_waiting(store, messages)
        assert "".join(names[one.envelope.id] for one in await store.list(10, selection)) == found
        assert [names[one.envelope.id] for one in await store.list(1, selection)] == list(found[:1])
        removed = await store.remove(selection, START + 100)
        assert removed.messages == len(found)
        assert "".join(names[one.envelope.id] for one in await store.list()) == "".join(sorted(set("abcd") - set(found)))

    async def test_a_selection_of_ids_knows_the_rest_of_it_too(self, store: Store, messages: Messages) -> None:
        names = await some_waiting(store, messages)
        selection = Selection(ids=tuple(id.upper() for id in names), domain="example.net")
        assert [names[one.envelope.id] for one in await store.list(10, selection)] == ["a", "c"]
        assert (await store.hold(selection, START)).domains == ("example.net",)

    async def test_a_message_is_listed_by_its_sender_while_it_is_attempted(self, store: Store, messages: Messages) -> None:
        await store.accept(messages.new())
        for selection in (Selection(sender="ann@example.org"), Selection(older=START + 1), Selection(everything=True)):
            assert len(await store.list(10, selection)) == 1

    async def test_many_more_than_a_transaction_takes_are_changed(self, store: Store, messages: Messages) -> None:
        everybody = [f"{number}@{number % 3}.example.net" for number in range(700)]
        await store.accept(messages.new(*everybody, claim=False))
        for number in range(700):
            await store.accept(messages.new(f"{number}@1.example.net", claim=False))
        domains = tuple(f"{number}.example.net" for number in range(3))
        assert await store.hold(Selection(domain="example.net", below=True), START) == Changed(1400, 701, domains)
        assert await store.release(Selection(sender="ann@example.org"), START + 100) == Changed(1400, 701, domains)
        for _ in range(2):
            assert await store.flush(Selection(everything=True), START + 50) == Changed(1400, 701, domains)
        taken = [one async for batch in store.take(Selection(domain="1.example.net"), START) for one in batch]
        assert sum(len(one.pending) for one in taken) == 933
        assert await store.remove(Selection(older=START + 1), START) == Changed(467, 1, (domains[0], domains[2]))

    # --- what waits ---

    async def test_what_waits_is_counted_by_domain_the_largest_first(self, store: Store, messages: Messages) -> None:
        assert await store.waiting() == Backlog()
        for at in (0, 1):
            one = await store.accept(messages.new("a@Example.NET", "b@other.example", at=START + at))
            await store.settle(deferred(one, START + 60 + at))
        held = await store.accept(messages.new("c@example.net", claim=False, at=START + 5))
        await store.hold(chosen(held.envelope.id), START)
        await store.accept(messages.new("active@example.net"))
        net = Waiting("example.net", 2, 1, START, START + 60, "451 4.2.0 busy")
        other = Waiting("other.example", 2, 0, START, START + 60, "451 4.2.0 busy")
        assert await store.waiting() == Backlog(2, 4, 1, (net, other))
        assert await store.waiting(1) == Backlog(2, 4, 1, (net,))
        assert await store.waiting(0) == Backlog(2, 4, 1)
        assert await store.waiting(domain="other.example") == Backlog(1, 2, 0, (other,))
        assert await store.waiting(domain="nobody.example") == Backlog()

    async def test_what_is_held_waits_for_no_time(self, store: Store, messages: Messages) -> None:
        held = await store.accept(messages.new(claim=False))
        await store.hold(chosen(held.envelope.id), START)
        assert await store.waiting() == Backlog(1, 0, 1, (Waiting("example.net", 0, 1, START, 0.0, ""),))

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
        await store.hold(chosen(first.envelope.id), START)
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
