"""Reading the queue's store from outside of the server: nothing is changed, and a server that runs is not disturbed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from waymail.app.cli.locate import data_place
from waymail.app.cli.output import CommandFailed, Exit

if TYPE_CHECKING:
    from waymail.store.read import SqliteReader


def data_directory(config_file: Path | None) -> Path:
    """Where the data is of the server with this configuration. Raises CommandFailed where its queue is in its memory, and
    ConfigError."""
    place = data_place(config_file)
    if place.in_memory:
        raise CommandFailed(Exit.UNAVAILABLE, "this queue is in the memory of its server: nobody else can look into it")
    return place.directory


@asynccontextmanager
async def reading(config_file: Path | None) -> AsyncIterator[SqliteReader]:
    """The store of the server with this configuration. Raises CommandFailed, ConfigError, and StoreError where it never ran."""
    from waymail.store.read import SqliteReader

    reader = await SqliteReader.open(data_directory(config_file) / "queue")
    try:
        yield reader
    finally:
        await reader.close()
