"""Room on the disk, with a file system that says what it is told to."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import pytest

from waymail.server.room import FILES, Room

FOLDER = Path("/var/lib/waymail")
MB = 1_000_000


@dataclass
class Disk:
    """What statvfs says."""

    free: int = 500
    f_favail: int = 1_000_000
    f_files: int = 2_000_000
    f_frsize: int = MB
    looks: int = 0
    is_broken: bool = False

    @property
    def f_bavail(self) -> int:
        return self.free

    def __call__(self, folder: Path) -> Disk:
        assert folder == FOLDER
        self.looks += 1
        if self.is_broken:
            raise OSError(5, "Input/output error")
        return self


def looked(disk: Disk, room: Room, free: int) -> bool:
    """Whether there is room for any message when so many megabytes are free."""
    disk.free = free
    room.look()
    assert (room.lacks == "") is room.holds(0)
    return room.holds(0)


def test_mail_is_taken_while_the_reserve_is_free_and_again_a_little_above_it(caplog: pytest.LogCaptureFixture) -> None:
    disk = Disk()
    room = Room(FOLDER, 100 * MB, statvfs=disk)
    with caplog.at_level(logging.INFO):
        assert [looked(disk, room, free) for free in (500, 100, 99, 50, 100, 109, 110, 100)] == [
            True, True, False, False, False, False, True, True,
        ]  # fmt: skip
    assert [record.getMessage() for record in caplog.records] == [
        "the disk is nearly full, no mail is taken",
        "the disk has room again, mail is taken",
    ], "said when it begins and when it ends"
    assert caplog.records[0].fields["free"] == 99 * MB  # type: ignore[attr-defined]


def test_a_message_that_would_go_into_the_reserve_has_no_room_and_a_smaller_one_has() -> None:
    disk = Disk(free=150)
    room = Room(FOLDER, 100 * MB, statvfs=disk)
    room.look()
    assert [room.holds(size) for size in (0, 50 * MB, 50 * MB + 1)] == [True, True, False]


def test_inodes_count_where_the_file_system_has_a_number_of_them() -> None:
    disk = Disk(f_favail=FILES - 1)
    room = Room(FOLDER, 100 * MB, statvfs=disk)
    room.look()
    assert (room.holds(0), room.lacks) == (False, "files")
    disk.f_favail = disk.f_files = 0  # as btrfs has it
    room.look()
    assert (room.holds(0), room.lacks) == (True, "")


def test_asking_does_not_look() -> None:
    disk = Disk()
    room = Room(FOLDER, 100 * MB, statvfs=disk)
    assert all(room.holds(size) for size in range(1000))
    assert disk.looks == 0


@pytest.mark.parametrize(("folder", "reserve"), [(None, 100 * MB), (FOLDER, None)])
def test_without_a_reserve_or_a_folder_there_is_always_room(folder: Path | None, reserve: int | None) -> None:
    room = Room(folder, reserve, statvfs=Disk(free=0))
    room.look()
    assert room.holds(10**12)


def test_a_disk_that_cannot_be_asked_is_left_to_the_store() -> None:
    disk = Disk(free=1)
    room = Room(FOLDER, 100 * MB, statvfs=disk)
    room.look()
    disk.is_broken = True
    room.look()
    assert room.holds(0)


def test_a_reserve_that_is_changed_counts_from_the_next_look() -> None:
    disk = Disk(free=150)
    room = Room(FOLDER, 100 * MB, statvfs=disk)
    room.look()
    room.reserve = 200 * MB
    room.look()
    assert not room.holds(0)
    room.reserve = None
    room.look()
    assert room.holds(0)
