"""The users of this server: whether a password is right, and what a user may send as.

Promises: a changed users file counts within a second, without a restart. A file that has become unusable is reported once, in
the log and as `problem`, and the users read before it stay. An unknown user costs the same work as a wrong password.
`verify` blocks for some 20 ms and takes 19 MiB: it belongs in a thread, and all methods may be called from any.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from waymail.server import users_edit
from waymail.server.backends.stored import NOBODY, argon2id
from waymail.server.users_edit import NoSuchUser, UserExists, add_user, change_password, list_users, remove_user, set_frozen
from waymail.server.users_file import User, UsersFileError, may_use, scram_line
from waymail.wire.sasl import PreparationProblem, ScramKeys, saslprep, user_name
from waymail.wire.sasl.scram_keys import SHA_256

__all__ = [
    "NoSuchUser",
    "User",
    "UserExists",
    "Users",
    "UsersFileError",
    "add_user",
    "change_password",
    "list_users",
    "remove_user",
    "set_frozen",
]

log = logging.getLogger("waymail.server")

CHECK_INTERVAL = 1.0  # seconds between two looks at the file
REMEMBER_FOR = 300.0  # seconds
REMEMBER_MOST = 4_096  # logins


class Users:
    """The users of a file. `load` makes one."""

    def __init__(self, path: Path, *, clock: Callable[[], float], key: bytes) -> None:
        """`clock` counts seconds; `key` is random and of this process alone. Raises UsersFileError."""
        self.problem: UsersFileError | None = None
        self._path = path
        self._clock = clock
        self._key = key
        self._recent = RecentLogins(clock, key)
        self._loading = threading.Lock()
        self._stamp = users_edit.stamp(path)
        self._contents = users_edit.read(path)
        self._check_at = clock() + CHECK_INTERVAL
        self._remark()

    @classmethod
    def load(cls, path: Path, *, clock: Callable[[], float] = time.monotonic, key: bytes | None = None) -> Users:
        """Read the users file. A missing file is an empty set of users. Raises UsersFileError."""
        return cls(path, clock=clock, key=secrets.token_bytes(32) if key is None else key)

    def current(self) -> Mapping[str, User]:
        """The users by name, as the file has them, or last had them. Looks at the file once a second at most."""
        # While one thread reads, the others go on with what there is.
        if self._clock() >= self._check_at and self._loading.acquire(blocking=False):
            try:
                self._check_at = self._clock() + CHECK_INTERVAL
                self._reload()
            finally:
                self._loading.release()
        return self._contents.users

    @property
    def secret(self) -> bytes:
        """What the salts of unknown users are made from: kept in the file, so that it is the same over restarts and processes.

        A file written by hand may lack it; then it follows from what nobody else knows of the file.
        """
        contents = self._contents
        if contents.secret:
            return contents.secret
        if not contents.users:
            return self._key
        return hashlib.sha256("\0".join(map(_kept, contents.users.values())).encode()).digest()

    def verify(self, name: str, password: str) -> str | None:
        """The user's name in the form of `user_name`, if the password is his. Blocks: see above.

        Logins that succeeded are remembered for five minutes, for the sake of clients that open a connection for every message.
        A changed password, or the removal of the user, ends that as soon as the file is read.
        """
        try:
            name, password = user_name(name), saslprep(password)
        except PreparationProblem:
            return None
        user = self.current().get(name)
        if user is None:
            argon2id(NOBODY, password)
            return None
        kept = _kept(user)
        if self._recent.knows(name, password, kept):
            return name
        if user.password is not None:
            right = argon2id(user.password, password)
        else:
            right = user.scram is not None and user.scram.matches(password)
        if not right:
            return None
        self._recent.remember(name, password, kept)
        return name

    def scram_keys(self, hash_name: str, name: str) -> ScramKeys | None:
        """The SCRAM keys of a user for "SCRAM-SHA-256" or "SCRAM-SHA-1"; None for an unknown user and for one without. `name` has
        the form of `user_name`."""
        user = self.current().get(name)
        if user is None:
            return None
        return user.scram if hash_name == SHA_256 else user.scram_sha_1

    def certificate(self, fingerprint: str, addresses: Sequence[str]) -> str:
        """The user whom a client certificate names: who has it among his `certificates`, or else whose name is one of the mail
        addresses in it. "" where that is nobody, or more than one."""
        users = self.current()
        wanted = {f"sha256:{fingerprint}"} | {f"email:{address}" for address in addresses}
        named = [user.name for user in users.values() if not wanted.isdisjoint(user.certificates)]
        for address in () if named else addresses:
            with suppress(PreparationProblem):
                if (name := user_name(address)) in users:
                    named.append(name)
        return named[0] if len(set(named)) == 1 else ""

    def may_send_as(self, user: str, address: str) -> bool:
        """Whether a user may use an address: see `UserBackend.may_send_as`."""
        known = self.current().get(user)
        return known is not None and may_use(known.senders, address)

    def _reload(self) -> None:
        try:
            stamp = users_edit.stamp(self._path)
            if stamp == self._stamp:
                return
            self._stamp = stamp  # before reading: a file that changes meanwhile is read again, a broken one only once
            self._contents = users_edit.read(self._path)
        except UsersFileError as problem:
            if str(problem) != str(self.problem):
                log.error("the users file cannot be used, the users read before stay", extra={"fields": {"error": str(problem)}})
            self.problem = problem
            return
        self.problem = None
        log.info("users read", extra={"fields": {"file": str(self._path), "users": len(self._contents.users)}})
        self._remark()

    def _remark(self) -> None:
        """Say what works and yet is hardly meant."""
        where = {"file": str(self._path)}
        try:
            if self._path.stat().st_mode & 0o007:
                log.warning("the users file is open to everybody on this machine", extra={"fields": where})
        except OSError:
            log.info("there is no users file, so nobody can log in", extra={"fields": where})
        if without := [user.name for user in self._contents.users.values() if user.scram is None]:
            fields = {**where, "users": ", ".join(without[:10]), "count": len(without)}
            log.warning("users without scram-sha-256 cannot log in with that mechanism", extra={"fields": fields})


class RecentLogins:
    """Remembers, for a while and up to a bound, which passwords were right: not the passwords, and nothing that would be of use
    without `key`."""

    def __init__(self, clock: Callable[[], float], key: bytes) -> None:
        self._clock = clock
        self._key = key
        self._until: dict[bytes, float] = {}  # oldest first: all are kept for the same time
        self._lock = threading.Lock()

    def knows(self, name: str, password: str, kept: str) -> bool:
        until = self._until.get(self._digest(name, password, kept))
        return until is not None and self._clock() < until

    def remember(self, name: str, password: str, kept: str) -> None:
        digest, now = self._digest(name, password, kept), self._clock()
        with self._lock:
            self._until.pop(digest, None)
            while self._until and (len(self._until) >= REMEMBER_MOST or next(iter(self._until.values())) <= now):
                del self._until[next(iter(self._until))]
            self._until[digest] = now + REMEMBER_FOR

    def __len__(self) -> int:
        return len(self._until)

    def _digest(self, name: str, password: str, kept: str) -> bytes:
        # None of the three can hold NUL: prepared strings do not, and what is kept is base64.
        return hmac.digest(self._key, f"{name}\0{password}\0{kept}".encode(), "sha256")


def _kept(user: User) -> str:
    """What is kept of a user's password: it is another string after each change."""
    return user.password or (scram_line(user.scram) if user.scram else "")
