"""A loss of power at every write and every sync of a store's life, and what the next start makes of what is left.

`WAYMAIL_CRASH_SEEDS` is how often chance decides at each point what of the unsynced is lost.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from waymail.store import schema
from waymail.store.contract import Change, Delivery, Event, NewMessage, RecipientState, Refusal, Selection, State, Story
from waymail.store.sqlite import SqliteStore
from waymail.testing.disk import Crash, CrashingDisk
from waymail.testing.disk_image import Loss, lay_out
from waymail.testing.store_cases import START, Messages, delivered, octets, outcome

SEEDS = range(int(os.environ.get("WAYMAIL_CRASH_SEEDS", "2")))
BIG = b"0123456789abcdef" * 4200  # octets: in a file
LATER = START + 3600
EVER = START + 10**7

World = dict[str, Story]  # what the store has, by id


@dataclass
class Step:
    """One call: it was made when the disk had done `began` operations, and had returned at `ended`. With `is_whole` what it does
    is one transaction. `world` is what the store showed afterwards."""

    name: str
    began: int
    ended: int
    is_whole: bool
    world: World


@dataclass
class Life:
    """What a store was asked in one run, and what it holds."""

    disk: CrashingDisk
    store: SqliteStore
    messages: Messages = field(default_factory=Messages)
    content: dict[str, bytes] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)

    async def step(self, name: str, call: Awaitable[Any], *, is_whole: bool = True) -> Any:
        began = self.disk.point
        result = await call
        ended = self.disk.point
        stories = {id: await self.store.get(id) for id in self.content}
        self.steps.append(Step(name, began, ended, is_whole, {id: story for id, story in stories.items() if story}))
        return result

    def new(self, *recipients: str, content: bytes = b"", claim: bool = True) -> NewMessage:
        new = self.messages.new(*recipients, claim=claim)
        id = new.envelope.id
        self.content[id] = content = id.encode() + content
        spool = self.store.spool(id)
        spool.write(content)
        return NewMessage(new.envelope, spool.finish(), claim)

    def spam(self) -> Refusal:
        envelope = self.messages.new().envelope
        self.content[envelope.id] = b""
        return Refusal(envelope, "550 5.7.26 spoofed", (Event(START, "judged", {"action": "reject"}),), 10)


def deferred_first(delivery: Delivery) -> Any:
    """One recipient waits, the others have it."""
    changes = [Change(one.number, State.DELIVERED, 1, "250 2.0.0 taken") for one in delivery.pending[1:]]
    later = Change(delivery.pending[0].number, State.QUEUED, 1, "451 4.2.0 busy", LATER)
    return outcome(delivery, later, *changes, events=[Event(START, "attempt", {"destination": "example.net"})])


def failed(delivery: Delivery, notice: NewMessage) -> Any:
    changes = [Change(one.number, State.FAILED, 1, "550 5.1.1 nobody") for one in delivery.pending]
    return outcome(delivery, *changes, events=[Event(START, "bounced", {"notice": notice.envelope.id})], notices=[notice])


async def lead(life: Life) -> None:
    """A life with everything in it that happens to a message."""
    store, step = life.store, life.step
    first = await step("accept", store.accept(life.new("bob@example.net", "eve@example.net")))
    large = await step("accept a large one", store.accept(life.new(content=BIG)))
    await step("settle: one deferred", store.settle(deferred_first(first)))
    await step("accept, not claimed", store.accept(life.new(claim=False)))
    (third,) = await step("claim", store.claim(START, 10))
    notice = life.new("ann@example.org")
    (notified,) = await step("settle: failed, with a notice", store.settle(failed(third, notice)))
    await step("settle: the large one is delivered", store.settle(delivered(large)))
    await step("hold", store.hold(Selection(ids=(first.envelope.id,)), START))
    fresh = [life.new(), life.new(content=BIG, claim=False), life.new("a@example.net", "b@example.net", content=BIG)]
    some = await step("accept three", asyncio.gather(*map(store.accept, fresh)), is_whole=False)
    await step("remove a large one", store.remove(Selection(ids=(some[1].envelope.id,)), START))
    store._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    await step("release", store.release(Selection(ids=(first.envelope.id,)), START))
    await step("refuse", store.refused(life.spam()))
    await step("settle the notice", store.settle(delivered(notified)))
    store._connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
    await step("accept after a checkpoint", store.accept(life.new()))
    await step("forget", store.forget(START + 1), is_whole=False)
    await step("settle: a large one deferred", store.settle(deferred_first(some[2])))
    # What is still claimed is handed back: the disk cannot be asked any more how it looks, so it is said here.
    before = life.steps[-1].world
    began = life.disk.point
    await store.close()
    world = {id: replace(story, recipients=tuple(map(handed_back, story.recipients))) for id, story in before.items()}
    life.steps.append(Step("close", began, life.disk.point, True, world))


def handed_back(one: RecipientState) -> RecipientState:
    return replace(one, state=State.QUEUED, next_at=START) if one.state is State.ACTIVE else one


def recovered(story: Story) -> Story:
    """A story after a crash and the next start."""
    people = tuple(map(handed_back, story.recipients))
    if to := [one.address for one in story.recipients if one.state is State.ACTIVE]:
        event = Event(START, "recovered", {"to": to, "uncertain": True})
        return replace(story, recipients=people, events=(*story.events, event))
    return story


@pytest.fixture
def memory() -> Iterator[Path]:
    """A directory that is quick: what is opened there was worked out already."""
    folder = Path(tempfile.mkdtemp(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None))
    yield folder
    shutil.rmtree(folder)


async def live(memory: Path, lead: Callable[[Life], Awaitable[None]] = lead) -> Life:
    disk = CrashingDisk(memory / "disk")
    life = Life(disk, await SqliteStore.open(disk.root / "queue", now=lambda: START, disk=disk))
    life.steps.append(Step("open", disk.point, disk.point, True, {}))
    await lead(life)
    disk.close()
    return life


async def test_a_loss_of_power_at_any_point_loses_nothing_that_was_promised(memory: Path) -> None:
    life = await live(memory)
    points = 0
    for crash in life.disk.crashes(seeds=SEEDS):
        points += 1
        try:
            await check(life, crash, memory / "after")
        except BaseException as error:
            last = life.disk.operations[max(0, crash.point - 1) : crash.point]
            error.add_note(f"{crash.loss}, after {crash.point} operations, the last: {last}")
            raise
        shutil.rmtree(memory / "after")
    assert points > 400


async def test_a_second_loss_of_power_while_the_store_recovers_changes_nothing(memory: Path) -> None:
    life = await live(memory)
    first = list(life.disk.crashes(losses=[Loss.SOME], seeds=[7]))
    points = 0
    for crash in first[:: 15 if len(SEEDS) <= 2 else 1]:
        disk = CrashingDisk(memory / "again", crash.image)
        store = await SqliteStore.open(disk.root / "queue", now=lambda: START, disk=disk)
        await store.abort()
        disk.close()
        for again in disk.crashes(losses=[Loss.SOME]):
            points += 1
            await check(life, Crash(crash.point, again.loss, again.image), memory / "after")
            shutil.rmtree(memory / "after")
        shutil.rmtree(memory / "again")
    assert points > 100


async def check(life: Life, crash: Crash, directory: Path) -> None:
    """What a start finds after a crash is what the calls that had returned have promised."""
    lay_out(crash.image, directory)
    store = await SqliteStore.open(directory / "queue", now=lambda: START)
    try:
        found = {id: story for id in life.content if (story := await store.get(id))}
        assert_promised(life, crash.point, found)
        assert {story.envelope.id for story in await store.list()} == {id for id in found if is_live(found[id])}
        await assert_deliverable(life, store, found)
        kept = {id for id, story in found.items() if is_live(story) and story.size > len(BIG)}
        assert {path.name for path in (directory / "queue" / "bodies").iterdir()} == kept
        await store.accept(life.messages.new())  # it goes on
    finally:
        await store.close()
    with sqlite3.connect(directory / "queue" / schema.FILE) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()


def assert_promised(life: Life, point: int, found: World) -> None:
    """Every step that had returned is there; the one under way is there or is not."""
    done = [step for step in life.steps if step.ended <= point]
    before: World = {id: recovered(story) for id, story in done[-1].world.items()} if done else {}
    under_way = life.steps[len(done) :][:1]
    if not under_way or not done:
        assert found == before
        return
    after = {id: recovered(story) for id, story in under_way[0].world.items()}
    if under_way[0].is_whole:
        assert found in (before, after), under_way[0].name
    else:
        for id in life.content:
            assert found.get(id) in (before.get(id), after.get(id)), under_way[0].name


async def assert_deliverable(life: Life, store: SqliteStore, found: World) -> None:
    """A claim gives whatever is queued, whole."""
    claimed = {one.envelope.id: one for one in await store.claim(EVER, 1000)}
    queued = {(id, one.number) for id in found for one in found[id].recipients if one.state is State.QUEUED}
    assert {(id, pending.number) for id, one in claimed.items() for pending in one.pending} == queued
    for id, delivery in claimed.items():
        assert delivery.envelope == found[id].envelope
        assert octets(delivery.body) == life.content[id]


def is_live(story: Story) -> bool:
    return any(one.state.is_live for one in story.recipients)
