"""What RFC 7677 §3 and RFC 5802 §5 print, and a client's second message made by hand."""

from __future__ import annotations

import base64
import hashlib
import hmac
from dataclasses import dataclass

NONCE_OF_TESTS = "0123456789abcdefghij"


@dataclass(frozen=True)
class Vector:
    name: str
    salt: bytes
    client_nonce: str
    server_nonce: str
    client_first: bytes
    server_first: bytes
    client_final: bytes
    server_final: bytes


RFC_7677 = Vector(
    "SCRAM-SHA-256",
    base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ=="),
    "rOprNGfwEbeRWgbNEkqO",
    "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0",
    b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO",
    b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
    b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
    b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
)
RFC_5802 = Vector(
    "SCRAM-SHA-1",
    base64.b64decode("QSXCR+Q6sek8bf92"),
    "fyko+d2lbbFgONRv9qkxdawL",
    "3rfcNHYJY1ZVvWVs7j",
    b"n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL",
    b"r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
    b"c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
    b"v=rmF9pqV8S7suAoZWja4dJRkFsKQ=",
)
VECTORS = (RFC_7677, RFC_5802)


def final_for(
    first: bytes,
    challenge: bytes,
    keys_of: str = "pencil",
    *,
    binding: bytes | None = None,
    extra: str = "",
    digest: str = "sha256",
) -> bytes:
    """A client's second message, computed by RFC 5802 §3 with what the test wants to be wrong."""
    nonce, salt, iterations = (part[2:] for part in challenge.decode().split(",")[:3])
    bare = first.decode().split(",", 2)[2]
    gs2 = first[: len(first) - len(bare.encode())] if binding is None else binding
    unproved = f"c={base64.b64encode(gs2).decode()},r={nonce}{extra}"
    message = f"{bare},{challenge.decode()},{unproved}".encode()
    salted = hashlib.pbkdf2_hmac(digest, keys_of.encode(), base64.b64decode(salt), int(iterations))
    client_key = hmac.digest(salted, b"Client Key", digest)
    signature = hmac.digest(hashlib.new(digest, client_key).digest(), message, digest)
    proof = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
    return f"{unproved},p={base64.b64encode(proof).decode()}".encode()
