"""A message, keys, and chains of any length."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Sequence

from tests.senderauth.dkim.examples import RSA_8463, ed25519_key, rsa_key

from waymail.lookups import run
from waymail.mail import headers
from waymail.senderauth import arc, authres
from waymail.senderauth.arc import ArcResult
from waymail.senderauth.arc.chain import sealed_octets
from waymail.senderauth.dkim import SigningKey
from waymail.senderauth.dkim.canonical import HeaderFields
from waymail.senderauth.dkim.key import record
from waymail.testing import Zone

__all__ = [
    "ED25519",
    "MESSAGE",
    "METHODS",
    "NOW",
    "RSA",
    "RSA_8463",
    "ZONE",
    "chain",
    "changed",
    "resealed",
    "sealed",
    "verified",
]

NOW = 1_750_000_000.0
RSA, ED25519 = rsa_key(), ed25519_key()
ZONE = Zone(
    {
        **{f"s{number}._domainkey.hop{number}.example": {"TXT": [record(RSA.public)]} for number in range(1, 61)},
        "e._domainkey.example.org": {"TXT": [record(ED25519.public)]},
    }
)
MESSAGE = (
    b"DKIM-Signature: v=1; d=example.net\r\nReceived: from a by b\r\nFrom: Ann <ann@example.net>\r\nTo: list@example.org\r\n"
    b"Subject: hello\r\nDate: Sun, 15 Jun 2025 15:06:40 +0000\r\nMessage-ID: <1@example.net>\r\n\r\nHello,\r\n\r\nAnn \r\n\r\n"
)
METHODS = (authres.Method("spf", "pass", "", (("smtp", "mailfrom", "example.net"),)),)


def sealed(
    message: bytes = MESSAGE,
    instance: int = 1,
    *,
    cv: str = "",
    key: SigningKey = RSA,
    methods: Sequence[authres.Method] = METHODS,
    now: float = NOW,
) -> bytes:
    """The message with one more set in front, by the hop of that number."""
    cv = cv or ("none" if instance == 1 else "pass")
    domain, selector = (f"hop{instance}.example", f"s{instance}") if key is RSA else ("example.org", "e")
    fields = arc.seal(message, key, domain=domain, selector=selector, authserv_id=domain, methods=methods, cv=cv, now=now)
    return fields + message


def chain(length: int, message: bytes = MESSAGE) -> bytes:
    """The message after so many hops."""
    for instance in range(1, length + 1):
        message = sealed(message, instance)
    return message


def verified(message: bytes, zone: Zone = ZONE, *, now: float = NOW) -> ArcResult:
    return run(arc.verify(message, now=now), zone)


def changed(message: bytes, pattern: bytes, replacement: bytes, count: int = 1) -> bytes:
    """The message with the first matches replaced; there has to be one."""
    result, number = re.subn(pattern, replacement, message, count=count)
    assert number
    return result


def resealed(message: bytes, pattern: bytes, replacement: bytes) -> bytes:
    """A message with one set, in which something is replaced, and which has a seal that fits that."""
    message = changed(message, pattern, replacement)
    fields = HeaderFields(headers.header_section(message))
    (results,), (signature,), (seal,) = (
        fields.named(name) for name in (b"arc-authentication-results", b"arc-message-signature", b"arc-seal")
    )
    octets = sealed_octets((), results, signature, seal)
    return changed(message, rb"(ARC-Seal:[^|]*? b=)[^|]*?(?=ARC-M)", rb"\1%b\r\n" % b64encode(RSA.sign(octets)))
