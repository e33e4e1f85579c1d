"""The users of a file (`server.users.Users`) as a back end: the slow part in a thread."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

from waymail.server.backends.contract import PASSWORD_MECHANISMS, UserBackend
from waymail.server.users import Users
from waymail.server.users_file import AS_EVERYBODY, Allowance, User
from waymail.wire.sasl import ScramKeys

# Argon2id takes memory and a core for a while: more than two at a time would only make everybody wait longer.
VERIFIERS = 2


def mechanisms_for(users: Iterable[User]) -> Collection[str]:
    """The SASL mechanisms that one of these users at least could use."""
    users, found = tuple(users), {*PASSWORD_MECHANISMS, "SCRAM-SHA-256", "EXTERNAL"}
    if any(user.scram_sha_1 is not None for user in users):
        found.add("SCRAM-SHA-1")
    if any(user.cram_md5 for user in users):
        found.add("CRAM-MD5")
    return frozenset(found)


class FileBackend(UserBackend):
    """See `UserBackend`. A changed file counts within a second."""

    def __init__(self, users: Users) -> None:
        self._users = users
        self._mechanisms: tuple[object, Collection[str]] = (None, ())  # and the users for which they were found
        self._threads = ThreadPoolExecutor(VERIFIERS, thread_name_prefix="password")

    @property
    def mechanisms(self) -> Collection[str]:
        """SCRAM-SHA-1 and CRAM-MD5 as soon as one user has what they need."""
        users = self._users.current()
        if users is not self._mechanisms[0]:
            self._mechanisms = (users, mechanisms_for(users.values()))
        return self._mechanisms[1]

    @property
    def secret(self) -> bytes:
        return self._users.secret

    async def verify(self, name: str, password: str) -> str | None:
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._users.verify, name, password)

    async def scram_keys(self, hash_name: str, name: str) -> ScramKeys | None:
        return self._users.scram_keys(hash_name, name)

    async def password(self, name: str) -> str | None:
        user = self._users.current().get(name)
        return None if user is None else user.cram_md5

    async def certificate(self, fingerprint: str, addresses: Sequence[str]) -> str:
        return self._users.certificate(fingerprint, addresses)

    def senders(self, user: str) -> Collection[str] | None:
        known = self._users.current().get(user)
        return None if known is None else known.senders

    def is_frozen(self, user: str) -> bool:
        known = self._users.current().get(user)
        return known is not None and bool(known.frozen)

    def allowance(self, user: str) -> Allowance:
        known = self._users.current().get(user)
        return AS_EVERYBODY if known is None else known.allowance

    async def close(self) -> None:
        """Begin no more verifications."""
        self._threads.shutdown(wait=False, cancel_futures=True)
