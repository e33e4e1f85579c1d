"""A disk that loses what was not synced, and that fails when it is told to: for tests of what a store promises.

    disk = CrashingDisk(tmp_path / "disk")
    store = await SqliteStore.open(disk.root / "queue", now=..., disk=disk)
    await store.accept(message)
    await store.abort()
    for crash in disk.crashes():
        lay_out(crash.image, tmp_path / "after")    # then open a store there, and see what it has

While the store runs the disk is an ordinary directory: every change is done and recorded, but syncs are only recorded. From the
record it is worked out what a loss of power at any point would have left (`waymail.testing.disk_image` has the model). What
passes here is the database and its log, through `waymail.testing.vfs`, and what goes through `waymail.store.disk`; the lock file
does not.
"""

from __future__ import annotations

import errno
import io
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import BinaryIO, cast

from waymail.testing.disk_image import SECTOR, Act, Image, Loss, Operation, Replay, lay_out
from waymail.testing.vfs import WatchedVfs

_names = count(1)

# What SQLite's own VFS says when an operation fails: https://www.sqlite.org/rescode.html
_IOERR = {Act.WRITE: 778, Act.TRUNCATE: 1546, Act.SYNC: 1034, Act.SYNC_NAMES: 1290, Act.CREATE: 14, Act.REMOVE: 2570}
_FULL = 13


@dataclass(frozen=True, slots=True)
class Crash:
    """A loss of power after the first `point` operations, and what it left. `point` compares with `CrashingDisk.point`."""

    point: int
    loss: Loss
    image: Image


class CrashingDisk:
    """A disk below `root`, which is made. Give it to `SqliteStore.open`; `close` it after the store. Calls may come from
    any thread. `image` is what is on it already.

    Raises RuntimeError where SQLite cannot be watched (`waymail.testing.vfs`).
    """

    def __init__(self, root: Path, image: Image | None = None) -> None:
        self._image = image or {}
        lay_out(self._image, root)
        self.root = root
        self.operations: list[Operation] = []
        self.vfs = f"waymail-{next(_names)}"
        self._lock = threading.RLock()  # what is recorded is in the order in which it was done
        self._asked = 0
        self._failing = range(0)
        self._counted: tuple[Act | None, str] = (None, "")
        self._error = errno.EIO
        self._sqlite = WatchedVfs(self.vfs, _Sqlite(self))

    def close(self) -> None:
        """SQLite forgets it. Safe to call twice."""
        self._sqlite.close()

    # --- for the test ---

    @property
    def point(self) -> int:
        """How many operations there were: what returned before now was asked of the disk among these."""
        return len(self.operations)

    def fail(self, at: int, error: int = errno.EIO, *, times: int = 1, act: Act | None = None, path: str = "") -> None:
        """Of the operations that follow, `times` fail from the one numbered `at` on, which begins with 0. With `act` or `path`
        (below `root`) only operations of that kind or of that file count. A write that fails has written a part. Of a sync that
        fails nobody knows what it did, and the next does not make up for it."""
        with self._lock:
            self._asked = 0
            self._failing = range(at, at + times)
            self._counted = (act, path)
            self._error = error

    def repair(self) -> int:
        """Nothing fails any more. Returns how many operations failed since `fail`."""
        with self._lock:
            failed = len(range(self._failing.start, min(self._asked, self._failing.stop)))
            self._failing = range(0)
        return failed

    def crashes(
        self, first: int = 0, last: int | None = None, losses: Sequence[Loss] = tuple(Loss), *, seeds: Sequence[int] = (0,)
    ) -> Iterator[Crash]:
        """A loss of power at each point from `first` to `last`, in each way that leaves something new; each of `seeds` is one
        more throw of the dice for `Loss.SOME`."""
        ways = [(loss, seed) for loss in losses for seed in (seeds if loss is Loss.SOME else seeds[:1])]
        replays = [(loss, Replay(loss, seed, self._image)) for loss, seed in ways]
        operations = self.operations[:last]
        for point in range(len(operations) + 1):
            if point:
                for _, replay in replays:
                    replay.apply(operations[point - 1])
            if point >= first:
                seen: list[Image] = []
                for loss, replay in replays:
                    if (image := replay.image()) not in seen:
                        seen.append(image)
                        yield Crash(point, loss, image)

    # --- as a `waymail.store.disk.Disk` ---

    def make_directory(self, path: Path) -> None:
        if not path.is_dir():
            self.perform(Act.MAKE, path, lambda: path.mkdir(mode=0o700))

    def create(self, path: Path, buffer: int) -> BinaryIO:
        file = _Recorded(self, path)
        return cast("BinaryIO", io.BufferedWriter(file, buffer) if buffer else file)

    def sync(self, path: Path) -> None:
        self.perform(Act.SYNC_NAMES if path.is_dir() else Act.SYNC, path)

    def remove(self, path: Path) -> None:
        if path.exists():
            self.perform(Act.REMOVE, path, path.unlink)

    # --- what all of that goes through ---

    def perform(self, act: Act, path: Path, do: Callable[[], object] = lambda: None, offset: int = 0) -> None:
        """Do something and record it. Raises OSError where it is to fail, or does."""
        with self._lock:
            name = str(path.relative_to(self.root))
            if self._fails(act, name):
                if act in (Act.SYNC, Act.SYNC_NAMES):
                    failed = Act.FAILED_SYNC if act is Act.SYNC else Act.FAILED_SYNC_NAMES
                    self.operations.append(Operation(failed, name))
                raise OSError(self._error, os.strerror(self._error), str(path))
            do()
            self.operations.append(Operation(act, name, offset))

    def write(self, path: Path, offset: int, octets: bytes, do: Callable[[int], object]) -> None:
        """`do` writes the first so many of `octets`. Raises as `perform` does."""
        with self._lock:
            name = str(path.relative_to(self.root))
            fails = self._fails(Act.WRITE, name)
            size = len(octets) // SECTOR // 2 * SECTOR if fails else len(octets)
            if size:
                do(size)
                self.operations.append(Operation(Act.WRITE, name, offset, octets[:size]))
            if fails:
                raise OSError(self._error, os.strerror(self._error), str(path))

    def code(self, act: Act) -> int:
        """What SQLite is told of the failure."""
        return _FULL if self._error == errno.ENOSPC and act is Act.WRITE else _IOERR[act]

    def _fails(self, act: Act, name: str) -> bool:
        if self._counted[0] not in (None, act) or self._counted[1] not in ("", name):
            return False
        self._asked += 1
        return self._asked - 1 in self._failing


class _Recorded(io.FileIO):
    """A new file of the disk."""

    def __init__(self, disk: CrashingDisk, path: Path) -> None:
        self._disk = disk
        self._path = path
        self._at = 0
        disk.perform(Act.CREATE, path, lambda: super(_Recorded, self).__init__(path, "x"))

    def write(self, octets: bytes, /) -> int:  # type: ignore[override]
        content = bytes(octets)
        self._disk.write(self._path, self._at, content, lambda size: os.pwrite(self.fileno(), content[:size], self._at))
        self._at += len(content)
        return len(content)


class _SqliteFailed(Exception):
    """What the system really answered SQLite's own VFS."""

    def __init__(self, code: int) -> None:
        self.code = code


class _Sqlite:
    """What SQLite does to the disk: a `FileWatcher`."""

    def __init__(self, disk: CrashingDisk) -> None:
        self._disk = disk

    def opening(self, path: str, *, is_new: bool, act: Callable[[], int]) -> int:
        # One that opens an existing file changes nothing. A database that is opened to be read may not be there, either.
        if not is_new:
            return act()
        return self._change(Act.CREATE, lambda: self._disk.perform(Act.CREATE, Path(path), lambda: _check(act())))

    def writing(self, path: str, offset: int, octets: bytes, act: Callable[[int], int]) -> int:
        return self._change(Act.WRITE, lambda: self._disk.write(Path(path), offset, octets, lambda size: _check(act(size))))

    def truncating(self, path: str, size: int, act: Callable[[], int]) -> int:
        return self._change(
            Act.TRUNCATE, lambda: self._disk.perform(Act.TRUNCATE, Path(path), lambda: _check(act()), offset=size)
        )

    def syncing(self, path: str, *, with_directory: bool) -> int:
        code = self._change(Act.SYNC, lambda: self._disk.perform(Act.SYNC, Path(path)))
        if code == 0 and with_directory:
            self._sync_names(path)  # where that fails, SQLite's own VFS says nothing
        return code

    def deleting(self, path: str, act: Callable[[], int], *, with_directory: bool) -> int:
        if not Path(path).exists():
            return act()
        code = self._change(Act.REMOVE, lambda: self._disk.perform(Act.REMOVE, Path(path), lambda: _check(act())))
        return self._sync_names(path) if code == 0 and with_directory else code

    def _sync_names(self, path: str) -> int:
        return self._change(Act.SYNC_NAMES, lambda: self._disk.perform(Act.SYNC_NAMES, Path(path).parent))

    def _change(self, act: Act, perform: Callable[[], None]) -> int:
        try:
            perform()
        except OSError:
            return self._disk.code(act)
        except _SqliteFailed as failed:
            return failed.code
        return 0


def _check(code: int) -> None:
    if code:
        raise _SqliteFailed(code)
