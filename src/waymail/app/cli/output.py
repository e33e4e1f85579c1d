"""What the commands share: exit codes, failing, and printing for people, for pipes and as JSON.

On a terminal a table goes through rich; anywhere else it is plain, aligned and never wrapped, so that grep and cut work. Text
from other hosts is shown with its control characters escaped: it must not drive the terminal.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from enum import IntEnum
from functools import cache
from itertools import accumulate
from textwrap import wrap
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

_GAP = 2  # blanks between columns
_LAST = 24  # what the last column of a table needs at least
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]")
_CONTROL_BEYOND = re.compile(r"[\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]")  # what JSON lets stand


class Exit(IntEnum):
    """The exit codes of sysexits.h that the commands use."""

    OK = 0
    USAGE = 64  # the command line is wrong
    DATA = 65  # what was given to work on is wrong
    NO_INPUT = 66  # a file is not there
    NO_USER = 67  # there is no such user
    UNAVAILABLE = 69  # refused for good, or not to be had
    SOFTWARE = 70  # a bug
    IO = 74  # reading or writing failed
    TEMPORARY = 75  # it may work later
    NO_PERMISSION = 77
    CONFIG = 78


class CommandFailed(Exception):
    """A command cannot do what it was asked. `code` is its exit code; the text is for the person who asked."""

    def __init__(self, code: Exit, message: str) -> None:
        super().__init__(message)
        self.code = code


def say(text: str = "") -> None:
    """A line, or several, on standard output."""
    sys.stdout.write(text + "\n")


def say_styled(text: str, style: str) -> None:
    """A line on standard output, which a terminal shows in a style of rich's; it is never wrapped."""
    if not style or not sys.stdout.isatty():
        say(text)
        return
    from rich.text import Text

    _console().print(Text(text, style), soft_wrap=True)


def complain(text: str) -> None:
    """A line, or several, on standard error."""
    sys.stderr.write(text + "\n")


def say_json(value: Any) -> None:
    """One JSON document on standard output."""
    text = json.dumps(value, indent=2, ensure_ascii=False, default=str)
    say(_CONTROL_BEYOND.sub(lambda found: f"\\u{ord(found[0]):04x}", text))


def clean(text: str) -> str:
    """The text with whatever could move a cursor, end a line or turn it round made visible."""
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Rows under headings. The last column takes what room is left; on a terminal where that is little, what does not fit stands
    below its row, each cell with its heading, and those that are "-" left out."""
    cleaned = [[clean(cell) for cell in row] for row in rows]
    if sys.stdout.isatty():
        _drawn(columns, cleaned)
        return
    lines = [[column.upper() for column in columns], *cleaned]
    widths = [max(len(line[index]) for line in lines) for index in range(len(columns) - 1)]
    for line in lines:
        say("  ".join([*(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=False)), line[-1]]).rstrip())


@cache
def _console() -> Console:
    from rich.console import Console

    return Console(highlight=False)


def _drawn(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.cells import cell_len
    from rich.console import Console

    room = Console().width
    widths = [max(map(cell_len, column)) for column in zip(columns, *rows, strict=True)]
    ends = [end - _GAP for end in accumulate(width + _GAP for width in widths)]
    if ends[-1] - widths[-1] + min(widths[-1], _LAST) <= room:
        _rich_table(columns, rows)
        return
    beside = max(1, sum(end <= room for end in ends))
    for number, row in enumerate([[column.upper() for column in columns], *rows]):
        cells = zip(row[:beside], widths, strict=False)
        say_styled(
            (" " * _GAP).join(f"{cell}{' ' * (width - cell_len(cell))}" for cell, width in cells).rstrip(),
            "" if number else "bold",
        )
        if number:
            _below(columns[beside:], row[beside:], room)


def _below(columns: Sequence[str], cells: Sequence[str], room: int) -> None:
    label = max(map(len, columns)) + _GAP
    for column, cell in zip(columns, cells, strict=True):
        if cell != "-":
            start = f"    {column:<{label}}"
            wrapped = wrap(cell, max(room - len(start), _LAST), break_long_words=False, break_on_hyphens=False)
            say("\n".join(f"{' ' * len(start) if number else start}{line}" for number, line in enumerate(wrapped)))


def _rich_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        drawn.add_column(column.upper(), no_wrap=column != columns[-1])
    for row in rows:
        drawn.add_row(*(Text(cell) for cell in row))  # Text, for a reply may hold what rich would take for markup
    Console().print(drawn)


def time_text(at: float) -> str:
    """A time as people read it: UTC, to the second."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S")


def time_json(at: float) -> str:
    """A time as programs read it: ISO 8601, UTC."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def span_text(seconds: float) -> str:
    """How long something is, in its two largest units: "4m 5s"."""
    rest = max(0, round(seconds))
    parts = []
    for name, length in (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)):
        count, rest = divmod(rest, length)
        if count:
            parts.append(f"{count}{name}")
    return " ".join(parts[:2]) or "0s"


def size_text(octets: int) -> str:
    """About how many octets: "4.2 KB"."""
    if octets < 1_000:
        return f"{octets} B"
    size = float(octets)
    for unit in ("KB", "MB"):
        size /= 1_000
        if size < 999.95:
            return f"{size:.1f} {unit}"
    return f"{size / 1_000:.1f} GB"
