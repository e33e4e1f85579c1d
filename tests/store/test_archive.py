"""Files of messages: what is in them, and those that are damaged, cut off, or none."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest
from tests.store.moved import exported, fill, moving, stories, told

from waymail.store.archive import ArchiveError
from waymail.store.contract import EVERYTHING
from waymail.store.memory import MemoryStore
from waymail.testing.store_cases import START, Messages


@pytest.fixture
def messages() -> Messages:
    return Messages()


@pytest.fixture
async def file(messages: Messages, tmp_path: Path) -> Path:
    store = MemoryStore(now=lambda: START)
    await fill(store, messages)
    await exported(store, tmp_path / "whole")
    return tmp_path / "whole"


async def test_of_a_file_that_was_cut_off_nothing_is_taken_in_or_what_is_whole(file: Path, tmp_path: Path) -> None:
    whole = file.read_bytes()
    with tarfile.open(file) as archive:
        starts = [member.offset for member in archive if member.name.endswith(".json")][1:]
    cut = tmp_path / "cut"
    for size in [*range(0, len(whole) - 1024, 4801), *(at + more for at in starts for more in (0, 1, 600)), len(whole) - 1025]:
        cut.write_bytes(whole[:size])
        store = MemoryStore(now=lambda: START)
        with pytest.raises(ArchiveError, match=r"cut off|no file that `waymail queue export` wrote"):
            await told(moving(store).take_in(cut, "x"))
        assert await stories(store) == {}
        seen = []
        with pytest.raises(ArchiveError):  # noqa: PT012 - what was told before the error counts
            async for note in moving(store).take_in(cut, "x", partly=True):
                seen.append(note.id)  # noqa: PERF401
        assert seen == list(await stories(store))
        assert len(seen) == sum(following <= size for following in starts[1:])


async def test_an_octet_that_is_another_is_noticed(file: Path, tmp_path: Path) -> None:
    whole = file.read_bytes()
    changed = tmp_path / "changed"
    for at in range(0, len(whole) - 4 * 512, 1213):  # before the end, which has no meaning beyond its sum
        changed.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        store = MemoryStore(now=lambda: START)
        with pytest.raises(ArchiveError):
            await told(moving(store).take_in(changed, "x"))
        with pytest.raises(ArchiveError):
            await told(moving(store).finish(changed, "x"))
        assert await stories(store) == {}


@pytest.mark.parametrize("content", [b"", b"x", b"From ann\n" * 1000, bytes(10_240)])
async def test_what_is_no_such_file_is_said_to_be_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(ArchiveError, match="this is no file that `waymail queue export` wrote"):
        await told(moving(MemoryStore(now=lambda: START)).take_in(tmp_path / "file", "x"))


def header(name: str, size: int) -> bytes:
    """A tar header as anybody can write one, with a sum that is right."""
    octets = bytearray(tarfile.TarInfo(name).tobuf(tarfile.GNU_FORMAT))
    octets[124:136] = b"\xff" + (256**11 + size).to_bytes(11, "big") if size < 0 else b"%011o\0" % size
    octets[148:156] = b" " * 8
    octets[148:156] = b"%06o\0 " % sum(octets)
    return bytes(octets)


def filled(octets: bytes) -> bytes:
    return octets + bytes(-len(octets) % tarfile.BLOCKSIZE)


async def test_a_member_of_less_than_nothing_is_refused(file: Path) -> None:
    whole = bytearray(file.read_bytes())
    with tarfile.open(file) as archive:
        content = list(archive)[2]
    whole[content.offset : content.offset_data] = header(content.name, -5)
    file.write_bytes(whole.replace(b'"size": %d' % content.size, b'"size": -5'.ljust(len(b'"size": %d' % content.size))))
    with pytest.raises(ArchiveError, match="less than nothing"):
        await told(moving(MemoryStore(now=lambda: START)).take_in(file, "x"))


async def test_what_is_nested_without_end_is_refused(file: Path) -> None:
    with tarfile.open(file) as archive:
        begins = list(archive)[1].offset
    nested = b"[" * 200_000
    file.write_bytes(file.read_bytes()[:begins] + header("x.json", len(nested)) + filled(nested))
    with pytest.raises(ArchiveError, match="damaged behind 0 complete messages"):
        await told(moving(MemoryStore(now=lambda: START)).take_in(file, "x"))


async def test_a_message_that_is_there_twice_is_refused(file: Path) -> None:
    whole = file.read_bytes()
    with tarfile.open(file) as archive:
        first, second = list(archive)[1], list(archive)[3]
    file.write_bytes(whole[: second.offset] + whole[first.offset :])
    store = MemoryStore(now=lambda: START)
    with pytest.raises(ArchiveError, match="is there twice"):
        await told(moving(store).take_in(file, "x", partly=True))
    assert list(await stories(store)) == [first.name.removesuffix(".json")]


async def test_a_file_of_a_newer_version_is_refused_with_its_name(file: Path) -> None:
    file.write_bytes(file.read_bytes().replace(b'"format": 1', b'"format": 2', 1))
    with pytest.raises(ArchiveError, match=r"written by waymail 1\.2\.3 in format 2, and this one knows 1"):
        await told(moving(MemoryStore(now=lambda: START)).take_in(file, "x"))


async def test_tar_looks_into_the_file_and_only_its_owner_does(file: Path) -> None:
    assert file.stat().st_mode & 0o777 == 0o600
    with tarfile.open(file) as archive:
        names = archive.getnames()
        assert names[0] == "waymail-queue.json"
        assert names[-1] == "end.json"
        assert [name.rpartition(".")[2] for name in names[1:-1]] == ["json", "eml"] * 5
        large = max(archive.getmembers(), key=lambda member: member.size)
        content = archive.extractfile(large)
        assert content is not None
        assert content.read().startswith(b"Received: by old.example.org\r\nSubject: large\r\n")
        head = archive.extractfile("waymail-queue.json")
        assert head is not None
        assert json.load(head) == {"format": 1, "host": "old.example.org", "version": "1.2.3", "at": START + 100, "moved": True}


async def test_a_file_is_not_written_over(file: Path) -> None:
    store = MemoryStore(now=lambda: START)
    before = file.read_bytes()
    with pytest.raises(FileExistsError):
        await told(moving(store).export(file, EVERYTHING, move=True))
    assert file.read_bytes() == before
