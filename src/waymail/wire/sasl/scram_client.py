"""SCRAM (RFC 5802, RFC 7677), with channel binding and without: the client's side.

It does not believe a server that says "success" without having proved that it knows the password, or its keys.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable, Mapping
from functools import lru_cache

from waymail.wire.sasl.mechanism import NO_CHANNEL, AuthenticationProtocolError, Channel, check_nonce
from waymail.wire.sasl.saslprep import saslprep
from waymail.wire.sasl.scram import PLUS
from waymail.wire.sasl.scram_keys import HASHES, MAX_ITERATIONS, MIN_ITERATIONS, SHA_256, derived
from waymail.wire.sasl.scram_messages import SERVER_FINAL, SERVER_FIRST, combined, escaped, octets, written

BINDING_TYPES = ("tls-exporter", "tls-server-end-point", "tls-unique")
"""What a client binds to, the best first. RFC 9266 §3 has tls-exporter as the default of TLS 1.3. That of TLS 1.2, tls-unique,
comes last all the same: without the extended master secret it is not unique (RFC 7627 §1), and a program cannot tell."""

# RFC 5802 §5.1: a client may keep the keys, since the server will name the same salt next time.
_cached_keys = lru_cache(maxsize=64)(derived)


class ScramClient:
    """The client's side.

    `nonce` as for the server. `name` is the mechanism's, and of `channel` the bindings and the offer of the server count.
    Raises PreparationProblem where user name or password cannot be prepared, ValueError where -PLUS has nothing to bind to.
    `step` may take as long as the server's iteration count demands, so a thread is the place for it.
    """

    def __init__(self, user: str, password: str, nonce: str, *, name: str = SHA_256, channel: Channel = NO_CHANNEL) -> None:
        check_nonce(nonce)
        self.name = name
        self._hash = name.removesuffix(PLUS)
        self._digest = HASHES[self._hash]
        self._header, self._bound = _header(name, channel)
        self._password = saslprep(password)
        self._nonce = nonce
        self._bare = f"n={escaped(saslprep(user))},r={nonce}"
        self._answer: Callable[[bytes], bytes] = self._first
        self._signature = b""
        self._verified = False

    def initial(self) -> bytes:
        return f"{self._header}{self._bare}".encode()

    def step(self, challenge: bytes) -> bytes:
        return self._answer(challenge)

    def succeeded(self) -> None:
        if not self._verified:
            raise AuthenticationProtocolError("the server accepted us without proving that it knows the password")

    def _first(self, challenge: bytes) -> bytes:
        self._answer = self._final
        return self.initial() if not challenge else self._final(challenge)

    def _final(self, challenge: bytes) -> bytes:
        found = _understand(SERVER_FIRST, challenge)
        nonce, iterations = found["nonce"], int(found["iterations"])
        if not nonce.startswith(self._nonce) or nonce == self._nonce:
            raise AuthenticationProtocolError("the server's nonce does not extend ours")
        if not MIN_ITERATIONS <= iterations <= MAX_ITERATIONS:
            raise AuthenticationProtocolError(f"{iterations} iterations are not within {MIN_ITERATIONS} to {MAX_ITERATIONS}")
        client_key, stored_key, server_key = _cached_keys(self._password, _octets(found["salt"]), iterations, self._hash)
        unproved = f"c={written(self._header.encode() + self._bound)},r={nonce}"
        message = f"{self._bare},{found.string},{unproved}".encode()
        self._signature = hmac.digest(server_key, message, self._digest)
        self._answer = self._verify
        return f"{unproved},p={written(combined(client_key, hmac.digest(stored_key, message, self._digest)))}".encode()

    def _verify(self, challenge: bytes) -> bytes:
        found = _understand(SERVER_FINAL, challenge)
        self._answer = self._too_much
        if found["verifier"]:  # with "e=" the server says why it is going to refuse us: its reply will tell
            if not hmac.compare_digest(_octets(found["verifier"]), self._signature):
                raise AuthenticationProtocolError("the server's signature is wrong: it does not know the password")
            self._verified = True
        return b""

    def _too_much(self, challenge: bytes) -> bytes:
        raise AuthenticationProtocolError("the server goes on after its last message")


def binding_type(bindings: Mapping[str, bytes]) -> str | None:
    """The type of channel binding that a client uses; None where there is none."""
    return next((kind for kind in BINDING_TYPES if kind in bindings), None)


def _header(name: str, channel: Channel) -> tuple[str, bytes]:
    """The GS2 header, and the channel binding data that goes behind it in "c=" (RFC 5802 §6)."""
    kind = binding_type(channel.bindings)
    if name.endswith(PLUS):
        if kind is None:
            raise ValueError(f"{name} needs a channel binding, and none is known of this connection")
        return f"p={kind},,", channel.bindings[kind]
    # "y": we would bind, and see no offer; a server that made one learns so that somebody took it away. Where the offer is
    # there and is not taken (another mechanism was asked for), it would be a lie.
    return ("y,,", b"") if kind is not None and not channel.offers_plus else ("n,,", b"")


def _understand(pattern: re.Pattern[str], challenge: bytes) -> re.Match[str]:
    try:
        found = pattern.fullmatch(challenge.decode("utf-8"))
    except UnicodeDecodeError:
        found = None
    if found is None:
        raise AuthenticationProtocolError("the server's challenge is no message of SCRAM")
    return found


def _octets(text: str) -> bytes:
    found = octets(text)
    if found is None:
        raise AuthenticationProtocolError("the server's challenge holds bad base64")
    return found
