"""Of what waits for a crowded destination, how much is claimed of which domain."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from waymail.mail.envelope import Body, Envelope, Recipient
from waymail.mail.outcome import Outcome
from waymail.queue.crowds import Crowds
from waymail.store.contract import ALL, Delivery, NewMessage, Store
from waymail.store.memory import MemoryStore
from waymail.store.sqlite import SqliteStore
from waymail.testing.clock import JumpingClock
from waymail.testing.queue import Bench, Place, ScriptedCarrier


def crowds(*domains: str) -> Crowds:
    made = Crowds()
    for domain in domains:
        made.add("mx", domain)
    return made


@pytest.mark.parametrize("room", [0, 1, 2, 3, 4, 10])
def test_all_domains_of_a_destination_get_together_what_it_has_room_for(room: int) -> None:
    rooms = crowds("a", "b", "c").rooms(lambda _: room)
    assert sum(rooms.values()) == room
    assert max(rooms.values()) - min(rooms.values()) <= 1


def test_domains_take_turns_where_there_is_not_room_for_all() -> None:
    made, total = crowds("a", "b", "c"), Counter[str]()
    for _ in range(9):
        total.update(made.rooms(lambda _: 2))
    assert total == {"a": 6, "b": 6, "c": 6}


def test_a_domain_that_goes_elsewhere_now_waits_for_that_alone() -> None:
    made = crowds("a")
    made.add("other", "a")
    assert made.key("a") == "other"
    assert "mx" not in made
    assert made.rooms({"mx": 0, "other": 5}.__getitem__) == {"a": 5}


def test_only_a_domain_that_had_room_and_gave_nothing_is_forgotten() -> None:
    made = crowds("a", "b", "c")
    assert made.forget({"a": 1, "b": 1, "c": 0}, ["a"])
    assert [made.key(one) for one in "abc"] == ["mx", None, "mx"]
    assert not made.forget({"a": 1, "c": 0}, ["a"])
    assert made.forget({"a": 1, "c": 1})
    assert not made
    assert "mx" not in made


class Provider(ScriptedCarrier):
    """All domains are in one place, which takes two seconds for a message."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = JumpingClock()

    def known(self, recipient: Recipient) -> Place | None:
        return Place("mx.provider.example")

    async def deliver(
        self, destination: object, envelope: Envelope, body: Body, recipients: Sequence[Recipient]
    ) -> Mapping[str, Outcome]:
        await self.clock.sleep(2)
        return await super().deliver(destination, envelope, body, recipients)


class CountingStore(MemoryStore):
    claims = 0
    claimed = 0

    async def claim(self, now: float, limit: int, rooms: Mapping[str, int] = ALL) -> Sequence[Delivery]:
        self.claims += 1
        found = await super().claim(now, limit, rooms)
        self.claimed += sum(len(one.pending) for one in found)
        return found


async def test_of_a_provider_with_many_domains_no_more_is_claimed_than_it_takes() -> None:
    carrier = Provider()
    store = CountingStore(now=carrier.clock.now)
    bench = Bench(carrier, store, clock=carrier.clock)
    async with bench.running():
        for number in range(1_000):
            await bench.accept(f"ann@d{number % 500}.example")
        await bench.settled()
        before, attempts = store.claimed, len(carrier.attempts)
        await bench.pass_time(30, step=1)
        attempted = len(carrier.attempts) - attempts
        assert attempted > 20
        assert store.claimed - before < 2 * attempted
        await bench.pass_time(600, step=1)
        assert len(carrier.attempts) == 1_000, "and all of it goes"


async def test_who_sends_much_to_a_crowded_destination_does_not_make_the_queue_look_for_room_each_time() -> None:
    carrier = Provider()
    store = CountingStore(now=carrier.clock.now)
    bench = Bench(carrier, store, clock=carrier.clock)
    async with bench.running():
        for _ in range(1_000):
            await bench.accept("ann@a.example")
        await bench.settled()
        before, attempts = store.claims, len(carrier.attempts)
        for _ in range(200):
            await bench.accept("ann@a.example")
            await bench.pass_time(0.1, step=0.1)
        assert store.claims - before < len(carrier.attempts) - attempts


class TardyStore(CountingStore):
    """Looking for what is due takes half a second."""

    clock = JumpingClock()

    async def claim(self, now: float, limit: int, rooms: Mapping[str, int] = ALL) -> Sequence[Delivery]:
        await self.clock.sleep(0.5)
        return await super().claim(now, limit, rooms)


async def test_looking_for_what_is_due_takes_half_of_the_time_at_most() -> None:
    store = TardyStore(now=lambda: 0.0)
    bench = Bench(ScriptedCarrier(), store)
    store.clock = bench.clock
    async with bench.running():
        for _ in range(200):
            await bench.runner.lift(["a.example"])
            await bench.pass_time(0.05, step=0.05)
        assert store.claims <= 11
        await bench.runner.stop(grace=0)
        await bench.pass_time(2)


@pytest.mark.parametrize("count", [3, 10, 121, 700])
@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_what_waited_for_one_destination_at_the_start_goes_without_a_pause(tmp_path: Path, kind: str, count: int) -> None:
    clock = JumpingClock()
    store: Store = MemoryStore(now=clock.now, monotonic=clock.monotonic)
    if kind == "sqlite":
        store = await SqliteStore.open(tmp_path, now=clock.now, monotonic=clock.monotonic)
    bench = Bench(ScriptedCarrier(), store, clock=clock)
    content = b"Subject: hello\r\n\r\nhello\r\n"
    for number in range(count):
        envelope = Envelope(bench.ids.next(clock.now()), "ann@example.org", (Recipient(f"x{number}@a.example"),), clock.now())
        await store.accept(NewMessage(envelope, Body(content, len(content)), claim=False))
    async with bench.running():
        for _ in range(2000):  # nobody lets time pass by the runner's clock
            await asyncio.sleep(0 if len(bench.carrier.attempts) == count else 0.005)
        assert len(bench.carrier.attempts) == count
    await store.close()
