"""Whether this machine has what final delivery to programs and applications needs: users, programs, files, modules.

Used by the check before a start and by the start itself, so that both say the same.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator
from pathlib import Path

from waymail.app.config import transports
from waymail.app.config.check import Finding
from waymail.app.config.schema import Config
from waymail.app.config.transports import Pipe, Webhook
from waymail.delivery import handler, routes, webhook_signature
from waymail.net import tls
from waymail.net.process import Identity, UnknownUser, identity


def check_transports(config: Config) -> Iterator[Finding]:
    """All findings."""
    for name, one in config.pipes.items():
        try:
            identity_of(one)
        except UnusableHere as problem:
            yield Finding(("pipes", name, problem.key), str(problem))
        program = Path(one.command[0])
        if not (program.is_file() and os.access(program, os.X_OK)):
            message = f"{program} is no program that can be run: until it is there, mail for it waits in the queue"
            yield Finding(("pipes", name, "command"), message, is_warning=True)
        if not one.directory.is_dir():
            message = f"there is no folder {one.directory}: until it is there, mail for it waits in the queue"
            yield Finding(("pipes", name, "directory"), message, is_warning=True)
    for url, hook in config.webhooks.items():
        try:
            keys_of(hook)
            trust_of(hook)
        except UnusableHere as problem:
            yield Finding(("webhooks", url, problem.key), str(problem))
    for at, target in transports.targets(config):
        if isinstance(target, routes.PythonHandler):
            try:
                handler.find(target.name)
            except handler.HandlerUnusable as error:
                yield Finding(at, str(error))


class UnusableHere(Exception):
    """Something that a key names is not on this machine, or not for this user. `key` is the last part of its path."""

    def __init__(self, key: str, text: str) -> None:
        super().__init__(text)
        self.key = key


def identity_of(pipe: Pipe) -> Identity | None:
    """Whom its program runs as; None for whom this process runs as. Raises UnusableHere."""
    if pipe.user is None:
        if os.geteuid() == 0:
            raise UnusableHere(
                "user", 'must be named, for waymail runs as root here: like user = "nobody"; or "root", if it has to be'
            )
        return None
    try:
        found = identity(pipe.user, pipe.group)
    except UnknownUser as error:
        raise UnusableHere("user", str(error)) from None
    if os.geteuid() == 0:
        return found
    if found.uid != os.geteuid() or (pipe.group is not None and found.gid != os.getegid()):
        raise UnusableHere("user", f'only root can run a program as "{pipe.user}": leave it out, or start waymail as root')
    return None


def trust_of(hook: Webhook) -> ssl.SSLContext | None:
    """What its certificate is verified with; None for the system's authorities. Raises UnusableHere."""
    try:
        return None if hook.ca is None else tls.verified(str(hook.ca))
    except ssl.SSLError:
        raise UnusableHere("ca", f"{hook.ca} holds no certificates in PEM") from None
    except OSError as error:
        raise UnusableHere("ca", f"{hook.ca} cannot be read: {error.strerror}") from None


def keys_of(hook: Webhook) -> tuple[bytes, ...]:
    """What its requests are signed with. Raises UnusableHere."""
    if hook.secret is not None:
        return tuple(map(webhook_signature.secret, hook.secret))
    file = hook.secret_file
    if file is None:
        return ()  # `transports.problems` has said so
    try:
        lines = file.read_text("utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise UnusableHere("secret_file", f"{file} cannot be read: {why}") from None
    try:
        return tuple(map(webhook_signature.secret, lines or [""]))
    except webhook_signature.BadSecret as error:
        raise UnusableHere("secret_file", f"{file}: each line {error}") from None
