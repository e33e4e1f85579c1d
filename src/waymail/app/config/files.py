"""What a server needs of the file system before it can start: its certificate and key, the users file and the
modules that stand in for it, the folders of its sockets.

Apart from `check`, since the same text is right on one machine and wrong on another, for one user and not for the next. What
would end `waymail serve` at its start is a finding here.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Collection, Iterator
from pathlib import Path

from waymail.app.config.check import Finding
from waymail.app.config.listening import UnixSocket
from waymail.app.config.notices import unusable
from waymail.app.config.positions import KeyPath
from waymail.app.config.schema import Config
from waymail.app.config.transports_here import check_transports
from waymail.net import self_signed, tls
from waymail.net.identity import covers, host_names
from waymail.server import sender_lists
from waymail.server.backends.contract import TOKEN_MECHANISMS, BackendUnusable
from waymail.server.backends.file import mechanisms_for
from waymail.server.backends.ldap import find_package
from waymail.server.backends.python import find
from waymail.server.backends.sql import find_driver
from waymail.server.backends.sql import mechanisms_for as mechanisms_for_query
from waymail.server.hooks import PolicyUnusable
from waymail.server.hooks import find as find_policy
from waymail.server.sender_lists import ListUnusable
from waymail.server.users import UsersFileError, list_users

FIX = "for a development server, self_signed = true makes a certificate, in place of certificate and key"


def check_files(config: Config, unreadable: frozenset[str] = frozenset()) -> Iterator[Finding]:
    """All findings. `unreadable` are the sections that stand in `config` by their defaults only: those are not looked at."""
    if "tls" not in unreadable:
        yield from _certificate(config, unreadable)
    if unreadable.isdisjoint(("users", "listener")):
        yield from _users(config)
    if "users" not in unreadable:
        yield from _files_of_users(config)
        yield from _modules(config)
    if "listener" not in unreadable:
        yield from _sockets(config)
    if unreadable.isdisjoint(("domains", "routes", "pipes", "webhooks")):
        yield from check_transports(config)
    if "inbound" not in unreadable:
        yield from _inbound(config)
    if "notices" not in unreadable:
        yield from (Finding(path, message) for path, message in unusable(config))


def _files_of_users(config: Config) -> Iterator[Finding]:
    oauth, ldap = config.users.oauth, config.users.ldap
    keys = None if oauth is None else oauth.jwks_file
    authorities = None if ldap is None else ldap.ca
    for table, key, file in (("oauth", "jwks_file", keys), ("ldap", "ca", authorities)):
        if file is not None and (why := _why_unreadable(file)):
            yield Finding(("users", table, key), f"{why}: {file}")


def _modules(config: Config) -> Iterator[Finding]:
    """The Python that users come through. It is imported here, and nothing is asked of it."""
    users = config.users
    at: KeyPath = ("users",)
    try:
        if users.sql is not None:
            at = ("users", "sql", "driver")
            find_driver(users.sql.driver)
        if users.ldap is not None:
            at = ("users", "ldap")
            find_package()
        if users.python is not None:
            at = ("users", "python")
            find(users.python)
    except BackendUnusable as problem:  # one at most: `check` lets users come from one place
        yield Finding(at, str(problem))


def _inbound(config: Config) -> Iterator[Finding]:
    """The lists and the policy that those who send are judged by."""
    inbound = config.inbound
    for key, files in (("block", inbound.lists.block), ("allow", inbound.lists.allow)):
        for index, file in enumerate(files):
            try:
                problems = sender_lists.read(file).problems
            except ListUnusable as problem:
                yield Finding(("inbound", "lists", key, index), str(problem))
            else:
                yield from (Finding(("inbound", "lists", key, index), text, is_warning=True) for text in problems)
    if inbound.policy is not None:
        try:
            find_policy(inbound.policy)
        except PolicyUnusable as problem:
            yield Finding(("inbound", "policy"), str(problem))


def _sockets(config: Config) -> Iterator[Finding]:
    for index, listener in enumerate(config.listeners):
        if isinstance(listener.address, UnixSocket) and not (folder := listener.address.path.parent).is_dir():
            # A warning: what starts the server may make the folder, as systemd does with RuntimeDirectory=
            message = f"there is no folder {folder} for the socket: it must be there when the server starts"
            yield Finding(("listener", index, "address"), message, is_warning=True)


def _certificate(config: Config, unreadable: frozenset[str]) -> Iterator[Finding]:
    certificate, key = config.tls.certificate, config.tls.key
    missing = [
        Finding(("tls", name), f"{why}: {file}; {FIX}")
        for name, file in (("certificate", certificate), ("key", key))
        if file and (why := _why_unreadable(file))
    ]
    yield from missing
    try:
        if certificate and key and not missing:
            tls.server(certificate, key)
        elif config.tls.self_signed and unreadable.isdisjoint(("hostname", "data_dir")):
            self_signed.is_kept(config.data_dir / "tls", config.hostname)
    except tls.IdentityProblem as problem:
        yield Finding(("tls", "certificate" if certificate else "self_signed"), str(problem))
    else:
        yield from _client_ca(config)
    yield from _certificates_by_name(config)


def _client_ca(config: Config) -> Iterator[Finding]:
    authorities = config.tls.client_ca
    if authorities is None:
        return
    try:
        ssl.create_default_context(cafile=authorities)
    except ssl.SSLError:
        yield Finding(("tls", "client_ca"), f"{authorities} holds no certificates in PEM")
    except OSError:
        yield Finding(("tls", "client_ca"), f"{_why_unreadable(authorities)}: {authorities}")


def _certificates_by_name(config: Config) -> Iterator[Finding]:
    for index, pair in enumerate(config.tls.certificates):
        at = ("tls", "certificates", index)
        try:
            served = list(host_names(tls.server(pair.certificate, pair.key).certificate))
        except tls.IdentityProblem as problem:
            yield Finding((*at, "certificate"), str(problem))
            continue
        if not served and not pair.names:
            yield Finding((*at, "certificate"), f"{pair.certificate} has no host name in it: say with names which it is for")
        for name in pair.names:
            if not any(covers(pattern, name) for pattern in served):
                message = f"{pair.certificate} is not for {name}: clients that check names will refuse it"
                yield Finding((*at, "names"), message, is_warning=True)


def _why_unreadable(file: Path) -> str:
    """What to say of a file that cannot be read; "" where it can be."""
    try:
        with file.open("rb"):
            return ""
    except FileNotFoundError:
        return "there is no such file"
    except OSError as error:
        return f"cannot be read by {_process_owner()}: {error.strerror}"


def _process_owner() -> str:
    return "this user (root)" if os.geteuid() == 0 else f"this user (id {os.geteuid()})"


def _users(config: Config) -> Iterator[Finding]:
    if (sql := config.users.sql) is not None:
        yield from _mechanisms(config, ("users", "sql", "query"), mechanisms_for_query(sql.query), "the query has no column")
    if config.users.other:
        return  # asked at the first login, not before
    file = config.users.file
    try:
        users = list_users(file)
    except UsersFileError as problem:
        yield Finding(("users", "file"), str(problem))
        return
    if not file.exists() and any(listener.kind == "submission" for listener in config.listeners):
        message = f"there is no file {file}, so nobody can log in; `waymail user add` makes it"
        yield Finding(("users", "file"), message, is_warning=True)
    elif users:
        can = mechanisms_for(users)
        yield from _mechanisms(config, ("users", "file"), can, f"no user in {file} has a key or password")


def _mechanisms(config: Config, source: KeyPath, kept: Collection[str], lack: str) -> Iterator[Finding]:
    """What is named and cannot be offered. `kept` are the mechanisms for which there is something at `source`."""
    named, can = config.users.mechanisms, frozenset(kept)
    if config.users.oauth is not None:
        can |= TOKEN_MECHANISMS
    missing = [name for name in named or () if name.removesuffix("-PLUS") not in can]
    nothing = "so AUTH is not offered, and nobody can log in"
    for name in missing:
        why = "needs [users] oauth" if name in TOKEN_MECHANISMS else f"cannot be offered: {lack} for it"
        more = f"; no other is named, {nothing}" if len(missing) == len(named or ()) else ""
        yield Finding(("users", "mechanisms"), f"names {name}, which {why}{more}", is_warning=True)
    if named is None and not can - {"CRAM-MD5"}:
        yield Finding(source, f"{lack} for any mechanism that is offered unasked, {nothing}", is_warning=True)
