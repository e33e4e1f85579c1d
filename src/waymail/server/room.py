"""Is there room for more mail? Where the disk is nearly full, it is said before the message comes, and nothing breaks.

What is free of a file system is looked at by `look`, which somebody calls every second. In between a session only compares. Mail
is taken again when a little more is free than has to be, so that a disk at the very bound is not told of again and again.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Literal, Protocol

log = logging.getLogger("waymail.server")

LOOK = 1.0  # seconds between two looks
FILES = 1_000  # inodes that stay free
AGAIN = 10  # the part of what has to stay free that has to be free besides, before mail is taken again: a tenth


class FileSystem(Protocol):
    """The part of `os.statvfs_result` that counts: what others than root may still use."""

    @property
    def f_bavail(self) -> int: ...
    @property
    def f_frsize(self) -> int: ...
    @property
    def f_files(self) -> int: ...
    @property
    def f_favail(self) -> int: ...


class Room:
    """The file system with `folder`, of which `reserve` octets stay free; None takes mail whatever is free. `lacks` is what
    there is too little of, as long as no mail is taken."""

    def __init__(self, folder: Path | None, reserve: int | None, *, statvfs: Callable[[Path], FileSystem] = os.statvfs) -> None:
        """Without a `folder` there is always room."""
        self.folder = folder
        self._statvfs = statvfs
        self._spare = float("inf")  # octets for the next message; less than 0 where there is no room for any
        self.reserve = reserve
        self.lacks: Literal["", "octets", "files"] = ""

    def holds(self, octets: int) -> bool:
        """Whether a message of so many octets may come; 0 where its size is not known. Cheap."""
        return octets <= self._spare

    def look(self) -> None:
        """See how much is free now, and log where that ends or begins to be enough. Raises nothing."""
        was_scarce, self._spare, self.lacks = self._spare < 0, float("inf"), ""
        if self.folder is None or self.reserve is None:
            return
        try:
            found = self._statvfs(self.folder)
        except OSError:
            return  # the store will say what is wrong
        octets, files = found.f_bavail * found.f_frsize, found.f_favail
        least, fewest = self.reserve, FILES
        if was_scarce:
            least, fewest = least + least // AGAIN, fewest + fewest // AGAIN
        # A file system that makes inodes as they are needed says 0.
        self.lacks = "octets" if octets < least else "files" if found.f_files > 0 and files < fewest else ""
        is_scarce = self.lacks != ""
        self._spare = -1.0 if is_scarce else octets - self.reserve
        fields = {"folder": str(self.folder), "free": octets, "reserve": self.reserve, "files": files}
        if is_scarce and not was_scarce:
            log.error("the disk is nearly full, no mail is taken", extra={"fields": fields})
        elif was_scarce and not is_scarce:
            log.warning("the disk has room again, mail is taken", extra={"fields": fields})
