"""`waymail user`: who may log in, and what he may send as."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from waymail.app.cli.output import CommandFailed, Exit, say, say_json, table

app = App(name="user", help="Add, list and remove users, and change their passwords.")

Json = Annotated[bool, Parameter(name="--json", negative="")]
Switch = Annotated[bool, Parameter(negative="")]

# Nothing that a shell or a URL would change, and nothing that looks like something else: 24 of 32 are 120 bits.
ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"
GENERATED = 24
MAX_PASSWORD = 1024  # octets that are read from a pipe


@app.command
def add(
    name: str,
    /,
    *,
    address: Annotated[list[str] | None, Parameter(negative="")] = None,
    password_stdin: Switch = False,
    generate: Switch = False,
    config: Path | None = None,
) -> int:
    """Add a user. The password is asked for, and only proofs of it are stored.

    Parameters
    ----------
    name
        The user name, best an address, like ann@example.org.
    address
        An address that the user may send as: "ann@example.org", "*@example.org" or "*". May be repeated; without it, the
        name itself.
    password_stdin
        Read the password from standard input, one line.
    generate
        Make up a password and print it.
    config
        The configuration file of the server.
    """
    from waymail.server import users

    with _users_of(config) as file:
        password = _password(name, password_stdin, generate)
        user = users.add_user(file, name, password, address or None)
    if generate:
        say(f"password: {password}")
    may = ", ".join(user.addresses) or "no address at all: add it anew with --address"
    say(f"{user.name} may log in and send as {may}")
    return Exit.OK


@app.command(name="list")
def list_(*, config: Path | None = None, as_json: Json = False) -> int:
    """List the users and the addresses that they may send as.

    Parameters
    ----------
    config
        The configuration file of the server.
    as_json
        Print a JSON list.
    """
    from waymail.server import users

    with _users_of(config) as file:
        found = users.list_users(file)
    if as_json:
        say_json([{"name": user.name, "addresses": list(user.addresses)} for user in found])
    elif found:
        table(("name", "may send as"), [(user.name, ", ".join(user.addresses) or "-") for user in found])
    else:
        say("There are no users.")
    return Exit.OK


@app.command
def remove(name: str, /, *, config: Path | None = None) -> int:
    """Remove a user, who can then log in no more.

    Parameters
    ----------
    name
        The user name.
    config
        The configuration file of the server.
    """
    from waymail.server import users

    with _users_of(config) as file:
        users.remove_user(file, name)
    say(f"{name} is removed")
    return Exit.OK


@app.command
def passwd(name: str, /, *, password_stdin: Switch = False, generate: Switch = False, config: Path | None = None) -> int:
    """Give a user another password. The old one is no longer good within a second.

    Parameters
    ----------
    name
        The user name.
    password_stdin
        Read the password from standard input, one line.
    generate
        Make up a password and print it.
    config
        The configuration file of the server.
    """
    from waymail.server import users

    with _users_of(config) as file:
        password = _password(name, password_stdin, generate)
        users.change_password(file, name, password)
    if generate:
        say(f"password: {password}")
    say(f"the password of {name} is changed")
    return Exit.OK


@contextmanager
def _users_of(config: Path | None) -> Iterator[Path]:
    """The users file of a server; its troubles become exit codes. Raises CommandFailed, ConfigError."""
    from waymail.app.cli.locate import existing
    from waymail.server.users import NoSuchUser, UserExists, UsersFileError

    file = existing(config).users.file
    if not file.parent.is_dir():
        raise CommandFailed(Exit.CONFIG, f"the folder of the users file is not there: {file.parent}")
    try:
        yield file
    except NoSuchUser as error:
        raise CommandFailed(Exit.NO_USER, str(error)) from None
    except UserExists as error:
        raise CommandFailed(Exit.DATA, str(error)) from None
    except UsersFileError as error:
        is_forbidden = isinstance(error.__context__, PermissionError)
        raise CommandFailed(Exit.NO_PERMISSION if is_forbidden else Exit.CONFIG, str(error)) from None


def _password(name: str, from_stdin: bool, generate: bool) -> str:
    """The new password, from where it was asked to come from. Raises CommandFailed."""
    if from_stdin and generate:
        raise CommandFailed(Exit.USAGE, "--password-stdin and --generate exclude each other")
    if generate:
        return generated_password()
    if from_stdin:
        password = sys.stdin.readline(MAX_PASSWORD).removesuffix("\n").removesuffix("\r")
    elif sys.stdin.isatty():
        password = _asked(name)
    else:
        raise CommandFailed(Exit.USAGE, "no terminal to ask for the password: use --password-stdin or --generate")
    if not password:
        raise CommandFailed(Exit.DATA, "the password is empty")
    return password


def _asked(name: str) -> str:
    from getpass import getpass

    password = getpass(f"Password of {name}: ")
    if getpass("Once more: ") != password:
        raise CommandFailed(Exit.DATA, "the two passwords differ; nothing is changed")
    return password


def generated_password() -> str:
    """A password that nobody can guess."""
    return "".join(secrets.choice(ALPHABET) for _ in range(GENERATED))
