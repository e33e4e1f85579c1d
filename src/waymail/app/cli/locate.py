"""Which configuration a command works with."""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from waymail.app.cli.output import CommandFailed, Exit, complain

if TYPE_CHECKING:
    from waymail.app.config import Config

SYSTEM_CONFIG = Path("/etc/waymail/waymail.toml")
LOCAL_CONFIG = Path("waymail.toml")
DEVELOPMENT_DIRECTORY = Path("waymail-data")


@dataclass(frozen=True, slots=True)
class DataPlace:
    """Where a server's data is, and whether its queue is in memory instead."""

    directory: Path
    in_memory: bool


def find(given: Path | None) -> Path | None:
    """The configuration file: the one given, $WAYMAIL_CONFIG, ./waymail.toml, /etc/waymail/waymail.toml; or None."""
    if given is not None:
        return given
    if named := os.environ.get("WAYMAIL_CONFIG"):
        return Path(named)
    return next((file for file in (LOCAL_CONFIG, SYSTEM_CONFIG) if file.is_file()), None)


def read(file: Path, *, to_serve: bool = False) -> Config:
    """The configuration in a file, its warnings told; `to_serve` as for `config.load`. Raises ConfigError."""
    from waymail.app.config import load

    config = load(file, to_serve=to_serve)
    for warning in config.source.warnings:
        complain(warning_text(str(warning.path), warning.line, warning.key, warning.message))
    return config


def existing(given: Path | None) -> Config:
    """The configuration of a server that is there already: found as by `find`, or that of the development server that was
    started in this folder. Raises ConfigError, and CommandFailed where there is neither."""
    from waymail.app.config import development, load

    if file := find(given):
        return load(file)
    if DEVELOPMENT_DIRECTORY.is_dir():
        return development(DEVELOPMENT_DIRECTORY)
    raise CommandFailed(
        Exit.CONFIG,
        "no configuration found: give --config FILE, or set WAYMAIL_CONFIG, or make ./waymail.toml or "
        f"{SYSTEM_CONFIG}; `waymail serve` without one starts a development server in ./{DEVELOPMENT_DIRECTORY}",
    )


def data_place(given: Path | None) -> DataPlace:
    """Where the data of the server is that `existing` would find. Where the two keys that say so are plain, no more of the file
    is read or checked: that is quick, and works while somebody is changing the rest. Raises as `existing` does."""
    if (file := find(given)) is not None and (place := _read_plainly(file)) is not None:
        return place
    config = existing(given)
    return DataPlace(config.data_dir, config.queue.store == "memory")


def _read_plainly(file: Path) -> DataPlace | None:
    try:
        data = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    directory, queue = data.get("data_dir", "data"), data.get("queue", {})
    store = queue.get("store", "sqlite") if isinstance(queue, dict) else None
    if not isinstance(directory, str) or not directory or directory.startswith("~") or store not in ("sqlite", "memory"):
        return None
    return DataPlace((file.parent / directory).absolute(), store == "memory")


def warning_text(path: str, line: int, key: str, message: str) -> str:
    """FILE:LINE: warning: key: message"""
    place = f"{path}:{line}" if line else path
    return ": ".join(part for part in (place, "warning", key, message) if part)
