"""What authentication and submission ask of the users, wherever those are kept.

Promises of every back end:

- an unknown user costs the same work and time as a wrong password: the same number of queries, a hash of the same strength;
- nothing but "the answer cannot be had" is raised, and that is `BackendUnavailable`, an OSError: the client is told to come back
  later (RFC 4954 §6: 454 4.7.0). A wrong password is None;
- `senders` and `is_frozen` answer at once, from memory: they are asked for each message.

Names arrive in the form of `sasl.user_name`, passwords prepared by `sasl.saslprep`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from waymail.server.users_file import AS_EVERYBODY, Allowance, may_use
from waymail.wire.sasl import Challenge, Failure, ScramKeys, Success

PASSWORD_MECHANISMS = frozenset({"PLAIN", "LOGIN"})
TOKEN_MECHANISMS = frozenset({"OAUTHBEARER", "XOAUTH2"})


class BackendUnavailable(OSError):
    """The users cannot be asked at this moment. The text is for the log."""


class BackendUnusable(Exception):
    """A back end that cannot work as it is configured; the text says what to do."""


@dataclass(frozen=True, slots=True)
class TokenRefused:
    """A bearer token is not good. `why` is for the log, and never holds the token; the client learns nothing of it."""

    why: str


class PassedExchange(Protocol):
    """An exchange that the back end carries out by itself."""

    async def step(self, response: bytes | None) -> Challenge | Success | Failure:
        """The client's next response, first of all its initial one, or None. Raises BackendUnavailable."""

    def close(self) -> None:
        """The exchange is given up."""


class UserBackend:
    """Users. To write one, derive from this class: what is not overridden answers as a back end that has no such thing."""

    @property
    def mechanisms(self) -> Collection[str]:
        """The SASL mechanisms that can work with what is kept here. May change while the server runs."""
        return PASSWORD_MECHANISMS

    @property
    def passes_through(self) -> bool:
        """Whether `exchange` carries out every mechanism; then there is no channel binding."""
        return False

    @property
    def secret(self) -> bytes:
        """What the salts of unknown users are made from: the same over restarts, and known to nobody. Needed for SCRAM only."""
        return b""

    async def verify(self, name: str, password: str) -> str | None:
        """The user's name in its normal form, or None where name or password is wrong. Raises BackendUnavailable."""
        return None

    async def scram_keys(self, hash_name: str, name: str) -> ScramKeys | None:
        """The keys of a user for "SCRAM-SHA-256" or "SCRAM-SHA-1"; None for a user without, and for nobody. Raises
        BackendUnavailable."""
        return None

    async def password(self, name: str) -> str | None:
        """The password itself, which CRAM-MD5 needs (RFC 2195 §2); None where only proofs of it are kept. Raises
        BackendUnavailable."""
        return None

    async def knows(self, name: str) -> bool:
        """Whether there is such a user; `senders` and the like know him after that. Raises BackendUnavailable."""
        return self.senders(name) is not None

    async def token(self, name: str, token: str) -> str | TokenRefused | None:
        """The user that a bearer token belongs to, where it is good (and his, where the client named one); else why it is not,
        or None where nobody can say. Raises BackendUnavailable."""
        return None

    async def certificate(self, fingerprint: str, addresses: Sequence[str]) -> str:
        """The user whom a verified client certificate names, by its SHA-256 (lower-case hex) or an rfc822Name in it; "" for
        nobody. Raises BackendUnavailable."""
        return ""

    async def exchange(self, mechanism: str, connection: Mapping[str, str]) -> PassedExchange | None:
        """An exchange that is passed through whole; None where waymail's own mechanisms do it. `connection` has "address" of the
        client and "secure" ("" in clear). Raises BackendUnavailable."""
        return None

    def senders(self, user: str) -> Collection[str] | None:
        """What a user may send as: addresses in the form of `sender_key`, "*@domain", "*"; None where there is no such user."""
        return None

    def may_send_as(self, user: str, address: str) -> bool:
        """Whether a user may use an address, in the envelope or as author.

        The null path "" is open to every user: RFC 5321 §4.5.5 demands it for notifications, and a mail client sends
        disposition notifications under it (RFC 8098 §2.1). Whoever is no user may use nothing.
        """
        senders = self.senders(user)
        return senders is not None and may_use(senders, address)

    def is_frozen(self, user: str) -> bool:
        """Whether an account is closed for a while: it exists, and may neither log in nor send."""
        return False

    def allowance(self, user: str) -> Allowance:
        """What this user may send, where it differs from everybody's."""
        return AS_EVERYBODY

    async def start(self) -> None:
        """Look whether what is asked is there. Called once, before the first login; raises nothing."""

    async def close(self) -> None:
        """Let go of threads and connections."""
