"""Wakes the process that delivers when another one has changed something: a pipe with a name, beside the outbox.

It only saves time. Where there is no pipe, or nobody at its other end, the next look finds what was deposited, and the next probe
what was flushed.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from waymail.store.place import Place

DEPOSITED = b"."
FLUSHED = b"!"  # somebody wants what is due to be tried now, although its destination was down


def nudge(place: Place, why: bytes = DEPOSITED) -> None:
    """Wake whoever delivers from the outbox. Never blocks, and raises nothing."""
    with suppress(OSError):  # no pipe, nobody listens, or it is full: then he is awake already
        descriptor = os.open(_path(place), os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            os.write(descriptor, why)
        finally:
            os.close(descriptor)


class Nudges:
    """Calls `heard` in the event loop whenever somebody nudges, until `close`: with whether something was flushed."""

    def __init__(self, place: Place, heard: Callable[[bool], None]) -> None:
        self._heard = heard
        self._loop = asyncio.get_running_loop()
        self._descriptor = -1
        with suppress(OSError):  # a file system without pipes
            with suppress(FileExistsError):
                os.mkfifo(_path(place), 0o600)
            # Open for writing, too: then it never ends when the last writer goes.
            self._descriptor = os.open(_path(place), os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
            self._loop.add_reader(self._descriptor, self._read)

    def _read(self) -> None:
        heard = b""
        with suppress(BlockingIOError):
            heard = os.read(self._descriptor, 65536)
        self._heard(FLUSHED in heard)

    def close(self) -> None:
        """End. Safe to call twice."""
        if self._descriptor >= 0:
            self._loop.remove_reader(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1


def _path(place: Place) -> Path:
    return place.database.with_name(f"{place.database.name}-nudge")
