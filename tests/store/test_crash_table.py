"""The table of crash states in `waymail.store.contract`, row by row: what is on the disk, and what the next start does about it.

`test_crash_points` tries all points; here each row is reached on purpose, and looked at.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path

import pytest

from waymail.store.contract import Delivery, Event, NewMessage, Refusal, State
from waymail.store.sqlite import SqliteStore
from waymail.testing.disk import Crash, CrashingDisk
from waymail.testing.disk_image import Act, Loss, lay_out
from waymail.testing.store_cases import START, Messages, deferred, delivered, kinds, octets, states

BIG = b"0123456789abcdef" * 8192
LOG = "queue/queue.sqlite-wal"


class Scene:
    """A store on a disk that crashes, and the starts after its crashes."""

    def __init__(self, folder: Path) -> None:
        self.messages = Messages()
        self.disk = CrashingDisk(folder / "disk")
        self._after = (folder / f"after-{number}" for number in count())

    async def open(self) -> None:
        self.store = await SqliteStore.open(self.disk.root / "queue", now=lambda: START, disk=self.disk)

    def spool(self, content: bytes = BIG) -> NewMessage:
        new = self.messages.new()
        spool = self.store.spool(new.envelope.id)
        spool.write(content)
        return NewMessage(new.envelope, spool.finish())

    async def accept(self, content: bytes = BIG) -> Delivery:
        return await self.store.accept(self.spool(content))

    def crash(self, at: int, loss: Loss = Loss.EVERYTHING) -> Crash:
        """The loss of power after the first `at` operations."""
        (crash,) = self.disk.crashes(at, at, losses=[loss])
        return crash

    def done(self, act: Act, path: str, since: int = 0) -> int:
        """The point after the first such operation."""
        return next(
            point for point, one in enumerate(self.disk.operations, 1) if point > since and (one.act, one.path) == (act, path)
        )

    @asynccontextmanager
    async def start(self, crash: Crash) -> AsyncIterator[tuple[SqliteStore, Path]]:
        """The next start, and its directory."""
        directory = next(self._after)
        lay_out(crash.image, directory)
        store = await SqliteStore.open(directory / "queue", now=lambda: START)
        try:
            yield store, directory / "queue"
        finally:
            await store.abort()

    async def assert_due_again(self, crash: Crash, one: Delivery, content: bytes = BIG) -> None:
        """The message is QUEUED, due now, and whole; its story says that it may have been attempted."""
        async with self.start(crash) as (store, _):
            assert await states(store, one.envelope.id) == [State.QUEUED]
            story = await store.get(one.envelope.id)
            assert story is not None
            assert [(event.kind, event.detail["uncertain"]) for event in story.events] == [("recovered", True)]
            (again,) = await store.claim(START, 10)
            assert again.envelope == one.envelope
            assert octets(again.body) == content


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    scene = Scene(tmp_path)
    await scene.open()
    yield scene
    await scene.store.abort()
    scene.disk.close()


def files(crash: Crash) -> Sequence[str]:
    return [path for path in crash.image if path.startswith("queue/bodies/")]


async def test_1_while_a_message_comes_in_its_file_is_swept(scene: Scene) -> None:
    began = scene.disk.point
    new = scene.spool()
    left = [crash for crash in scene.disk.crashes(began) if files(crash)]
    assert left, "a file can be there, whole or not"
    for crash in left:
        async with scene.start(crash) as (store, directory):
            assert await store.get(new.envelope.id) is None
            assert list((directory / "bodies").iterdir()) == []


async def test_2_after_the_sync_of_the_file_and_before_the_commit_it_is_swept(scene: Scene) -> None:
    began = scene.disk.point
    one = await scene.accept()
    crash = scene.crash(scene.done(Act.SYNC_NAMES, "queue/bodies", began))
    assert files(crash) == [f"queue/bodies/{one.envelope.id}"]
    assert crash.image[files(crash)[0]] == BIG
    async with scene.start(crash) as (store, directory):
        assert await store.get(one.envelope.id) is None
        assert list((directory / "bodies").iterdir()) == []


async def test_3_after_the_commit_and_before_the_250_it_is_delivered(scene: Scene) -> None:
    began = scene.disk.point
    one = await scene.accept()
    await scene.assert_due_again(scene.crash(scene.done(Act.SYNC, LOG, began)), one)


async def test_4_after_the_250_and_before_the_first_attempt_it_is_due_at_once(scene: Scene) -> None:
    one = await scene.accept(b"small")
    await scene.assert_due_again(scene.crash(scene.disk.point), one, b"small")


async def test_5_during_an_attempt_it_is_the_same(scene: Scene) -> None:
    one = await scene.accept()
    assert [one.recipient.address for one in one.pending] == ["bob@example.net"], "it is claimed for the attempt"
    await scene.accept(b"another, meanwhile")
    async with scene.start(scene.crash(scene.disk.point)) as (store, _):
        assert [octets(again.body) for again in await store.claim(START, 10)] == [BIG, b"another, meanwhile"]


async def test_6_after_the_250_of_the_next_hop_and_before_settle_the_trace_says_uncertain(scene: Scene) -> None:
    one = await scene.accept()
    before = scene.disk.point
    await scene.store.settle(delivered(one))
    await scene.assert_due_again(scene.crash(before), one)


async def test_7_during_the_commit_of_settle_all_of_it_is_there_or_nothing(scene: Scene) -> None:
    one = await scene.accept()
    notice = scene.messages.new("ann@example.org")
    began = scene.disk.point
    await scene.store.settle(delivered(one, notices=[notice]))
    seen = set()
    for crash in scene.disk.crashes(began, scene.done(Act.SYNC, LOG, began), seeds=range(5)):
        async with scene.start(crash) as (store, _):
            (state,) = await states(store, one.envelope.id)
            told = await store.get(notice.envelope.id)
            seen.add((state, "attempt" in await kinds(store, one.envelope.id), told is not None))
    assert seen == {(State.QUEUED, False, False), (State.DELIVERED, True, True)}


async def test_8_after_the_commit_of_settle_the_file_that_is_left_is_swept(scene: Scene) -> None:
    one = await scene.accept()
    began = scene.disk.point
    await scene.store.settle(delivered(one))
    crash = scene.crash(scene.done(Act.SYNC, LOG, began))
    assert files(crash) == [f"queue/bodies/{one.envelope.id}"]
    async with scene.start(crash) as (store, directory):
        assert await states(store, one.envelope.id) == [State.DELIVERED]
        assert list((directory / "bodies").iterdir()) == []
        assert await store.claim(START + 10**6, 10) == ()


async def test_9_after_a_deferral_it_waits_for_its_time(scene: Scene) -> None:
    one = await scene.accept()
    await scene.store.settle(deferred(one, START + 600))
    async with scene.start(scene.crash(scene.disk.point)) as (store, _):
        assert await kinds(store, one.envelope.id) == [], "nothing was under way"
        assert await store.next_due() == START + 600
        assert await store.claim(START + 599, 10) == ()
        (again,) = await store.claim(START + 600, 10)
        assert [one.attempts for one in again.pending] == [1]
        assert octets(again.body) == BIG


async def test_10_what_was_refused_is_all_there_or_nothing_and_nobody_waits_for_it(scene: Scene) -> None:
    new, event = scene.messages.new(), Event(START, "judged", {"rule": "on_spf_fail"})
    began = scene.disk.point
    await scene.store.refused(Refusal(new.envelope, "550 no", (event,)))
    seen = set()
    for crash in scene.disk.crashes(began, scene.done(Act.SYNC, LOG, began), seeds=range(5)):
        async with scene.start(crash) as (store, _):
            story = await store.get(new.envelope.id)
            seen.add(None if story is None else (story.recipients[0].state, *(one.kind for one in story.events)))
            assert await store.claim(START + 10**6, 10) == ()
    assert seen == {None, (State.REFUSED, "judged")}
