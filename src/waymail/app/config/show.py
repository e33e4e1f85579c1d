"""Every effective value of a configuration, as the file would spell it, and where it came from. Never a password."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from waymail.app.config.load import dotted
from waymail.app.config.positions import KeyPath
from waymail.app.config.schema import Config

DEFAULT = "default"
DEVELOPMENT = "development"


@dataclass(frozen=True, slots=True)
class Setting:
    """`value` is plain JSON data, None where the key has none; `source` is FILE:LINE, "default" or "development"."""

    key: str
    value: Any
    source: str

    @property
    def text(self) -> str:
        """The value as TOML writes it; "-" for none."""
        return "-" if self.value is None else json.dumps(self.value, ensure_ascii=False)


def settings(config: Config) -> Iterator[Setting]:
    """All of them, in the order of the documentation."""
    for path, value in _leaves((), config.model_dump(mode="json", by_alias=True)):
        yield Setting(dotted(path), value, _source(config, path))


def _leaves(path: KeyPath, value: Any) -> Iterator[tuple[KeyPath, Any]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _leaves((*path, key), item)
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        for index, item in enumerate(value):
            yield from _leaves((*path, index), item)
    else:
        yield path, value


def _source(config: Config, path: KeyPath) -> str:
    source = config.source
    if source.file is None:
        return DEVELOPMENT
    line = source.lines.get(path)
    return f"{source.file}:{line}" if line else DEFAULT
