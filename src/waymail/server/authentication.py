"""Who is it? Drives a SASL exchange (RFC 4954) against the users, the slow part in a thread.

Every failure looks and costs the same to the client; the cause goes to the log.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from waymail.wire import sasl
from waymail.wire.sasl import Challenge, Failure, NeedsToken, NeedsVerification, ScramKeys, Secrets, ServerExchange, Success

# Argon2id takes memory and a core for a while: more than two at a time would only make everybody wait longer.
VERIFIERS = 2


class Passwords(Protocol):
    """What authentication needs of the users. `verify` is slow, and is called in a thread."""

    @property
    def secret(self) -> bytes:
        """Keeps made-up salts stable for users that do not exist."""

    def verify(self, name: str, password: str) -> str | None:
        """The user's name in its normal form, or None where name or password is wrong."""

    def scram_keys(self, name: str) -> ScramKeys | None: ...


class Exchange:
    """One authentication exchange of one session."""

    def __init__(self, exchange: ServerExchange, passwords: Passwords, threads: ThreadPoolExecutor) -> None:
        self._exchange = exchange
        self._passwords = passwords
        self._threads = threads
        self._begun = False

    async def step(self, response: bytes | None) -> Challenge | Success | Failure:
        """The client's next response (first of all its initial one, or None); what to answer, or how it ended."""
        if self._begun:
            step = self._exchange.step(response or b"")
        else:
            self._begun = True
            step = self._exchange.start(response)
        if isinstance(step, NeedsToken):
            return Failure("nobody here can tell whose a token is")
        if not isinstance(step, NeedsVerification):
            return step
        loop = asyncio.get_running_loop()
        user = await loop.run_in_executor(self._threads, self._passwords.verify, step.user, step.password)
        return Failure(f"wrong password or no such user: {step.user}") if user is None else Success(user)


class Authenticator:
    """Begins exchanges. `nonce` gives a new one each time."""

    def __init__(self, passwords: Passwords, *, nonce: Callable[[], str]) -> None:
        self._passwords = passwords
        self._nonce = nonce
        self._threads = ThreadPoolExecutor(VERIFIERS, thread_name_prefix="password")

    def begin(self, mechanism: str) -> Exchange:
        """Raises sasl.UnknownMechanism; the wire core lets only offered ones through."""
        passwords = self._passwords
        secrets = Secrets(
            lambda hash_name, user: passwords.scram_keys(user) if hash_name == "SCRAM-SHA-256" else None,
            lambda _: None,
            passwords.secret,
        )
        exchange = sasl.server_exchange(mechanism, nonce=self._nonce(), secrets=secrets)
        return Exchange(exchange, passwords, self._threads)

    def close(self) -> None:
        """Begin no more verifications."""
        self._threads.shutdown(wait=False, cancel_futures=True)
