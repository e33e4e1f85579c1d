"""The second writer on a disk that fails or is full, and where nobody copies the log for it."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path

import pytest

from waymail.mail.envelope import Body, Envelope, QueueIds, Recipient, decode_id
from waymail.outbox.message import is_collision
from waymail.store import read, schema
from waymail.store.body import BodyFiles, FileSpool
from waymail.store.contract import NewMessage, State, StoreError, StoreFull
from waymail.store.deposit import Depositor
from waymail.store.place import Place, beside
from waymail.testing.disk import CrashingDisk
from waymail.testing.disk_image import lay_out

START = 1_800_000_000.0
SIZES = (100, 100_000)  # octets: in the row, and in a file
IDS = QueueIds(1)


def message(size: int) -> NewMessage:
    envelope = Envelope(IDS.next(START), "ann@example.org", (Recipient("bob@example.net"),), START)
    return NewMessage(envelope, Body(b"x" * size, size))


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[CrashingDisk]:
    disk = CrashingDisk(tmp_path / "disk")
    disk.make_directory(disk.root / "shop")
    yield disk
    disk.close()


def found(place: Place, one: NewMessage) -> bool:
    """Whether it is there, due and whole."""
    connection = schema.open_to_read(place)
    try:
        id = decode_id(one.envelope.id)
        assert id is not None
        story = read.story(connection, id)
        body = read.body(connection, id, BodyFiles(place))
    finally:
        connection.close()
    if story is None:
        return False
    assert [recipient.state for recipient in story.recipients] == [State.QUEUED]
    assert body is not None
    assert b"".join(body.chunks()) == b"".join(one.body.chunks())
    return True


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("error", "kind"), [(errno.EIO, StoreError), (errno.ENOSPC, StoreFull)])
def test_whichever_write_fails_a_deposit_that_raised_is_not_there(
    disk: CrashingDisk, size: int, error: int, kind: type[StoreError]
) -> None:
    place = beside(disk.root / "shop" / "outbox.db")
    at, failed, kinds = 0, 1, set()
    while failed:
        depositor = Depositor(place, disk=disk)
        refused, later = message(size), message(size)
        disk.fail(at, error)
        try:
            depositor.deposit(refused)
        except StoreError as raised:
            kinds.add(type(raised))
            assert not found(place, refused)
        else:
            assert found(place, refused)
        failed = disk.repair()
        depositor.deposit(later)
        assert found(place, later)
        depositor.close()
        at += 1
    assert at > 2
    assert kind in kinds


@pytest.mark.parametrize("size", SIZES)
def test_what_deposit_returned_for_survives_a_loss_of_power(tmp_path: Path, size: int) -> None:
    Depositor(beside(tmp_path / "outbox.db")).close()
    there_already = {"shop": None, "shop/outbox.db-bodies": None, "shop/outbox.db": (tmp_path / "outbox.db").read_bytes()}
    disk = CrashingDisk(tmp_path / "disk", there_already)
    depositor = Depositor(beside(disk.root / "shop" / "outbox.db"), disk=disk)
    done = []
    for _ in range(3):
        one = message(size)
        depositor.deposit(one)
        done.append((disk.point, one))
    depositor.close()
    crashes = 0
    for crash in disk.crashes(done[0][0]):
        after = tmp_path / f"after-{crashes}"
        lay_out(crash.image, after)
        there = [found(beside(after / "shop" / "outbox.db"), one) for point, one in done if point <= crash.point]
        assert there
        assert all(there), crash.point
        crashes += 1
    disk.close()
    assert crashes > 5


def test_where_nobody_delivers_the_log_is_copied_and_starts_over(tmp_path: Path) -> None:
    place = beside(tmp_path / "outbox.db")
    depositor = Depositor(place)
    log = place.database.with_name("outbox.db-wal")
    largest = 0
    for _ in range(900):  # 40 MB in all
        depositor.deposit(message(45_000))
        largest = max(largest, log.stat().st_size)
    depositor.close()
    assert largest < 25_000_000
    assert place.database.stat().st_size > 40_000_000


@pytest.mark.parametrize("first", SIZES)
@pytest.mark.parametrize("second", SIZES)
def test_an_id_that_is_taken_costs_the_one_who_has_it_nothing(tmp_path: Path, first: int, second: int) -> None:
    place = beside(tmp_path / "outbox.db")
    mine, another = Depositor(place), Depositor(place)
    one = message(first)
    mine.deposit(one)
    with pytest.raises(StoreError) as refused:
        another.deposit(NewMessage(one.envelope, message(second).body))
    assert is_collision(refused.value)
    assert found(place, one)
    mine.close()
    another.close()


def test_a_file_that_another_process_has_begun_stays_and_the_id_is_taken(tmp_path: Path) -> None:
    place = beside(tmp_path / "outbox.db")
    depositor = Depositor(place)
    one, files = message(100_000), BodyFiles(place)
    id = decode_id(one.envelope.id)
    assert id is not None
    with files.create(id) as file:
        file.write(b"theirs")
    with pytest.raises(StoreError) as refused:
        depositor.deposit(one)
    assert is_collision(refused.value)
    spool = FileSpool(id, files, set())
    with pytest.raises(StoreError) as refused:
        spool.write(b"x" * 100_000)
    assert is_collision(refused.value)
    spool.discard()
    assert files.path(id).read_bytes() == b"theirs"
    depositor.close()
