"""The queue's store from outside of the server: read beside one that runs, which is not disturbed, or changed where none does."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from waymail.app.cli.locate import data_place
from waymail.app.cli.output import CommandFailed, Exit

if TYPE_CHECKING:
    from waymail.app.config import Config
    from waymail.store.contract import Store
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


@asynccontextmanager
async def changing(config: Config) -> AsyncIterator[Store]:
    """The store, where no server listens to commands. Raises CommandFailed where one is about to, or was until now, and where the
    queue is in a server's memory; StoreError."""
    from waymail.app.wiring import open_store
    from waymail.net.clock import SystemClock
    from waymail.store.lock import InUse

    if config.queue.store == "memory":
        raise CommandFailed(Exit.UNAVAILABLE, "no server runs, and this queue is nowhere but in a server's memory")
    try:
        store = await open_store(config, SystemClock())
    except InUse as error:
        who = (
            f"process {error.holder or '(unknown)'} has the queue: a server that is just starting or stopping, or another command"
        )
        again = "try again in a moment; where that does not help, the log says why the server takes no commands"
        raise CommandFailed(Exit.TEMPORARY, f"{who}; {again}") from None
    try:
        yield store
    finally:
        await store.close()
