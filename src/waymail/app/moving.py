"""`waymail queue export` and `import` where the store is: in the server, asked over the control socket, or else in the command.

What moves goes through a file in `data_dir/transfer`, which the server and the command both reach, whoever owns the file that
the person named. So there are four things to ask for (`waymail.store.transfer` says what each promises):

    export          selection, move         done: file (a name in the folder), messages, recipients
    export-finish   file, where             done: messages, recipients; the file in the folder is gone
    export-undo     file                    done; the file in the folder is gone
    import          file, where, partly     done: messages, recipients; with partly, error: what is wrong behind these

Each item is a message that was not moved: {"id", "why"}.
"""

from __future__ import annotations

import logging
import os
import re
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from waymail.app.asking import selection_of
from waymail.app.config import Config
from waymail.net.clock import Clock
from waymail.store.archive import ArchiveError
from waymail.store.contract import Store, StoreError
from waymail.store.transfer import Note, Transfer

log = logging.getLogger("waymail.control")

FOLDER = "transfer"
NAME = re.compile(r"(export|import)-[0-9a-f]{16}\.tar")
OLD = 86_400.0  # seconds after which nobody moves a file in the folder any more
ASKED = ("export", "export-finish", "export-undo", "import")
TOLD = {
    "export": "messages were written to a file",
    "export-finish": "messages were moved to a file",
    "import": "messages were taken in from a file",
}

_under_way: set[Path] = set()  # data directories

Answer = Mapping[str, Any]


def folder(config: Config) -> Path:
    """Where the files are that go from the command to the server and back. It belongs to whom the data directory belongs. Raises
    OSError, also where a link stands in its place."""
    path = config.data_dir / FOLDER
    path.mkdir(mode=0o700, exist_ok=True)
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        give(descriptor, config)
    finally:
        os.close(descriptor)
    return path


def give(descriptor: int, config: Config) -> None:
    """Let the server have an open file or folder that root made. By a path, the server's user could make root give him what he
    puts in its place. Raises OSError."""
    if os.getuid() == 0:
        owner = config.data_dir.stat()
        os.fchown(descriptor, owner.st_uid, owner.st_gid)


def new_name(kind: str) -> str:
    """A name for a file in the folder."""
    return f"{kind}-{secrets.token_hex(8)}.tar"


def sweep(config: Config, now: float) -> None:
    """Remove what a crash left in the folder. Nothing is lost by that: the messages are in the queue, or in the person's own
    file. What goes wrong is logged."""
    directory = config.data_dir / FOLDER
    try:
        with os.scandir(directory) as entries:
            left = [one for one in entries if NAME.fullmatch(one.name) and now - one.stat(follow_symlinks=False).st_mtime > OLD]
        for one in left:
            Path(one.path).unlink(missing_ok=True)
            log.info("a file that a move of messages had left was removed", extra={"fields": {"file": one.path}})
    except FileNotFoundError:
        return  # nothing was ever moved
    except OSError as error:
        log.warning(
            "what was left of moves could not be removed", extra={"fields": {"folder": str(directory), "error": str(error)}}
        )


async def answers(what: str, store: Store, config: Config, clock: Clock, request: Mapping[str, Any]) -> AsyncIterator[Answer]:
    """Do one of `ASKED`. Yields answers as the control socket gives them. Raises StoreError, and ValueError for a request that is
    none."""
    if config.data_dir in _under_way:
        yield {"error": "messages are being moved already: try again when that is over", "code": os.EX_TEMPFAIL}
        return
    _under_way.add(config.data_dir)
    try:
        transfer = Transfer(store, host=config.hostname, version=_version(), now=clock.now)
        async with aclosing(_done(what, transfer, config, request)) as done:
            async for answer in done:
                yield answer
    except ArchiveError as error:
        yield {"error": str(error), "code": os.EX_DATAERR}
    except OSError as error:
        raise StoreError(f"{error.filename or folder(config)}: {error.strerror}") from error
    finally:
        _under_way.discard(config.data_dir)


async def _done(what: str, transfer: Transfer, config: Config, request: Mapping[str, Any]) -> AsyncGenerator[Answer, None]:
    directory, where = folder(config), str(request.get("where", "a file"))
    if what == "export":
        name, move = new_name("export"), request.get("move") is True
        done = Tally(transfer.export(directory / name, selection_of(request.get("selection")), move=move))
    else:
        name = str(request.get("file"))
        if not NAME.fullmatch(name):
            raise ValueError(f"file: {name!r} is no name of a file in {FOLDER}")
        if what == "export-undo":
            await transfer.give_up(directory / name)
            yield {"done": {}}
            return
        path, partly = directory / name, request.get("partly") is True
        done = Tally(transfer.finish(path, where) if what == "export-finish" else transfer.take_in(path, where, partly=partly))
    error = ""
    try:
        async with aclosing(done.items()) as items:
            async for item in items:
                yield item
    except ArchiveError as failure:
        if request.get("partly") is not True:
            raise
        error = str(failure)
    if what == "export-finish":
        (directory / name).unlink()
    counted = {"messages": done.messages, "recipients": done.recipients}
    log.info(TOLD[what], extra={"fields": counted | {"file": where if "where" in request else name}})
    yield {"done": counted | {"file": name, "error": error}}


class Tally:
    """Counts what was moved, and passes on what was not."""

    def __init__(self, notes: AsyncGenerator[Note, None]) -> None:
        self._notes = notes
        self.messages = 0
        self.recipients = 0

    async def items(self) -> AsyncGenerator[Answer, None]:
        async with aclosing(self._notes) as notes:
            async for note in notes:
                if note.why:
                    yield {"item": {"id": note.id, "why": note.why}}
                else:
                    self.messages += 1
                    self.recipients += note.recipients


def _version() -> str:
    try:
        return version("waymail")
    except PackageNotFoundError:
        return "(not installed)"
