"""Whatever is done to them in whatever order, the SQLite store and the one in memory tell the same story."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, rule

from waymail.store.contract import (
    Change,
    Delivery,
    Event,
    NewMessage,
    Refusal,
    Selection,
    Settlement,
    StaleToken,
    State,
    Store,
    Story,
    Waiting,
)
from waymail.store.memory import MemoryStore, Tables
from waymail.store.sqlite import SqliteStore
from waymail.testing.store_cases import LEASE, START, Messages, octets

T = TypeVar("T")
Pair = tuple[Delivery, Delivery]

ENDS = st.sampled_from([State.QUEUED, State.DELIVERED, State.FAILED, State.HELD])
ADDRESSES = st.lists(st.sampled_from(["a@example.net", "b@example.net", "c@example.net"]), min_size=1, max_size=3)
ACTIONS = st.sampled_from(["hold", "release", "flush", "remove"])
SELECTIONS = st.builds(
    Selection,
    sender=st.sampled_from([None, None, None, "ann@example.org", ""]),
    recipient=st.sampled_from(["", "", "", "b@example.net"]),
    domain=st.sampled_from(["", "", "example.net", "net"]),
    below=st.booleans(),
    domains=st.sampled_from([frozenset[str](), frozenset[str](), frozenset({"example.net", "x.example"})]),
    states=st.sampled_from([(), (), (State.HELD,), (State.QUEUED, State.ACTIVE)]),
    everything=st.booleans(),
)


class Stores(RuleBasedStateMachine):
    """Does everything to both, and compares."""

    claims = Bundle("claims")
    ids = Bundle("ids")

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory()
        self.tables = Tables()
        self.time = START
        self.messages = Messages()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    def clock(self) -> float:
        return self.time

    @initialize()
    def open(self) -> None:
        self.sqlite = self.run(SqliteStore.open(Path(self.folder.name), lease=LEASE, now=self.clock))
        self.memory = MemoryStore(lease=LEASE, now=self.clock, tables=self.tables)

    @rule(target=claims, to=ADDRESSES, big=st.booleans())
    def accept_claimed(self, to: list[str], big: bool) -> Any:
        new = self.new(to, big, True)
        return self.run(self.sqlite.accept(new[0])), self.run(self.memory.accept(new[1]))

    @rule(target=ids, to=ADDRESSES, big=st.booleans())
    def accept_queued(self, to: list[str], big: bool) -> Any:
        new = self.new(to, big, False)
        self.run(self.sqlite.accept(new[0]))
        self.run(self.memory.accept(new[1]))
        return new[0].envelope.id

    def new(self, to: list[str], big: bool, claim: bool) -> tuple[NewMessage, NewMessage]:
        new = self.messages.new(*to, at=self.time, content=b"x" * (70_000 if big else 10), claim=claim)
        spool = self.sqlite.spool(new.envelope.id)
        spool.write(b"".join(new.body.chunks()))
        return NewMessage(new.envelope, spool.finish(), claim), new

    @rule(target=ids, to=ADDRESSES, state=st.sampled_from([State.REFUSED, State.REMOVED]))
    def refuse(self, to: list[str], state: State) -> Any:
        envelope = self.messages.new(*to, at=self.time).envelope
        for store in (self.sqlite, self.memory):
            self.run(store.refused(Refusal(envelope, "550 no", (Event(self.time, "judged", {}),), 10, state)))
        return envelope.id

    @rule(target=claims, limit=st.integers(0, 5))
    def claim(self, limit: int) -> Any:
        ours, theirs = self.run(self.sqlite.claim(self.time, limit)), self.run(self.memory.claim(self.time, limit))
        assert [(one.envelope, one.pending) for one in ours] == [(one.envelope, one.pending) for one in theirs]
        return multiple(*zip(ours, theirs, strict=True))

    @rule(target=ids, pair=claims)
    def remember(self, pair: Pair) -> str:
        return pair[0].envelope.id

    @rule(pair=claims, ends=st.lists(ENDS, min_size=3, max_size=3), some=st.integers(1, 3), wait=st.integers(0, 900))
    def settle(self, pair: Pair, ends: list[State], some: int, wait: int) -> None:
        results = []
        for store, delivery in ((self.sqlite, pair[0]), (self.memory, pair[1])):
            changes = tuple(
                Change(one.number, end, one.attempts + 1, f"{end}", self.time + wait)
                for one, end in list(zip(delivery.pending, ends, strict=False))[:some]
            )
            try:
                self.run(store.settle(Settlement(delivery.envelope.id, delivery.token, changes)))
                results.append("settled")
            except StaleToken:
                results.append("stale")
        assert results[0] == results[1]

    @rule(some=st.lists(ids, max_size=3), action=ACTIONS)
    def operate(self, some: list[str], action: str) -> None:
        self.act(action, Selection(ids=tuple(some)))

    @rule(selection=SELECTIONS, age=st.sampled_from([None, None, 0.0, 30.0]), action=ACTIONS)
    def operate_on_a_selection(self, selection: Selection, age: float | None, action: str) -> None:
        self.act(action, replace(selection, older=None if age is None else self.time - age))

    def act(self, action: str, selection: Selection) -> None:
        changed = [self.run(getattr(store, action)(selection, self.time)) for store in (self.sqlite, self.memory)]
        assert changed[0] == changed[1]

    @rule(selection=SELECTIONS)
    def take(self, selection: Selection) -> None:
        """Some are claimed, and their claim is nobody's: they come back when the lease is over."""
        taken = [self.run(taken_from(store, selection, self.time)) for store in (self.sqlite, self.memory)]
        assert taken[0] == taken[1]

    @rule(selection=SELECTIONS)
    def look(self, selection: Selection) -> None:
        ours, theirs = (self.run(store.list(3, selection)) for store in (self.sqlite, self.memory))
        assert [_told(one) for one in ours] == [_told(one) for one in theirs]
        waiting = [self.run(store.waiting()) for store in (self.sqlite, self.memory)]
        assert [_counted(one) for one in waiting[0].largest] == [_counted(one) for one in waiting[1].largest]

    @rule(seconds=st.sampled_from([1.0, 60.0, LEASE + 1]))
    def wait(self, seconds: float) -> None:
        self.time += seconds

    @rule(age=st.sampled_from([0.0, 100.0]))
    def forget(self, age: float) -> None:
        assert self.run(self.sqlite.forget(self.time - age)) == self.run(self.memory.forget(self.time - age))

    @rule(crash=st.booleans())
    def restart(self, crash: bool) -> None:
        self.run(self.sqlite.abort() if crash else self.sqlite.close())
        if not crash:
            self.run(self.memory.close())
        self.open()

    @invariant()
    def tell_the_same(self) -> None:
        ours, theirs = self.run(self.sqlite.list()), self.run(self.memory.list())
        assert [_told(one) for one in ours] == [_told(one) for one in theirs]
        assert self.run(self.sqlite.next_due()) == self.run(self.memory.next_due())
        found = [self.run(store.find("b@example.net", 20)) for store in (self.sqlite, self.memory)]
        assert [_told(one) for one in found[0]] == [_told(one) for one in found[1]]
        for id in list(self.tables.records)[-3:]:
            ours_one, theirs_one = self.run(self.sqlite.get(id)), self.run(self.memory.get(id))
            assert ours_one is not None
            assert theirs_one is not None
            assert _told(ours_one) == _told(theirs_one)
            assert ours_one.events == theirs_one.events
            ours_body, theirs_body = self.run(self.sqlite.body(id)), self.run(self.memory.body(id))
            assert (ours_body and octets(ours_body)) == (theirs_body and octets(theirs_body))

    def teardown(self) -> None:
        if hasattr(self, "sqlite"):
            self.run(self.sqlite.close())
        self.runner.close()
        self.folder.cleanup()


async def taken_from(store: Store, selection: Selection, now: float) -> list[tuple[object, ...]]:
    taken = [one async for batch in store.take(selection, now) for one in batch]
    return sorted(((one.envelope.id, one.pending) for one in taken), key=str)


def _counted(one: Waiting) -> tuple[object, ...]:
    return (one.domain, one.queued, one.held, one.oldest, one.next_at)


def _told(story: Story) -> tuple[object, ...]:
    return (story.envelope, story.size, story.recipients)


TestStores = Stores.TestCase
TestStores.settings = settings(max_examples=10, stateful_step_count=20)
