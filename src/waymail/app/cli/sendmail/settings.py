"""Where `waymail sendmail` sends, as whom, and where mail waits while the server is away.

The first of these that says something counts, key by key: the file of -C, or else the user's own and the machine's
(`~/.config/waymail/sendmail.toml`, `/etc/waymail/sendmail.toml`); WAYMAIL_URL goes before all of them. Without a URL it is the
server of this machine: a listener of its configuration where that can be read, or else port 25. The folder that a program
happens to stand in has no say: whoever owns it would read its mail.
"""

from __future__ import annotations

import os
import pwd
import socket
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from waymail.app.cli.output import CommandFailed, Exit
from waymail.app.cli.sendmail.message import Person
from waymail.wire import grammar

NAME = "sendmail.toml"
KEYS = ("url", "from", "domain", "outbox")
LAST = "smtp://127.0.0.1:25?tls=off"
_LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - where to reach what listens there


@dataclass(frozen=True, slots=True)
class Places:
    """Where to look."""

    system: Path = Path("/etc/waymail")
    mail_name: Path = Path("/etc/mailname")


@dataclass(frozen=True, slots=True)
class Settings:
    """`url` may hold a password. `outbox` is the file in which mail waits."""

    url: str
    outbox: Path
    person: Person


def read(config: str, environment: Mapping[str, str], places: Places | None = None) -> Settings:
    """The settings. `config` is the file of -C, or "". Raises CommandFailed."""
    places = places or Places()
    user = _user()
    home = Path(environment.get("HOME") or user.pw_dir)
    said = _said(config, Path(environment.get("XDG_CONFIG_HOME") or home / ".config") / "waymail" / NAME, places.system / NAME)
    server = _plainly(Path(environment.get("WAYMAIL_CONFIG") or places.system / "waymail.toml"))
    url = environment.get("WAYMAIL_URL") or said.get("url") or _listener(server) or LAST
    state = Path(environment.get("XDG_STATE_HOME") or home / ".local" / "state") / "waymail" / "outbox.db"
    outbox = Path(said.get("outbox", str(state)).replace("{user}", user.pw_name)).expanduser()
    domain = said.get("domain") or _text(server, "hostname") or _machine(places.mail_name)
    if not grammar.is_domain(domain):
        raise CommandFailed(Exit.CONFIG, f"{domain!r} is no domain: set domain in {NAME}")
    return Settings(url, outbox, Person(user.pw_name, _full_name(user), domain, said.get("from", "")))


def _said(config: str, *usual: Path) -> dict[str, str]:
    """The keys of the files; the first file that has one counts."""
    said: dict[str, str] = {}
    for file in (Path(config),) if config else usual:
        try:
            text = file.read_text(encoding="utf-8")
        except (FileNotFoundError, NotADirectoryError):
            if config:
                raise CommandFailed(Exit.NO_INPUT, f"{file}: there is no such file") from None
            continue
        except (OSError, UnicodeDecodeError) as error:
            raise CommandFailed(Exit.CONFIG, f"{file}: cannot be read: {getattr(error, 'strerror', 'not UTF-8')}") from None
        said = _checked(file, text) | said
    return said


def _checked(file: Path, text: str) -> dict[str, str]:
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise CommandFailed(Exit.CONFIG, f"{file}: not valid TOML: {error}") from None
    for key, value in data.items():
        if key not in KEYS:
            raise CommandFailed(Exit.CONFIG, f"{file}: there is no key {key!r}: there are {', '.join(KEYS)}")
        if not isinstance(value, str) or not value.isprintable():
            raise CommandFailed(Exit.CONFIG, f"{file}: {key} must be a text")
    return data


def _plainly(file: Path) -> dict[str, Any]:
    """What the server's configuration says, unchecked; nothing where this user cannot read it."""
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def _text(data: Mapping[str, Any], key: str) -> str:
    value = data.get(key)
    return value if isinstance(value, str) else ""


def _listener(server: Mapping[str, Any]) -> str:
    """A listener of the server that needs no password, as a URL: one for SMTP, or else one for LMTP, which takes local mail
    only; "" where there is none that can be reached from here."""
    listeners = [one for one in server.get("listener", ()) if isinstance(one, dict)]
    for kind, scheme in (("mx", "smtp"), ("lmtp", "lmtp")):
        for listener in listeners:
            if listener.get("kind") == kind and (url := _url(scheme, _text(listener, "address"), listener.get("tls"))):
                return url
    return ""


def _url(scheme: str, address: str, tls: object) -> str:
    if address.startswith("unix:/"):
        return f"{scheme}:{address.removeprefix('unix:')}"
    host, _, port = address.rpartition(":")
    host = _LOOPBACK.get(host.strip("[]"), host.strip("[]"))
    if tls == "implicit" or not port.isdigit() or not _is_loopback(host):
        return ""
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}?tls=off"


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _user() -> pwd.struct_passwd:
    try:
        return pwd.getpwuid(os.getuid())
    except KeyError:  # as in a container that was started with a number for a user
        name = str(os.getuid())
        return pwd.struct_passwd((name, "", os.getuid(), os.getgid(), "", "/", ""))


def _full_name(user: pwd.struct_passwd) -> str:
    """The first field of the comment in passwd; "&" stands for the login name there, with a capital."""
    name = user.pw_gecos.partition(",")[0].replace("&", user.pw_name.capitalize()).strip()
    return name if name.isprintable() else ""


def _machine(mail_name: Path) -> str:
    """The domain of this machine's mail: Debian's /etc/mailname, or its host name; the long one where there is one."""
    try:
        named = mail_name.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        named = ""
    if named:
        return named
    name = socket.gethostname()
    whole = name if "." in name else socket.getfqdn()
    return whole if "." in whole and grammar.is_domain(whole) else name or "localhost"
