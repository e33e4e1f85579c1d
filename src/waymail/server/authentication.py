"""Who is it? Drives a SASL exchange (RFC 4954) against the users.

Every failure looks and costs the same to the client; the cause goes to the log. Whoever fails often waits, and is refused at last
(`server.guard`); the waiting happens here, so that a session only awaits `Exchange.step`.

Promises: of one client at most `AT_ONCE` steps are worked on at a time, so that many connections at once gain a guesser
nothing and keep nobody else waiting; what cannot be asked at the moment is an OSError, never a wrong password.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

from waymail.net.clock import Clock, SystemClock
from waymail.net.tls import PeerCertificate
from waymail.server.backends.contract import PassedExchange, TokenRefused, UserBackend
from waymail.server.guard import Guard
from waymail.server.networks import client_of
from waymail.server.stolen import StolenAccounts
from waymail.wire import sasl
from waymail.wire.replies import Reply
from waymail.wire.sasl import (
    NO_CHANNEL,
    Challenge,
    Channel,
    Failure,
    NeedsToken,
    NeedsVerification,
    ScramKeys,
    Secrets,
    ServerExchange,
    Step,
    Success,
)

log = logging.getLogger("waymail.server")

AT_ONCE = 2  # steps that are worked on for one client
PLUS = "-PLUS"

# RFC 5248 §3.2: X.7.13, User Account Disabled. RFC 4954 §6: 535 unless there is a code that says more. It is told only to one
# who has proved to be the user.
FROZEN = Reply(535, "this account is frozen; ask the postmaster", "5.7.13")


@dataclass(frozen=True, slots=True)
class Blocked:
    """No exchange takes place, or what it came to does not count: send `reply`, and close after a 421."""

    reply: Reply


@dataclass(frozen=True, slots=True)
class Connection:
    """What is known of the connection that somebody authenticates on."""

    address: str = ""
    secure: bool = False
    channel: Channel = NO_CHANNEL  # `external` is filled in here, from the certificate
    certificate: PeerCertificate | None = None


NO_CONNECTION = Connection()

Pause = Callable[[float], Awaitable[None]]


class Authenticator:
    """Begins exchanges, and knows which mechanisms can be offered.

    `nonce` gives a new one each time. `mechanisms` narrows what is offered (all that the back end can do but CRAM-MD5, where it
    is None, which sends no password but makes the server keep it in clear). `is_frozen` tells the accounts that are closed,
    those of the back end among them; where it is None, there are no others.
    """

    def __init__(
        self,
        users: UserBackend,
        *,
        nonce: Callable[[], str],
        mechanisms: Collection[str] | None = None,
        guard: Guard | None = None,
        is_frozen: Callable[[str], bool] | None = None,
        stolen: StolenAccounts | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.users = users
        self.guard = guard
        self.is_frozen = is_frozen or users.is_frozen
        self.stolen = stolen
        self.clock = clock or SystemClock()
        self.nonce = nonce
        self.turns = Turns(AT_ONCE)
        self._named = None if mechanisms is None else frozenset(mechanisms)

    def mechanisms(self, connection: Connection = NO_CONNECTION) -> tuple[str, ...]:
        """What to offer on a connection, the best first. -PLUS only where there is something to bind to (RFC 5802 §6), EXTERNAL
        only where the client has shown a certificate (RFC 4422 Appendix A). Whether it is secure enough to offer anything
        at all is the wire core's affair. Cheap."""
        can = self.users.mechanisms

        def is_offered(name: str) -> bool:
            plain = name.removesuffix(PLUS)
            if plain not in can or not (
                name != "CRAM-MD5" if self._named is None else plain in self._named or name in self._named
            ):
                return False
            if name != plain:
                wanted = sasl.BINDING_TYPES if name in (self._named or ()) else sasl.EXPECTED_BINDINGS
                return any(kind in connection.channel.bindings for kind in wanted) and not self.users.passes_through
            return name != "EXTERNAL" or connection.certificate is not None

        return tuple(name for name in sasl.MECHANISMS if is_offered(name))

    def tell_unusable(self) -> None:
        """Warn in the log of mechanisms that are named and cannot be offered, and where there is none to offer at all."""
        can = frozenset(self.users.mechanisms)
        named = can - {"CRAM-MD5"} if self._named is None else {name.removesuffix(PLUS) for name in self._named}
        if missing := sorted(named - can):
            log.warning("mechanisms are named that the users have nothing for", extra={"fields": {"mechanisms": missing}})
        if not named & can:
            log.warning("nobody can log in: there is no mechanism to offer, so AUTH is not offered")

    def begin(self, mechanism: str, connection: Connection = NO_CONNECTION, *, pause: Pause = asyncio.sleep) -> Exchange:
        """Raises sasl.UnknownMechanism; the wire core lets only offered ones through. `pause` waits, for so many seconds."""
        if mechanism.upper() not in sasl.MECHANISMS:
            raise sasl.UnknownMechanism(mechanism)
        return Exchange(self, mechanism.upper(), connection, pause)

    async def close(self) -> None:
        """Begin no more verifications."""
        await self.users.close()


class Exchange:
    """One authentication exchange of one session."""

    def __init__(self, authenticator: Authenticator, mechanism: str, connection: Connection, pause: Pause) -> None:
        self._authenticator = authenticator
        self._mechanism = mechanism
        self._connection = connection
        self._pause = pause
        self._inner: _Own | PassedExchange | None = None

    async def step(self, response: bytes | None) -> Challenge | Success | Failure | Blocked:
        """The client's next response (first of all its initial one, or None); what to answer, or how it ended. Raises OSError
        where the users cannot be asked."""
        address = self._connection.address
        async with self._authenticator.turns.of(client_of(address)):
            if (blocked := self._blocked()) is not None:
                return blocked
            if self._inner is None:
                self._inner = await self._begun()
            step = await self._inner.step(response)
            user = step.user if isinstance(step, Success) else getattr(self._inner, "user", "")
            outcome, delay = self._judged(step, user)
        if delay > 0:
            await self._pause(delay)
        return outcome

    def close(self) -> None:
        """The client has gone, or cancelled."""
        if self._inner is not None and not isinstance(self._inner, _Own):
            self._inner.close()

    async def _begun(self) -> _Own | PassedExchange:
        users, connection = self._authenticator.users, self._connection
        about = {"address": connection.address, "secure": "yes" if connection.secure else ""}
        if (passed := await users.exchange(self._mechanism, about)) is not None:
            return passed
        channel = connection.channel
        if self._mechanism == "EXTERNAL" and (certificate := connection.certificate) is not None:
            addresses = [name for name in certificate.names if "@" in name]
            channel = replace(channel, external=await users.certificate(certificate.fingerprint, addresses))
        return _Own(users, self._mechanism, self._authenticator.nonce(), channel)

    def _blocked(self) -> Blocked | None:
        authenticator = self._authenticator
        if authenticator.guard is None:
            return None
        seconds = authenticator.guard.is_blocked(self._connection.address, authenticator.clock.monotonic())
        if seconds is None:
            return None
        minutes = math.ceil(seconds / 60)
        text = f"too many failed logins from your address, try again in {minutes} minute{'s' if minutes > 1 else ''}"
        return Blocked(Reply(421, text, "4.7.0"))

    def _judged(self, step: Challenge | Success | Failure, user: str) -> tuple[Challenge | Success | Failure | Blocked, float]:
        """What a step comes to, and how many seconds to wait before it is told."""
        guard, address, now = self._authenticator.guard, self._connection.address, self._authenticator.clock.monotonic()
        if isinstance(step, Challenge):
            return step, 0.0
        if isinstance(step, Failure):
            if guard is None:
                return step, 0.0
            if guard.failed(address, user, now):
                log.warning("an address is refused, it failed to log in too often", extra={"fields": {"peer": address}})
            return step, guard.delay(address, now, user)
        # A success waits as a failure of the same user would: guessing right must not be faster.
        delay = guard.user_delay(address, user, now) if guard is not None else 0.0
        if self._is_closed(user):
            log.warning("a frozen account tried to log in", extra={"fields": {"peer": address, "user": user}})
            return Blocked(FROZEN), delay
        if guard is not None:
            guard.succeeded(address, user, now)
        return step, delay

    def _is_closed(self, user: str) -> bool:
        authenticator = self._authenticator
        if authenticator.is_frozen(user):
            return True
        stolen = authenticator.stolen
        return stolen is not None and stolen.logged_in(user, self._connection.address, authenticator.clock.now())


class _Wanted(Exception):
    """A mechanism has asked for something that has to be fetched first."""

    def __init__(self, hash_name: str, user: str) -> None:
        self.hash_name, self.user = hash_name, user


@dataclass(slots=True)
class _Known:
    """What has been fetched for the mechanism, which asks in the middle of a step and cannot wait."""

    keys: dict[tuple[str, str], ScramKeys | None] = field(default_factory=dict)
    passwords: dict[str, str | None] = field(default_factory=dict)

    def scram_keys(self, hash_name: str, user: str) -> ScramKeys | None:
        if (hash_name, user) not in self.keys:
            raise _Wanted(hash_name, user)
        return self.keys[hash_name, user]

    def password(self, user: str) -> str | None:
        if user not in self.passwords:
            raise _Wanted("", user)
        return self.passwords[user]


class _Own:
    """An exchange by waymail's own mechanisms.

    Keys come from back ends that take their time, and mechanisms are functions that cannot wait. But all that an exchange does
    follows from its nonce and its responses: where it asks for something that is not there yet, that is fetched, and the
    exchange begun anew with what was said so far. It happens once in an exchange.
    """

    def __init__(self, users: UserBackend, mechanism: str, nonce: str, channel: Channel) -> None:
        self.user = ""  # whom the client claims to be, as far as that is known
        self._users = users
        self._known = _Known()
        self._said: list[bytes | None] = []
        self._why = ""  # a token was refused
        secrets = Secrets(self._known.scram_keys, self._known.password, users.secret)
        self._make: Callable[[], ServerExchange] = lambda: sasl.server_exchange(
            mechanism, nonce=nonce, secrets=secrets, channel=channel
        )
        self._exchange = self._make()

    async def step(self, response: bytes | None) -> Challenge | Success | Failure:
        self._said.append(response)
        try:
            step = self._next(response)
        except _Wanted as wanted:
            await self._fetch(wanted)
            self._exchange = self._make()
            step = self._again()
        if isinstance(step, NeedsVerification):
            self.user = step.user
            user = await self._users.verify(step.user, step.password)
            return Failure(f"wrong password or no such user: {step.user}") if user is None else Success(user)
        if isinstance(step, NeedsToken):
            self.user = step.user
            found = await self._users.token(step.user, step.token)
            if isinstance(found, TokenRefused):
                self._why, found = found.why, None
            step = self._exchange.verified(found)
        if isinstance(step, NeedsVerification | NeedsToken):
            raise RuntimeError("a mechanism asks twice who the user is")
        if isinstance(step, Failure) and self._why:
            return replace(step, cause=f"the token for {self.user or 'whomever it names'} {self._why}")
        return step

    def _next(self, response: bytes | None) -> Step:
        return self._exchange.start(response) if len(self._said) == 1 else self._exchange.step(response or b"")

    def _again(self) -> Step:
        step = self._exchange.start(self._said[0])
        for response in self._said[1:]:
            step = self._exchange.step(response or b"")
        return step

    async def _fetch(self, wanted: _Wanted) -> None:
        self.user = wanted.user
        if wanted.hash_name:
            found = await self._users.scram_keys(wanted.hash_name, wanted.user)
            self._known.keys[wanted.hash_name, wanted.user] = found
        else:
            self._known.passwords[wanted.user] = await self._users.password(wanted.user)


class Turns:
    """Lets `at_once` pieces of work begin for each key, the others wait in line."""

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        self._lines: dict[str, tuple[asyncio.Semaphore, list[int]]] = {}

    @asynccontextmanager
    async def of(self, key: str) -> AsyncIterator[None]:
        """A turn of `key`. Whoever is cancelled leaves the line."""
        line, members = self._lines.setdefault(key, (asyncio.Semaphore(self._at_once), [0]))
        members[0] += 1
        try:
            async with line:
                yield
        finally:
            members[0] -= 1
            if not members[0]:
                self._lines.pop(key, None)

    def __len__(self) -> int:
        return len(self._lines)
