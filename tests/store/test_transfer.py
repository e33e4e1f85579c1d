"""Messages that move from one store to another in a file: nothing is lost, nothing is in both to be delivered."""

from __future__ import annotations

import asyncio
import resource
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, aclosing, contextmanager
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from tests.store.moved import bodies, exported, fill, moving, stories, told

from waymail.store.archive import ArchiveError
from waymail.store.contract import EVERYTHING, Change, Packed, Selection, State, Store, StoreError, Story
from waymail.store.memory import MemoryStore
from waymail.store.sqlite import SqliteStore
from waymail.testing.store_cases import START, Messages, outcome

LATER = START + 3600
KINDS = ["sqlite", "memory"]
Opener = Callable[[str, str], Any]


@pytest.fixture
async def opened(tmp_path: Path) -> AsyncIterator[Opener]:
    """Opens a store of a kind by name, the same name the same store, and closes all in the end."""
    async with AsyncExitStack() as stack:

        async def open(kind: str, name: str) -> Store:
            if kind == "memory":
                return MemoryStore(now=lambda: START)
            store = await SqliteStore.open(tmp_path / name, now=lambda: START)
            stack.push_async_callback(store.close)
            return store

        yield open


def without_the_import(story: Story) -> Story:
    assert story.events[-1].kind == "imported"
    return replace(story, events=story.events[:-1])


# --- there, and nowhere else ---


@pytest.mark.parametrize(("source", "target"), list(product(KINDS, KINDS)))
async def test_everything_arrives_as_it_stood_and_nothing_stays(
    opened: Opener, messages: Messages, tmp_path: Path, source: str, target: str
) -> None:
    old, new = await opened(source, "old"), await opened(target, "new")
    before, content = await fill(old, messages), await bodies(old)
    written = await told(moving(old).export(tmp_path / "file", EVERYTHING, move=True))
    assert {(note.id, note.recipients, note.why) for note in written} == {(id, 1, "") for id in before}
    assert not await old.claim(LATER * 2, 100)  # held
    assert {note.why for note in await told(moving(old).finish(tmp_path / "file", "a file"))} == {""}
    assert await stories(old) == {}
    assert not await old.claim(LATER * 2, 100)
    taken = await told(moving(new).take_in(tmp_path / "file", "old.example.org"))
    assert [note.why for note in taken] == [""] * len(before)
    assert {id: without_the_import(story) for id, story in (await stories(new)).items()} == before
    assert await bodies(new) == content
    half = next(story for story in before.values() if story.envelope.message_id)
    claimed = await new.claim(LATER * 2, 100)
    assert [one.number for delivery in claimed if delivery.envelope == half.envelope for one in delivery.pending] == [1]


@pytest.mark.parametrize("kind", KINDS)
async def test_taking_in_twice_changes_nothing_the_second_time(
    opened: Opener, messages: Messages, tmp_path: Path, kind: str
) -> None:
    old, new = await opened("memory", "old"), await opened(kind, "new")
    await fill(old, messages)
    await exported(old, tmp_path / "file")
    await told(moving(new).take_in(tmp_path / "file", "x"))
    before, content = await stories(new), await bodies(new)
    again = await told(moving(new).take_in(tmp_path / "file", "x"))
    assert {note.why for note in again} == {"it is in this queue already"}
    assert (await stories(new), await bodies(new)) == (before, content)
    await new.remove(Selection(ids=tuple(before)), START)
    assert {note.why for note in await told(moving(new).take_in(tmp_path / "file", "x"))} >= {
        "it was in this queue, and is done here: removed"
    }
    assert await stories(new) == {}


@pytest.mark.parametrize("kind", KINDS)
async def test_messages_go_there_and_back_again(opened: Opener, messages: Messages, tmp_path: Path, kind: str) -> None:
    here, there = await opened(kind, "here"), await opened("memory", "there")
    before = await fill(here, messages)
    await exported(here, tmp_path / "out")
    await told(moving(there).take_in(tmp_path / "out", "here"))
    await exported(there, tmp_path / "back")
    await asyncio.sleep(0.2)  # the large body's file goes in a thread of its own
    assert {note.why for note in await told(moving(here).take_in(tmp_path / "back", "there"))} == {""}
    now = await stories(here)
    assert now.keys() == before.keys()
    assert all(now[id].recipients == before[id].recipients for id in before)
    happened = [event.kind for event in now[min(now)].events]
    assert happened == ["attempt", "held", "exported", "imported", "imported"] or "held" in happened


async def test_another_message_with_the_same_id_is_left_alone(opened: Opener, messages: Messages, tmp_path: Path) -> None:
    old, new = await opened("memory", "old"), await opened("memory", "new")
    one = messages.new(claim=False)
    await old.accept(one)
    await new.accept(replace(one, envelope=replace(one.envelope, sender="other@example.org")))
    await exported(old, tmp_path / "file")
    (note,) = await told(moving(new).take_in(tmp_path / "file", "x"))
    assert note.why == "another message has this id here"


# --- what is not moved ---


@pytest.mark.parametrize("kind", KINDS)
async def test_what_is_being_attempted_stays_and_is_told(opened: Opener, messages: Messages, tmp_path: Path, kind: str) -> None:
    store = await opened(kind, "old")
    active, waiting = await store.accept(messages.new()), messages.new(claim=False)
    await store.accept(waiting)
    notes = await told(moving(store).export(tmp_path / "file", EVERYTHING, move=True))
    assert [(note.id, note.why) for note in notes] == [
        (active.envelope.id, "it is being attempted: try again when that is over"),
        (waiting.envelope.id, ""),
    ]
    await told(moving(store).finish(tmp_path / "file", "a file"))
    assert list(await stories(store)) == [active.envelope.id]
    await store.settle(outcome(active, Change(0, State.DELIVERED, 1, "250")))


async def test_what_is_released_before_it_went_away_is_told(opened: Opener, messages: Messages, tmp_path: Path) -> None:
    store = await opened("sqlite", "old")
    one, other = messages.new(claim=False), messages.new(claim=False)
    for new in (one, other):
        await store.accept(new)
    await told(moving(store).export(tmp_path / "file", EVERYTHING, move=True))
    await store.release(Selection(ids=(one.envelope.id,)), START)
    notes = await told(moving(store).finish(tmp_path / "file", "a file"))
    assert [(note.id, bool(note.why)) for note in notes] == [(one.envelope.id, True), (other.envelope.id, False)]
    assert list(await stories(store)) == [one.envelope.id]


async def test_a_message_without_its_body_is_told_and_the_others_go(opened: Opener, messages: Messages, tmp_path: Path) -> None:
    store = await opened("sqlite", "old")
    before = await fill(store, messages)
    (file,) = (tmp_path / "old" / "bodies").iterdir()
    file.unlink()
    notes = await told(moving(store).export(tmp_path / "file", EVERYTHING, move=True))
    assert [note.id for note in notes if note.why] == [file.name]
    assert "is missing" in next(note.why for note in notes if note.why)
    await told(moving(store).finish(tmp_path / "file", "a file"))
    assert await stories(store) != before
    assert [(id, story.recipients) for id, story in (await stories(store)).items()] == [(file.name, before[file.name].recipients)]


@pytest.mark.parametrize(
    ("selection", "chosen"),
    [
        (Selection(domain="example.com"), {"half"}),
        (Selection(domain="example.net"), {"held", "big"}),  # that of a recipient who has the message already does not count
        (Selection(sender=""), {"notice"}),
        (Selection(recipient="alias@example.org"), {"half"}),
        (Selection(domain="example.net", states=(State.HELD,)), {"held"}),
        (Selection(older=START), set()),
        (Selection(), set()),
    ],
)
@pytest.mark.parametrize("kind", KINDS)
async def test_a_selection_is_what_moves(
    opened: Opener, messages: Messages, tmp_path: Path, kind: str, selection: Selection, chosen: set[str]
) -> None:
    store = await opened(kind, "old")
    names = dict(zip(sorted(await fill(store, messages)), ["half", "asking", "held", "notice", "big"], strict=True))
    notes = await told(moving(store).export(tmp_path / "file", selection, move=False))
    assert {names[note.id] for note in notes} == chosen
    ids = tuple(id for id, name in names.items() if name in chosen)
    if ids:
        notes = await told(moving(store).export(tmp_path / "ids", Selection(ids=ids), move=False))
        assert [note.id for note in notes] == sorted(ids)


async def test_a_copy_changes_nothing_and_is_held_where_it_is_taken_in(
    opened: Opener, messages: Messages, tmp_path: Path
) -> None:
    old, new = await opened("sqlite", "old"), await opened("sqlite", "new")
    before = await fill(old, messages)
    await told(moving(old).export(tmp_path / "file", EVERYTHING, move=False))
    assert await stories(old) == before
    with pytest.raises(ArchiveError, match="it is a copy"):
        await told(moving(old).finish(tmp_path / "file", "a file"))
    assert await stories(old) == before
    await told(moving(new).take_in(tmp_path / "file", "x"))
    states = {one.state for story in (await stories(new)).values() for one in story.recipients}
    assert states == {State.HELD, State.DELIVERED}
    assert not await new.claim(LATER * 2, 100)


# --- interrupted ---


@pytest.mark.parametrize("kind", KINDS)
async def test_an_export_that_is_left_early_holds_nothing_and_leaves_no_file(
    opened: Opener, messages: Messages, tmp_path: Path, kind: str
) -> None:
    store = await opened(kind, "old")
    before = await fill(store, messages, 250)
    async with aclosing(moving(store).export(tmp_path / "file", EVERYTHING, move=True)) as notes:
        seen = [await anext(notes) for _ in range(220)]
    assert len(seen) == 220
    now = await stories(store)
    assert {id: story.recipients for id, story in now.items()} == {id: story.recipients for id, story in before.items()}
    assert not (tmp_path / "file").exists()


@pytest.mark.parametrize("turns", range(0, 60, 3))
async def test_an_export_that_is_cancelled_at_any_moment_holds_nothing(messages: Messages, tmp_path: Path, turns: int) -> None:
    store = await SqliteStore.open(tmp_path / "old", now=lambda: START)
    before = await fill(store, messages)
    exporting = asyncio.create_task(told(moving(store).export(tmp_path / "file", EVERYTHING, move=True)))
    for _ in range(turns):
        await asyncio.sleep(0.0005)
    exporting.cancel()
    (result,) = await asyncio.gather(exporting, return_exceptions=True)
    now = await stories(store)
    if isinstance(result, asyncio.CancelledError):
        assert {id: story.recipients for id, story in now.items()} == {id: story.recipients for id, story in before.items()}
        assert not (tmp_path / "file").exists()
    else:
        assert {one.state for story in now.values() for one in story.recipients if one.state.is_live} == {State.HELD}
    await store.close()


async def test_a_disk_that_is_full_while_taking_in_leaves_whole_messages_and_no_file_in_the_way(
    messages: Messages, tmp_path: Path
) -> None:
    old = MemoryStore(now=lambda: START)
    large = [messages.new(content=b"X: y\r\n\r\n" + b"x" * size, claim=False) for size in (100_000, 200_000, 400_000)]
    for one in large:
        await old.accept(one)
    before = await stories(old)
    await exported(old, tmp_path / "file")
    new = await SqliteStore.open(tmp_path / "new", now=lambda: START)
    with largest_file(300_000), pytest.raises(StoreError, match="could not be written"):
        await told(moving(new).take_in(tmp_path / "file", "x"))
    assert list(await stories(new)) == [one.envelope.id for one in large[:2]]
    assert [note.why for note in await told(moving(new).take_in(tmp_path / "file", "x"))][2:] == [""]
    assert {id: without_the_import(story) for id, story in (await stories(new)).items()} == before
    await new.close()


class Slow(MemoryStore):
    """Holds, and is long about saying so."""

    async def pack(self, ids: Sequence[str], now: float, *, hold: bool = False) -> Sequence[Packed]:
        packed = await super().pack(ids, now, hold=hold)
        await asyncio.sleep(0.05)
        return packed


async def test_an_export_that_is_cancelled_when_it_has_held_something_and_does_not_know_yet_lets_it_go(
    messages: Messages, tmp_path: Path
) -> None:
    store = Slow(now=lambda: START)
    before = await fill(store, messages)
    exporting = asyncio.create_task(told(moving(store).export(tmp_path / "file", EVERYTHING, move=True)))
    while (await stories(store)) == before:  # noqa: ASYNC110 - the store tells nobody
        await asyncio.sleep(0.001)
    exporting.cancel()
    await asyncio.gather(exporting, return_exceptions=True)
    now = await stories(store)
    assert {id: story.recipients for id, story in now.items()} == {id: story.recipients for id, story in before.items()}


@contextmanager
def largest_file(octets: int) -> Iterator[None]:
    """No file of this process grows beyond that, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (octets, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("size", [0, 100, 5000, 150_000, 700_000])
async def test_a_disk_that_is_full_leaves_everything_to_be_delivered(
    opened: Opener, messages: Messages, tmp_path: Path, size: int
) -> None:
    store = await opened("memory", "old")
    before = await fill(store, messages, 250)
    with largest_file(size), pytest.raises(OSError, match="too large"):
        await told(moving(store).export(tmp_path / "file", EVERYTHING, move=True))
    now = await stories(store)
    assert {id: story.recipients for id, story in now.items()} == {id: story.recipients for id, story in before.items()}
    assert not (tmp_path / "file").exists()


async def test_a_process_that_dies_after_the_export_leaves_all_held_and_the_next_one_ends_it(
    messages: Messages, tmp_path: Path
) -> None:
    store = await SqliteStore.open(tmp_path / "old", now=lambda: START)
    before = await fill(store, messages)
    await told(moving(store).export(tmp_path / "file", EVERYTHING, move=True))
    await store.abort()
    store = await SqliteStore.open(tmp_path / "old", now=lambda: START)
    assert {one.state for story in (await stories(store)).values() for one in story.recipients if one.state.is_live} == {
        State.HELD
    }
    assert not await store.claim(LATER * 2, 100)
    notes = await told(moving(store).finish(tmp_path / "file", "a file"))
    assert {note.id for note in notes if not note.why} == before.keys()
    assert await stories(store) == {}
    await store.abort()


async def test_an_export_that_is_given_up_lets_everything_wait_as_it_did(messages: Messages, tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "old", now=lambda: START)
    before = await fill(store, messages)
    await told(moving(store).export(tmp_path / "file", EVERYTHING, move=True))
    await moving(store).give_up(tmp_path / "file")
    now = await stories(store)
    assert {id: story.recipients for id, story in now.items()} == {id: story.recipients for id, story in before.items()}
    assert not (tmp_path / "file").exists()
    await store.close()


async def test_a_death_while_taking_in_leaves_whole_messages_and_the_next_go_takes_the_rest(
    messages: Messages, tmp_path: Path
) -> None:
    old = MemoryStore(now=lambda: START)
    before = await fill(old, messages, 250)
    await exported(old, tmp_path / "file")
    new = await SqliteStore.open(tmp_path / "new", now=lambda: START)
    async with aclosing(moving(new).take_in(tmp_path / "file", "x")) as notes:
        await anext(notes)
    await new.abort()
    new = await SqliteStore.open(tmp_path / "new", now=lambda: START)
    some = await stories(new)
    assert 0 < len(some) < len(before)
    await told(moving(new).take_in(tmp_path / "file", "x"))
    assert {id: without_the_import(story) for id, story in (await stories(new)).items()} == before
    await new.close()


# --- how much memory ---


IN_BOUNDED_MEMORY = """
import asyncio, resource, sys
from pathlib import Path
from waymail.store.contract import EVERYTHING
from waymail.store.sqlite import SqliteStore
from waymail.store.transfer import Transfer
from waymail.testing.store_cases import START, Messages

async def main(folder, messages):
    old, new = [await SqliteStore.open(folder / name, now=lambda: START) for name in ("old", "new")]
    for _ in range(20):
        made = (messages.new(content=b"X: y\\r\\n\\r\\n" + b"x" * 8000, claim=False) for _ in range(500))
        await asyncio.gather(*map(old.accept, made))
    from_old, to_new = [Transfer(store, host="x", version="1", now=lambda: START) for store in (old, new)]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    moved = 0
    for notes in (from_old.export(folder / "file", EVERYTHING, move=True), from_old.finish(folder / "file", "a file"),
                  to_new.take_in(folder / "file", "x")):
        async for note in notes:
            moved += not note.why
    print(moved, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)

asyncio.run(main(Path(sys.argv[1]), Messages()))
"""


def test_ten_thousand_messages_move_in_bounded_memory(tmp_path: Path) -> None:
    command = [sys.executable, "-c", IN_BOUNDED_MEMORY, str(tmp_path)]
    moved, grown = subprocess.run(command, check=True, capture_output=True, text=True, timeout=300).stdout.split()
    assert int(moved) == 3 * 10_000
    assert (tmp_path / "file").stat().st_size > 80_000_000
    assert int(grown) < 32_000  # KB; with all in memory it would be some hundred thousand


@pytest.fixture
def messages() -> Messages:
    return Messages()
