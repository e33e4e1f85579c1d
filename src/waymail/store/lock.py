"""One process at a time: two that wrote to the same store would each deliver what the other one took."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

from waymail.store.contract import StoreError


class InUse(StoreError):
    """Another process has the store. `holder` is its number, "" where that is not known."""

    def __init__(self, text: str, holder: str) -> None:
        super().__init__(text)
        self.holder = holder


class ProcessLock:
    """Holds `directory/lock` until `release`, or until the process ends, however it ends."""

    def __init__(self, directory: Path, patience: float = 0.0) -> None:
        """Raises InUse where another process holds it for longer than `patience` seconds, and StoreError where the directory
        cannot be written."""
        path = directory / "lock"
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreError(f"{path} cannot be opened: {error.strerror}") from error
        try:
            _lock(self._descriptor, time.monotonic() + patience)
        except OSError as error:
            holder = os.read(self._descriptor, 20).decode("ascii", "replace").strip()
            os.close(self._descriptor)
            raise InUse(
                f"the queue in {directory} is in use by process {holder or '(unknown)'}: stop it, or give this one another"
                " data_dir; `waymail queue list` and `waymail trace` work while it runs",
                holder,
            ) from error
        os.truncate(self._descriptor, 0)
        os.pwrite(self._descriptor, b"%d\n" % os.getpid(), 0)

    def release(self) -> None:
        """Give it up. Safe to call twice."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


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
