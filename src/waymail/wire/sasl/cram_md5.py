"""CRAM-MD5 (RFC 2195): the server asks with a string that it never used before, the client answers with an HMAC over it.

For peers that have nothing better. The password does not cross the wire, but the server must keep it as it is, nothing is
proved about the server, and whoever sees an exchange can try billions of passwords a second against it.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable

from waymail.wire.sasl.mechanism import (
    NO_CHANNEL,
    AuthenticationProtocolError,
    Challenge,
    Channel,
    Exchange,
    Refusal,
    Success,
    check_nonce,
    known_name,
    sendable,
    text_of,
)
from waymail.wire.sasl.saslprep import PreparationProblem, saslprep

NAME = "CRAM-MD5"

# RFC 2195 §2: the user name, a space, and the digest in lower-case hexadecimal.
_RESPONSE = re.compile(r"(?P<user>.+) (?P<digest>[0-9a-f]{32})", re.DOTALL)


def cram_md5(
    initial: bytes | None,
    *,
    nonce: str,
    password: Callable[[str], str | None],
    secret: bytes,
    channel: Channel = NO_CHANNEL,
) -> Exchange:
    """The server's side. Ends with Success.

    `nonce` is new each time. `password` gives a user's password, or None where there is no such user or no such password;
    then an HMAC is computed and compared all the same, with a key made from `secret`.
    """
    check_nonce(nonce)
    if initial is not None:
        raise Refusal("the server begins in CRAM-MD5", malformed=True)  # RFC 4954 §4
    challenge = f"<{nonce}@{channel.host or 'localhost'}>".encode()
    found = _RESPONSE.fullmatch(text_of((yield Challenge(challenge))))
    if found is None:
        raise Refusal("not a response of CRAM-MD5", malformed=True)
    user = known_name(found["user"])
    key = _key(password(user))
    expected = digest(secret if key is None else key, challenge)
    if not hmac.compare_digest(found["digest"], expected) or key is None:
        raise Refusal(f"there is no user {user} with a password for {NAME}" if key is None else f"the digest of {user} is wrong")
    return Success(user)


def _key(password: str | None) -> bytes | None:
    try:
        return None if password is None else saslprep(password).encode()
    except PreparationProblem:
        return None


def digest(key: bytes, challenge: bytes) -> str:
    """RFC 2195 §2: HMAC-MD5, in hexadecimal."""

    def md5(octets: bytes = b"") -> hashlib._Hash:
        return hashlib.md5(octets, usedforsecurity=False)  # a machine in FIPS mode has no other MD5

    return hmac.new(key, challenge, md5).hexdigest()


class CramMd5Client:
    """The client's side. Raises ValueError (PreparationProblem) for an empty user name or password, or one with NUL in it."""

    name = NAME

    def __init__(self, user: str, password: str) -> None:
        self._user = sendable(user, "user name")
        self._key = saslprep(password).encode()
        self._answered = False

    def initial(self) -> None:
        return None

    def step(self, challenge: bytes) -> bytes:
        if self._answered or not challenge:
            raise AuthenticationProtocolError("the server sent a challenge that CRAM-MD5 does not have")
        self._answered = True
        return self._user + b" " + digest(self._key, challenge).encode()

    def succeeded(self) -> None:
        """CRAM-MD5 proves nothing about the server. But one that did not ask had no reason."""
        if not self._answered:
            raise AuthenticationProtocolError("the server accepted us without a challenge")
