"""What is different between two configurations, in them or in the files that they name, and what of it a running server cannot
take up."""

from __future__ import annotations

import stat
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from waymail.app.config.positions import KeyPath
from waymail.app.config.schema import Config
from waymail.app.config.section import Section


def changes(old: Section, new: Section, above: KeyPath = ()) -> Iterator[KeyPath]:
    """The keys whose values are different; of what a table holds by free names, those names."""
    for name, field in type(new).model_fields.items():
        yield from _changed((*above, field.alias or name), getattr(old, name), getattr(new, name))


def _changed(path: KeyPath, old: object, new: object) -> Iterator[KeyPath]:
    if isinstance(old, Section) and isinstance(new, Section):
        yield from changes(old, new, path)
    elif isinstance(old, Mapping) and isinstance(new, Mapping):
        for name in [*old, *(name for name in new if name not in old)]:
            if name in old and name in new:
                yield from _changed((*path, name), old[name], new[name])
            else:
                yield (*path, name)
    elif old != new:
        yield path


Stamp = tuple[int, int, int]  # of a file that is as it was: when it was written, its size, its number


def stamps(config: Section) -> dict[Path, Stamp]:
    """The files that a configuration names, as they are now: certificates, secrets, texts, users."""
    found = {}
    for path in _paths(config):
        with suppress(OSError):
            known = path.stat()
            if stat.S_ISREG(known.st_mode):
                found[path] = known.st_mtime_ns, known.st_size, known.st_ino
    return found


def _paths(value: object) -> Iterator[Path]:
    match value:
        case Path():
            yield value
        case Section():
            for name in type(value).model_fields:
                yield from _paths(getattr(value, name))
        case Mapping():
            for one in value.values():
                yield from _paths(one)
        case tuple():
            for one in value:
                yield from _paths(one)


def startable(running: Config, wanted: Config) -> tuple[Config, list[KeyPath]]:
    """`wanted` as far as a server that runs by `running` can take it up, and the keys that need a restart."""
    queue = wanted.queue.model_copy(update={"store": running.queue.store})
    possible = wanted.model_copy(update={"data_dir": running.data_dir, "queue": queue})
    return possible, list(changes(possible, wanted))
