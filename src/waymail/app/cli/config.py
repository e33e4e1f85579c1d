"""`waymail config`: is a configuration right, and what does it come to?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from waymail.app.cli.output import CommandFailed, Exit, complain, say, say_json, table

app = App(name="config", help="Check a configuration, or show what it comes to.")


@app.command
def check(file: Path | None = None, /, *, config: Path | None = None) -> int:
    """Check a configuration file and print all that is wrong with it as FILE:LINE: key: message.

    Exits with 0 where a server can start with it, else with 78. Certificate, key and users file are looked at, too: run it as
    the server's user.

    Parameters
    ----------
    file
        The file to check.
    config
        The same. Where neither is given: $WAYMAIL_CONFIG, ./waymail.toml, /etc/waymail/waymail.toml.
    """
    from waymail.app.cli.locate import find, read

    found = find(file or config)
    if found is None:
        complain("waymail: no configuration file found; say which: waymail config check FILE")
        return Exit.CONFIG
    read(found, to_serve=True)
    say(f"{found}: all right")
    return Exit.OK


@app.command
def show(
    file: Path | None = None,
    /,
    *,
    config: Path | None = None,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> int:
    """Show every effective value, and the line or the default that it comes from. Passwords are hidden.

    Parameters
    ----------
    file
        The configuration file.
    config
        The same. Where neither is given: $WAYMAIL_CONFIG, ./waymail.toml, /etc/waymail/waymail.toml, and at last the
        development configuration.
    as_json
        Print a JSON list of objects with key, value and source.
    """
    from waymail.app.cli.locate import DEVELOPMENT_DIRECTORY, find, read
    from waymail.app.config import development
    from waymail.app.config.show import settings

    found = find(file or config)
    shown = list(settings(read(found) if found else development(DEVELOPMENT_DIRECTORY)))
    if as_json:
        say_json([{"key": setting.key, "value": setting.value, "source": setting.source} for setting in shown])
    else:
        table(("key", "value", "source"), [(setting.key, setting.text, setting.source) for setting in shown])
    return Exit.OK


@app.command
def notices(*, language: str = "en") -> int:
    """Print every text of the notices that senders get, as a file to change or to translate.

    Name the file in the configuration: [notices] language = "notices.toml". `waymail config check` says what is wrong with it.

    Parameters
    ----------
    language
        Which of the languages that waymail has: en or de.
    """
    from waymail.mail.notices import LANGUAGES, template

    if language not in LANGUAGES:
        raise CommandFailed(Exit.USAGE, f"there are no texts in {language!r}: say --language {' or '.join(LANGUAGES)}")
    say(template(language).rstrip("\n"))
    return Exit.OK
