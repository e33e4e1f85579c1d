"""What all SASL mechanisms have in common (RFC 4422), as step functions without I/O.

**Server side.** A mechanism is a generator that yields challenges, is sent responses, and returns how it ended. `ServerExchange`
drives one and turns whatever a client sends wrong into a `Failure`; it never raises for what came from the client. Passwords
are not checked here: `NeedsVerification` hands them to the caller, who may take his time in a thread.

**Client side.** A `ClientMechanism` gives responses. It raises `AuthenticationProtocolError` where the server breaks the
mechanism's rules or cannot prove that it knows the password.

Challenges and responses are the decoded octets; base64 is the business of SMTP (RFC 4954 §4).
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Protocol

from waymail.wire.sasl.saslprep import PreparationProblem, saslprep


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


Outcome = Success | Failure | NeedsVerification
Step = Challenge | Outcome
Exchange = Generator[Challenge, bytes, Outcome]
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
        return self._advance(self._exchange, response)

    @staticmethod
    def _advance(exchange: Exchange, response: bytes | None) -> Step:
        try:
            return next(exchange) if response is None else exchange.send(response)
        except StopIteration as end:
            outcome: Outcome | None = end.value
            if outcome is None:
                raise RuntimeError("the exchange is over") from None
            return outcome
        except Refusal as refusal:
            return Failure(str(refusal), refusal.malformed)


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
    try:
        name = user_name(user)
    except PreparationProblem as problem:
        raise Refusal(f"the user name cannot be one: {problem}") from None
    try:
        return NeedsVerification(name, saslprep(password))
    except PreparationProblem as problem:
        raise Refusal(f"the password of {name} cannot be one: {problem}") from None


def sendable(text: str, what: str) -> bytes:
    """`text` in UTF-8, to be sent as it is. Raises ValueError where it is empty or holds NUL (RFC 4616 §2)."""
    if not text or "\0" in text:
        raise ValueError(f"the {what} must not be empty or hold NUL")
    return text.encode("utf-8")
