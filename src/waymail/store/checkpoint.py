"""Copies the write-ahead log into the database, in a thread of its own, so that no commit has to wait for that.

A passive checkpoint runs beside the writer. While the writer goes on writing it never gets to the log's end, so the log
still grows; when it is `LONG`, the writer itself finishes the little that is left, and the log starts over.

Fails: where the disk is full, or a write fails, the log keeps everything, and the next checkpoint copies it. A failed sync is
another thing: the system takes for written what it could not write. It shows what is not on the disk, and what was there before
once it has forgotten that. SQLite would go on: what it copied without a sync of its own, while the writer went on, it would not
copy again, and it would start the log over. So nothing is copied any more, nor is the last connection closed, which copies, too,
and the store takes nothing (`failed`): the next start finds the whole log, and copies all of it.
"""

from __future__ import annotations

import logging
import sqlite3
import threading

log = logging.getLogger("waymail.store")

PAUSE = 0.5  # seconds between two checkpoints: pages that change often meanwhile are copied once
LONG = 10_000  # pages of the log, 40 MB: with what comes meanwhile it stays below `schema`'s journal_size_limit


class Checkpointer:
    """Owns `connection`. `wake` it after a commit. `failed` is true once the database cannot be trusted until the next start."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.failed = False
        self._connection = connection
        self._is_long = False
        self._written = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="waymail-store-checkpoint", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Something was written."""
        if not self._written.is_set():
            self._written.set()

    def finish(self, writer: sqlite3.Connection) -> None:
        """Called between two transactions of the writer, with its connection: the log is copied to its end where it is long."""
        if self._is_long:
            self.copy(writer)

    def copy(self, connection: sqlite3.Connection) -> None:
        """Copy what can be copied now. Blocks."""
        if self.failed:
            return
        try:
            _, pages, _ = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            self._is_long = pages > LONG
        except sqlite3.Error as error:
            log.error("the write-ahead log could not be copied", extra={"fields": {"error": str(error)}})
            if getattr(error, "sqlite_errorcode", None) in (sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_IOERR_DIR_FSYNC):
                self._give_up()

    def stop(self) -> None:
        """End. Blocks while a checkpoint is under way."""
        self._stopping.set()
        self._written.set()
        self._thread.join()
        if not self.failed:
            self._connection.close()

    def _run(self) -> None:
        while True:
            self._written.wait()
            if self._stopping.wait(PAUSE):
                return
            self._written.clear()
            self.copy(self._connection)

    def _give_up(self) -> None:
        self.failed = True
        log.critical("a sync of the queue's database failed: nothing is lost, nothing is taken until the server is started anew")
        # Held by a thread that never ends, the connection is not closed even when the interpreter ends.
        threading.Thread(target=_hold, args=(self._connection,), name="waymail-store-kept-open", daemon=True).start()


def _hold(_: sqlite3.Connection) -> None:
    threading.Event().wait()
