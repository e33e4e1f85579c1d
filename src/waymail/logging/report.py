"""The mail that tells what was logged: its subject and text."""

from __future__ import annotations

import time
from collections.abc import Iterator

from waymail.logging.gathered import Entry, Gathered, line

SUBJECT = "{level} on {host}: {message}"
_RULE = "-" * 72


def subject_of(template: str, gathered: Gathered, host: str) -> str:
    """What the gravest record says, and how many others there are. Raises ValueError where the template cannot be filled in."""
    if not gathered.entries:
        raise ValueError("nothing was gathered")
    entry = max(gathered.entries.values(), key=lambda entry: entry.severity)  # the first one of several
    others = _count(gathered) - 1
    try:
        text = template.format(level=entry.level, logger=entry.logger, message=entry.latest, host=host, count=_count(gathered))
    except (LookupError, ValueError, AttributeError, TypeError) as error:
        raise ValueError(
            f"subject: {template!r} cannot be filled in: in braces may stand level, logger, message, host and count"
        ) from error
    return line(text) + (f" (and {others} more)" if others else "")


def text_of(gathered: Gathered, where: str) -> str:
    """All that was gathered."""
    return "\n".join(_lines(gathered, where))


def _lines(gathered: Gathered, where: str) -> Iterator[str]:
    entries = gathered.entries.values()
    total = _count(gathered)
    if total > 1:
        begin, end = _time(min(entry.first for entry in entries)), _time(max(entry.last for entry in entries))
        yield f"{total} records ({len(entries)} different ones), {begin} to {end}, {where}"
    else:
        yield f"1 record, {where}"
    if gathered.dropped:
        yield f"{gathered.dropped} of them were too many for one mail, and are not shown."
    for entry in entries:
        yield _RULE
        yield from _shown(entry)


def _shown(entry: Entry) -> Iterator[str]:
    yield entry.text.rstrip("\n")
    if entry.count > 1:
        yield ""
        yield f"{entry.count} times, {_time(entry.first)} to {_time(entry.last)}. The last one: {entry.latest}"


def _count(gathered: Gathered) -> int:
    return sum(entry.count for entry in gathered.entries.values()) + gathered.dropped


def _time(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
