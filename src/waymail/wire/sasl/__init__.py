"""SASL (RFC 4422) without I/O: PLAIN, LOGIN and SCRAM-SHA-256, both sides.

The server's side, and the client's:

    exchange = server_exchange("PLAIN", nonce=..., keys=users.scram_keys, secret=users.secret)
    step = exchange.start(initial)          # Challenge: send it, then exchange.step(response); else how it ended
    mechanism = client_mechanism(best_mechanism(offered, secure=True), user, password, nonce)
    mechanism.initial(); mechanism.step(challenge); mechanism.succeeded()
"""

from __future__ import annotations

from collections.abc import Collection
from functools import partial

from waymail.wire.sasl import login, plain, scram
from waymail.wire.sasl.mechanism import (
    AuthenticationProtocolError,
    Challenge,
    ClientMechanism,
    Failure,
    NeedsVerification,
    ServerExchange,
    Step,
    Success,
    user_name,
)
from waymail.wire.sasl.saslprep import PreparationProblem, saslprep
from waymail.wire.sasl.scram import Lookup, ScramKeys

__all__ = [
    "MECHANISMS",
    "AuthenticationProtocolError",
    "Challenge",
    "ClientMechanism",
    "Failure",
    "Lookup",
    "NeedsVerification",
    "PreparationProblem",
    "ScramKeys",
    "ServerExchange",
    "Step",
    "Success",
    "UnknownMechanism",
    "best_mechanism",
    "client_mechanism",
    "saslprep",
    "server_exchange",
    "user_name",
]

MECHANISMS = (scram.NAME, plain.NAME, login.NAME)
"""What there is, the best first."""


class UnknownMechanism(ValueError):
    """There is no mechanism of that name here (RFC 4954 §4: 504 5.5.4)."""


def server_exchange(name: str, *, nonce: str, keys: Lookup, secret: bytes) -> ServerExchange:
    """One exchange, as the server sees it. The arguments are those of `scram.scram`; the other mechanisms need none.

    Raises UnknownMechanism. Names are compared without regard to case.
    """
    match name.upper():
        case scram.NAME:
            return ServerExchange(partial(scram.scram, nonce=nonce, keys=keys, secret=secret))
        case plain.NAME:
            return ServerExchange(plain.plain)
        case login.NAME:
            return ServerExchange(login.login)
    raise UnknownMechanism(name)


def client_mechanism(name: str, user: str, password: str, nonce: str) -> ClientMechanism:
    """One exchange, as the client sees it. `nonce` is sixteen or more random printable ASCII characters without a comma.

    Raises UnknownMechanism, and ValueError where user name or password cannot be used with the mechanism.
    """
    match name.upper():
        case scram.NAME:
            return scram.ScramClient(user, password, nonce)
        case plain.NAME:
            return plain.PlainClient(user, password)
        case login.NAME:
            return login.LoginClient(user, password)
    raise UnknownMechanism(name)


def best_mechanism(offered: Collection[str], secure: bool) -> str | None:
    """The strongest mechanism that both sides have; None where there is none, or only such as would send the password over
    cleartext (RFC 4954 §4, RFC 8314 §3)."""
    names = {name.upper() for name in offered}
    usable = MECHANISMS if secure else (scram.NAME,)
    return next((name for name in usable if name in names), None)
