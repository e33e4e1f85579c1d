"""Adds messages to a store that another process may be delivering from, and lets an operator's changes into it (`apart`).

Promises: when `deposit` returns, the message is on disk, QUEUED, and the process that delivers finds it when it next looks. Any
number of threads of any number of processes may deposit at once; the messages that wait in one process share a transaction. Where
the message cannot be written, `deposit` raises StoreError, and nothing of it is there.

Nothing is claimed here, and a deposit is no event, so it needs no number that another process might give. What a body file is for
whoever sweeps them (`recover`): it is written inside of the transaction that names it, so one that has no row there is nobody's.

The log is copied into the database by the process that delivers. Where there is none, the depositors do so, each after some
megabytes of its own; see `checkpoint` about a sync that fails: nothing more is deposited then by this one.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from waymail.mail.envelope import Body
from waymail.store import schema, statements
from waymail.store.body import IN_MEMORY, BodyFiles
from waymail.store.contract import NewMessage, StoreError
from waymail.store.disk import SYSTEM, Disk
from waymail.store.patience import patiently
from waymail.store.place import Place, make_private, place_of
from waymail.store.rows import Accepting, accepting

T = TypeVar("T")

PATIENCE = 30.0  # seconds for which others may keep the database locked, one after the other
MAX_BATCH = 64  # messages of one transaction
COPY_AFTER = 8 * 1024 * 1024  # octets written to the log, about, until it is copied
OVERHEAD = 20_000  # octets of the log that a message takes besides its body, about


@dataclass(slots=True)
class _Work:
    """A message that waits. `outcome` is True where it is on disk."""

    row: Accepting
    content: bytes
    outcome: StoreError | bool = False


class Depositor:
    """Deposits into the store at `where`, which is made where it is missing. Any thread may use it, but no child of the process.

    Raises StoreError where the database is damaged or too new, or the disk refuses. `disk` is for tests.
    """

    def __init__(self, where: Path | Place, *, disk: Disk = SYSTEM) -> None:
        self.place = place = place_of(where)
        self._files = BodyFiles(place, disk)
        self._process = os.getpid()
        self._waiting: deque[_Work] = deque()
        self._writing = threading.Lock()
        self._written = 0  # octets, about, since the log was copied
        self._failed = self._closed = False
        if not place.directory.is_dir():
            raise StoreError(f"there is no folder {place.directory} for {place.database.name}: is the path right?")
        if place.database.is_dir():
            raise StoreError(f"{place.database} is a folder: say which file in it")
        try:
            self._files.make()
            make_private(place.database)
        except OSError as error:
            raise StoreError(f"{error.filename} cannot be made: {error.strerror}") from error
        connection: sqlite3.Connection | None = None
        try:
            self._connection = connection = schema.connect(place, vfs=disk.vfs)
            connection.execute("PRAGMA busy_timeout = 0")  # `patiently` waits
            patiently(partial(schema.prepare, connection, place))
            self._files.sync_names()
            self._slice = _newest_slice(connection)
        except BaseException as error:
            if connection is not None:
                connection.close()
            if isinstance(error, sqlite3.Error | OSError):
                raise schema.unreadable(error, place) from error
            raise

    def deposit(self, message: NewMessage) -> None:
        """Take responsibility for a message with its body in memory: it is on disk when this returns. Nobody claims it, so
        `message.claim` is of no account. Blocks.

        Raises StoreError also where the id is taken; ValueError where it is none, or there are no recipients; RuntimeError in a
        child of the process that opened it.
        """
        self.check()
        work = _work(message, self._slice)
        self._waiting.append(work)
        with self._writing:  # whoever has it writes for all who wait
            while not work.outcome:
                self._write([self._waiting.popleft() for _ in range(min(len(self._waiting), MAX_BATCH))])
        if isinstance(work.outcome, StoreError):
            raise work.outcome

    def change(self, act: Callable[[sqlite3.Connection], T]) -> T:
        """Do something else to the store in a transaction of its own, and return what `act` does once that is on disk. Blocks.

        Raises StoreError, where nothing of it is there; RuntimeError as `deposit`.
        """
        with self._writing:
            self.check()
            try:
                with self._transaction() as connection:
                    done = act(connection)
            except sqlite3.Error as error:
                raise schema.unreadable(error, self.place) from error
            self._written += OVERHEAD
            self._copy_at_times()
            return done

    def forget_bodies(self, ids: Iterable[int]) -> None:
        """Remove the files of messages that have no row there any more; what has no file is passed over."""
        self._files.remove(ids)

    def check(self) -> None:
        """Raises what `deposit` would raise of any message."""
        if os.getpid() != self._process:
            raise RuntimeError(f"the {self.place.name} cannot be used here: {schema.FORKED}")
        if self._closed:
            raise StoreError(f"the {self.place.name} is closed")
        if self._failed:
            raise StoreError(f"a sync of {self.place.database} failed: look at the disk, and start the program anew")

    def close(self) -> None:
        """End. Safe to call twice, and in a child of the process, where it does nothing."""
        if os.getpid() != self._process:
            return
        with self._writing:
            if not (self._closed or self._failed):
                self._connection.close()
            self._closed = True

    # --- by whoever has `_writing` ---

    def _write(self, works: Sequence[_Work]) -> None:
        """Each gets its outcome: where one cannot be written, it fails alone."""
        try:
            self.check()
            self._transact(works)
        except BaseException as error:
            if not isinstance(error, Exception):  # Control-C: the others who wait are told, too
                for work in works:
                    work.outcome = StoreError("the program was interrupted")
                raise
            if len(works) > 1:
                for work in works:
                    self._write([work])
                return
            failure = error if isinstance(error, StoreError) else schema.unreadable(error, self.place)
            failure.__cause__ = error if failure is not error else None
            works[0].outcome = failure
        else:
            for work in works:
                work.outcome = True
            self._copy_at_times()

    def _transact(self, works: Sequence[_Work]) -> None:
        made: list[int] = []
        try:
            with self._transaction() as connection:
                statements.accept(connection, [work.row for work in works])
                for work in works:
                    if work.row.in_file:
                        self._write_file(work, made)
        except BaseException:
            self._files.remove(made)
            raise
        self._written += sum(OVERHEAD + (0 if work.row.in_file else len(work.content)) for work in works)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """What the block writes is on disk when it has been left, or nothing of it is there."""
        connection = self._connection
        patiently(partial(connection.execute, "BEGIN IMMEDIATE"), PATIENCE)
        try:
            yield connection
        except BaseException:
            self._roll_back()
            raise
        try:
            connection.execute("COMMIT")
        except BaseException:
            self._roll_back()
            self._overwrite()
            raise

    def _write_file(self, work: _Work, made: list[int]) -> None:
        with self._files.create(work.row.id) as file:  # where there is one, it is another message's
            made.append(work.row.id)
            file.write(work.content)
        self._files.sync(work.row.id)

    def _roll_back(self) -> None:
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    def _overwrite(self) -> None:
        """What a COMMIT wrote that failed is not to be found after a crash (`group`): an empty transaction is written over it."""
        try:
            patiently(partial(self._connection.execute, "BEGIN IMMEDIATE"))
            schema.overwrite(self._connection)
            self._connection.execute("COMMIT")
        except sqlite3.Error:  # the disk still fails: the next that succeeds does the same
            self._roll_back()

    def _copy_at_times(self) -> None:
        """Copy the log, and let it start over where nobody is in the way."""
        if self._written < COPY_AFTER:
            return
        self._written = 0
        try:
            self._connection.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", None)
            self._failed = code in (sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_IOERR_DIR_FSYNC)


def _work(message: NewMessage, slice: Callable[[], int]) -> _Work:
    """The rows of a message that nobody claims. Raises ValueError."""
    body = message.body
    content = b"".join(body.chunks())
    number = slice()
    plain = NewMessage(message.envelope, Body(content, len(content)), claim=False)
    row = accepting(plain, 0, 0.0, number, iter(()))
    if len(content) > IN_MEMORY:
        row = Accepting(row.id, 0, True, row.message, row.recipients, (row.id, b"", None), row.words)
    return _Work(row, content)


def _newest_slice(connection: sqlite3.Connection) -> Callable[[], int]:
    """Gives each message the slice for its words: the newest one, until that is full."""
    slice: int = connection.execute("SELECT coalesce(max(slice), 0) FROM word").fetchone()[0]
    given: int = connection.execute("SELECT count(DISTINCT message) FROM word WHERE slice = ?", (slice,)).fetchone()[0]

    def next_slice() -> int:
        nonlocal given
        given += 1
        return slice + given // schema.WORD_SLICE

    return next_slice
