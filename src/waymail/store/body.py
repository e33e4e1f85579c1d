"""Where the octets of a message are while it comes in, and where large ones stay: in a file named by the queue id.

A message of up to `IN_MEMORY` octets is kept in memory and goes into the database with its rows. A larger one is a file in
`directory/bodies`; it and the directory are synced before the row that names it is committed. So a file without a row is
one that nobody was told of, or one that nobody needs any more: recovery sweeps it. A row without its file is damage from
outside, which recovery reports.

Every failing write is a StoreError.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from waymail.mail.envelope import Body, decode_id, encode_id
from waymail.store.contract import StoreError, StoreFull
from waymail.store.disk import SYSTEM, Disk
from waymail.store.place import Place, place_of

IN_MEMORY = 65536  # octets
PIECES = 256  # kept apart in memory: each costs more than the few octets that a slow sender may put into it


class BodyFiles:
    """The body files of the store at `where`."""

    def __init__(self, where: Path | Place, disk: Disk = SYSTEM) -> None:
        self.folder = place_of(where).bodies
        self._disk = disk

    def make(self) -> None:
        """Make the directories where they are missing; what will be in them outlives a loss of power as their names do.
        Raises OSError."""
        directory = self.folder.parent
        self._disk.make_directory(directory)
        self._disk.make_directory(self.folder)
        self.sync_names()
        with suppress(PermissionError):  # a directory that may only be passed through: others made it
            self._disk.sync(directory.parent)

    def sync_names(self) -> None:
        """Bring the names in the store's directory to the disk. Those of the database and of its log are among them, once the log
        is begun: SQLite syncs them, too, and does not say when that fails. Raises OSError."""
        self._disk.sync(self.folder.parent)

    def create(self, id: int) -> BinaryIO:
        """A new file for the body of message `id`. Raises OSError."""
        return self._disk.create(self.path(id), IN_MEMORY)

    def path(self, id: int) -> Path:
        """Where the body of message `id` is, when it is in a file."""
        return self.folder / encode_id(id)

    def sync(self, id: int) -> None:
        """Bring a file and its name to the disk. Blocks; raises StoreError."""
        try:
            for path in (self.path(id), self.folder):
                self._disk.sync(path)
        except OSError as error:
            raise _unwritten(self.path(id), error) from error

    def remove(self, ids: Iterable[int]) -> None:
        """Remove files. One that cannot be removed is left to the next start's sweep."""
        for id in ids:
            try:
                self._disk.remove(self.path(id))
            except OSError:
                continue

    def present(self) -> set[int]:
        """The messages that have a file. Files that are none of ours are passed over."""
        found = ((decode_id(path.name), path.name) for path in self.folder.iterdir())
        return {id for id, name in found if id is not None and encode_id(id) == name}


class FileSpool:
    """Takes a message's octets: in memory while they are few, in a file of `files` above that.

    `kept` holds the messages whose file belongs to the store: what they spooled cannot be discarded any more.
    """

    __slots__ = ("_chunks", "_file", "_files", "_id", "_kept", "_path", "_size")

    def __init__(self, id: int, files: BodyFiles, kept: set[int]) -> None:
        self._id = id
        self._files = files
        self._kept = kept
        self._chunks: list[bytes] = []
        self._size = 0
        self._file: BinaryIO | None = None
        self._path: Path | None = None

    def write(self, chunk: bytes) -> None:
        """Take some octets. Raises StoreError where the disk does not take them."""
        self._size += len(chunk)
        try:
            if self._file is not None:
                self._file.write(chunk)
                return
            self._chunks.append(chunk)
            if self._size > IN_MEMORY:
                self._begin_file()
            elif len(self._chunks) > PIECES:
                self._chunks = [b"".join(self._chunks)]
        except OSError as error:
            raise self._failed(error) from error

    def finish(self) -> Body:
        """The body; durable only once `accept` has returned. Raises StoreError as `write` does."""
        if self._file is None:
            return Body(b"".join(self._chunks), self._size)
        try:
            self._file.close()
        except OSError as error:
            raise self._failed(error) from error
        return Body(self._files.path(self._id), self._size)

    def discard(self) -> None:
        """The message is not wanted after all. Does nothing once the store has taken the message."""
        self._chunks.clear()
        if self._path is None or self._id in self._kept:
            return
        try:
            if self._file is not None:
                self._file.close()
        except OSError:
            pass  # the disk is full: what was not written is not wanted either
        self._path = None
        self._files.remove([self._id])

    def _begin_file(self) -> None:
        self._file = self._files.create(self._id)  # where there is one, it is another message's
        self._path = self._files.path(self._id)
        self._file.writelines(self._chunks)
        self._chunks.clear()

    def _failed(self, error: OSError) -> StoreError:
        return _unwritten(self._files.path(self._id), error)


def _unwritten(path: Path, error: OSError) -> StoreError:
    kind = StoreFull if error.errno in (errno.ENOSPC, errno.EDQUOT) else StoreError
    return kind(f"{path} could not be written: {error.strerror or error}")
