"""What a store asks of a disk beside the database: so few things that a test can stand in for it (`waymail.testing.disk`).

Everything raises OSError where the disk refuses.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO, Protocol


class Disk(Protocol):
    """What changes files and directories."""

    @property
    def vfs(self) -> str:
        """The SQLite VFS by which the database is opened; "" for SQLite's own."""

    def make_directory(self, path: Path) -> None:
        """Make a directory that only its owner enters, and those above it, where they are missing."""

    def create(self, path: Path, buffer: int) -> BinaryIO:
        """A new file to write, with a buffer of so many octets. Raises FileExistsError where there is one."""

    def sync(self, path: Path) -> None:
        """Bring a file's octets, or a directory's names, to the disk. Blocks."""

    def remove(self, path: Path) -> None:
        """Remove a file. Nothing happens where there is none."""


class SystemDisk:
    """The operating system's."""

    vfs = ""

    def make_directory(self, path: Path) -> None:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)

    def create(self, path: Path, buffer: int) -> BinaryIO:
        return path.open("xb", buffering=buffer)

    def sync(self, path: Path) -> None:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def remove(self, path: Path) -> None:
        path.unlink(missing_ok=True)


SYSTEM = SystemDisk()
