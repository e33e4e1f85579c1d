"""What was logged and not yet mailed. What repeats itself is counted, and there is a bound: a program that logs without end needs
no more memory than one that logs much.

Nothing here waits, or knows of threads: the handler's lock is around it.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Hashable
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import TypeAlias

LONGEST = 20_000  # characters of one record that are kept
LONGEST_LINE = 200
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")

Key: TypeAlias = Hashable


@dataclass(slots=True)
class Entry:
    """A record, and how often it came.

    `text` is the first one, as the formatter has it; `latest` what the last one said, in a line. `first` and `last` are times,
    in seconds since the epoch.
    """

    level: str
    severity: int
    logger: str
    text: str
    latest: str
    first: float
    last: float
    count: int = 1

    def again(self, latest: str, first: float, last: float, count: int = 1) -> None:
        """The same thing happened so many times more."""
        if last >= self.last:
            self.latest, self.last = latest, last
        self.first = min(self.first, first)
        self.count += count


@dataclass(slots=True)
class Gathered:
    """The records that wait: at most `most` different ones. `dropped` counts those for which there was no place."""

    most: int
    entries: dict[Key, Entry] = field(default_factory=dict)
    dropped: int = 0

    def __bool__(self) -> bool:
        return bool(self.entries)

    def add(self, record: logging.LogRecord, message: str, text: str) -> None:
        """Take a record that says `message`; `text` is what the formatter made of it."""
        key, latest, at = _key(record), line(message), record.created
        if (entry := self.entries.get(key)) is not None:
            entry.again(latest, at, at)
        elif len(self.entries) < self.most:
            self.entries[key] = Entry(
                line(record.levelname), record.levelno, line(record.name), _shortened(_printable(text)), latest, at, at
            )
        else:
            self.dropped += 1

    def take(self) -> Gathered:
        """All of it; nothing is left here."""
        taken = replace(self)
        self.entries, self.dropped = {}, 0
        return taken

    def put_back(self, older: Gathered) -> None:
        """What was taken, and could not be mailed. Where there is no place for both, it goes before what came since."""
        newer, self.entries, self.dropped = self.entries, older.entries, self.dropped + older.dropped
        for key, entry in newer.items():
            if (known := self.entries.get(key)) is not None:
                known.again(entry.latest, entry.first, entry.last, entry.count)
            elif len(self.entries) < self.most:
                self.entries[key] = entry
            else:
                self.dropped += entry.count


def line(text: object) -> str:
    """Text that fits on a line, and into a header field. A record that was made by hand may have anything for its name."""
    first, _, rest = str(text).strip().partition("\n")
    shown = "".join(character if character.isprintable() else " " for character in first.rstrip())
    return shown[:LONGEST_LINE] + "..." if len(shown) > LONGEST_LINE or rest else shown


def _shortened(text: str) -> str:
    """The beginning and the end: the last lines of a traceback say what happened."""
    more = len(text) - LONGEST
    return text if more <= 0 else f"{text[: LONGEST // 2]}\n[... {more} characters ...]\n{text[-(LONGEST // 2) :]}"


def _printable(text: str) -> str:
    """Without what no mail should carry: control characters, and half a character of two, as from a file's name in no UTF-8."""
    shown = text.encode(errors="backslashreplace").decode().replace("\r\n", "\n")
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", shown)


def _key(record: logging.LogRecord) -> Key:
    """What makes two records the same: where they were logged, with which words before anything is put into them, and the
    exception with the place that raised it."""
    kind, raised = None, None
    if isinstance(record.exc_info, tuple) and record.exc_info[0] is not None:
        kind, raised = record.exc_info[0], _innermost(record.exc_info[2])
    return record.name, record.levelno, record.pathname, record.lineno, str(record.msg), kind, raised


def _innermost(trace: TracebackType | None) -> tuple[str, int] | None:
    place = None
    while trace is not None:
        place = trace.tb_frame.f_code.co_filename, trace.tb_lineno
        trace = trace.tb_next
    return place
