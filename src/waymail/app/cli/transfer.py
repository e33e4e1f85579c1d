"""`waymail queue export` and `import`: messages that wait move to another queue, in a file."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO

from cyclopts import App, Parameter

from waymail.app.cli.chosen import Chosen
from waymail.app.cli.locate import existing
from waymail.app.cli.output import CommandFailed, Exit, clean, complain, say, say_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from waymail.app.config import Config

Json = Annotated[bool, Parameter(name="--json", negative="")]
Switch = Annotated[bool, Parameter(negative="")]
File = Annotated[str, Parameter(allow_leading_hyphen=True)]
NOTHING = Chosen()
STANDARD = "-"
SHOWN = 20  # messages that were not moved and are named


async def export(
    file: File,
    /,
    *ids: str,
    chosen: Chosen = NOTHING,
    remove: Switch = False,
    config: Path | None = None,
    as_json: Json = False,
) -> int:
    """Write messages that wait to a file, with all that is known of them, for `waymail queue import`.

    Without --remove it is a copy: the queue goes on with them, and where the file is imported they are held.

    Parameters
    ----------
    file
        A file that is not there yet, or - for standard output.
    ids
        Queue ids.
    remove
        Take them out of this queue, once they are in the file and that is on the disk. What is being attempted stays.
    config
        The configuration file of the server.
    as_json
        Print a JSON object.
    """
    from waymail.net.clock import SystemClock

    selection, found = chosen.strictly(ids, now=SystemClock().now()), existing(config)
    _check(file, remove=remove)
    from waymail.app.asking import selection_json

    result = await _all(found, "export", selection=selection_json(selection), move=remove)
    name = result.pop("file")
    try:
        if result["messages"]:
            _copied_out(found, name, file)
    except BaseException:
        await _all(found, "export-undo", file=name)
        raise
    if remove and result["messages"]:
        finished = await _finished(found, name, file)
        result = finished | {"left": result["left"] + finished["left"]}
    else:
        await _all(found, "export-undo", file=name)
    return _exported(result, file, remove=remove, as_json=as_json)


async def import_(file: File, /, *, partly: Switch = False, config: Path | None = None, as_json: Json = False) -> int:
    """Take the messages of a file that `waymail queue export` wrote into the queue. What is there already is left as it is.

    Parameters
    ----------
    file
        The file, or - for standard input.
    partly
        Of a file that was cut off or damaged, take what is whole. Without it nothing is taken of such a file.
    config
        The configuration file of the server.
    as_json
        Print a JSON object.
    """
    from waymail.app.moving import new_name

    found, name = existing(config), new_name("import")
    if not found.data_dir.is_dir():
        raise CommandFailed(Exit.IO, f"there is no {found.data_dir}: is data_dir right, and was the server ever started?")
    path = _folder(found) / name
    try:
        _copied_in(file, path, found)
        where = "what came by standard input" if file == STANDARD else Path(file).name
        taken = await _all(found, "import", file=name, where=where, partly=partly)
    except CommandFailed as failure:
        if failure.code is Exit.DATA:
            raise CommandFailed(Exit.DATA, f"{file}: {failure}. Nothing was taken in; --partly takes what is whole") from failure
        raise
    finally:
        path.unlink(missing_ok=True)
    if as_json:
        say_json(taken)
    else:
        say(f"taken in: {_count(taken)}{_left_text(taken)}")
        if taken["error"]:
            complain(f"waymail: {file}: {taken['error']}")
    _name_left(taken)
    return Exit.DATA if taken["error"] or any("another message" in one["why"] for one in taken["left"]) else Exit.OK


def add_to(app: App) -> None:
    """Make the commands those of `app`."""
    app.command(export)
    app.command(import_, name="import")


async def _finished(config: Config, name: str, file: str) -> dict[str, Any]:
    """What is in the file, and on the disk, is taken out of the queue."""
    try:
        return await _all(config, "export-finish", file=name, where=_full(file))
    except CommandFailed as failure:
        rest = f"the messages are in {file} and, held, in this queue: remove them in one of the two"
        raise CommandFailed(failure.code, f"{failure}; {rest}") from failure


def _exported(result: Mapping[str, Any], file: str, *, remove: bool, as_json: bool) -> int:
    tell = complain if file == STANDARD else say
    if as_json and file != STANDARD:
        say_json(result)
    elif not result["messages"]:
        complain(f"waymail: nothing was exported{_left_text(result)}")
    elif remove:
        tell(f"moved to {file}: {_count(result)}{_left_text(result)}")
    else:
        tell(f"copied to {file}: {_count(result)}. They stay in this queue; where the file is imported they are held.")
    _name_left(result)
    if result["left"]:
        return Exit.TEMPORARY
    return Exit.OK if result["messages"] else Exit.UNAVAILABLE


def _count(result: Mapping[str, Any]) -> str:
    messages, recipients = result["messages"], result["recipients"]
    return f"{messages:,} message{'' if messages == 1 else 's'} for {recipients:,} recipient{'' if recipients == 1 else 's'}"


def _left_text(result: Mapping[str, Any]) -> str:
    return f"; {len(result['left']):,} left as they are" if result["left"] else ""


def _name_left(result: Mapping[str, Any]) -> None:
    for one in result["left"][:SHOWN]:
        complain(clean(f"{one['id']}: {one['why']}"))
    if (more := len(result["left"]) - SHOWN) > 0:
        complain(f"and {more:,} more")


async def _all(config: Config, what: str, **more: Any) -> dict[str, Any]:
    """All that was answered: what was done, and as "left" the messages that were not moved. Raises CommandFailed."""
    left: list[Mapping[str, Any]] = []
    done: dict[str, Any] = {}
    async with aclosing(_answers(config, what, more)) as answers:
        async for answer in answers:
            if "working" in answer and sys.stderr.isatty():
                complain(f"still working, {answer['working']:.0f} s")
            if "item" in answer:
                left.append(answer["item"])
            if "error" in answer:
                raise CommandFailed(Exit(answer["code"]), str(answer["error"]))
            done = dict(answer.get("done", {}))
    return {"messages": 0, "recipients": 0, "error": ""} | done | {"left": left}


async def _answers(config: Config, what: str, more: Mapping[str, Any]) -> AsyncGenerator[Mapping[str, Any], None]:
    """Of the server, or of the same code where none runs."""
    from waymail.app.asking import NobodyThere, Refused, ask

    try:
        async for answer in ask(config.data_dir, what, **more):
            yield answer
        return
    except Refused as refusal:
        raise CommandFailed(Exit(refusal.code), str(refusal)) from None
    except NobodyThere:
        pass
    from waymail.app.cli.stored import changing
    from waymail.app.moving import answers
    from waymail.net.clock import SystemClock

    async with changing(config) as store:
        async for answer in answers(what, store, config, SystemClock(), more):
            yield answer


# --- files ---


def _check(file: str, *, remove: bool) -> None:
    """Whether it can be written to. Raises CommandFailed."""
    if file == STANDARD and remove:
        raise CommandFailed(Exit.USAGE, "what is piped away is on no disk yet: with --remove, name a file")
    if file == STANDARD and sys.stdout.isatty():
        raise CommandFailed(Exit.USAGE, "name a file: this is no text")
    if file != STANDARD and os.path.lexists(file):
        raise CommandFailed(Exit.USAGE, f"{file} is there already: choose another name, or remove it")


def _full(file: str) -> str:
    return str(Path(file).absolute())


def _folder(config: Config) -> Path:
    """As `moving.folder`. Raises CommandFailed."""
    from waymail.app.moving import folder

    try:
        return folder(config)
    except OSError as error:
        raise CommandFailed(Exit.IO, f"{error.filename}: {error.strerror}") from error


def _copied_out(config: Config, name: str, to: str) -> None:
    """Copy an archive to where the person wants it, and read it there again once it is on the disk. Raises CommandFailed; then
    there is no such file."""
    from waymail.store.archive import ArchiveError, check
    from waymail.store.disk import SYSTEM

    source = _folder(config) / name
    try:
        with source.open("rb") as file:
            if to == STANDARD:
                shutil.copyfileobj(file, sys.stdout.buffer)
                sys.stdout.buffer.flush()
                return
            descriptor = os.open(to, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                with os.fdopen(descriptor, "w+b") as target:
                    shutil.copyfileobj(file, target)
                    target.flush()
                    os.fsync(target.fileno())
                    SYSTEM.sync(Path(to).absolute().parent)
                    target.seek(0)
                    check(target)
            except BaseException:
                Path(to).unlink(missing_ok=True)
                raise
    except (OSError, ArchiveError) as error:
        raise CommandFailed(Exit.IO, f"{to}: {getattr(error, 'strerror', None) or error}; nothing was moved") from error


def _copied_in(source: str, path: Path, config: Config) -> None:
    """Copy what is to be imported to where the server reads it. Raises CommandFailed."""
    from waymail.app.moving import give

    try:
        given: BinaryIO = sys.stdin.buffer if source == STANDARD else Path(source).open("rb")  # noqa: SIM115 - closed below
    except OSError as error:
        raise CommandFailed(Exit.NO_INPUT, f"{source}: {error.strerror}") from error
    with given:
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as target:
                give(descriptor, config)
                shutil.copyfileobj(given, target)
        except OSError as error:
            raise CommandFailed(Exit.IO, f"{path}: {error.strerror}") from error
