"""The tests that every store has to pass: the sentences of `waymail.store.contract`, one by one.

Run them against a store of your own (pytest-asyncio in auto mode):

    class TestMyStore(StoreContract):
        @pytest.fixture
        def place(self, tmp_path):
            return MyPlace(tmp_path)
"""

# ruff: noqa: S101 - these are tests

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping

import pytest

from waymail.mail.envelope import Body, Envelope, Options, Recipient
from waymail.store.contract import ALL, Change, Delivery, NewMessage, Selection, Settlement, StaleToken, State, Store, StoreError
from waymail.testing.store_asked import AskedContract
from waymail.testing.store_cases import (
    CONTENT,
    LEASE,
    START,
    Messages,
    Place,
    deferred,
    delivered,
    kinds,
    octets,
    outcome,
    states,
    story_of,
)
from waymail.testing.store_moving import MovingContract
from waymail.testing.store_operators import OperatorContract
from waymail.testing.store_refused import RefusedContract


class StoreContract(OperatorContract, AskedContract, MovingContract, RefusedContract):
    """Subclass it and give it a `place`."""

    # --- accepting ---

    async def test_an_accepted_message_comes_back_claimed_for_its_first_attempt(self, store: Store, messages: Messages) -> None:
        new = messages.new("bob@example.net", "eve@example.com")
        delivery = await store.accept(new)
        assert (delivery.envelope, delivery.body) == (new.envelope, new.body)
        assert [(one.number, one.recipient, one.attempts, one.warned) for one in delivery.pending] == [
            (0, new.envelope.recipients[0], 0, False),
            (1, new.envelope.recipients[1], 0, False),
        ]
        assert await states(store, new.envelope.id) == [State.ACTIVE, State.ACTIVE]
        assert not await store.claim(START + 1, 10)

    async def test_without_a_claim_it_is_queued_and_due_at_once(self, store: Store, messages: Messages) -> None:
        new = messages.new(claim=False)
        assert (await store.accept(new)).pending == ()
        assert await store.next_due() == START
        (delivery,) = await store.claim(START, 10)
        assert delivery.envelope == new.envelope
        assert octets(delivery.body) == CONTENT
        assert await store.next_due() is None

    async def test_an_id_is_taken_once(self, store: Store, messages: Messages) -> None:
        new = messages.new()
        await store.accept(new)
        again = NewMessage(new.envelope, Body(b"other", 5))
        with pytest.raises(StoreError):
            await store.accept(again)
        kept = await store.body(new.envelope.id)
        assert kept is not None
        assert octets(kept) == CONTENT

    async def test_one_bad_message_does_not_fail_those_accepted_with_it(self, store: Store, messages: Messages) -> None:
        taken = messages.new()
        await store.accept(taken)
        good = [messages.new() for _ in range(5)]
        results = await asyncio.gather(*(store.accept(one) for one in [*good, taken]), return_exceptions=True)
        assert [isinstance(result, Delivery) for result in results[:5]] == [True] * 5
        assert isinstance(results[5], StoreError)
        assert len(await store.list()) == 6

    async def test_a_message_without_recipients_or_with_a_bad_id_is_a_bug(self, store: Store, messages: Messages) -> None:
        new = messages.new()
        nobody = Envelope(new.envelope.id, "", (), START)
        unnamed = Envelope("no id", "", new.envelope.recipients, START)
        for envelope in (nobody, unnamed):
            with pytest.raises(ValueError, match=r"id|recipients"):
                await store.accept(NewMessage(envelope, new.body))
        assert await store.list() == []

    async def test_the_envelope_and_the_prefix_come_back_as_they_were(self, place: Place, messages: Messages) -> None:
        store = await place.open()
        new = messages.new(Recipient("dörte@exämple.net", "\udce4lias@example.net"), message_id="<1@example.org>")
        message = NewMessage(new.envelope, new.body.with_prefix(b"Received: by us\r\n"))
        if isinstance(await _accepts(store, message), StoreError):  # an address that is no text may be refused, not mangled
            message = NewMessage(messages.new("dörte@exämple.net").envelope, message.body)
            await store.accept(message)
        await place.crash(store)
        store = await place.open()
        (delivery,) = await store.claim(START, 10)
        assert delivery.envelope == message.envelope
        assert octets(delivery.body) == b"Received: by us\r\n" + CONTENT
        assert delivery.body.size == len(octets(delivery.body))
        await store.close()

    # --- claiming ---

    async def test_the_oldest_due_is_claimed_first_and_the_limit_counts_recipients(
        self, store: Store, messages: Messages
    ) -> None:
        late = messages.new("a@example.net", at=START + 2, claim=False)
        early = messages.new("b@example.net", "c@example.net", "d@example.net", at=START, claim=False)
        middle = messages.new("e@example.net", "f@example.net", at=START + 1, claim=False)
        for new in (late, early, middle):
            await store.accept(new)
        claimed = await store.claim(START + 10, 4)
        assert [(one.envelope.id, [p.number for p in one.pending]) for one in claimed] == [
            (early.envelope.id, [0, 1, 2]),
            (middle.envelope.id, [0]),
        ]
        rest = await store.claim(START + 10, 4)
        assert [(one.envelope.id, [p.number for p in one.pending]) for one in rest] == [
            (middle.envelope.id, [1]),
            (late.envelope.id, [0]),
        ]
        assert rest[0].envelope.recipients == middle.envelope.recipients
        assert rest[0].pending[0].recipient == middle.envelope.recipients[1]

    async def test_what_is_not_due_is_not_claimed(self, store: Store, messages: Messages) -> None:
        await store.settle(deferred(await store.accept(messages.new()), START + 60))
        assert await store.next_due() == START + 60
        assert not await store.claim(START + 59.9, 10)
        (delivery,) = await store.claim(START + 60, 10)
        assert delivery.pending[0].attempts == 1

    async def test_domains_take_turns_where_more_is_due_than_is_claimed(self, store: Store, messages: Messages) -> None:
        for _ in range(100):
            await store.accept(messages.new("a@crowd.example", claim=False))
        for name in ("b", "c", "d"):
            await store.accept(messages.new(f"x@{name}.example", at=START + 1, claim=False))
        claimed = [one.domain for one in await _claimed(store, 30)]
        assert {"b.example", "c.example", "d.example"} <= set(claimed)
        assert len(claimed) == 30 or len(set(claimed)) == 4
        rest = [one async for one in _all_claimed(store, 30)]
        assert len(claimed) + len(rest) == 103

    async def test_no_more_is_claimed_for_a_domain_than_there_is_room_for(self, store: Store, messages: Messages) -> None:
        for address in ("a@slow.example", "b@slow.example", "c@other.example", "d@bücher.example"):
            await store.accept(messages.new(address, claim=False))
        await store.accept(messages.new("e@slow.example", claim=False, options=Options(priority=3)))
        rooms = {"slow.example": 0, "xn--bcher-kva.example": 0, "of.nobody.example": 7}
        assert [one.address for one in await _claimed(store, 3, rooms)] == ["c@other.example"]
        assert await _claimed(store, 3, rooms) == []
        assert [one.address for one in await _claimed(store, 2, rooms | {"slow.example": 2})] == [
            "e@slow.example",
            "a@slow.example",
        ]
        assert len(await _claimed(store, 9)) == 2

    async def test_all_that_a_message_has_in_a_domain_is_claimed_at_once(self, store: Store, messages: Messages) -> None:
        for _ in range(3):
            people = [f"{name}@slow.example" for name in "abcdefgh"]
            await store.accept(messages.new(*people, "x@other.example", claim=False))
        for limit in (20, 100):
            (delivery,) = await store.claim(START, limit, {"slow.example": 1, "other.example": 0})
            assert len(delivery.pending) == 8

    async def test_what_is_due_already_is_not_due_next(self, store: Store, messages: Messages) -> None:
        for at in (0, 50, 99):
            await store.accept(messages.new(at=START + at, claim=False))
        assert await store.next_due(START) == START + 50
        assert await store.next_due(START + 50) == START + 99
        assert await store.next_due(START + 99) is None

    async def test_what_is_due_too_late_is_brought_forward_but_not_what_its_sender_wants_held(
        self, store: Store, messages: Messages
    ) -> None:
        for options in (Options(), Options(priority=4), Options(hold_until=START + 9000)):
            await store.accept(messages.new(at=START + 5000, claim=False, options=options))
        await store.accept(messages.new(at=START + 50, claim=False))
        assert await store.hasten(START + 100) == 2
        assert await store.hasten(START + 100) == 0
        dues = [START + 50, START + 100, START + 9000]
        assert [await store.next_due(after) for after in (START, START + 50, START + 100)] == dues

    async def test_two_that_claim_at_once_never_get_the_same(self, store: Store, messages: Messages) -> None:
        for _ in range(30):
            await store.accept(messages.new(claim=False))
        claims = await asyncio.gather(*(store.claim(START, 7) for _ in range(6)))
        ids = [delivery.envelope.id for claim in claims for delivery in claim]
        assert len(ids) == len(set(ids)) == 30

    async def test_a_claim_that_is_never_settled_goes_to_the_next_when_its_lease_is_over(
        self, place: Place, store: Store, messages: Messages
    ) -> None:
        first = await store.accept(messages.new())
        place.time = START + LEASE - 1
        assert not await store.claim(START + LEASE - 1, 10)
        place.time = START + LEASE + 1
        (second,) = await store.claim(place.time, 10)
        assert second.envelope == first.envelope
        assert second.token != first.token
        assert await kinds(store, first.envelope.id) == ["recovered"]
        place.time += LEASE / 2
        assert not await store.claim(place.time, 10)
        place.time += LEASE
        assert len(await store.claim(place.time, 10)) == 1

    # --- settling ---

    async def test_a_delivered_message_keeps_its_history_and_loses_its_body(self, store: Store, messages: Messages) -> None:
        delivery = await store.accept(messages.new())
        assert await store.settle(delivered(delivery)) == []
        story = await store.get(delivery.envelope.id)
        assert story is not None
        assert (story.envelope, story.size) == (delivery.envelope, len(CONTENT))
        (recipient,) = story.recipients
        assert (recipient.state, recipient.attempts, recipient.reply) == (State.DELIVERED, 1, "250 2.0.0 taken")
        assert story.events == delivered(delivery).events
        assert await store.body(delivery.envelope.id) is None
        assert await store.list() == []

    async def test_the_body_stays_until_the_last_recipient_is_done(self, store: Store, messages: Messages) -> None:
        delivery = await store.accept(messages.new("a@example.net", "b@example.net", "c@example.net"))
        await store.settle(outcome(delivery, Change(1, State.DELIVERED, 1, "250 ok")))
        assert await states(store, delivery.envelope.id) == [State.ACTIVE, State.DELIVERED, State.ACTIVE]
        await store.settle(outcome(delivery, Change(0, State.FAILED, 1, "550 no"), Change(2, State.HELD, 1, "451 wait")))
        assert await store.body(delivery.envelope.id) is not None
        await store.release(Selection(ids=(delivery.envelope.id,)), START)
        (rest,) = await store.claim(START, 10)
        await store.settle(delivered(rest))
        assert await states(store, delivery.envelope.id) == [State.FAILED, State.DELIVERED, State.DELIVERED]
        assert await store.body(delivery.envelope.id) is None

    async def test_a_deferral_is_told_to_the_next_attempt(self, store: Store, messages: Messages) -> None:
        delivery = await store.accept(messages.new())
        await store.settle(deferred(delivery, START + 60, warned=True))
        (again,) = await store.claim(START + 61, 10)
        assert (again.pending[0].attempts, again.pending[0].warned) == (1, True)
        story = await store.get(delivery.envelope.id)
        assert story is not None
        assert story.recipients[0].reply == "451 4.2.0 busy"

    async def test_what_was_said_last_stands_where_nothing_new_was_said(self, store: Store, messages: Messages) -> None:
        delivery = await store.accept(messages.new())
        await store.settle(deferred(delivery, START))
        (again,) = await store.claim(START, 10)
        await store.settle(outcome(again, Change(0, State.QUEUED, 1, "", START + 60)))
        story = await story_of(store, delivery)
        assert (story.recipients[0].reply, story.recipients[0].next_at) == ("451 4.2.0 busy", START + 60)

    async def test_many_settlements_at_once_are_all_written(self, store: Store, messages: Messages) -> None:
        deliveries = await asyncio.gather(*(store.accept(messages.new("a@b.net", "c@d.net")) for _ in range(100)))
        await asyncio.gather(*(store.settle(delivered(one)) for one in deliveries))
        for one in deliveries:
            assert await states(store, one.envelope.id) == [State.DELIVERED, State.DELIVERED]
            assert await kinds(store, one.envelope.id) == ["attempt"]

    async def test_a_stale_token_changes_nothing(self, place: Place, store: Store, messages: Messages) -> None:
        stale = await store.accept(messages.new())
        place.time = START + LEASE + 1
        (fresh,) = await store.claim(place.time, 10)
        notice = messages.new("ann@example.org", sender="")
        with pytest.raises(StaleToken):
            await store.settle(delivered(stale, notices=[notice]))
        assert await states(store, stale.envelope.id) == [State.ACTIVE]
        assert await kinds(store, stale.envelope.id) == ["recovered"]
        assert await store.get(notice.envelope.id) is None
        await store.settle(delivered(fresh))
        assert await states(store, stale.envelope.id) == [State.DELIVERED]

    async def test_one_stale_change_makes_the_settlement_stale(self, store: Store, messages: Messages) -> None:
        delivery = await store.accept(messages.new("a@example.net", "b@example.net"))
        await store.settle(outcome(delivery, Change(0, State.DELIVERED, 1, "250 ok")))
        with pytest.raises(StaleToken):
            await store.settle(delivered(delivery))
        assert await states(store, delivery.envelope.id) == [State.DELIVERED, State.ACTIVE]

    async def test_those_that_settle_with_a_stale_one_are_not_hurt(self, store: Store, messages: Messages) -> None:
        stale = await store.accept(messages.new())
        await store.settle(delivered(stale))
        others = [await store.accept(messages.new()) for _ in range(4)]
        results = await asyncio.gather(
            *(store.settle(delivered(one)) for one in [stale, *others]), store.accept(messages.new()), return_exceptions=True
        )
        assert isinstance(results[0], StaleToken)
        assert not any(isinstance(result, BaseException) for result in results[1:])
        for one in others:
            assert await states(store, one.envelope.id) == [State.DELIVERED]
        assert await kinds(store, stale.envelope.id) == ["attempt"]

    async def test_settling_twice_at_once_succeeds_once(self, store: Store, messages: Messages) -> None:
        delivery = await store.accept(messages.new())
        results = await asyncio.gather(*(store.settle(delivered(delivery)) for _ in range(2)), return_exceptions=True)
        assert [type(result) for result in results].count(StaleToken) == 1
        assert await kinds(store, delivery.envelope.id) == ["attempt"]

    async def test_settling_what_is_not_there_is_stale(self, store: Store, messages: Messages) -> None:
        new = messages.new()
        with pytest.raises(StaleToken):
            await store.settle(Settlement(new.envelope.id, 1, (Change(0, State.DELIVERED, 1, "250"),)))

    async def test_a_notice_is_there_when_its_cause_is_and_comes_back_claimed(self, place: Place, messages: Messages) -> None:
        store = await place.open()
        delivery = await store.accept(messages.new())
        claimed, queued = messages.new("ann@example.org", sender=""), messages.new("al@example.org", sender="", claim=False)
        returned = await store.settle(delivered(delivery, notices=[claimed, queued]))
        assert [(one.envelope, octets(one.body)) for one in returned] == [(claimed.envelope, CONTENT)]
        assert await states(store, queued.envelope.id) == [State.QUEUED]
        await store.settle(delivered(returned[0]))
        await place.crash(store)
        store = await place.open()
        assert await states(store, delivery.envelope.id) == [State.DELIVERED]
        assert await states(store, claimed.envelope.id) == [State.DELIVERED]
        assert [one.envelope for one in await store.claim(START, 10)] == [queued.envelope]
        await store.close()

    # --- crashes: the numbers are those of the table in the contract ---

    async def test_states_3_to_6_a_claimed_message_is_queued_again_and_said_to_be_uncertain(
        self, place: Place, messages: Messages
    ) -> None:
        store = await place.open()
        first = await store.accept(messages.new("a@example.net", "b@example.net"))
        await store.settle(outcome(first, Change(0, State.DELIVERED, 1, "250 ok")))
        await place.crash(store)
        place.time = START + 100
        store = await place.open()
        (event,) = (await story_of(store, first)).events
        assert (event.at, event.kind, event.detail) == (START + 100, "recovered", {"to": ["b@example.net"], "uncertain": True})
        (second,) = await store.claim(START + 100, 10)
        assert [one.number for one in second.pending] == [1]
        assert octets(second.body) == CONTENT
        with pytest.raises(StaleToken):
            await store.settle(Settlement(first.envelope.id, first.token, (Change(1, State.DELIVERED, 1, "250"),)))
        await store.settle(delivered(second))
        await store.close()

    async def test_states_7_and_8_what_was_settled_stays_settled(self, place: Place, messages: Messages) -> None:
        store = await place.open()
        delivery = await store.accept(messages.new())
        await store.settle(delivered(delivery))
        await place.crash(store)
        store = await place.open()
        assert await states(store, delivery.envelope.id) == [State.DELIVERED]
        assert await kinds(store, delivery.envelope.id) == ["attempt"]
        assert await store.list() == []
        await store.close()

    async def test_state_9_a_deferral_keeps_its_time(self, place: Place, messages: Messages) -> None:
        store = await place.open()
        delivery = await store.accept(messages.new())
        await store.settle(deferred(delivery, START + 300))
        await place.crash(store)
        store = await place.open()
        assert await store.next_due() == START + 300
        assert not await store.claim(START + 299, 10)
        assert len(await store.claim(START + 300, 10)) == 1
        await store.close()

    async def test_closing_hands_claims_back_without_doubt(self, place: Place, messages: Messages) -> None:
        store = await place.open()
        delivery = await store.accept(messages.new())
        place.time = START + 5
        await store.close()
        await store.close()
        with pytest.raises(StoreError):
            await store.accept(messages.new())
        with pytest.raises(StoreError):
            await store.list()
        store = await place.open()
        assert await store.next_due() == START + 5
        assert await kinds(store, delivery.envelope.id) == []
        await store.close()

    async def test_a_cancelled_caller_leaves_nothing_claimed(self, place: Place, store: Store, messages: Messages) -> None:
        news = [messages.new() for _ in range(40)]
        callers = [asyncio.ensure_future(store.accept(new)) for new in news]
        for number, caller in enumerate(callers):
            if number % 2:
                caller.cancel()
            if number % 8 == 0:
                await asyncio.sleep(0)
        results = await asyncio.gather(*callers, return_exceptions=True)
        for _ in range(2):  # what had to be handed back is written before the second of these
            await store.accept(messages.new(claim=False))
        for new, result in zip(news, results, strict=True):
            if isinstance(result, Delivery):
                assert await states(store, new.envelope.id) == [State.ACTIVE]
            else:
                story = await store.get(new.envelope.id)
                assert story is None or story.recipients[0].state is State.QUEUED

    # --- bodies ---

    @pytest.mark.parametrize("size", [0, 10, 65536, 65537, 1_000_000])
    async def test_a_spooled_body_is_the_same_after_a_crash(self, place: Place, messages: Messages, size: int) -> None:
        content = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
        store = await place.open()
        new = messages.new()
        spool = store.spool(new.envelope.id)
        for at in range(0, size, 9000):
            spool.write(content[at : at + 9000])
        body = spool.finish().with_prefix(b"Received: here\r\n")
        assert body.size == size + 16
        delivery = await store.accept(NewMessage(new.envelope, body))
        spool.discard()  # too late to do anything
        assert octets(delivery.body) == b"Received: here\r\n" + content
        await place.crash(store)
        store = await place.open()
        (again,) = await store.claim(START, 10)
        assert octets(again.body) == b"Received: here\r\n" + content
        assert again.body.size == size + 16
        await store.settle(delivered(again))
        assert await store.body(new.envelope.id) is None
        await store.close()

    async def test_discarding_can_be_done_at_any_time_and_twice(self, store: Store, messages: Messages) -> None:
        for chunks in ([], [b"a"], [b"a" * 100_000]):
            spool = store.spool(messages.new().envelope.id)
            for chunk in chunks:
                spool.write(chunk)
            spool.discard()
            spool.discard()
        finished = store.spool(messages.new().envelope.id)
        finished.write(b"a" * 100_000)
        finished.finish()
        finished.discard()
        finished.discard()
        assert await store.list() == []


async def _accepts(store: Store, message: NewMessage) -> Delivery | StoreError:
    try:
        return await store.accept(message)
    except StoreError as error:
        return error


async def _claimed(store: Store, limit: int, rooms: Mapping[str, int] = ALL) -> list[Recipient]:
    return [one.recipient for delivery in await store.claim(START + 10, limit, rooms) for one in delivery.pending]


async def _all_claimed(store: Store, limit: int) -> AsyncIterator[Recipient]:
    while found := await _claimed(store, limit):
        for one in found:
            yield one
