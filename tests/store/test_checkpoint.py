from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from waymail.store.checkpoint import PAUSE, Checkpointer


def writer(path: Path) -> sqlite3.Connection:
    """A database in WAL mode that copies nothing by itself."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    connection.execute("CREATE TABLE IF NOT EXISTS number (n)")
    return connection


def copier(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, isolation_level=None, check_same_thread=False)


def happens(holds: Callable[[], bool]) -> bool:
    until = time.monotonic() + PAUSE + 5
    while not holds() and time.monotonic() < until:
        time.sleep(0.01)
    return holds()


def test_what_was_written_is_copied_into_the_database_without_the_writer(tmp_path: Path) -> None:
    path = tmp_path / "queue.db"
    connection = writer(path)
    checkpointer = Checkpointer(copier(path))
    before = path.stat().st_size
    connection.execute("INSERT INTO number VALUES (randomblob(100000))")
    checkpointer.wake()
    checkpointer.wake()
    assert happens(lambda: path.stat().st_size > before + 100_000)
    checkpointer.stop()
    connection.close()


def test_stopping_does_not_wait_for_the_pause_and_closes_the_connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("waymail.store.checkpoint.PAUSE", 50.0)
    connection = writer(tmp_path / "queue.db")
    copying = copier(tmp_path / "queue.db")
    checkpointer = Checkpointer(copying)
    checkpointer.wake()
    started = time.monotonic()
    checkpointer.stop()
    assert time.monotonic() - started < 10
    assert not any(thread.name == "waymail-store-checkpoint" for thread in threading.enumerate())
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        copying.execute("SELECT 1")
    connection.close()


def test_a_copy_that_fails_is_reported_and_ends_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    copying = copier(tmp_path / "queue.db")
    checkpointer = Checkpointer(copying)
    copying.close()  # stands for a disk that fails
    with caplog.at_level(logging.ERROR):
        checkpointer.wake()
        assert happens(lambda: bool(caplog.records))
    assert caplog.records[0].getMessage() == "the write-ahead log could not be copied"
    assert any(thread.name == "waymail-store-checkpoint" for thread in threading.enumerate()), "the next one is tried"
    checkpointer.stop()
