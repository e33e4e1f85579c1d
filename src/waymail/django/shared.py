"""What the backends of one process share. Django makes a backend for each call of send_mail; connections outlive it."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

MOST = 20  # who has a user for each of many tenants keeps connections for the last of them


class Closable(Protocol):
    """What can be shared. It can be used while it is closed, and after that."""

    def close(self) -> None: ...


T = TypeVar("T", bound=Closable)


class Shared(Generic[T]):
    """Things by what they were made from, which need not be hashable. Beyond `MOST`, the one that was not used for longest is
    closed. Any thread may use it, and a child of fork()."""

    def __init__(self) -> None:
        self._kept: list[tuple[Any, T]] = []  # the one that was used last comes last
        self._unlock()
        os.register_at_fork(after_in_child=self._unlock)

    def get(self, key: object, make: Callable[[], T]) -> T:
        """The thing of that key, by `make` where there is none yet. Raises what that raises."""
        with self._lock:
            at = next((at for at, (known, _) in enumerate(self._kept) if known == key), None)
            if at is not None:
                self._kept.append(self._kept.pop(at))
                return self._kept[-1][1]
            made = make()
            self._kept.append((key, made))
            left = self._kept.pop(0)[1] if len(self._kept) > MOST else None
        if left is not None:
            left.close()
        return made

    def close(self) -> None:
        """Close all of them."""
        with self._lock:
            kept, self._kept = self._kept, []
        for _, one in kept:
            one.close()

    def _unlock(self) -> None:
        self._lock = threading.Lock()  # in a child of fork(), nobody is left who would release the former one
