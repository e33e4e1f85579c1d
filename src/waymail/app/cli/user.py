"""`waymail user`: who may log in, and what he may send as."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from waymail.app.cli.output import CommandFailed, Exit, say, say_json, table

if TYPE_CHECKING:
    from waymail.server.users import User

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
    scram_sha_1: Annotated[bool, Parameter(name="--scram-sha-1", negative="")] = False,
    cram_md5: Annotated[bool, Parameter(name="--cram-md5", negative="")] = False,
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
    scram_sha_1
        Keep keys for SCRAM-SHA-1, too, for old programs.
    cram_md5
        Keep the password in clear, which CRAM-MD5 needs. Whoever reads the file then has it: better let the program send the
        password inside TLS.
    config
        The configuration file of the server.
    """
    from waymail.server import users

    with _users_of(config) as file:
        password = _password(name, password_stdin, generate)
        user = users.add_user(file, name, password, address or None, scram_sha_1=scram_sha_1, cram_md5=cram_md5)
    if generate:
        say(f"password: {password}")
    may = ", ".join(user.addresses) or "no address at all: add it anew with --address"
    say(f"{user.name} may log in and send as {may}")
    return Exit.OK


@app.command(name="list")
def list_(*, config: Path | None = None, as_json: Json = False) -> int:
    """List the users of the file, the addresses that they may send as, and why an account is frozen.

    Parameters
    ----------
    config
        The configuration file of the server.
    as_json
        Print a JSON list.
    """
    from waymail.server import users

    elsewhere = _elsewhere(config)
    found: Iterable[User] = ()
    if not elsewhere:
        with _users_of(config) as file:
            found = users.list_users(file)
    frozen = {user.name: user.frozen for user in found if user.frozen} | _frozen(config)
    addresses = {user.name: user.addresses for user in found} | {name: () for name in frozen if name not in _names(found)}
    if as_json:
        say_json([{"name": name, "addresses": list(may), "frozen": frozen.get(name)} for name, may in addresses.items()])
    elif addresses:
        rows = [(name, ", ".join(may) or "-", frozen.get(name, "-")) for name, may in addresses.items()]
        table(("name", "may send as", "frozen"), rows)
    elif not elsewhere:
        say("There are no users.")
    if elsewhere and not as_json:
        say(f"Users come from [users] {elsewhere}; only frozen ones are known here.")
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


@app.command
def freeze(name: str, /, *, reason: str | None = None, config: Path | None = None) -> int:
    """Close an account for a while: its user can neither log in nor send, within a second. What is queued goes on.

    Parameters
    ----------
    name
        The user name. Where users do not come from a file, nobody looks whether there is such a user.
    reason
        What to say in `waymail user list`. Without it, "by hand", or what was said before.
    config
        The configuration file of the server.
    """
    import time

    from waymail.server import freezes

    with _freezes_of(config) as file:
        if not file.parent.is_dir():
            raise CommandFailed(
                Exit.CONFIG, f"the folder of the server's data is not there: {file.parent}; start the server once"
            )
        prepared, before = _prepared(name), freezes.read(file)
        _check_known(prepared, config)
        kept = before[prepared].reason if prepared in before else "by hand"
        freezes.change(file, prepared, freezes.Freeze(reason or kept, time.time()))
    say(f"{name} is frozen")
    return Exit.OK


@app.command
def thaw(name: str, /, *, config: Path | None = None) -> int:
    """Open a frozen account again. If it was stolen, change its password first.

    Parameters
    ----------
    name
        The user name.
    config
        The configuration file of the server.
    """
    from waymail.server import freezes, users

    prepared = _prepared(name)
    with _freezes_of(config) as file:
        was_frozen = prepared in freezes.read(file)
        if was_frozen:
            freezes.change(file, prepared, None)
    if not _elsewhere(config):
        with _users_of(config) as file:
            if any(user.name == prepared and user.frozen for user in users.list_users(file)):
                users.set_frozen(file, prepared, "")
                was_frozen = True
    if not was_frozen:
        raise CommandFailed(Exit.NO_USER, f"{name} is not frozen; see `waymail user list`")
    say(f"{name} is no longer frozen")
    return Exit.OK


def _prepared(name: str) -> str:
    """The name as the server compares it. Raises CommandFailed."""
    from waymail.wire.sasl import PreparationProblem, user_name

    try:
        return user_name(name)
    except PreparationProblem as problem:
        raise CommandFailed(Exit.DATA, f"{name} cannot be a user name: {problem}") from None


def _elsewhere(config: Path | None) -> str:
    """Which key of [users] says where users come from; "" where it is the file."""
    from waymail.app.cli.locate import existing

    return next(iter(existing(config).users.other), "")


def _check_known(name: str, config: Path | None) -> None:
    """Raises CommandFailed where users come from the file, and `name` is none of them."""
    from waymail.server import users

    if _elsewhere(config):
        return
    with _users_of(config) as file:
        if name not in _names(users.list_users(file)):
            raise CommandFailed(Exit.NO_USER, f"there is no user {name}; see `waymail user list`")


def _names(users: Iterable[User]) -> set[str]:
    return {user.name for user in users}


def _frozen(config: Path | None) -> dict[str, str]:
    """The frozen accounts, and why."""
    from waymail.server import freezes

    with _freezes_of(config) as file:
        return {name: one.reason for name, one in freezes.read(file).items()}


@contextmanager
def _freezes_of(config: Path | None) -> Iterator[Path]:
    """The file of frozen accounts. Raises CommandFailed, ConfigError."""
    from waymail.app.cli.locate import existing
    from waymail.server.freezes import FILE_NAME, FreezesUnusable

    file = existing(config).data_dir / FILE_NAME
    try:
        yield file
    except FreezesUnusable as error:
        is_forbidden = isinstance(error.__context__, PermissionError)
        raise CommandFailed(Exit.NO_PERMISSION if is_forbidden else Exit.CONFIG, str(error)) from None


@contextmanager
def _users_of(config: Path | None) -> Iterator[Path]:
    """The users file of a server; its troubles become exit codes. Raises CommandFailed, ConfigError."""
    from waymail.app.cli.locate import existing
    from waymail.server.users import NoSuchUser, UserExists, UsersFileError

    if elsewhere := _elsewhere(config):
        raise CommandFailed(Exit.CONFIG, f"users come from [users] {elsewhere}, not from a file: change them there")
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
