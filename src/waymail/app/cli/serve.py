"""`waymail serve`: run the server."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from waymail.app.cli.output import Exit, complain, say

if TYPE_CHECKING:
    from waymail.app.config import Config

DEVELOPMENT_USER = "dev"


def serve(*, config: Annotated[Path | None, Parameter(negative="")] = None) -> int:
    """Run the server until SIGTERM or SIGINT.

    Without a configuration file, it runs a server for trying things out: on loopback only, with its data below ./waymail-data,
    and every message ends in a Maildir there.

    Parameters
    ----------
    config
        The configuration file. Where it is not given: $WAYMAIL_CONFIG, ./waymail.toml, /etc/waymail/waymail.toml.
    """
    from waymail.app import log
    from waymail.app.cli.locate import find, read

    found = find(config)
    if found is None:
        return _serve_development()
    loaded = read(found, to_serve=True)
    log.configure(loaded.log.format, loaded.log.level)
    from waymail.app.running import serve as run

    return run(loaded)


def _serve_development() -> int:
    from waymail.app import log
    from waymail.app.cli.locate import DEVELOPMENT_DIRECTORY
    from waymail.app.config import development
    from waymail.server.users import UsersFileError

    directory = DEVELOPMENT_DIRECTORY.absolute()
    directory.mkdir(mode=0o700, exist_ok=True)
    config = development(directory)
    log.configure(config.log.format, config.log.level)
    try:
        password = first_user(config.users.file)
    except UsersFileError as error:
        complain(f"waymail: {error}")
        return Exit.CONFIG
    from waymail.app.running import serve as run

    return run(config, ready=lambda: say(how_to_connect(config, password)))


def first_user(file: Path) -> str | None:
    """The password of the development user, where it had to be made; it may send as anybody. Raises UsersFileError."""
    from waymail.app.cli.user import generated_password
    from waymail.server.users import add_user, list_users

    if list_users(file):
        return None
    password = generated_password()
    add_user(file, DEVELOPMENT_USER, password, ["*"])
    return password


def how_to_connect(config: Config, password: str | None) -> str:
    """What a person needs to know to try the development server."""
    mx = [str(listener.address) for listener in config.listeners if listener.kind == "mx"]
    submission = [listener for listener in config.listeners if listener.kind == "submission"]
    as_user = [f"smtps://{one.address}" if one.tls == "implicit" else f"{one.address} (STARTTLS)" for one in submission]
    starttls = next(one.address for one in submission if one.tls == "starttls")
    shown = password or f"(printed at the first start; a new one: waymail user passwd {DEVELOPMENT_USER} --generate)"
    facts = [
        ("as a server would", ", ".join(mx)),
        ("as a user would", ", ".join(as_user)),
        ("user", DEVELOPMENT_USER),
        ("password", shown + ("   (shown this once; only proofs of it are kept)" if password else "")),
        ("mail lands in", f"{config.data_dir}/mail/DOMAIN/LOCAL-PART/new"),
        ("certificate", f"{config.data_dir}/tls/cert.pem (self-signed)"),
    ]
    swaks = (
        f"swaks --server {starttls} --tls --auth PLAIN --auth-user {DEVELOPMENT_USER} --auth-password "
        f"{password or 'PASSWORD'} --from dev@example.com --to ann@example.org"
    )
    lines = [
        "",
        "No configuration: a server for trying things out, on this machine only. Nothing is sent to the world.",
        "",
        *(f"  {name:<18} {value}" for name, value in facts),
        "",
        f"  {swaks}",
        "  waymail trace ann@example.org",
        "",
        "Ctrl-C ends it.",
    ]
    return "\n".join(lines)
