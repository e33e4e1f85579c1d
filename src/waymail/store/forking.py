"""SQLite in a program that calls os.fork() while its threads use it. Two things go wrong there.

SQLite has mutexes for all of a process, as that of its memory. A child is a copy of the one thread that forked: a mutex that
another thread held at that moment is never given back there, and the child hangs in its first call of SQLite, on whatever
database. So a fork waits until none of the connections made here is in a call of SQLite, and none begins one before it is done.
A call takes as long as the disk does; after `PATIENCE` a fork goes on all the same.

And SQLite notes within the process which locks it has on a file. A child has the notes of its parent, and not the locks: it would
wait for itself, or write where it must not. So the child must not open a database that was open at the fork (`is_inherited`).

This is for stores within a program (`place.beside`); a server does not fork.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, ParamSpec, TypeVar
from weakref import WeakSet

PATIENCE = 10.0  # seconds

P = ParamSpec("P")
T = TypeVar("T")


class _Gate:
    """Open for all, but while somebody forks. Nobody goes in twice."""

    def __init__(self) -> None:
        self.anew()

    def anew(self) -> None:
        """In a child: there is nobody else."""
        self._changed = threading.Condition(threading.Lock())
        self._inside = 0
        self._is_closed = False

    def __enter__(self) -> None:
        with self._changed:
            while self._is_closed:
                self._changed.wait()
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._inside -= 1
            if self._is_closed and not self._inside:
                self._changed.notify_all()

    def close(self) -> None:
        """Let nobody in, and wait until nobody is inside."""
        until = time.monotonic() + PATIENCE
        with self._changed:
            while self._is_closed:  # another thread forks
                self._changed.wait()
            self._is_closed = True
            while self._inside and (left := until - time.monotonic()) > 0:
                self._changed.wait(left)

    def open(self) -> None:
        with self._changed:
            self._is_closed = False
            self._changed.notify_all()


_gate = _Gate()
_open: WeakSet[Connection] = WeakSet()
_inherited: set[tuple[int, int]] = set()  # the files that were open when this process was forked


def _forked() -> None:
    _gate.anew()
    _inherited.update(connection.file for connection in _open)


os.register_at_fork(before=_gate.close, after_in_parent=_gate.open, after_in_child=_forked)


def is_inherited(database: Path) -> bool:
    """Whether the process that this one was forked from had it open."""
    return bool(_inherited) and database.exists() and _file(database) in _inherited


def connect(database: Path, name: str, **settings: Any) -> Connection:
    """A connection to it, as sqlite3.connect(name, **settings) makes it. Raises sqlite3.Error."""
    connection: Connection = sqlite3.connect(name, factory=Connection, **settings)
    connection.file = _file(database)
    _open.add(connection)
    return connection


def _file(database: Path) -> tuple[int, int]:
    found = database.stat()
    return found.st_dev, found.st_ino


def _gated(call: Callable[P, T]) -> Callable[P, T]:
    def gated(*args: P.args, **kwargs: P.kwargs) -> T:
        with _gate:
            return call(*args, **kwargs)

    return gated


class Cursor(sqlite3.Cursor):
    """A cursor that no fork cuts in two."""

    execute = _gated(sqlite3.Cursor.execute)
    executemany = _gated(sqlite3.Cursor.executemany)
    executescript = _gated(sqlite3.Cursor.executescript)
    fetchone = _gated(sqlite3.Cursor.fetchone)
    fetchmany = _gated(sqlite3.Cursor.fetchmany)
    fetchall = _gated(sqlite3.Cursor.fetchall)
    __next__ = _gated(sqlite3.Cursor.__next__)  # type: ignore[arg-type]  # of any Iterator, as its stub has it
    close = _gated(sqlite3.Cursor.close)

    def __del__(self) -> None:
        with suppress(sqlite3.ProgrammingError):  # the connection is closed, or was never made
            self.close()  # what was not fetched is ended within the gate, too


class Connection(sqlite3.Connection):
    """A connection that no fork cuts in two. All that it executes goes through its cursors."""

    file = (0, 0)  # its device and number

    __init__ = _gated(sqlite3.Connection.__init__)
    commit = _gated(sqlite3.Connection.commit)
    rollback = _gated(sqlite3.Connection.rollback)
    create_function = _gated(sqlite3.Connection.create_function)

    def close(self) -> None:
        """As sqlite3 has it."""
        with _gate:
            super().close()
        _open.discard(self)

    def cursor(self, factory: Any = Cursor) -> Any:
        """A cursor of the kind that goes through the gate."""
        return super().cursor(factory)

    def execute(self, *arguments: Any) -> Any:
        """As sqlite3 has it, which in some versions does not ask `cursor`."""
        return self.cursor().execute(*arguments)

    def executemany(self, *arguments: Any) -> Any:
        """As `execute`."""
        return self.cursor().executemany(*arguments)

    def executescript(self, *arguments: Any) -> Any:
        """As `execute`."""
        return self.cursor().executescript(*arguments)
