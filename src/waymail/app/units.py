"""Durations and sizes as people write them: "5m", "1h30m", "50MB", "64KiB".

A bare number is refused, for nobody can tell what it counts. Every function raises ValueError with a sentence that says
what would be right.
"""

from __future__ import annotations

import re

SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
OCTETS = {"B": 1, "KB": 1_000, "MB": 1_000_000, "GB": 1_000_000_000, "KIB": 1_024, "MIB": 1_048_576, "GIB": 1_073_741_824}

_DURATION = re.compile(r"(?:\d{1,9}(?:\.\d{1,6})?[smhdw])+", re.ASCII)
_DURATION_PART = re.compile(r"([\d.]+)([smhdw])")
_SIZE = re.compile(r"(\d{1,12}) ?([KMG]I?B|B)", re.ASCII)


def duration(value: object) -> float:
    """Seconds, more than zero."""
    if not isinstance(value, str):
        raise ValueError(f'must be a text with a unit, like "30s", "5m", "4h" or "2d", not {shown(value)}')
    if not _DURATION.fullmatch(value):
        raise ValueError(f'{shown(value)} is no duration: write a number and a unit (s m h d w), like "30s", "5m" or "1h30m"')
    seconds = sum(float(number) * SECONDS[unit] for number, unit in _DURATION_PART.findall(value))
    if seconds <= 0:
        raise ValueError(f"must be longer than zero, not {shown(value)}")
    return seconds


def duration_or_off(value: object) -> float | None:
    """Seconds, or None for "off"."""
    if value == "off" or value is False:
        return None
    try:
        return duration(value)
    except ValueError as error:
        raise ValueError(f'{error}; or "off"') from None


def size(value: object) -> int:
    """Octets, more than zero. MB is a million octets, MiB 1,048,576."""
    if not isinstance(value, str):
        raise ValueError(f'must be a text with a unit, like "50MB" or "64KiB", not {shown(value)}')
    found = _SIZE.fullmatch(value.upper())
    if found is None:
        raise ValueError(f'{shown(value)} is no size: write a whole number and a unit (B KB KiB MB MiB GB GiB), like "50MB"')
    octets = int(found[1]) * OCTETS[found[2]]
    if octets == 0:
        raise ValueError(f"must be more than zero, not {shown(value)}")
    return octets


def size_or_off(value: object) -> int | None:
    """Octets, or None for "off"."""
    if value == "off" or value is False:
        return None
    try:
        return size(value)
    except ValueError as error:
        raise ValueError(f'{error}; or "off"') from None


def duration_text(seconds: float | None) -> str:
    """The shortest way to write a duration; "off" for None."""
    if seconds is None:
        return "off"
    if seconds != int(seconds):
        return f"{seconds:g}s"
    rest, parts = int(seconds), []
    for unit in "dhms":
        count, rest = divmod(rest, SECONDS[unit])
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def size_text(octets: int | None) -> str:
    """The shortest exact way to write a size; "off" for None."""
    if octets is None:
        return "off"
    for unit, name in (("GB", "GB"), ("GIB", "GiB"), ("MB", "MB"), ("MIB", "MiB"), ("KB", "KB"), ("KIB", "KiB")):
        if octets and octets % OCTETS[unit] == 0:
            return f"{octets // OCTETS[unit]}{name}"
    return f"{octets}B"


def shown(value: object) -> str:
    """A value as TOML writes it, shortened: for messages."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f'"{value}"' if len(value) <= 60 else f'"{value[:57]}..."'
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        return "a list"
    return str(value)
