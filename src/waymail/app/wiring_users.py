"""The part of `app.wiring` about users: every constructor call between [users] and the authenticator."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from waymail.app.config.schema import Config
from waymail.app.config.users import OAuth
from waymail.net.clock import SystemClock
from waymail.net.fetch import Fetcher
from waymail.server import freezes, tokens
from waymail.server.authentication import Authenticator
from waymail.server.backends.contract import BackendUnusable, UserBackend
from waymail.server.backends.file import FileBackend
from waymail.server.guard import Guard, GuardLimits
from waymail.server.quota import Quota
from waymail.server.reception import Networks
from waymail.server.stolen import StolenAccounts
from waymail.server.users import Users
from waymail.server.users_file import Allowance


@dataclass(frozen=True, slots=True)
class Accounts:
    """What sessions ask about users."""

    users: UserBackend
    authenticator: Authenticator
    quota: Quota
    guard: Guard
    frozen: freezes.Freezes
    stolen: StolenAccounts | None

    async def start(self) -> None:
        """Look whether the users can be asked, and tell in the log what keeps them from logging in. Raises nothing."""
        await self.users.start()
        self.authenticator.tell_unusable()

    async def close(self) -> None:
        """Write what is counted, let go of connections and threads."""
        self.quota.save(SystemClock().now(), stopping=True)
        await self.authenticator.close()


def open_accounts(
    config: Config, clock: SystemClock, before: Accounts | None = None, users: UserBackend | None = None
) -> Accounts:
    """Nothing is asked yet. What `before` has counted goes on, and `users` stay in use. Raises UsersFileError, FreezesUnusable,
    BackendUnusable."""
    users, submission = users or backend(config, clock), config.submission
    frozen = before.frozen if before is not None else freezes.Freezes(config.data_dir / freezes.FILE_NAME)

    def is_frozen(user: str) -> bool:
        return frozen.is_frozen(user) or users.is_frozen(user)

    guard = Guard(guard_limits(config), exempt=Networks(config.relay.allow))
    stolen = StolenAccounts(frozen, submission.freeze_after, later=in_thread) if submission.freeze_after else None
    authenticator = Authenticator(
        users,
        nonce=lambda: secrets.token_urlsafe(18),
        mechanisms=config.users.mechanisms,
        guard=guard,
        is_frozen=is_frozen,
        stolen=stolen,
        clock=clock,
    )
    general = Allowance(submission.messages_per_hour, submission.recipients_per_day, submission.recipients_per_message)
    quota = Quota(general, allowance=users.allowance, is_frozen=is_frozen, path=config.data_dir / "sent.json")
    if before is not None:
        guard.go_on_from(before.guard)
        quota.go_on_from(before.quota)
        if stolen is not None and before.stolen is not None:
            stolen.go_on_from(before.stolen)
    return Accounts(users, authenticator, quota, guard, frozen, stolen)


def in_thread(work: Callable[[], None]) -> None:
    """Do what waits for the disk where nobody waits for it."""
    asyncio.get_running_loop().run_in_executor(None, work)


def guard_limits(config: Config) -> GuardLimits:
    limits = config.limits
    return GuardLimits(
        limits.auth_failures_per_address, limits.auth_failures_window, limits.auth_block, limits.auth_failures_per_user
    )


def backend(config: Config, clock: SystemClock) -> UserBackend:
    """The users: from the file, unless [users] names another place; and tokens beside them. Raises UsersFileError,
    BackendUnusable."""
    users = passwords(config, clock)
    return users if config.users.oauth is None else tokens.WithTokens(users, verifier(config.users.oauth, clock))


def passwords(config: Config, clock: SystemClock) -> UserBackend:
    section = config.users
    if section.sql is not None:
        from waymail.server.backends import sql

        database = sql.open_database(section.sql.driver, section.sql.dsn, section.sql.query)
        return sql.SqlBackend(
            database,
            section.sql.query,
            secret=kept_secret(config.data_dir / "auth-secret"),
            key=secrets.token_bytes(32),
            clock=clock.monotonic,
        )
    if (one := section.ldap) is not None:
        from waymail.server.backends import ldap

        ca = str(one.ca) if one.ca else None
        directory = ldap.Directory(
            one.url, one.base, one.bind_dn or "", one.bind_password or "", one.filter, one.addresses, one.starttls, ca
        )
        return ldap.LdapBackend(directory)
    if section.dovecot is not None:
        from waymail.server.backends.dovecot import DovecotBackend

        return DovecotBackend(str(section.dovecot))
    if section.python is not None:
        from waymail.server.backends.python import load

        return load(section.python)
    return FileBackend(Users.load(section.file))


def verifier(oauth: OAuth, clock: SystemClock) -> tokens.TokenVerifier:
    fetcher = Fetcher()
    now: Callable[[], float] = clock.now
    demands = tokens.Demands(oauth.issuer, oauth.audience or "", oauth.user_claim, oauth.scopes)
    if (one := oauth.introspection) is not None:
        # RFC 7662 §2.2: the endpoint is the issuer's own, and need not name itself
        lenient = tokens.Demands("", oauth.audience or "", oauth.user_claim, oauth.scopes)
        return tokens.IntrospectionVerifier(one.url, one.client_id, one.client_secret, lenient, fetcher, now)
    source: str | Path | None = oauth.jwks or oauth.jwks_file
    if source is None:  # the check of the configuration demands one
        raise BackendUnusable("users.oauth needs jwks, jwks_file or introspection")
    return tokens.JwtVerifier(tokens.KeyRing(source, fetcher, clock=clock.monotonic), demands, now=now, fetcher=fetcher)


def kept_secret(path: Path) -> bytes:
    """What the salts of unknown users are made from, where no users file keeps it: made at the first start. Raises
    BackendUnusable."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(secrets.token_bytes(32))
        found = path.read_bytes()
    except OSError as error:
        raise BackendUnusable(f"{path}: {error.strerror}; let the server's user write there") from None
    if len(found) < 32:
        raise BackendUnusable(f"{path} is incomplete: remove it")
    return found
