"""Copies the write-ahead log into the database, in a thread of its own, so that no commit has to wait for that.

A passive checkpoint runs beside the writer. While the writer goes on writing it never gets to the log's end, so the log
still grows until the writer's own `wal_autocheckpoint` finishes the little that is left and starts it over.
"""

from __future__ import annotations

import logging
import sqlite3
import threading

log = logging.getLogger("waymail.store")

PAUSE = 0.5  # seconds between two checkpoints: pages that change often meanwhile are copied once


class Checkpointer:
    """Owns `connection`. `wake` it after a commit."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._written = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="waymail-store-checkpoint", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Something was written."""
        if not self._written.is_set():
            self._written.set()

    def stop(self) -> None:
        """End. Blocks while a checkpoint is under way."""
        self._stopping.set()
        self._written.set()
        self._thread.join()
        self._connection.close()

    def _run(self) -> None:
        while True:
            self._written.wait()
            if self._stopping.wait(PAUSE):
                return
            self._written.clear()
            try:
                self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            except sqlite3.Error as error:  # the log keeps everything: nothing is lost, the next one tries again
                log.error("the write-ahead log could not be copied", extra={"fields": {"error": str(error)}})
