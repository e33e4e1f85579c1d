"""What is remembered of clients: bounded in memory, and in a file over a restart.

`Recent` holds what was used last. `KeptFile` writes rows of it every few minutes and at the stop: a crash forgets the last
minutes, which delays somebody once more at worst. Nothing here stops mail: a damaged file is set aside, and one that cannot be
read or written is logged.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Generic, TypeVar

from waymail.server.users_edit import write_whole

log = logging.getLogger("waymail.server")

V = TypeVar("V")
Row = list[Any]

FORM = 1  # of the file
EVERY = 300.0  # seconds between two times that a file is written


# What the code that reads a file of ours raises where somebody or something else has written it.
DAMAGED = (ValueError, TypeError, LookupError, OverflowError, RecursionError)


class Recent(Generic[V]):
    """The `most` keys that were put here last, each for `keep` seconds since then. Memory is bounded; nothing here raises."""

    def __init__(self, most: int, keep: float) -> None:
        self._most = most
        self._keep = keep
        self._held: OrderedDict[str, tuple[float, V]] = OrderedDict()

    def get(self, key: str, now: float) -> V | None:
        """What was put there; None where that is too long ago. A clock that was set back makes nothing older."""
        held = self._held.get(key)
        return held[1] if held is not None and now - held[0] < self._keep else None

    def timed(self, key: str) -> tuple[float, V] | None:
        """When it was put there, however long ago, and what."""
        return self._held.get(key)

    def put(self, key: str, value: V, now: float) -> None:
        """From now on it is the one that was used last."""
        self._held[key] = (now, value)
        self._held.move_to_end(key)
        while len(self._held) > self._most:
            self._held.popitem(last=False)

    def items(self, now: float) -> list[tuple[str, float, V]]:
        """Keys, times and values, what was used last standing last. May be called in another thread meanwhile."""
        held = list(self._held.items())  # in one step
        return [(key, at, value) for key, (at, value) in held if now - at < self._keep]

    def go_on_from(self, other: Recent[V]) -> None:
        """Take over what another one holds, whose bounds were different."""
        self._held = other._held

    def __len__(self) -> int:
        return len(self._held)


def digest(*parts: str) -> str:
    """A short name for some texts together, which says nothing about them."""
    text = "\0".join(parts).encode("utf-8", "backslashreplace")
    return hashlib.blake2b(text, digest_size=12).hexdigest()


class KeptFile:
    """A file of rows; without a `path` nothing is kept. `what` says in the log what it holds."""

    def __init__(self, path: Path | None, what: str) -> None:
        self._path = path
        self._what = what
        self._written_at = float("-inf")
        self.has_changed = False  # set by whoever has something new to write

    def load(self, take: Callable[[Iterator[Row]], None]) -> None:
        """Hand the rows to `take`, which raises one of `DAMAGED` where they make no sense. A damaged file is set aside beside its
        place, and what was remembered begins anew."""
        if self._path is None:
            return
        try:
            take(iter(self._rows(self._path.read_bytes())))
        except FileNotFoundError:
            pass
        except OSError as error:
            self._tell("cannot be read, it begins anew", self._path, error)
        except DAMAGED as error:
            aside = self._path.with_name(f"{self._path.name}.damaged")
            try:
                self._path.replace(aside)
            except OSError:
                aside = self._path
            self._tell("is damaged and was set aside, it begins anew", aside, error)

    def save(self, rows: Callable[[], Iterable[Row]], now: float, *, stopping: bool = False) -> None:
        """Write what has changed, every few minutes at most unless the server is `stopping`. Blocks for an fsync: belongs in a
        thread."""
        early = abs(now - self._written_at) < EVERY and not stopping
        if self._path is None or not self.has_changed or early:
            return
        self._written_at, self.has_changed = now, False
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(self._path, _octets(rows()))
        except OSError as error:
            self.has_changed = True
            self._tell("cannot be written", self._path, error)

    def _rows(self, octets: bytes) -> list[Row]:
        """Raises one of `DAMAGED`, also for a file whose end is missing."""
        first, *lines = octets.splitlines() or [b""]
        head = json.loads(first)
        if head != {"form": FORM, "rows": len(lines)}:
            raise ValueError(f"the first line is {head}, and {len(lines)} rows follow")
        return [json.loads(line) for line in lines]

    def _tell(self, problem: str, path: Path, error: Exception) -> None:
        fields = {"file": str(path), "error": str(error) or type(error).__name__}
        log.error("%s %s", self._what, problem, extra={"fields": fields})


def _octets(rows: Iterable[Row]) -> bytes:
    """In small steps, between which the loop has its turn: encoding all at once would hold the interpreter's lock."""
    remaining = iter(rows)
    lines: list[bytes] = []
    while some := list(islice(remaining, 100)):
        lines += [json.dumps(row, separators=(",", ":"), ensure_ascii=True).encode() for row in some]
    head = json.dumps({"form": FORM, "rows": len(lines)}).encode()
    return b"\n".join((head, *lines, b""))
