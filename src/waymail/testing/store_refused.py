"""The tests that every store has to pass, continued: what the history says of messages that were judged, taken or not."""

# ruff: noqa: S101 - these are tests

from __future__ import annotations

import asyncio

import pytest

from waymail.mail.envelope import Envelope, Recipient
from waymail.store.contract import EVERYTHING, Event, NewMessage, Refusal, State, Store, StoreError
from waymail.testing.store_cases import LEASE, START, Messages, Place, StoreCase, delivered, kinds, octets, states, story_of

DNS = [["a.example", "TXT", "records", ["\u00e9"], True]]
JUDGED = Event(START, "judged", {"action": "reject", "rule": "on_dmarc_reject", "dns": DNS})
REPLY = "550 5.7.26 spoofed"


def refusal(messages: Messages, *recipients: str | Recipient, at: float = START, state: State = State.REFUSED) -> Refusal:
    new = messages.new(*recipients, at=at, message_id="<spoofed@example.org>")
    return Refusal(new.envelope, REPLY, (JUDGED,), 4711, state)


class RefusedContract(StoreCase):
    """`Store.refused`, and the events that a message comes with."""

    async def test_a_message_that_was_not_taken_is_history_and_nothing_else(self, place: Place, messages: Messages) -> None:
        store = await place.open()
        one = refusal(messages, "bob@example.net", Recipient("eve@example.com", "sales@example.com"))
        await store.refused(one)
        await place.crash(store)
        store = await place.open()
        story = await store.get(one.envelope.id)
        assert story is not None
        assert (story.envelope, story.size, story.events) == (one.envelope, 4711, (JUDGED,))
        assert {(was.state, was.attempts, was.reply) for was in story.recipients} == {(State.REFUSED, 0, REPLY)}
        assert await store.body(one.envelope.id) is None
        await store.close()

    async def test_nobody_delivers_it_and_no_operator_brings_it_back(
        self, place: Place, store: Store, messages: Messages
    ) -> None:
        one = refusal(messages)
        await store.refused(one)
        place.time = START + 2 * LEASE
        assert await store.next_due() is None
        assert not await store.claim(place.time, 10)
        assert await store.list() == []
        assert (await store.waiting()).queued == 0
        assert await store.ids() == []
        for command in (store.hold, store.release, store.flush, store.remove):
            assert (await command(EVERYTHING, START)).recipients == 0
        assert [some async for some in store.take(EVERYTHING, START)] == []
        assert await store.hand_over([one.envelope.id], START, "moved") == []
        assert await states(store, one.envelope.id) == [State.REFUSED]

    @pytest.mark.parametrize("text", ["ann@example.org", "Eve@example.com", "sales@example.com", "<SPOOFED@example.org>"])
    async def test_it_is_found_as_any_other_message(self, store: Store, messages: Messages, text: str) -> None:
        one = refusal(messages, Recipient("eve@example.com", "sales@example.com"))
        await store.refused(one)
        assert [story.envelope for story in await store.find(text)] == [one.envelope]

    async def test_what_was_discarded_says_so(self, store: Store, messages: Messages) -> None:
        one = refusal(messages, state=State.REMOVED)
        await store.refused(one)
        assert await states(store, one.envelope.id) == [State.REMOVED]

    async def test_it_is_forgotten_like_the_rest_of_the_history(self, store: Store, messages: Messages) -> None:
        old, new = refusal(messages), refusal(messages, at=START + 100)
        for one in (old, new):
            await store.refused(one)
        assert await store.forget(START + 50) == 1
        assert await store.get(old.envelope.id) is None
        assert await store.get(new.envelope.id) is not None

    async def test_its_id_is_taken_once_and_it_has_recipients(self, store: Store, messages: Messages) -> None:
        one = refusal(messages)
        await store.refused(one)
        with pytest.raises(StoreError):
            await store.refused(one)
        with pytest.raises(StoreError):
            await store.accept(NewMessage(one.envelope, messages.new().body))
        for envelope in (Envelope(one.envelope.id, "", (), START), Envelope("no id", "", one.envelope.recipients, START)):
            with pytest.raises(ValueError, match=r"id|recipients"):
                await store.refused(Refusal(envelope, REPLY))

    async def test_many_that_are_refused_share_the_transactions_of_those_that_are_taken(
        self, store: Store, messages: Messages
    ) -> None:
        refused = [refusal(messages) for _ in range(40)]
        taken = [messages.new() for _ in range(40)]
        await asyncio.gather(*(store.refused(one) for one in refused), *(store.accept(one) for one in taken))
        assert {state for one in refused for state in await states(store, one.envelope.id)} == {State.REFUSED}
        assert {state for one in taken for state in await states(store, one.envelope.id)} == {State.ACTIVE}

    async def test_what_was_judged_of_a_message_that_was_taken_is_told_before_what_became_of_it(
        self, place: Place, messages: Messages
    ) -> None:
        store = await place.open()
        new = messages.new()
        delivery = await store.accept(NewMessage(new.envelope, new.body, events=(JUDGED,)))
        await store.settle(delivered(delivery, at=START))
        assert await kinds(store, new.envelope.id) == ["judged", "attempt"]
        await place.crash(store)
        store = await place.open()
        assert (await story_of(store, new)).events[0] == JUDGED
        await store.close()

    async def test_the_folder_of_a_recipient_is_kept(self, place: Place, messages: Messages) -> None:
        store = await place.open()
        new = messages.new(Recipient("bob@example.net", folder="Junk"), "eve@example.net")
        await store.accept(new)
        await place.crash(store)
        store = await place.open()
        (delivery,) = await store.claim(START, 10)
        assert [one.recipient.folder for one in delivery.pending] == ["Junk", ""]
        assert octets(delivery.body) == octets(new.body)
        await store.close()
