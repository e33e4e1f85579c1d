"""What is on a disk after a loss of power, worked out from what was asked of it.

The model:

- A write is in memory until its file is synced. A loss of power keeps any of the writes since the last sync and loses the others,
  in any order (`Loss`); of one write it may keep some sectors of `SECTOR` octets. What was synced is there.
- A name (a file or directory that was made or removed) is in memory until its directory is synced, even where the file was
  synced.
- A file's sync that fails has brought some of it to the disk and not the rest, and no later sync makes up for it: the system
  takes what it could not write for written. Only what is written once more is safe after the next sync. A directory's sync that
  fails has done nothing: names are kept in a journal, and a file system that cannot write that stops.

What is left out: a disk that reports a sync it did not do, sectors that go bad or change by themselves, and a sector that is half
written. POSIX says no more than this model does; most file systems keep more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path, PurePosixPath
from random import Random

SECTOR = 512  # octets that a disk writes as a whole

Image = dict[str, bytes | None]  # by path below the disk's root; None is a directory


class Act(Enum):
    """What can be asked of a disk."""

    MAKE = "make a directory"
    CREATE = "create a file"
    WRITE = "write"
    TRUNCATE = "truncate"
    SYNC = "sync a file"
    SYNC_NAMES = "sync a directory"
    REMOVE = "remove a file"
    FAILED_SYNC = "a file's sync failed"
    FAILED_SYNC_NAMES = "a directory's sync failed"


@dataclass(frozen=True, slots=True)
class Operation:
    """One thing that was asked. `path` is below the disk's root, which is "."; `offset` is where a write begins, or a truncated
    file's size."""

    act: Act
    path: str
    offset: int = 0
    octets: bytes = field(default=b"", repr=False)


class Loss(Enum):
    """What a loss of power takes of that which was not synced."""

    NOTHING = "nothing: as when only the process dies"
    TORN = "half of the last write"
    SOME = "any of it, by chance"
    EVERYTHING = "everything"


class _File:
    """`safe` is on the disk whatever happens; `pending` what was done since."""

    def __init__(self, content: bytes = b"") -> None:
        self.safe = bytearray(content)
        self.pending: list[Operation] = []


_DIRECTORY = _File()  # a directory is its name alone


class Replay:
    """A disk to which operations are applied one by one; after each, `image` is what a loss of power leaves. `image` is on it at
    the beginning."""

    def __init__(self, loss: Loss, seed: int = 0, image: Image | None = None) -> None:
        self._loss = loss
        self._random = Random(seed)  # noqa: S311 - chance that can be repeated
        self._last: Operation | None = None
        self._files = {path: _DIRECTORY if content is None else _File(content) for path, content in (image or {}).items()}
        self._names = dict(self._files)  # as the disk has them; `_files` is how the running process sees them
        self._pending: list[tuple[str, _File | None]] = []  # names made or removed since their directory was synced
        self._steps: dict[Act, Callable[[Operation], None]] = {
            Act.MAKE: self._name,
            Act.CREATE: self._name,
            Act.REMOVE: self._name,
            Act.WRITE: self._change,
            Act.TRUNCATE: self._change,
            Act.SYNC: self._sync,
            Act.FAILED_SYNC: self._sync,
            Act.SYNC_NAMES: self._sync_names,
            Act.FAILED_SYNC_NAMES: lambda _: None,
        }

    def apply(self, operation: Operation) -> None:
        """The disk was asked for one more thing."""
        self._steps[operation.act](operation)
        self._last = operation

    def image(self) -> Image:
        """What is there after a loss of power now. With `Loss.SOME` each call has its own answer."""
        names = dict(self._names)
        for path, file in self._pending:
            if self._is_kept():
                _set(names, path, file)
        image: Image = {}
        for path in sorted(names):
            above = str(PurePosixPath(path).parent)
            if above == "." or above in image:  # nothing is in a directory that is not there
                image[path] = None if names[path] is _DIRECTORY else bytes(self._settled(names[path]))
        return image

    # --- operations ---

    def _name(self, operation: Operation) -> None:
        file = {Act.MAKE: _DIRECTORY, Act.CREATE: _File(), Act.REMOVE: None}[operation.act]
        _set(self._files, operation.path, file)
        self._pending.append((operation.path, file))

    def _change(self, operation: Operation) -> None:
        self._files[operation.path].pending.append(operation)

    def _sync(self, operation: Operation) -> None:
        file = self._files[operation.path]
        if operation.act is Act.SYNC:
            for one in file.pending:
                _write(file.safe, one, one.octets)
        else:
            file.safe = self._settled(file)
        file.pending.clear()

    def _sync_names(self, operation: Operation) -> None:
        for path, file in self._pending:
            if str(PurePosixPath(path).parent) == operation.path:
                _set(self._names, path, file)
        self._pending = [one for one in self._pending if str(PurePosixPath(one[0]).parent) != operation.path]

    # --- chance ---

    def _is_kept(self) -> bool:
        return self._loss is not Loss.EVERYTHING and (self._loss is not Loss.SOME or self._random.random() < 0.5)

    def _settled(self, file: _File) -> bytearray:
        """A file with that of the pending changes which the loss leaves."""
        content = bytearray(file.safe)
        for one in file.pending:
            if self._loss is Loss.TORN and one is self._last:
                _write(content, one, one.octets[: max(1, len(one.octets) // SECTOR // 2) * SECTOR])
            elif self._loss is Loss.SOME and self._random.random() < 0.25:
                self._write_sectors(content, one)
            elif self._is_kept():
                _write(content, one, one.octets)
        return content

    def _write_sectors(self, content: bytearray, write: Operation) -> None:
        at = 0
        while at < len(write.octets):  # sectors are those of the file, not of the write
            end = min(len(write.octets), at + SECTOR - (write.offset + at) % SECTOR)
            if self._random.random() < 0.5:
                _write(content, Operation(write.act, write.path, write.offset + at), write.octets[at:end])
            at = end


def lay_out(image: Image, directory: Path) -> None:
    """Make the files of an image below `directory`, which is new."""
    directory.mkdir()
    for path, content in image.items():
        if content is None:
            (directory / path).mkdir(mode=0o700)
        else:
            (directory / path).write_bytes(content)


def _set(names: dict[str, _File], path: str, file: _File | None) -> None:
    if file is None:
        names.pop(path, None)
    else:
        names[path] = file


def _write(content: bytearray, operation: Operation, octets: bytes) -> None:
    if operation.act is Act.TRUNCATE:
        del content[operation.offset :]
        return
    content.extend(bytes(max(0, operation.offset - len(content))))  # what was skipped, or lost, is zeros
    content[operation.offset : operation.offset + len(octets)] = octets
