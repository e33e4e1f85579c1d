"""Directories and files of Maildirs, on disk for good. Every function raises OSError."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

KNOWN = 20_000  # Maildirs to remember; beyond, all are looked at anew
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}


class Counted:
    """Chunks that are counted on their way. `size` is what readers of Maildirs call S, the octets of the file; `crlf_size` is W,
    the octets that the message has with CRLF line ends. A reader that finds both in the file's name need not open the file."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = chunks
        self._lone_lf = 0
        self.size = 0

    @property
    def crlf_size(self) -> int:
        return self.size + self._lone_lf

    def __iter__(self) -> Iterator[bytes]:
        ended_with_cr = False
        for chunk in self._chunks:
            self.size += len(chunk)
            self._lone_lf += chunk.count(b"\n") - chunk.count(b"\r\n") - (ended_with_cr and chunk.startswith(b"\n"))
            ended_with_cr = chunk.endswith(b"\r") if chunk else ended_with_cr
            yield chunk


class Directories:
    """Makes directories, for their owner alone, and sees to it that a crash cannot take them away with the mail in them.

    One that exists already may have been made a moment ago by another thread or process, which has not synced it yet or has died
    before it did. So what holds each directory is synced when this process first uses it, whoever made it: from `top` down.
    What is above `top` belongs to the administrator, and is synced only where it is made here.
    """

    def __init__(self, top: Path) -> None:
        self._above = frozenset(top.parents)
        self._known: set[Path] = set()
        self._maildirs: set[Path] = set()

    def forget(self) -> None:
        """Look at all directories anew. What this process has made or seen is otherwise believed to be there."""
        self._known.clear()
        self._maildirs.clear()

    def make_maildir(self, maildir: Path) -> None:
        """Make tmp, new and cur."""
        if maildir in self._maildirs:
            return
        if len(self._maildirs) >= KNOWN:
            self.forget()
        for part in ("tmp", "new", "cur"):
            self.make(maildir / part)
        self._maildirs.add(maildir)

    def make(self, directory: Path) -> None:
        if directory in self._known:
            return
        if directory not in self._above:
            self.make(directory.parent)
        is_new = _make(directory)
        if is_new or directory not in self._above:
            try:
                sync_directory(directory.parent)
            except PermissionError:  # a directory that we may not read, as /home is for some: nor have we written to it
                if is_new:
                    raise
        self._known.add(directory)


def _make(directory: Path) -> bool:
    """Whether it had to be made. What is missing above it is made, too, each synced into its parent."""
    try:
        directory.mkdir(0o700)
    except FileExistsError:
        return False
    except FileNotFoundError:
        if _make(directory.parent):
            sync_directory(directory.parent.parent)
        directory.mkdir(0o700, exist_ok=True)
    return True


def publish(temporary: str, final: str) -> bool:
    """Give the file its final name. False where that exists: it is this same message, and as good."""
    try:
        os.link(temporary, final)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        Path(temporary).rename(final)  # file systems without hard links
    return True


def sync_directory(directory: str | Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
