"""What the program says of itself while it runs: one line per event on standard error, for people or as JSON.

Loggers are the standard library's; how a line reads, and what never stands in one, is in `waymail.log_lines`.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
from contextlib import nullcontext
from typing import Literal, TextIO

from waymail.log_lines import HumanFormatter, JsonFormatter

BATCH = 0.1  # seconds for which lines are gathered


def configure(format: Literal["human", "json"] = "human", level: str = "info", stream: TextIO | None = None) -> None:
    """Send what all loggers say, from `level` on, to `stream` (standard error), in place of what was set up before."""
    handler = LineHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter() if format == "json" else HumanFormatter())
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level.upper())
    # What no line shows need not be found out for each (the logging HOWTO's "Optimization").
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging._srcfile = None
    # asyncio tells at debug level which selector it uses, and nothing else that an operator needs.
    logging.getLogger("asyncio").setLevel(max(logging.INFO, root.level))


def batch(loop: asyncio.AbstractEventLoop) -> None:
    """While `loop` runs, write what it logs below warnings a few times a second instead of line by line.

    Each write gives up the interpreter's lock, which the store's writer thread then takes: line by line, logging costs more
    than all else that is done for a message. To be called on the loop's thread; what is left is written at exit.
    """
    for handler in logging.getLogger().handlers:
        if isinstance(handler, LineHandler):
            handler.batch(loop)


def flush() -> None:
    """Write what was not yet written."""
    for handler in logging.getLogger().handlers:
        handler.flush()


class LineHandler(logging.Handler):
    """Writes lines to `stream`, each at once or, after `batch`, together."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._stream = stream
        self._lines: list[str] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = 0
        self._is_scheduled = False

    def batch(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop, self._thread = loop, threading.get_ident()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._lines.append(self.format(record))
            loop = self._loop
            if loop is None or record.levelno >= logging.WARNING or threading.get_ident() != self._thread or loop.is_closed():
                self.flush()
            elif not self._is_scheduled:
                self._is_scheduled = True
                loop.call_later(BATCH, self.flush)
        except Exception:  # noqa: BLE001 - as every handler of the standard library does
            self.handleError(record)

    def flush(self) -> None:
        """Write what was not yet written. Safe to call from any thread."""
        with self.lock or nullcontext():
            self._is_scheduled = False
            lines, self._lines = self._lines, []
            if lines:
                lines.append("")
                self._stream.write("\n".join(lines))
            self._stream.flush()
