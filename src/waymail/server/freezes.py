"""Accounts that are closed for a while: whose, since when, and why. In a file, so that they stay closed after a restart.

Promises: what `waymail user freeze` and `thaw` change counts in a running server within a second; a file that cannot be read is
logged, and what was known before stays. An edit happens whole or not at all. Works with every back end, since it only knows
names.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from waymail.server import users_edit
from waymail.server.users_file import UsersFileError

log = logging.getLogger("waymail.server")

FILE_NAME = "frozen.json"  # below data_dir
CHECK_INTERVAL = 1.0  # seconds between two looks at the file


class FreezesUnusable(Exception):
    """The file cannot be read or changed; the text names it and the fix."""


@dataclass(frozen=True, slots=True)
class Freeze:
    """`since` is in Unix time."""

    reason: str
    since: float


class Freezes:
    """The frozen accounts of a server."""

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Raises FreezesUnusable."""
        self._path = path
        self._clock = clock
        self._stamp = _stamp(path)
        self._frozen = read(path)
        self._check_at = clock() + CHECK_INTERVAL

    def is_frozen(self, user: str) -> bool:
        """Looks at the file once a second at most."""
        if self._clock() >= self._check_at:
            self._check_at = self._clock() + CHECK_INTERVAL
            self._reload()
        return user in self._frozen

    def close(self, user: str, reason: str, now: float) -> None:
        """Close an account in this process, until `freeze` has written it down."""
        self._frozen = {**self._frozen, user: Freeze(reason, now)}

    def freeze(self, user: str, reason: str, now: float) -> None:
        """Close an account. It is closed in this process even where the file cannot be written. Waits for the disk. Raises
        FreezesUnusable."""
        self.close(user, reason, now)
        self._frozen = dict(change(self._path, user, Freeze(reason, now)))
        self._stamp = _stamp(self._path)

    def _reload(self) -> None:
        try:
            stamp = _stamp(self._path)
            if stamp != self._stamp:
                self._stamp = stamp
                self._frozen = read(self._path)
        except FreezesUnusable as problem:
            log.error("frozen accounts cannot be read, those read before stay", extra={"fields": {"error": str(problem)}})


def read(path: Path) -> Mapping[str, Freeze]:
    """The frozen accounts in a file, by user name; none where there is no file. Raises FreezesUnusable."""
    try:
        data = json.loads(path.read_bytes())
        return {name: Freeze(str(one["reason"]), float(one["since"])) for name, one in data.items()}
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise FreezesUnusable(f"{path}: cannot be read: {error.strerror}; let the server's user read it") from None
    except (ValueError, TypeError, KeyError, AttributeError):
        message = f"{path}: is not what waymail writes there; remove it, and freeze again who is to be frozen"
        raise FreezesUnusable(message) from None


def change(path: Path, user: str, freeze: Freeze | None) -> Mapping[str, Freeze]:
    """Close an account, or open it with None; all that are closed then. Raises FreezesUnusable."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with users_edit.locked(path):
            frozen = dict(read(path))
            frozen.pop(user, None)
            if freeze is not None:
                frozen[user] = freeze
            text = json.dumps({name: asdict(one) for name, one in frozen.items()}, indent=1, ensure_ascii=False)
            users_edit.write_whole(path, text.encode("utf-8"))
            return frozen
    except OSError as error:
        raise FreezesUnusable(f"{path}: cannot be changed: {error.strerror}; run this as the server's user or as root") from None


def _stamp(path: Path) -> users_edit.Stamp | None:
    try:
        return users_edit.stamp(path)
    except UsersFileError as problem:
        raise FreezesUnusable(str(problem)) from None
