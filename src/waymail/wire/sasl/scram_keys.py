"""What a server keeps of a password for SCRAM (RFC 5802 §3), for each hash. What is kept does not let its thief log in.

Passwords come here prepared, except to `ScramKeys.derive`, which prepares one. Hashing takes some 20 ms: a thread is the place
for it.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field

from waymail.wire.sasl.saslprep import saslprep

SHA_1 = "SCRAM-SHA-1"
SHA_256 = "SCRAM-SHA-256"
HASHES = {SHA_256: "sha256", SHA_1: "sha1"}
"""What the hash of a mechanism (its name without -PLUS) is called elsewhere: RFC 5802 §4, RFC 7677 §2."""

# RFC 7677 §3 asks for 4096 at least, §4 for more where it can be had. 65,536 is the most that the Cyrus SASL library computes,
# and with it Postfix and others as clients.
ITERATIONS = 65_536
MIN_ITERATIONS = 4_096
MAX_ITERATIONS = 10_000_000  # some seconds of work: a server that asks for more only wants to keep us busy
SALT_LENGTH = 16


@dataclass(frozen=True, slots=True)
class ScramKeys:
    """The keys of one password for one hash: "SCRAM-SHA-256" or "SCRAM-SHA-1"."""

    salt: bytes
    iterations: int
    stored_key: bytes = field(repr=False)
    server_key: bytes = field(repr=False)
    hash: str = SHA_256

    @classmethod
    def derive(cls, password: str, salt: bytes, iterations: int = ITERATIONS, hash: str = SHA_256) -> ScramKeys:
        """The keys of a password that is going to be kept. Takes some 20 ms. Raises PreparationProblem."""
        return cls(salt, iterations, *derived(saslprep(password, stored=True), salt, iterations, hash)[1:], hash)

    def matches(self, password: str) -> bool:
        """Whether the keys are those of a (prepared) password: for mechanisms that carry it. As slow as `derive`."""
        return hmac.compare_digest(derived(password, self.salt, self.iterations, self.hash)[1], self.stored_key)


def derived(password: str, salt: bytes, iterations: int, hash: str) -> tuple[bytes, bytes, bytes]:
    """ClientKey, StoredKey and ServerKey of a prepared password (RFC 5802 §3)."""
    digest = HASHES[hash]
    salted = hashlib.pbkdf2_hmac(digest, password.encode(), salt, iterations)
    client_key = hmac.digest(salted, b"Client Key", digest)
    return client_key, hashlib.new(digest, client_key).digest(), hmac.digest(salted, b"Server Key", digest)


def unknown_user_keys(user: str, secret: bytes, hash: str = SHA_256) -> ScramKeys:
    """Keys that no password has, with a salt as good as any, always the same for a name: asking twice tells nothing.

    Each hash has its own, as somebody's real keys have. They serve for a user without keys of that hash as well.
    """
    digest = HASHES[hash]
    # Those of SHA-256 stand as they always did: the salt of an unknown user must not change with a new version.
    label = b"" if hash == SHA_256 else hash.encode() + b"\0"
    salt = hmac.digest(secret, label + b"salt\0" + user.encode(), "sha256")[:SALT_LENGTH]
    stored_key, server_key = (hmac.digest(secret, label + kind + user.encode(), digest) for kind in (b"stored\0", b"server\0"))
    return ScramKeys(salt, ITERATIONS, stored_key, server_key, hash)
