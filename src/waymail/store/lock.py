"""One process at a time: two that wrote to the same store would each deliver what the other one took."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from weakref import WeakSet

from waymail.store.contract import StoreError
from waymail.store.place import Place, place_of


class InUse(StoreError):
    """Another process has the store. `holder` is its number, "" where that is not known."""

    def __init__(self, text: str, holder: str) -> None:
        super().__init__(text)
        self.holder = holder


class ProcessLock:
    """Holds the lock of the store at `where` until `release`, or until the process ends, however it ends. A child that is forked
    does not hold it."""

    def __init__(self, where: Path | Place, patience: float = 0.0) -> None:
        """Raises InUse where another process holds it for longer than `patience` seconds, and StoreError where the directory
        cannot be written."""
        place = place_of(where)
        path = place.lock
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreError(f"{path} cannot be opened: {error.strerror}") from error
        try:
            _lock(self._descriptor, time.monotonic() + patience)
        except OSError as error:
            holder = os.read(self._descriptor, 20).decode("ascii", "replace").strip()
            os.close(self._descriptor)
            raise InUse(f"the {place.name} is in use by process {holder or '(unknown)'}: {place.taken}", holder) from error
        os.truncate(self._descriptor, 0)
        os.pwrite(self._descriptor, b"%d\n" % os.getpid(), 0)
        _held.add(self)

    def release(self) -> None:
        """Give it up, also where a forked child still has its copy of the descriptor. Safe to call twice, and in the child."""
        if self._descriptor >= 0:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)
            self.close_copy()

    def close_copy(self) -> None:
        """In a forked child: be rid of the descriptor, without giving up what its parent holds."""
        os.close(self._descriptor)
        self._descriptor = -1
        _held.discard(self)


def is_held(where: Path | Place) -> bool:
    """Whether somebody holds the lock of the store at `where`. Who asks stands in nobody's way but for that moment. Raises
    StoreError where that cannot be known."""
    path = place_of(where).lock
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise StoreError(f"{path} cannot be opened: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


# A child that is forked has the descriptor, too, and would keep the lock when its parent is killed. Its copy is closed.
_held: WeakSet[ProcessLock] = WeakSet()


def _let_go() -> None:
    for lock in list(_held):
        lock.close_copy()


os.register_at_fork(after_in_child=_let_go)


def _lock(descriptor: int, until: float) -> None:
    """Raises OSError where somebody else has it then."""
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= until:
                raise
            time.sleep(0.05)
        else:
            return
