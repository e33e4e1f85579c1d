"""What is different between two configurations, and what of it a running server cannot take up."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

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


def startable(running: Config, wanted: Config) -> tuple[Config, list[KeyPath]]:
    """`wanted` as far as a server that runs by `running` can take it up, and the keys that need a restart."""
    queue = wanted.queue.model_copy(update={"store": running.queue.store})
    possible = wanted.model_copy(update={"data_dir": running.data_dir, "queue": queue})
    return possible, list(changes(possible, wanted))
