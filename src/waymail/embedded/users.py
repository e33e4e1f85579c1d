"""Who may log in to a program's server: names with passwords, or a function that is asked."""

from __future__ import annotations

import asyncio
import hmac
import inspect
import logging
import secrets
from collections.abc import Awaitable, Callable, Collection, Mapping
from ipaddress import ip_network

from waymail.net import foreign
from waymail.net.clock import SystemClock
from waymail.server.authentication import Authenticator
from waymail.server.backends.contract import PASSWORD_MECHANISMS, BackendUnavailable, UserBackend
from waymail.server.guard import Guard
from waymail.server.reception import Networks
from waymail.wire.sasl import ScramKeys, saslprep, user_name
from waymail.wire.sasl.scram_keys import SALT_LENGTH

log = logging.getLogger("waymail.server")

THREADS = 16  # questions to a function that is not asynchronous, at one time

Verdict = bool | str | None
Asks = Callable[[str, str], Verdict | Awaitable[Verdict]]
Users = Mapping[str, str] | Asks | UserBackend
"""Passwords by user name; or a function of name and password, asynchronous or not, which returns whether they are right, or the
name by which the user is to be known; or whatever `server.backends.contract` describes."""


def backend(users: Users) -> UserBackend:
    """Raises ValueError where a name or a password cannot be one, TypeError for what cannot be asked."""
    if isinstance(users, UserBackend):
        return users
    if isinstance(users, Mapping):
        return Listed(users)
    if callable(users):
        _check(users)
        return Asked(users)
    raise TypeError(f"users are a mapping of names to passwords, a function, or a UserBackend, not {users!r:.50}")


def _check(function: Asks) -> None:
    """Raises TypeError where it cannot be called with a name and a password, as far as anybody can tell."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return
    try:
        signature.bind("name", "password")
    except TypeError:
        does = f"users are asked by name and password, and {function!r:.100} takes {signature}"
        raise TypeError(f"{does}: write def users(name, password): return True") from None


def authenticator(users: UserBackend) -> Authenticator:
    """Whoever guesses passwords is slowed down, but for programs of this machine."""
    loopback = Networks([ip_network("127.0.0.0/8"), ip_network("::1/128")])
    return Authenticator(users, nonce=lambda: secrets.token_urlsafe(18), guard=Guard(exempt=loopback), clock=SystemClock())


class Listed(UserBackend):
    """Users whose passwords the program knows."""

    def __init__(self, passwords: Mapping[str, str]) -> None:
        """Raises PreparationProblem, a ValueError."""
        self._passwords = {user_name(name): saslprep(password, stored=True) for name, password in passwords.items()}
        self._secret = secrets.token_bytes(32)

    @property
    def mechanisms(self) -> Collection[str]:
        """All that a known password is enough for."""
        return PASSWORD_MECHANISMS | {"SCRAM-SHA-256", "SCRAM-SHA-1", "CRAM-MD5"}

    @property
    def secret(self) -> bytes:
        """New in each process: it may tell an unknown user from a known one over a restart, as a restart tells of itself."""
        return self._secret

    async def verify(self, name: str, password: str) -> str | None:
        """As `UserBackend` has it."""
        known = self._passwords.get(name)
        is_right = hmac.compare_digest((known or "").encode(), password.encode())
        return name if is_right and known is not None else None

    async def scram_keys(self, hash_name: str, name: str) -> ScramKeys | None:
        """As `UserBackend` has it. They are made each time, which takes as long for a name that nobody has."""
        known = self._passwords.get(name)
        salt = hmac.digest(self._secret, f"{hash_name}\0{name}".encode(), "sha256")[:SALT_LENGTH]
        keys = await asyncio.to_thread(ScramKeys.derive, known or secrets.token_hex(), salt, hash=hash_name)
        return None if known is None else keys

    async def password(self, name: str) -> str | None:
        """As `UserBackend` has it."""
        return self._passwords.get(name)

    def senders(self, user: str) -> Collection[str] | None:
        """Any address: what a user may send is for the hooks to say."""
        return ("*",) if user in self._passwords else None


class Asked(UserBackend):
    """Users that a function of the program's knows. What it raises puts the client off (RFC 4954 §6: 454)."""

    def __init__(self, function: Asks) -> None:
        self._function = function
        self._is_async = inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004
        self._threads = foreign.Threads(THREADS, "waymail-users")

    async def verify(self, name: str, password: str) -> str | None:
        """As `UserBackend` has it."""
        try:
            found = await self._asked(name, password)
        except Exception as error:
            log.exception("the function that knows the users failed")
            raise BackendUnavailable(f"{type(error).__name__}: {error}") from error
        if found is None or isinstance(found, bool):
            return name if found else None
        if isinstance(found, str):
            return found or None
        raise BackendUnavailable(f"the function that knows the users answered {found!r:.100}, neither a bool nor a name")

    async def _asked(self, name: str, password: str) -> object:
        if not self._is_async:
            return await self._threads.call(lambda pair: self._function(*pair), (name, password))
        answer = self._function(name, password)
        return await answer if inspect.isawaitable(answer) else answer

    def senders(self, user: str) -> Collection[str] | None:
        """Any address: what a user may send is for the hooks to say."""
        return ("*",)
