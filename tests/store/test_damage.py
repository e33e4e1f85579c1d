"""A store whose rows or files somebody else changed: the damaged message is set aside and said to be, the others go on."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from waymail.mail.envelope import decode_id
from waymail.store import schema
from waymail.store.contract import NewMessage, Selection, State
from waymail.store.sqlite import SqliteStore
from waymail.testing.store_cases import START, Messages, kinds, octets, states

BIG = b"0123456789abcdef" * 8192
LATER = START + 10

Damage = Callable[[sqlite3.Connection, Path, int], object]


def sql(statement: str) -> Damage:
    return lambda connection, file, id: connection.execute(statement, {"id": id})


def shorten(_: sqlite3.Connection, file: Path, id: int) -> None:
    file.write_bytes(BIG[:1000])


def lengthen(_: sqlite3.Connection, file: Path, id: int) -> None:
    file.write_bytes(BIG + b"more")


def take_away(_: sqlite3.Connection, file: Path, id: int) -> None:
    file.unlink()


UNREADABLE = "its envelope cannot be read"
DAMAGES = {
    "envelope is no JSON": (sql("UPDATE message SET envelope = '[\"7BIT\", ' WHERE id = :id"), UNREADABLE),
    "envelope is other JSON": (sql("UPDATE message SET envelope = '7' WHERE id = :id"), UNREADABLE),
    "envelope is too short": (sql("UPDATE message SET envelope = '[]' WHERE id = :id"), UNREADABLE),
    "envelope is too long": (sql("UPDATE message SET envelope = '[1,2,3,4,5,6,7,8,9]' WHERE id = :id"), UNREADABLE),
    "envelope is a number": (sql("UPDATE message SET envelope = 7.5, sender = 8 WHERE id = :id"), UNREADABLE),
    "origin is a number": (sql("UPDATE message SET envelope = '[1,2,3,4,5,6]' WHERE id = :id"), UNREADABLE),
    "time is no number": (sql("UPDATE message SET accepted_at = 'noon' WHERE id = :id"), UNREADABLE),
    "size is no number": (sql("UPDATE message SET size = 'big' WHERE id = :id"), UNREADABLE),
    "attempts are no number": (sql("UPDATE recipient SET attempts = 'few' WHERE message = :id"), UNREADABLE),
    "envelope is no UTF-8": (sql("UPDATE message SET envelope = CAST(x'ff' AS TEXT) WHERE id = :id"), UNREADABLE),
    "sender is no UTF-8": (sql("UPDATE message SET sender = CAST(x'61ff' AS TEXT) WHERE id = :id"), UNREADABLE),
    "sender is no text": (sql("UPDATE message SET sender = x'61' WHERE id = :id"), UNREADABLE),
    "address is no UTF-8": (sql("UPDATE recipient SET address = CAST(x'40ff' AS TEXT) WHERE message = :id"), UNREADABLE),
    "envelope is gone": (sql("DELETE FROM message WHERE id = :id"), "its envelope is missing"),
    "first recipient is gone": (
        sql("DELETE FROM recipient WHERE message = :id AND number = 0"),
        "one of its recipients is missing",
    ),
    "body is gone": (sql("DELETE FROM body WHERE message = :id"), "its body is missing"),
    "body is no octets": (sql("UPDATE body SET content = 7 WHERE message = :id"), "its body cannot be read"),
    "body is short": (
        sql("UPDATE body SET content = x'0d0a' WHERE message = :id"),
        "its body has 2 octets, and should have 131072",
    ),
    "file is gone": (take_away, "its body file is missing"),
    "file is short": (shorten, "its body has 1000 octets, and should have 131072"),
    "file is long": (lengthen, "its body has 131076 octets, and should have 131072"),
}


class Scene:
    """A store with a message that is damaged, between two that are whole. All are due at `LATER`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.messages = Messages()

    async def open(self) -> None:
        self.store = await SqliteStore.open(self.directory, now=lambda: START)

    async def fill(self) -> None:
        await self.open()
        self.before, self.damaged, self.after = [await self._accept() for _ in range(3)]

    async def _accept(self) -> str:
        new = self.messages.new("bob@example.net", "eve@example.net", message_id="<a@example.org>", claim=False)
        spool = self.store.spool(new.envelope.id)
        spool.write(BIG)
        await self.store.accept(NewMessage(new.envelope, spool.finish(), claim=False))
        return new.envelope.id

    def damage(self, damage: Damage) -> None:
        with closing(sqlite3.connect(self.directory / schema.FILE, isolation_level=None)) as connection:
            number = decode_id(self.damaged)
            assert number is not None
            damage(connection, self.directory / "bodies" / self.damaged, number)

    async def assert_set_aside(self, why: str, log: pytest.LogCaptureFixture) -> None:
        """What is whole is delivered; what is damaged is held, is shown to whoever asks, and is said to be damaged."""
        claimed = await self.store.claim(LATER, 100)
        assert [one.envelope.id for one in claimed] == [self.before, self.after]
        assert all(len(one.pending) == 2 and octets(one.body) == BIG for one in claimed)
        assert await self.store.claim(LATER, 100) == ()
        found = await states(self.store, self.damaged)
        assert found
        assert set(found) == {State.HELD}
        story = await self.store.get(self.damaged)
        assert story is not None
        assert [event.detail["why"] for event in story.events if event.kind == "damaged"] == [why]
        assert self.damaged in [one.envelope.id for one in await self.store.list()]
        assert self.damaged in [one.envelope.id for one in await self.store.find(self.damaged)]
        assert {self.before, self.after} <= {one.envelope.id for one in await self.store.find("eve@example.net")}
        said = [vars(record)["fields"] for record in log.records if record.levelno == logging.ERROR]
        assert said == [{"id": self.damaged, "why": why}]


@pytest.fixture
async def scene(tmp_path: Path) -> Scene:
    scene = Scene(tmp_path)
    await scene.fill()
    return scene


@pytest.mark.parametrize(("damage", "why"), DAMAGES.values(), ids=DAMAGES)
async def test_what_is_damaged_while_the_store_runs_is_held_when_it_is_claimed(
    scene: Scene, damage: Damage, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    scene.damage(damage)
    await scene.assert_set_aside(why, caplog)
    await scene.store.close()


@pytest.mark.parametrize(("damage", "why"), DAMAGES.values(), ids=DAMAGES)
async def test_what_is_damaged_before_the_start_does_not_keep_the_store_from_starting(
    scene: Scene, damage: Damage, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    await scene.store.close()
    scene.damage(damage)
    await scene.open()
    await scene.assert_set_aside(why, caplog)
    await scene.store.close()


@pytest.mark.parametrize("state", [9, -1, "sent", 1.5])
async def test_a_recipient_in_no_state_is_held_at_the_start(
    scene: Scene, state: object, caplog: pytest.LogCaptureFixture
) -> None:
    statement = "UPDATE recipient SET state = ? WHERE message = ? AND number = 0"
    scene.damage(lambda connection, file, id: connection.execute(statement, (state, id)))
    assert (await states(scene.store, scene.damaged))[0] is State.HELD, "so it is shown until then"
    await scene.store.close()
    await scene.open()
    await scene.assert_set_aside("a recipient is in no state", caplog)
    await scene.store.close()


async def test_a_recipient_that_is_due_at_no_time_is_held_at_the_start(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    scene.damage(sql("UPDATE recipient SET next_at = 'soon' WHERE message = :id AND number = 1"))
    await scene.store.close()
    await scene.open()
    await scene.assert_set_aside("a recipient is due at no time", caplog)
    await scene.store.close()


async def test_a_message_without_recipients_is_named_at_each_start(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    scene.damage(sql("DELETE FROM recipient WHERE message = :id"))
    await scene.store.close()
    for _ in range(2):
        caplog.clear()
        await scene.open()
        said = [vars(record)["fields"] for record in caplog.records if record.levelno == logging.ERROR]
        assert said == [{"id": scene.damaged, "why": "its recipients are missing"}]
        assert [one.envelope.id for one in await scene.store.claim(LATER, 100)] == [scene.before, scene.after]
        await scene.store.close()


async def test_an_event_that_cannot_be_read_hides_no_other(scene: Scene) -> None:
    ids = Selection(ids=(scene.damaged,))
    await scene.store.hold(ids, START)
    await scene.store.release(ids, START + 1)
    scene.damage(sql("UPDATE event SET detail = '{' WHERE message = :id AND kind = 'held'"))
    story = await scene.store.get(scene.damaged)
    assert story is not None
    assert [(event.kind, event.detail.get("why")) for event in story.events] == [
        ("held", "the event cannot be read"),
        ("released", None),
    ]
    await scene.store.close()


async def test_what_is_repaired_can_be_released_and_is_delivered(scene: Scene) -> None:
    scene.damage(shorten)
    await scene.store.claim(LATER, 100)
    (scene.directory / "bodies" / scene.damaged).write_bytes(BIG)
    await scene.store.release(Selection(ids=(scene.damaged,)), LATER)
    (delivery,) = await scene.store.claim(LATER, 100)
    assert delivery.envelope.id == scene.damaged
    assert octets(delivery.body) == BIG
    assert await kinds(scene.store, scene.damaged) == ["damaged", "released"]
    await scene.store.close()


async def test_a_body_file_whose_row_is_gone_is_not_swept_and_can_be_released(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    scene.damage(sql("DELETE FROM body WHERE message = :id"))
    await scene.store.close()
    for _ in range(2):
        await scene.open()
        await scene.assert_set_aside("its body is missing", caplog)
        await scene.store.close()
    await scene.open()
    await scene.store.release(Selection(ids=(scene.damaged,)), LATER)
    assert [octets(one.body) for one in await scene.store.claim(LATER, 100)] == [BIG] * 3
    await scene.store.close()


LASTING = {name: damage for name, (damage, _) in DAMAGES.items() if name != "body is gone"}  # its file is there


@pytest.mark.parametrize("damage", LASTING.values(), ids=LASTING)
async def test_what_is_damaged_can_be_removed_and_keeps_nobody_from_releasing_others(scene: Scene, damage: Damage) -> None:
    scene.damage(damage)
    await scene.store.claim(LATER, 100)
    await scene.store.close()
    await scene.open()
    await scene.store.hold(Selection(everything=True), START)
    await scene.store.release(Selection(everything=True), START)
    assert [one.envelope.id for one in await scene.store.claim(LATER, 100)] == [scene.before, scene.after]
    await scene.store.remove(Selection(ids=(scene.damaged,)), LATER)
    assert set(await states(scene.store, scene.damaged)) == {State.REMOVED}
    assert scene.damaged not in [one.envelope.id for one in await scene.store.list()]
    await scene.store.close()
