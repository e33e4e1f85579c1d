"""docs/commands.md and the command line say the same: every command and option is there, and no other."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from cyclopts import App

from waymail.app.cli.commands import app
from waymail.app.cli.output import Exit

PAGE = Path(__file__).resolve().parents[2] / "docs" / "commands.md"


def documented() -> dict[str, set[str]]:
    """The options of each command that has a heading on the page."""
    sections = re.findall(r"^## waymail (.+?)\n(.*?)(?=^## |\Z)", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    return {name: set(re.findall(r"^\| `(\S+?)` \|", text, re.MULTILINE)) for name, text in sections}


def commands(group: App = app, prefix: str = "") -> Iterator[tuple[str, App]]:
    """Each command that does something, by its whole name."""
    for name in group:
        if name.startswith("-"):
            continue
        command = group[name]
        if command.default_command is not None:
            yield f"{prefix}{name}", command
        yield from commands(command, f"{prefix}{name} ")


def options(command: App) -> set[str]:
    """What a command takes, as the page has to spell it."""
    arguments = command.assemble_argument_collection(parse_docstring=False)
    return {argument.names[0] for argument in arguments} - {"*"}  # the name of a group of options


def test_every_command_and_option_is_documented_and_every_documented_one_exists() -> None:
    assert documented() == {name: options(command) for name, command in commands()}


def test_every_list_can_be_had_as_json() -> None:
    lists = {name for name, _ in commands() if name.endswith(("list", "show", "trace"))}
    assert lists >= {"queue list", "user list", "config show", "trace"}
    assert [name for name in lists if "--json" not in documented()[name]] == []


def test_the_exit_codes_of_the_page_are_those_of_the_commands() -> None:
    codes = {int(code) for code in re.findall(r"^\| (\d+) \|", PAGE.read_text(), re.MULTILINE)}
    assert codes == {int(code) for code in Exit} - {int(Exit.SOFTWARE)}
