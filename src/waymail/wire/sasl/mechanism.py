"""What all SASL mechanisms have in common (RFC 4422), as step functions without I/O.

**Server side.** A mechanism is a generator that yields challenges, is sent responses, and returns how it ended. `ServerExchange`
drives one and turns whatever a client sends wrong into a `Failure`; it never raises for what came from the client. Passwords
are not checked here: `NeedsVerification` hands them to the caller, who may take his time in a thread. Neither are bearer tokens:
`NeedsToken` hands one over, and `verified` takes what became of it.

**Client side.** A `ClientMechanism` gives responses. It raises `AuthenticationProtocolError` where the server breaks the
mechanism's rules or cannot prove that it knows the password.

Challenges and responses are the decoded octets; base64 is the business of SMTP (RFC 4954 §4).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from waymail.wire.sasl.saslprep import PreparationProblem, saslprep

NONCE = r"[!-+\--~]+"  # RFC 5802 §7: printable = %x21-2B / %x2D-7E


@dataclass(frozen=True, slots=True)
class Challenge:
    """Send `data` in a 334 reply, and give the client's answer to `step`."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Success:
    """The client is `user`: a name in the form of `user_name`."""

    user: str


@dataclass(frozen=True, slots=True)
class Failure:
    """Authentication failed. `cause` is for the log only: the client must not learn whether the user exists.

    `malformed` is true where the response was no message of the mechanism at all.
    """

    cause: str
    malformed: bool = False


@dataclass(frozen=True, slots=True)
class NeedsVerification:
    """The exchange is over; the client is `user` if the password is his. Both are prepared (`user_name`, `saslprep`)."""

    user: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class NeedsToken:
    """The client is `user` if the bearer token says so; "" where the token alone is to say who he is. Not the end: find out, and
    give the answer to `ServerExchange.verified`. `user` has the form of `user_name`."""

    user: str
    token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Channel:
    """What is known of the connection in which an exchange takes place. Both sides use it.

    `bindings` are the channel bindings by their types (RFC 5056 §2): empty where there is no TLS, or none is known.
    `external` is the identity that the verified client certificate proves, for the server only. `host` and `port` are what
    the client connected to, empty and 0 where that is not known, or is not to be compared. `offers_plus` tells whether the
    server offered a -PLUS mechanism on this connection.
    """

    bindings: Mapping[str, bytes] = field(default_factory=dict)
    external: str = ""
    host: str = ""
    port: int = 0
    offers_plus: bool = False


NO_CHANNEL = Channel()
"""Nothing is known."""

Outcome = Success | Failure | NeedsVerification
Step = Challenge | NeedsToken | Outcome
Exchange = Generator[Challenge | NeedsToken, bytes, Outcome]
Mechanism = Callable[[bytes | None], Exchange]


class Refusal(Exception):
    """Raised inside a mechanism, and turned into a `Failure` by `ServerExchange`: it never leaves this package."""

    def __init__(self, cause: str, *, malformed: bool = False) -> None:
        super().__init__(cause)
        self.malformed = malformed


class ServerExchange:
    """One authentication exchange, as the server sees it."""

    def __init__(self, mechanism: Mechanism) -> None:
        self._mechanism = mechanism
        self._exchange: Exchange | None = None
        self._waits_for_token = False

    def start(self, initial: bytes | None) -> Step:
        """Begin. `initial` is the decoded initial response: None where AUTH had none, b"" where it was "="."""
        if self._exchange is not None:
            raise RuntimeError("the exchange has begun already")
        self._exchange = self._mechanism(initial)
        return self._advance(self._exchange, None)

    def step(self, response: bytes) -> Step:
        """Go on with the client's answer to the last challenge. Raises RuntimeError where no challenge waits for one."""
        if self._exchange is None:
            raise RuntimeError("the exchange has not begun")
        if self._waits_for_token:
            raise RuntimeError("the exchange waits for a token to be verified")
        return self._advance(self._exchange, response)

    def verified(self, user: str | None) -> Step:
        """Go on after NeedsToken: the token is that of `user`, or None, it is nobody's (or not to be used here).

        A refused token leads to one more Challenge, which tells the client, and then to Failure. Raises RuntimeError where no
        token waits for it.
        """
        if self._exchange is None or not self._waits_for_token:
            raise RuntimeError("no token waits to be verified")
        return self._advance(self._exchange, (user or "").encode())

    def _advance(self, exchange: Exchange, response: bytes | None) -> Step:
        self._waits_for_token = False
        try:
            step = next(exchange) if response is None else exchange.send(response)
            self._waits_for_token = isinstance(step, NeedsToken)
            return step
        except StopIteration as end:
            outcome: Outcome | None = end.value
            if outcome is None:
                raise RuntimeError("the exchange is over") from None
            return outcome
        except Refusal as refusal:
            return Failure(str(refusal), refusal.malformed)


class UnknownMechanism(ValueError):
    """There is no mechanism of that name here (RFC 4954 §4: 504 5.5.4)."""


class AuthenticationProtocolError(Exception):
    """The server broke the mechanism's rules, or did not prove that it knows the password. Do not go on with it."""


class ClientMechanism(Protocol):
    """One authentication exchange, as the client sees it."""

    @property
    def name(self) -> str: ...

    def initial(self) -> bytes | None:
        """The initial response, or None where the server begins.

        It need not be sent with AUTH (RFC 4954 §4: it may be too long for the line): an empty challenge then asks for it.
        """

    def step(self, challenge: bytes) -> bytes:
        """The answer to a challenge. Raises AuthenticationProtocolError."""

    def succeeded(self) -> None:
        """To be called when the server said 235. Raises AuthenticationProtocolError where it had no reason to say so."""


def user_name(text: str, *, stored: bool = False) -> str:
    """The form in which user names are compared: prepared, and what stands behind the last "@" in lower case, without a dot at
    its end, as domains are compared. Raises PreparationProblem.

    RFC 4954 §4: the authorization identity is a "simple user name", to be prepared with SASLprep.
    """
    name = saslprep(text, stored=stored)
    local, at, domain = name.rpartition("@")
    return f"{local}{at}{domain.lower().removesuffix('.')}" if at else name


def text_of(octets: bytes) -> str:
    """What the client sent as UTF-8. Raises Refusal where it is none."""
    try:
        return octets.decode("utf-8")
    except UnicodeDecodeError:
        raise Refusal("the response is not UTF-8", malformed=True) from None


def credentials(user: str, password: str) -> NeedsVerification:
    """What a mechanism that carries the password ends with. Raises Refusal where one of the two cannot be prepared."""
    name = known_name(user)
    try:
        return NeedsVerification(name, saslprep(password))
    except PreparationProblem as problem:
        raise Refusal(f"the password of {name} cannot be one: {problem}") from None


def check_authorization(identity: str, user: str) -> None:
    """Nobody acts for somebody else: the authorization identity is absent, or the user himself. Raises Refusal."""
    if not identity:
        return
    try:
        same = user_name(identity) == user
    except PreparationProblem:
        same = False
    if not same:
        raise Refusal(f"{user} asked to act as somebody else")


def known_name(text: str) -> str:
    """`text` as a user's name (`user_name`). Raises Refusal where it cannot be one."""
    try:
        return user_name(text)
    except PreparationProblem as problem:
        raise Refusal(f"the user name cannot be one: {problem}") from None


def check_nonce(nonce: str) -> None:
    """Raises ValueError where `nonce` is not printable ASCII without a comma, sixteen characters at least."""
    if len(nonce) < 16 or not re.fullmatch(NONCE, nonce):
        raise ValueError("a nonce is sixteen or more printable ASCII characters, none of them a comma")


def sendable(text: str, what: str) -> bytes:
    """`text` in UTF-8, to be sent as it is. Raises ValueError where it is empty or holds NUL (RFC 4616 §2)."""
    if not text or "\0" in text:
        raise ValueError(f"the {what} must not be empty or hold NUL")
    return text.encode("utf-8")
