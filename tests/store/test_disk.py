"""The disk that crashes loses what was not synced, and nothing else; the one that fails says so."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from waymail.testing.disk import CrashingDisk
from waymail.testing.disk_image import SECTOR, Act, Image, Loss, Operation, Replay, lay_out

OLD, NEW = b"o" * SECTOR * 4, b"n" * SECTOR * 4
BEFORE = [Operation(Act.CREATE, "a"), Operation(Act.WRITE, "a", 0, OLD), Operation(Act.SYNC, "a"), Operation(Act.SYNC_NAMES, ".")]


def after(loss: Loss, *operations: Operation, seed: int = 0) -> Image:
    replay = Replay(loss, seed)
    for operation in operations:
        replay.apply(operation)
    return replay.image()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[CrashingDisk]:
    disk = CrashingDisk(tmp_path / "disk")
    yield disk
    disk.close()


def connect(disk: CrashingDisk, synchronous: str = "FULL") -> sqlite3.Connection:
    connection = sqlite3.connect(f"file:{disk.root}/database?vfs={disk.vfs}", uri=True, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(f"PRAGMA synchronous = {synchronous}")
    connection.execute("CREATE TABLE number (n)")
    return connection


# --- the model ---


@pytest.mark.parametrize("loss", Loss)
def test_what_was_synced_is_there_with_its_name(loss: Loss) -> None:
    assert after(loss, *BEFORE) == {"a": OLD}


def test_a_file_that_was_synced_has_no_name_before_its_directory_is_synced() -> None:
    assert after(Loss.EVERYTHING, *BEFORE[:3]) == {}
    assert after(Loss.NOTHING, *BEFORE[:3]) == {"a": OLD}


def test_a_name_without_a_sync_of_its_file_has_nothing_in_it() -> None:
    assert after(Loss.EVERYTHING, *BEFORE[:2], BEFORE[3]) == {"a": b""}


def test_a_file_that_was_removed_is_back_unless_its_directory_was_synced() -> None:
    remove = Operation(Act.REMOVE, "a")
    assert after(Loss.EVERYTHING, *BEFORE, remove) == {"a": OLD}
    assert after(Loss.NOTHING, *BEFORE, remove) == {}
    assert after(Loss.EVERYTHING, *BEFORE, remove, BEFORE[3]) == {}


def test_nothing_is_in_a_directory_that_is_not_there() -> None:
    made = [Operation(Act.MAKE, "d"), Operation(Act.CREATE, "d/a"), Operation(Act.SYNC_NAMES, "d")]
    assert after(Loss.EVERYTHING, *made) == {}
    assert after(Loss.EVERYTHING, *made, Operation(Act.SYNC_NAMES, ".")) == {"d": None, "d/a": b""}


def test_a_write_that_was_not_synced_is_lost_is_torn_is_there_or_is_there_in_parts() -> None:
    write = Operation(Act.WRITE, "a", 0, NEW)
    assert after(Loss.EVERYTHING, *BEFORE, write) == {"a": OLD}
    assert after(Loss.TORN, *BEFORE, write) == {"a": NEW[: SECTOR * 2] + OLD[SECTOR * 2 :]}
    assert after(Loss.NOTHING, *BEFORE, write) == {"a": NEW}
    some = [after(Loss.SOME, *BEFORE, write, seed=seed)["a"] for seed in range(40)]
    assert {OLD, NEW} < set(some)
    assert len(set(some)) > 6
    sectors = {one[at : at + SECTOR] for one in some if one for at in range(0, len(one), SECTOR)}
    assert sectors == {OLD[:SECTOR], NEW[:SECTOR]}, "a sector is the old one or the new one"


def test_what_was_lost_in_front_of_a_write_that_was_not_is_zeros() -> None:
    writes = [Operation(Act.WRITE, "a", len(OLD), NEW), Operation(Act.WRITE, "a", len(OLD) * 2, NEW)]
    assert OLD + bytes(len(NEW)) + NEW in [after(Loss.SOME, *BEFORE, *writes, seed=seed)["a"] for seed in range(40)]


def test_a_truncated_file_has_its_old_size_until_it_is_synced() -> None:
    cut = Operation(Act.TRUNCATE, "a", 7)
    assert after(Loss.EVERYTHING, *BEFORE, cut) == {"a": OLD}
    assert after(Loss.EVERYTHING, *BEFORE, cut, BEFORE[2]) == {"a": OLD[:7]}


def test_the_sync_after_one_that_failed_does_not_make_up_for_it() -> None:
    write = Operation(Act.WRITE, "a", 0, NEW)
    failed = [*BEFORE, write, Operation(Act.FAILED_SYNC, "a")]
    assert after(Loss.EVERYTHING, *failed, BEFORE[2]) == {"a": OLD}
    assert after(Loss.NOTHING, *failed, BEFORE[2]) == {"a": NEW}
    assert after(Loss.EVERYTHING, *failed, write, BEFORE[2]) == {"a": NEW}, "what is written once more is"


# --- the disk ---


@pytest.mark.parametrize(("synchronous", "is_there"), [("FULL", True), ("OFF", False)])
def test_it_tells_a_database_that_syncs_from_one_that_does_not(
    disk: CrashingDisk, tmp_path: Path, synchronous: str, is_there: bool
) -> None:
    with closing(connect(disk, synchronous)) as connection:
        connection.execute("INSERT INTO number VALUES (7)")
        (crash,) = disk.crashes(disk.point, losses=[Loss.EVERYTHING])
    lay_out(crash.image, tmp_path / "after")
    with closing(sqlite3.connect(tmp_path / "after" / "database")) as found:
        tables = found.execute("SELECT name FROM sqlite_schema").fetchall()
        assert (bool(tables) and found.execute("SELECT n FROM number").fetchall() == [(7,)]) is is_there


def test_a_crash_is_yielded_once_for_each_way_that_leaves_something_new(disk: CrashingDisk) -> None:
    with disk.create(disk.root / "a", 0) as file:
        file.write(NEW)
    disk.sync(disk.root / "a")
    disk.sync(disk.root)
    assert [crash.point for crash in disk.crashes(3)] == [3, 3, 4], "what is safe is the same whatever is lost"
    assert disk.point == 4


def test_what_is_on_it_at_the_beginning_is_safe(tmp_path: Path) -> None:
    disk = CrashingDisk(tmp_path / "disk", {"a": OLD})
    disk.remove(disk.root / "a")
    assert [crash.image for crash in disk.crashes(1, losses=[Loss.EVERYTHING])] == [{"a": OLD}]
    disk.close()


@pytest.mark.parametrize(
    ("act", "error", "said"),
    [
        (Act.WRITE, errno.EIO, "SQLITE_IOERR_WRITE"),
        (Act.WRITE, errno.ENOSPC, "SQLITE_FULL"),
        (Act.SYNC, errno.EIO, "SQLITE_IOERR_FSYNC"),
    ],
)
def test_sqlite_is_told_what_its_own_layer_would_say(disk: CrashingDisk, act: Act, error: int, said: str) -> None:
    with closing(connect(disk)) as connection:
        disk.fail(0, error, act=act)
        with pytest.raises(sqlite3.OperationalError) as failed:
            connection.execute("INSERT INTO number VALUES (7)")
        assert failed.value.sqlite_errorname == said
        assert disk.repair() == 1
        connection.execute("INSERT INTO number VALUES (8)")
        assert connection.execute("SELECT n FROM number").fetchall() == [(8,)]


def test_a_file_write_fails_as_often_as_it_was_told_to(disk: CrashingDisk) -> None:
    file = disk.create(disk.root / "a", 0)
    disk.fail(1, errno.ENOSPC, times=2)
    file.write(OLD)
    for _ in range(2):
        with pytest.raises(OSError, match="No space left on device"):
            file.write(NEW)
    assert disk.repair() == 2
    file.write(OLD)
    file.close()
    assert (disk.root / "a").read_bytes() == OLD + OLD


def test_a_disk_that_is_closed_before_its_connections_can_still_be_used_by_them(disk: CrashingDisk) -> None:
    connection = connect(disk)
    disk.close()
    connection.execute("INSERT INTO number VALUES (7)")
    assert connection.execute("SELECT * FROM number").fetchall()[-1] == (7,)
    connection.close()
    another = CrashingDisk(disk.root.parent / "another")  # SQLite walks through the list of those it knows
    connect(another).close()
    another.close()
