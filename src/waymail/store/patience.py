"""Waiting for a database that another process has locked. SQLite's own waiting is not for all locks, and its steps become so long
that somebody who writes all the time gets in again and again before anybody else does."""

from __future__ import annotations

import random
import sqlite3
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

PATIENCE = 5.0  # seconds
SHORTEST, LONGEST = 0.0002, 0.002  # seconds between two tries


def patiently(act: Callable[[], T], seconds: float = PATIENCE) -> T:
    """What `act` returns, once no other process is in its way. Blocks. Raises sqlite3.OperationalError where one is for longer
    than `seconds`, and whatever else `act` does."""
    until = time.monotonic() + seconds
    while True:
        try:
            return act()
        except sqlite3.OperationalError as error:
            if not is_busy(error) or time.monotonic() > until:
                raise
        time.sleep(random.uniform(SHORTEST, LONGEST))  # noqa: S311 - so that all who wait have the same chance


def is_busy(error: Exception) -> bool:
    """Whether another process has the lock."""
    code: int = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF == sqlite3.SQLITE_BUSY
