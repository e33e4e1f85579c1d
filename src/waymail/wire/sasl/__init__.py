"""SASL (RFC 4422) without I/O, both sides: EXTERNAL, SCRAM with channel binding and without, OAUTHBEARER, XOAUTH2, PLAIN, LOGIN,
CRAM-MD5.

The server's side, and the client's:

    exchange = server_exchange("PLAIN", nonce=..., secrets=Secrets(...), channel=Channel(...))
    step = exchange.start(initial)          # Challenge: send it, then exchange.step(response);
                                            # NeedsToken: exchange.verified(user); else how it ended
    name = best_mechanism(offered, secure=True, credentials=credentials, bindings=bindings)
    mechanism = client_mechanism(name, user, password, nonce, channel=Channel(...))
    mechanism.initial(); mechanism.step(challenge); mechanism.succeeded()
"""

from __future__ import annotations

from waymail.wire.sasl.choice import EXPECTED_BINDINGS, MECHANISMS, TOKEN_MECHANISMS, best_mechanism, client_mechanism
from waymail.wire.sasl.mechanism import (
    NO_CHANNEL,
    AuthenticationProtocolError,
    Challenge,
    Channel,
    ClientMechanism,
    Failure,
    NeedsToken,
    NeedsVerification,
    ServerExchange,
    Step,
    Success,
    UnknownMechanism,
    user_name,
)
from waymail.wire.sasl.saslprep import PreparationProblem, saslprep
from waymail.wire.sasl.scram_client import BINDING_TYPES
from waymail.wire.sasl.scram_keys import ScramKeys, unknown_user_keys
from waymail.wire.sasl.server import Secrets, server_exchange

__all__ = [
    "BINDING_TYPES",
    "EXPECTED_BINDINGS",
    "MECHANISMS",
    "NO_CHANNEL",
    "TOKEN_MECHANISMS",
    "AuthenticationProtocolError",
    "Challenge",
    "Channel",
    "ClientMechanism",
    "Failure",
    "NeedsToken",
    "NeedsVerification",
    "PreparationProblem",
    "ScramKeys",
    "Secrets",
    "ServerExchange",
    "Step",
    "Success",
    "UnknownMechanism",
    "best_mechanism",
    "client_mechanism",
    "saslprep",
    "server_exchange",
    "unknown_user_keys",
    "user_name",
]
