"""Bearer tokens (RFC 6750) of OAUTHBEARER and XOAUTH2: whose is a token, and is it good here?

Either a JSON Web Token (RFC 7519), verified by the issuer's published keys (RFC 7517), or any token, asked about at the issuer's
introspection endpoint (RFC 7662).

Promises: only signatures by `ALGORITHMS` count, never "none" and never a shared secret; issuer, audience and times are checked,
with `LEEWAY` for clocks that differ; keys are fetched again where a token names one that is not known, once in `REFRESH`
seconds at most, however many such tokens come. A token that is not good is `TokenRefused`, which says why; an issuer that
cannot be asked is `BackendUnavailable`. Tokens are never logged.
"""

from __future__ import annotations

import asyncio
import json
import logging
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeGuard

from joserfc import jws, jwt
from joserfc.errors import JoseError
from joserfc.jwk import Key, KeySet

from waymail.net.fetch import Fetcher, FetchFailed
from waymail.server.backends.contract import TOKEN_MECHANISMS, BackendUnavailable, PassedExchange, TokenRefused, UserBackend
from waymail.server.users_file import Allowance, is_sender, sender_key
from waymail.wire.sasl import PreparationProblem, ScramKeys, user_name

log = logging.getLogger("waymail.server")

# RFC 8725 §3.1: the caller says which algorithms there are, not the token.
ALGORITHMS = ("RS256", "PS256", "ES256", "EdDSA", "Ed25519")
# RFC 9864 §2 prefers "Ed25519"; issuers will write "EdDSA" for years, and joserfc would warn of each.
warnings.filterwarnings("ignore", message="EdDSA is deprecated")
LEEWAY = 60.0  # seconds
KEEP = 3_600.0  # seconds that fetched keys are used
REFRESH = 60.0  # seconds between two fetches at least
MOST_TOKEN = 16_384  # octets
MOST_SHOWN = 200  # characters of a claim in the log

Claims = Mapping[str, Any]


class KeysUnusable(Exception):
    """What should hold keys does not; the text says what is wrong."""


@dataclass(frozen=True, slots=True)
class Demands:
    """What claims must say. "" and () ask for nothing."""

    issuer: str = ""
    audience: str = ""
    user_claim: str = "email"
    scopes: Sequence[str] = ()

    def user(self, claims: Claims, now: float) -> str | TokenRefused:
        """The user that good claims name, in the form of `user_name`; else what is wrong with them. `now` is Unix time."""
        if why := self._wrong_issuer(claims) or _wrong_time(claims, now):
            return TokenRefused(why)
        if missing := set(self.scopes) - _scopes(claims):
            return TokenRefused(f"has not the scope {' '.join(sorted(missing))}")
        return self._named(claims)

    def _wrong_issuer(self, claims: Claims) -> str:
        if self.issuer and claims.get("iss") != self.issuer:
            return f"is by the issuer {_shown(claims.get('iss'))}"
        audience = claims.get("aud")
        if self.audience and self.audience not in (audience if isinstance(audience, list) else [audience]):
            return f"is for the audience {_shown(audience)}"
        return ""

    def _named(self, claims: Claims) -> str | TokenRefused:
        name = claims.get(self.user_claim)
        # OpenID Connect Core §5.1: an address that nobody has verified may be somebody else's
        if self.user_claim == "email" and claims.get("email_verified") in (False, "false"):
            return TokenRefused("has an address that the issuer has not verified (email_verified)")
        try:
            user = user_name(name) if isinstance(name, str) else ""
        except PreparationProblem as problem:
            return TokenRefused(f"has no user name in {self.user_claim}: {problem}")
        return user or TokenRefused(f"names no user: {self.user_claim} is missing, or no text")


def _shown(claim: object) -> str:
    return "(none)" if claim is None else repr(claim)[:MOST_SHOWN]


def _wrong_time(claims: Claims, now: float) -> str:
    """RFC 7519 §4.1.4, §4.1.5: not expired, and not for later. A token without an end is good for nothing here."""
    expires, begins = claims.get("exp"), claims.get("nbf", now)
    if not _is_number(expires):
        return "does not say when it expires (exp)"
    if expires + LEEWAY <= now:
        return f"has expired {now - expires:.0f} s ago"
    if not _is_number(begins):
        return "does not say in a number when it begins (nbf)"
    return "" if begins - LEEWAY <= now else f"is not good before {begins - now:.0f} s from now (nbf)"


def _is_number(value: object) -> TypeGuard[float]:
    # JSON may hold NaN, infinity and numbers that overflow; none of them is a time
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e15


def _scopes(claims: Claims) -> set[str]:
    """RFC 8693 §4.2: "scope", with spaces between; others write "scp", also as a list."""
    found: set[str] = set()
    for value in (claims.get("scope"), claims.get("scp")):
        found |= set(value.split() if isinstance(value, str) else map(str, value) if isinstance(value, list) else ())
    return found


TOO_LONG = TokenRefused(f"is longer than {MOST_TOKEN} octets")


class TokenVerifier(Protocol):
    """Tells whose a token is."""

    async def verify(self, token: str) -> str | TokenRefused:
        """The user, or why the token is not good. Raises BackendUnavailable."""

    async def close(self) -> None: ...


class KeyRing:
    """The keys of an issuer, from a URL or a file, kept for an hour, and longer only while no others can be had. `clock` counts
    seconds."""

    def __init__(self, source: str | Path, fetcher: Fetcher | None, *, clock: Callable[[], float]) -> None:
        self._source = source
        self._fetcher = fetcher
        self._clock = clock
        self._keys: Sequence[Key] = ()
        self._fetched_at = self._tried_at = float("-inf")
        self._fetching = asyncio.Lock()

    async def find(self, kid: str | None) -> Sequence[Key]:
        """The keys that a token may be signed with: those of its key id (RFC 7515 §4.1.4), or all where it names none. Raises
        BackendUnavailable where there have never been any keys."""
        if (found := self._known(kid)) and self._clock() - self._fetched_at < KEEP:
            return found
        async with self._fetching:
            now = self._clock()
            if now - self._tried_at >= REFRESH:
                self._tried_at = now
                try:
                    self._keys = keys_in(await self._read())
                    self._fetched_at = now
                except (FetchFailed, KeysUnusable, OSError) as error:
                    log.error("the keys of tokens cannot be had", extra={"fields": {"error": str(error)}})
        if not self._keys:
            raise BackendUnavailable(f"no keys from {self._source}")
        return self._known(kid)

    def _known(self, kid: str | None) -> Sequence[Key]:
        return self._keys if kid is None else [key for key in self._keys if key.kid == kid]

    async def _read(self) -> bytes:
        if isinstance(self._source, Path):
            return await asyncio.to_thread(self._source.read_bytes)
        if self._fetcher is None:
            raise KeysUnusable(f"{self._source}: nothing to fetch it with")
        answer = await self._fetcher.get(self._source, accept="application/json")
        if answer.status != 200:
            raise KeysUnusable(f"{self._source}: the answer is {answer.status}")
        return answer.content


def keys_in(document: bytes) -> Sequence[Key]:
    """The keys for signatures in a JWK Set (RFC 7517 §5); one that is of no known type is left out. Raises KeysUnusable."""
    try:
        listed = json.loads(document)["keys"]
        wanted = [one for one in listed if isinstance(one, dict) and one.get("use", "sig") == "sig" and one.get("kty") != "oct"]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise KeysUnusable("not a JSON Web Key Set") from None
    keys: list[Key] = []
    for one in wanted:
        try:
            keys += KeySet.import_key_set({"keys": [one]}).keys
        except (JoseError, ValueError, TypeError, KeyError):
            continue
    return keys


class JwtVerifier:
    """Verifies JSON Web Tokens. `now` gives Unix time."""

    def __init__(self, keys: KeyRing, demands: Demands, *, now: Callable[[], float], fetcher: Fetcher | None = None) -> None:
        self._keys = keys
        self._demands = demands
        self._now = now
        self._fetcher = fetcher

    async def verify(self, token: str) -> str | TokenRefused:
        if len(token) > MOST_TOKEN:
            return TOO_LONG
        if token.count(".") != 2:  # a JWS in its compact form; an encrypted token has four dots
            return TokenRefused("is no signed JSON Web Token")
        try:
            header = jws.extract_compact(token.encode("ascii")).headers()
        except (JoseError, ValueError, TypeError):
            return TokenRefused("is no signed JSON Web Token")
        kid, algorithm = header.get("kid"), header.get("alg")
        if algorithm not in ALGORITHMS or not isinstance(kid, str | None):
            return TokenRefused(f"is signed by another algorithm than {', '.join(ALGORITHMS)}, or its key has no proper name")
        keys = await self._keys.find(kid)
        for key in keys:
            # RFC 7517 §4.4: a key may say what it is for
            if key.get("alg") in (None, algorithm) and (claims := _verified(token, key, algorithm)) is not None:
                return self._demands.user(claims, self._now())
        return TokenRefused("has a signature that is not by the issuer's key" if keys else "names a key that the issuer has not")

    async def close(self) -> None:
        if self._fetcher is not None:
            await self._fetcher.close()


def _verified(token: str, key: Key, algorithm: str) -> Claims | None:
    try:
        return jwt.decode(token, key, algorithms=[algorithm]).claims
    except (JoseError, ValueError, TypeError):
        return None


@dataclass(slots=True)
class IntrospectionVerifier:
    """Asks the issuer about each token (RFC 7662). `now` gives Unix time."""

    url: str
    client_id: str
    client_secret: str = field(repr=False)
    demands: Demands
    fetcher: Fetcher
    now: Callable[[], float]

    async def verify(self, token: str) -> str | TokenRefused:
        if len(token) > MOST_TOKEN:
            return TOO_LONG
        form = {"token": token, "token_type_hint": "access_token"}
        try:
            answer = await self.fetcher.post(self.url, form, user=self.client_id, password=self.client_secret)
        except FetchFailed as error:
            raise BackendUnavailable(f"introspection: {error}") from None
        if answer.status != 200:
            raise BackendUnavailable(f"introspection: {self.url} answers {answer.status}")
        try:
            claims = json.loads(answer.content)
        except (ValueError, RecursionError):
            raise BackendUnavailable(f"introspection: {self.url} answers with what is no JSON") from None
        # RFC 7662 §2.2: all but "active" is optional; what the issuer calls active has not expired
        if not isinstance(claims, dict) or claims.get("active") is not True:
            return TokenRefused("is not active, says the issuer")
        return self.demands.user({"exp": self.now() + 1, **claims}, self.now())

    async def close(self) -> None:
        await self.fetcher.close()


class WithTokens(UserBackend):
    """A back end, and tokens beside its passwords.

    The user of a token need not be known to the back end. If he is, his rights are those that he has there; if not, he may send
    as his name, where that is an address.
    """

    def __init__(self, users: UserBackend, verifier: TokenVerifier) -> None:
        self._users = users
        self._verifier = verifier

    @property
    def mechanisms(self) -> Collection[str]:
        return frozenset(self._users.mechanisms) | TOKEN_MECHANISMS

    @property
    def passes_through(self) -> bool:
        return self._users.passes_through

    @property
    def secret(self) -> bytes:
        return self._users.secret

    async def token(self, name: str, token: str) -> str | TokenRefused:
        user = await self._verifier.verify(token)
        if isinstance(user, TokenRefused):
            return user
        if name and name != user:
            return TokenRefused(f"is the token of {user}")
        await self._users.knows(user)  # so that `senders` knows him
        return user

    def senders(self, user: str) -> Collection[str] | None:
        known = self._users.senders(user)
        if known is not None:
            return known
        return frozenset({sender_key(user)}) if is_sender(user) and "*" not in user else None

    async def exchange(self, mechanism: str, connection: Mapping[str, str]) -> PassedExchange | None:
        return None if mechanism in TOKEN_MECHANISMS else await self._users.exchange(mechanism, connection)

    # What is the back end's own affair:

    async def verify(self, name: str, password: str) -> str | None:
        return await self._users.verify(name, password)

    async def scram_keys(self, hash_name: str, name: str) -> ScramKeys | None:
        return await self._users.scram_keys(hash_name, name)

    async def password(self, name: str) -> str | None:
        return await self._users.password(name)

    async def knows(self, name: str) -> bool:
        return await self._users.knows(name)

    async def certificate(self, fingerprint: str, addresses: Sequence[str]) -> str:
        return await self._users.certificate(fingerprint, addresses)

    def is_frozen(self, user: str) -> bool:
        return self._users.is_frozen(user)

    def allowance(self, user: str) -> Allowance:
        return self._users.allowance(user)

    async def start(self) -> None:
        await self._users.start()

    async def close(self) -> None:
        await self._verifier.close()
        await self._users.close()
