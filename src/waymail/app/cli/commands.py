"""The commands, as the library for command lines has them: each is imported when it is asked for."""

from __future__ import annotations

from cyclopts import App

from waymail.app.cli import COMMANDS


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
    app.command(f"waymail.app.cli.{_name}:{_attribute}", name=_name)


def run(given: list[str]) -> object:
    """Run a command line. Returns what the command returns; raises CycloptsError where the command line is wrong."""
    if given[:1] in ([], ["--help"], ["-h"]):  # each is told of with its first sentence, which is in its file
        for name in COMMANDS:
            app[name]
    return app(given, exit_on_error=False, print_error=False, result_action="return_value")
