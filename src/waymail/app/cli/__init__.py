"""The command line. `main` is the program `waymail`; each command is in the file of its name.

Here errors become exit codes (sysexits.h) and one line on standard error, and nowhere else. A command is imported when it is
asked for, and imports what it needs when it runs: somebody who looks into the queue a hundred times a day waits for nothing else.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence

gc.set_threshold(20_000)  # a tenth of what a short command takes was looking for garbage among what it had just imported

from cyclopts import App  # noqa: E402
from cyclopts.exceptions import CycloptsError  # noqa: E402

from waymail.app.cli.output import CommandFailed, Exit, complain  # noqa: E402

INTERRUPTED = 130  # 128 + SIGINT, as shells have it
COMMANDS = {
    "serve": "serve",
    "send": "send",
    "etrn": "etrn",
    "queue": "app",
    "trace": "trace",
    "why": "why",
    "user": "app",
    "config": "app",
}


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return f"waymail {version('waymail')}"
    except PackageNotFoundError:
        return "waymail (not installed)"


app = App(
    name="waymail",
    help="Carries mail: SMTP server, durable queue, relay and client.",
    version=_version,
    help_format="plaintext",
)
for _name, _attribute in COMMANDS.items():
    app.command(f"{__name__}.{_name}:{_attribute}", name=_name)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line (the process's own without `arguments`) and return its exit code."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    if given[:1] in ([], ["--help"], ["-h"]):  # each is told of with its first sentence, which is in its file
        for name in COMMANDS:
            app[name]
    try:
        code = app(_config_behind(given), exit_on_error=False, print_error=False, result_action="return_value")
        sys.stdout.flush()
    except CycloptsError as error:
        complain(f"waymail: {error}\nwaymail: see waymail --help")
        return Exit.USAGE
    except CommandFailed as failure:
        complain(f"waymail: {failure}")
        return failure.code
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our output went away, as `head` does
        sys.stderr.close()
        return Exit.OK
    except Exception as error:  # noqa: BLE001 - what lower layers raise is translated; the rest is raised again
        return _translated(error)
    return code if isinstance(code, int) else Exit.OK


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


def _translated(error: Exception) -> int:
    """The exit code for an error of a lower layer, once it is told. Raises what is none of theirs: a bug."""
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
