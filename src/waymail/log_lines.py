"""How what the program says of itself reads, one line per event: for people or as JSON.

What belongs to an event beside its message is given as `log.info("delivered", extra={"fields": {"id": ..., "ms": 12}})`.

A line stays a line, whatever a peer sent: control characters are escaped. Passwords do not appear: the value of a field
that is named like a secret is left out, and so are credentials inside URLs and what follows AUTH in a command.

In a program of your own, `handler.setFormatter(waymail.log_lines.HumanFormatter())` shows waymail's lines, and all others,
like this.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

HIDDEN = "***"

_SECRET_NAME = re.compile(r"password|passwd|secret|token|credential|authorization|private_?key", re.IGNORECASE)
_URL_PASSWORD = re.compile(r"(\w://[^\s/@:]*):[^\s/@]*@")
_AUTH_COMMAND = re.compile(r"\b(AUTH\s+(?:PLAIN|LOGIN|EXTERNAL|X?OAUTH\w+|(?:SCRAM|CRAM)-[\w-]+))\s+\S+", re.IGNORECASE)
# Control characters, line separators, and what changes the direction of the text around it.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]")
# What most values look like: no space, no control character, no slash, so that neither a URL nor a command can hide in it.
_HARMLESS = re.compile(r"[A-Za-z0-9@._:+<>\[\]-]+")
_PLAIN_VALUE = re.compile(r'[^\s"=]+')

LEVEL_WIDTH = 7  # "warning"
LONGEST = 2_000  # characters of a text that are shown: what a peer says must not fill the log
TIMES = frozenset({"next"})  # fields that are seconds since the epoch: people read a time
MESSAGE_WIDTH = 24  # so that the fields of short messages stand below each other


def speak_up() -> None:
    """See to it that warnings of waymail are understood in a program that has not set up logging: Python's handler of last resort
    shows their message alone. Safe to call twice."""
    logger = logging.getLogger("waymail")
    if not any(isinstance(handler, _LastResort) for handler in logger.handlers):
        logger.addHandler(_LastResort(logging.WARNING))


class _LastResort(logging.Handler):
    """Writes to standard error where nobody else would do anything with the record."""

    def emit(self, record: logging.LogRecord) -> None:
        others = [*logging.getLogger().handlers, *logging.getLogger("waymail").handlers]
        if any(not isinstance(handler, _LastResort) for handler in others):
            return
        try:
            sys.stderr.write(HumanFormatter().format(record) + "\n")
        except Exception:  # noqa: BLE001 - as every handler of the standard library does
            self.handleError(record)


class HumanFormatter(logging.Formatter):
    """TIME LEVEL LOGGER: MESSAGE key=value ...; a traceback follows on lines of its own, set in."""

    def format(self, record: logging.LogRecord) -> str:
        line = _plain_line(record)
        if line is not None:
            return line
        message = _escape(_hide(record.getMessage()))
        fields = " ".join([f"{name}={_human(_as_time(value) if name in TIMES else value)}" for name, value in _fields(record)])
        head = f"{_time(record)} {_head(record.levelname, record.name)}"
        line = head + (f"{message:<{MESSAGE_WIDTH}} {fields}" if fields else message)
        trace = _traceback(self, record)
        return line + "".join(f"\n    {_escape(row)}" for row in trace.splitlines())


def _plain_line(record: logging.LogRecord) -> str | None:
    """The line, where nothing in it needs care, as in nearly all of them: what `HumanFormatter` would make, at a fifth of the
    cost. None where anything might be a secret, a control character, or a value that is more than a text or a number."""
    parts: list[str] = []
    for name, value in getattr(record, "fields", {}).items():
        kind = type(value)
        if kind is str:
            shown = value
            if '"' in shown or ("://" in shown and _URL_PASSWORD.search(shown)):
                return None
            if not shown or " " in shown or "=" in shown:
                shown = f'"{shown}"'
        elif kind is int or kind is float:
            shown = str(value)
        elif kind is list and len(value) == 1 and type(value[0]) is str and _HARMLESS.fullmatch(value[0]):
            shown = f'["{value[0]}"]'
        else:
            return None
        if not _is_plain(name):
            return None
        parts.append(f"{name}={shown}")
    head = f"{_time(record)} {_head(record.levelname, record.name)}"
    line = f"{head}{record.msg:<{MESSAGE_WIDTH}} {' '.join(parts)}" if parts else head + str(record.msg)
    if record.args or record.exc_info or not line.isprintable() or len(line) > LONGEST or "AUTH" in line.upper():
        return None
    return None if "://" in str(record.msg) else line


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, and the event's own fields beside them."""

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, Any] = dict(_fields(record))
        if trace := _traceback(self, record):
            entry["exception"] = trace
        known = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _hide(record.getMessage()),
        }
        # A field of the same name never stands in for what the line itself says.
        line = json.dumps(known | {f"{name}_" if name in known else name: value for name, value in entry.items()}, default=str)
        return line.replace("\x7f", "\\u007f")  # all others JSON escapes by itself


def _fields(record: logging.LogRecord) -> Iterator[tuple[str, Any]]:
    fields = getattr(record, "fields", None)
    if isinstance(fields, Mapping):
        for name, value in fields.items():
            yield str(name), HIDDEN if _is_secret(str(name)) else _without_secrets(value)


def _without_secrets(value: Any) -> Any:
    """The same value as plain JSON data, with secrets hidden wherever they are in it."""
    if isinstance(value, int | float | None) or (isinstance(value, str) and len(value) <= LONGEST and _HARMLESS.fullmatch(value)):
        return value
    match value:
        case str():
            return _clipped(_hide(value))
        case bytes():
            return _clipped(_hide(value.decode("utf-8", "backslashreplace")))
        case Mapping():
            return {str(key): HIDDEN if _is_secret(str(key)) else _without_secrets(item) for key, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_without_secrets(item) for item in value]
        case _:
            return _hide(str(value))


def _as_time(value: Any) -> Any:
    """Seconds since the epoch as a time to the second."""
    return f"{_second(int(value))}Z" if isinstance(value, (int, float)) else value


def _human(value: Any) -> str:
    """A value without spaces as it is, any other in quotes."""
    if isinstance(value, str):
        if _HARMLESS.fullmatch(value):
            return value
        escaped = _escape(value)
        return escaped if _PLAIN_VALUE.fullmatch(escaped) else '"' + escaped.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], str) and _HARMLESS.fullmatch(value[0]):
        return f'["{value[0]}"]'
    return _escape(json.dumps(value, ensure_ascii=False))


@lru_cache(maxsize=256)
def _is_plain(name: str) -> bool:
    """Whether a field is shown as it is."""
    return name not in TIMES and not _is_secret(name)


@lru_cache(maxsize=256)
def _is_secret(name: str) -> bool:
    return _SECRET_NAME.search(name) is not None


@lru_cache(maxsize=256)
def _head(level: str, logger: str) -> str:
    return f"{level.lower():<{LEVEL_WIDTH}} {logger}: "


def _hide(text: str) -> str:
    if _HARMLESS.fullmatch(text):
        return text
    return _AUTH_COMMAND.sub(rf"\1 {HIDDEN}", _URL_PASSWORD.sub(rf"\1:{HIDDEN}@", text))


def _clipped(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}... and {len(text) - LONGEST} characters more"


def _escape(text: str) -> str:
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}" if found[0] < "\x80" else f"\\u{ord(found[0]):04x}", text)


def _time(record: logging.LogRecord) -> str:
    return f"{_second(int(record.created))}.{int(record.msecs):03d}Z"


@lru_cache(maxsize=4)
def _second(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).isoformat().removesuffix("+00:00")


def _traceback(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    return _hide(formatter.formatException(record.exc_info)) if record.exc_info else ""
