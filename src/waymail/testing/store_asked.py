"""The tests that every store has to pass, continued: what the sender asked for beyond the ordinary."""

# ruff: noqa: S101 - these are tests

from __future__ import annotations

import pytest

from waymail.mail.envelope import NO_OPTIONS, DeliverBy, Options, Recipient
from waymail.store.contract import Selection, Store
from waymail.testing.store_cases import START, Messages, Place, StoreCase, deferred, kinds

EVERYTHING = Options(
    smtputf8=True,
    require_tls=True,
    ret="HDRS",
    envid="QQ314159+2B",
    submitter="",
    hold_until=START + 60,
    deliver_by=DeliverBy(START + 600.5, "N", trace=True),
    priority=-4,
    hold="for;60",
)


class AskedContract(StoreCase):
    """Options of the envelope, parameters of recipients, held messages, priorities, what waits for a domain."""

    @pytest.mark.parametrize(
        "options",
        [EVERYTHING, NO_OPTIONS, Options(submitter=""), Options(deliver_by=DeliverBy(START, "R"))],
        ids=["all", "none", "null submitter", "deliver by"],
    )
    async def test_what_was_asked_for_survives_a_crash(self, place: Place, messages: Messages, options: Options) -> None:
        store = await place.open()
        people = (
            Recipient("a@example.net", "sales@example.net", "SUCCESS,DELAY", "rfc822;Sales+40example.net", expanded=True),
            Recipient("b@example.net"),
            Recipient("c@example.net", notify="NEVER"),
        )
        new = messages.new(*people, options=options)
        await store.accept(new)
        await place.crash(store)
        store = await place.open()
        (delivery,) = await store.claim(START + 3600, 10)
        assert delivery.envelope == new.envelope
        assert tuple(one.recipient for one in delivery.pending) == people
        story = await store.get(new.envelope.id)
        assert story is not None
        assert story.envelope == new.envelope
        await store.close()

    async def test_a_held_message_is_not_claimed_before_its_time(self, place: Place, messages: Messages) -> None:
        store = await place.open()
        new = messages.new(options=Options(hold_until=START + 3600))
        assert (await store.accept(new)).pending == ()
        assert await store.next_due() == START + 3600
        await place.crash(store)
        store = await place.open()
        assert not await store.claim(START + 3599, 10)
        assert len(await store.claim(START + 3600, 10)) == 1
        await store.close()

    async def test_a_hold_that_was_over_when_the_message_came_is_none(self, store: Store, messages: Messages) -> None:
        assert (await store.accept(messages.new(options=Options(hold_until=START)))).pending

    async def test_the_higher_priority_is_claimed_first_and_the_older_within_one(self, store: Store, messages: Messages) -> None:
        ranks = [(0, 1), (-4, 0), (4, 3), (0, 0), (9, 5), (4, 2), (9, 99)]
        for priority, after in ranks:
            await store.accept(messages.new(at=START + after, claim=False, options=Options(priority=priority)))
        claimed = [*await store.claim(START + 10, 3), *await store.claim(START + 10, 9)]
        order = [(one.envelope.options.priority, one.envelope.accepted_at - START) for one in claimed]
        assert order == [(9, 5), (4, 2), (4, 3), (0, 0), (0, 1), (-4, 0)]
        assert await store.next_due() == START + 99

    async def test_what_waits_for_a_domain_is_due_now(self, store: Store, messages: Messages) -> None:
        waits = await store.accept(messages.new("a@Example.NET", "b@other.example", '"x@y"@example.net'))
        await store.settle(deferred(waits, START + 3600))
        due = messages.new("c@example.net", at=START, claim=False)
        await store.accept(due)
        below = await store.accept(messages.new("d@sub.example.net", "e@notexample.net"))
        await store.settle(deferred(below, START + 3600))
        found = await store.flush(Selection(domain="example.net"), START + 10)
        assert (found.messages, found.domains) == (2, ("example.net",))
        assert await kinds(store, waits.envelope.id) == ["flushed"]
        assert await kinds(store, due.envelope.id) == []
        claimed = [one.recipient.address for delivery in await store.claim(START + 10, 10) for one in delivery.pending]
        assert sorted(claimed) == ['"x@y"@example.net', "a@Example.NET", "c@example.net"]

    async def test_what_waits_below_a_domain_is_flushed_where_that_is_asked(self, store: Store, messages: Messages) -> None:
        for address in ("a@example.net", "b@sub.example.net", "c@a.b.example.net", "d@notexample.net"):
            await store.settle(deferred(await store.accept(messages.new(address)), START + 3600))
        found = await store.flush(Selection(domain="example.net", below=True), START + 10)
        assert (found.messages, found.domains) == (3, ("a.b.example.net", "example.net", "sub.example.net"))
        claimed = [one.recipient.address for delivery in await store.claim(START + 10, 10) for one in delivery.pending]
        assert sorted(claimed) == ["a@example.net", "b@sub.example.net", "c@a.b.example.net"]

    async def test_an_internationalised_domain_is_flushed_by_its_ascii_form(self, store: Store, messages: Messages) -> None:
        for address in ("a@bücher.example", "b@xn--bcher-kva.example"):
            await store.settle(deferred(await store.accept(messages.new(address)), START + 3600))
        found = await store.flush(Selection(domain="xn--bcher-kva.example"), START + 10)
        assert (found.messages, found.domains) == (2, ("xn--bcher-kva.example",))

    async def test_what_its_sender_wants_held_no_flush_of_a_domain_lets_go(self, store: Store, messages: Messages) -> None:
        await store.accept(messages.new(options=Options(hold_until=START + 3600)))
        assert (await store.flush(Selection(domain="example.net"), START + 10)).messages == 0
        assert await store.next_due() == START + 3600

    async def test_a_domain_for_which_nothing_waits_flushes_nothing(self, store: Store, messages: Messages) -> None:
        await store.accept(messages.new("a@example.net"))
        for domain in ("example.org", "", "%", "net"):
            assert (await store.flush(Selection(domain=domain), START)).messages == 0
