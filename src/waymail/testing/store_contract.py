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
from collections.abc import AsyncIterator, Sequence
from typing import Protocol

import pytest

from waymail.mail.envelope import Body, Envelope, Origin, QueueIds, Recipient
from waymail.store.contract import Change, Delivery, Event, NewMessage, Settlement, StaleToken, State, Store, StoreError, Story

LEASE = 600.0  # seconds: open your store with this
START = 1_800_000_000.0
ORIGIN = Origin("ESMTPSA", "laptop.example.org", "192.0.2.7", "TLSv1.3 TLS_AES_256_GCM_SHA384 unverified", "ann")
CONTENT = b"Subject: hello\r\n\r\nHow are you?\r\n"


class Place(Protocol):
    """Where a store is, so that it can be opened again. `time` is what its clock says; the suite sets it."""

    time: float

    async def open(self) -> Store: ...

    async def crash(self, store: Store) -> None:
        """End the store as the death of its process would."""


class Messages:
    """Makes what the tests put in."""

    def __init__(self) -> None:
        self._ids = QueueIds(7)

    def new(
        self,
        *recipients: str | Recipient,
        at: float = START,
        sender: str = "ann@example.org",
        message_id: str = "",
        content: bytes = CONTENT,
        claim: bool = True,
    ) -> NewMessage:
        everybody = tuple(Recipient(one) if isinstance(one, str) else one for one in recipients or ("bob@example.net",))
        id = self._ids.next(at)
        envelope = Envelope(id, sender, everybody, at, "8BITMIME", message_id, ORIGIN)
        return NewMessage(envelope, Body(content, len(content)), claim)


def outcome(delivery: Delivery, *changes: Change, events: Sequence[Event] = (), notices: Sequence[NewMessage] = ()) -> Settlement:
    return Settlement(delivery.envelope.id, delivery.token, changes, tuple(events), tuple(notices))


def delivered(delivery: Delivery, *, at: float = START, notices: Sequence[NewMessage] = ()) -> Settlement:
    """All of a delivery was delivered."""
    changes = [Change(one.number, State.DELIVERED, one.attempts + 1, "250 2.0.0 taken") for one in delivery.pending]
    to = [one.recipient.address for one in delivery.pending]
    event = Event(at, "attempt", {"destination": "example.net", "results": [{"to": to, "outcome": "delivered"}]})
    return outcome(delivery, *changes, events=[event], notices=notices)


def deferred(delivery: Delivery, until: float, *, warned: bool = False) -> Settlement:
    """All of a delivery was deferred."""
    changes = [Change(one.number, State.QUEUED, one.attempts + 1, "451 4.2.0 busy", until, warned) for one in delivery.pending]
    return outcome(delivery, *changes)


async def states(store: Store, id: str) -> list[State]:
    story = await store.get(id)
    assert story is not None
    return [one.state for one in story.recipients]


async def kinds(store: Store, id: str) -> list[str]:
    story = await store.get(id)
    assert story is not None
    return [event.kind for event in story.events]


def octets(body: Body) -> bytes:
    return b"".join(body.chunks())


class StoreContract:
    """Subclass it and give it a `place`."""

    @pytest.fixture
    def place(self) -> Place:
        raise NotImplementedError

    @pytest.fixture
    async def store(self, place: Place) -> AsyncIterator[Store]:
        store = await place.open()
        yield store
        await store.close()

    @pytest.fixture
    def messages(self) -> Messages:
        return Messages()

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
        await store.release([delivery.envelope.id], START)
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
        (event,) = (await self._story(store, first)).events
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
        await store.accept(messages.new(claim=False))  # and what had to be handed back was written before this
        await store.claim(START, 0)
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
        events = (await self._story(store, new)).events
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
        assert (await self._story(store, active)).events[-1].detail == {"to": ["b@example.net"]}

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
        story = await self._story(store, delivery)
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

    @staticmethod
    async def _story(store: Store, message: Delivery | NewMessage) -> Story:
        story = await store.get(message.envelope.id)
        assert story is not None
        return story


async def _accepts(store: Store, message: NewMessage) -> Delivery | StoreError:
    try:
        return await store.accept(message)
    except StoreError as error:
        return error
