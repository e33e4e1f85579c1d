"""Where the parts of a store are on the disk: in a directory, as a server has it, or beside a file that a program named.

    directory/queue.sqlite    file             the database, with its write-ahead log beside it
    directory/bodies/         file-bodies/     the bodies above 64 KiB
    directory/lock            file-lock        held by the process that delivers

Whatever takes a place takes the path of a directory as well.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

FILE = "queue.sqlite"


@dataclass(frozen=True, slots=True)
class Place:
    """`name` is how people call it. `missing` and `taken` say what to do where nothing is there, or another process has it.
    `may_fork`: the program that has it open is not ours."""

    database: Path
    bodies: Path
    lock: Path
    name: str
    missing: str
    taken: str
    may_fork: bool = False

    @property
    def directory(self) -> Path:
        """The one in which the database is."""
        return self.database.parent


def in_directory(directory: Path) -> Place:
    """That of a server's queue."""
    return Place(
        directory / FILE,
        directory / "bodies",
        directory / "lock",
        f"queue in {directory}",
        "is data_dir right, and was the server ever started?",
        "stop it, or give this one another data_dir; `waymail queue list` and `waymail trace` work while it runs",
    )


def beside(file: Path) -> Place:
    """That of a program's outbox."""
    file = file.absolute()
    return Place(
        file,
        file.with_name(f"{file.name}-bodies"),
        file.with_name(f"{file.name}-lock"),
        f"outbox {file}",
        "is the path right, and was anything ever submitted?",
        "it delivers what is submitted here, too; to look into it, `waymail outbox list` works while it runs",
        may_fork=True,
    )


def place_of(where: Path | Place) -> Place:
    """A place, or that in a directory."""
    return where if isinstance(where, Place) else in_directory(where)


def make_private(file: Path) -> None:
    """Make an empty file that only its owner can read, where there is none: what SQLite makes, everybody can. Raises OSError.

    It is never opened here: a process that closes a database's file gives up all locks that it has on it.
    """
    with suppress(FileExistsError):
        os.mknod(file, stat.S_IFREG | 0o600)
