"""The command line. `main` is the program `waymail`; each command is in the file of its name.

Here errors become exit codes (sysexits.h) and one line on standard error, and nowhere else. A command is imported when it is
asked for, and imports what it needs when it runs: somebody who looks into the queue a hundred times a day waits for nothing else.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

gc.set_threshold(20_000)  # a tenth of what a short command takes was looking for garbage among what it had just imported

from waymail.app.cli.output import CommandFailed, Exit, complain  # noqa: E402

OVERVIEW = 20  # domains that `waymail queue` shows by itself
INTERRUPTED = 130  # 128 + SIGINT, as shells have it
COMMANDS = {
    "serve": "serve",
    "send": "send",
    "sendmail": "sendmail",
    "etrn": "etrn",
    "outbox": "app",
    "queue": "app",
    "trace": "trace",
    "explain": "explain",
    "why": "why",
    "spf": "spf",
    "verify": "verify",
    "user": "app",
    "dkim": "app",
    "config": "app",
}
LIGHT = ("outbox", "send")  # commands that need the extra `cli` alone
# The modules of the extra `server`.
SERVER_NEEDS = ("cyclopts", "rich", "pydantic", "uvloop", "joserfc", "httpx2")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line (the process's own without `arguments`) and return its exit code."""
    given = _given() if arguments is None else list(arguments)
    try:
        code = _run(_config_behind(given))
        sys.stdout.flush()
    except CommandFailed as failure:
        complain(f"waymail: {failure}")
        return failure.code
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our output went away, as `head` does
        sys.stderr.close()
        return Exit.OK
    except Exception as error:  # noqa: BLE001 - what lower layers raise is translated; the rest is raised again
        return _translated(error, given[0] if given else "")
    return code if isinstance(code, int) else Exit.OK


def _given() -> list[str]:
    """The process's own arguments. Where it was called by a name of sendmail's, by a symbolic link, it is that command."""
    name = sys.argv[0].rpartition("/")[2]
    if name in ("sendmail", "mailq", "newaliases"):
        return ["sendmail", *{"mailq": ["-bp"], "newaliases": ["-bi"]}.get(name, []), *sys.argv[1:]]
    return sys.argv[1:]


def _run(given: list[str]) -> object:
    if given[:1] == ["sendmail"]:  # its command line is as old as mail, and it has no time to lose
        from waymail.app.cli.sendmail import sendmail

        return sendmail(*given[1:])
    if (options := _of_overview(given)) is not None:
        from waymail.app.cli.overview import overview

        return overview(**options)
    from waymail.app.cli.commands import run

    return run(given)


def _of_overview(given: list[str]) -> dict[str, Any] | None:
    """The arguments of the overview, where this is `waymail queue` with nothing but --json and --config FILE. It is asked for
    again and again while there is trouble, and the library for command lines takes as long as to count a million messages."""
    if given[:1] != ["queue"]:
        return None
    options: dict[str, Any] = {"config_file": None, "limit": OVERVIEW, "as_json": False}
    rest = given[1:]
    while rest:
        match rest:
            case ["--json", *rest]:
                options["as_json"] = True
            case ["--config", file, *rest] if not file.startswith("-"):
                options["config_file"] = Path(file)
            case _:
                return None
    return options


def _config_behind(arguments: list[str]) -> list[str]:
    """`waymail --config FILE queue list` means `waymail queue list --config FILE`: the option is the commands'."""
    if not arguments or not arguments[0].startswith("--config"):
        return arguments
    match arguments:
        case ["--config", file, *rest]:
            option = ["--config", file]
        case [first, *rest] if first.startswith("--config="):
            option = [first]
        case _:
            option, rest = [], []
    if not option or not rest:
        raise CommandFailed(Exit.USAGE, "--config FILE belongs to a command, like: waymail queue list --config FILE")
    end = rest.index("--") if "--" in rest else len(rest)  # behind "--" nothing is an option
    return [*rest[:end], *option, *rest[end:]]


def _translated(error: Exception, command: str) -> int:
    """The exit code for an error of a lower layer, once it is told. Raises what is none of theirs: a bug."""
    if isinstance(error, ModuleNotFoundError) and error.name in SERVER_NEEDS:
        extra = "cli" if command in LIGHT else "server"
        complain(f'waymail: this command needs {error.name}, which is not installed: pip install "waymail[{extra}]"')
        return Exit.UNAVAILABLE
    if "cyclopts" in sys.modules:
        from cyclopts.exceptions import CycloptsError, MissingArgumentError

        if isinstance(error, CycloptsError):
            told, whole = str(error), " ".join(("waymail", *(error.command_chain or ())))
            missing = error.argument if isinstance(error, MissingArgumentError) and error.keyword is None else None
            if missing is not None and not missing.tokens and "Did you mean" not in told:
                told = f"{missing.name} is missing."
            complain(f"waymail: {told}\nwaymail: see {whole} --help")
            return Exit.USAGE
    from waymail.store.contract import StoreError

    if isinstance(error, StoreError):
        complain(f"waymail: {error}")
        return Exit.IO
    if isinstance(error, PermissionError):
        complain(f"waymail: {error.filename}: permission denied")
        return Exit.NO_PERMISSION
    from waymail.app.config import ConfigError

    if isinstance(error, ConfigError):
        complain(str(error))
        return Exit.CONFIG
    raise error
