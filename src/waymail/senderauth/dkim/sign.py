"""Sign a message (RFC 6376 §5): the field to put in front of it.

The same message, key and time give the same octets. `load_key` and `sign` raise ValueError, in words for a person, for a key that
nobody would believe and for a message without From; nothing else goes wrong.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Sequence
from hashlib import sha256

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from waymail.mail import headers
from waymail.senderauth.dkim import key as keys
from waymail.senderauth.dkim.body import BodyHash
from waymail.senderauth.dkim.canonical import RELAXED, SIMPLE, Field, HeaderFields
from waymail.senderauth.dkim.verify import signed_octets

# The core of a message (RFC 6376 §5.4.1), and what says how its body is to be read. They are named once more than they stand, so
# that nobody can add another one (§5.4.2, §8.15).
OVER_SIGNED = (
    "From",
    "To",
    "Cc",
    "Subject",
    "Date",
    "Reply-To",
    "Message-ID",
    "In-Reply-To",
    "References",
    "MIME-Version",
    "Content-Type",
    "Content-Transfer-Encoding",
)
# Signed where they stand. A mailing list may add them later, which does no harm.
SIGNED = (
    "Sender",
    "Resent-Date",
    "Resent-From",
    "Resent-To",
    "Resent-Cc",
    "List-Id",
    "List-Help",
    "List-Unsubscribe",
    "List-Unsubscribe-Post",  # RFC 8058 §4: it must be covered
    "List-Subscribe",
    "List-Post",
    "List-Owner",
    "List-Archive",
)

_WIDTH = 78  # octets of a line, RFC 5322 §2.1.1
_SAFE = re.compile(r"[!-:<>-~]*\Z")  # dkim-safe-char, RFC 6376 §2.11
_PADDING = PKCS1v15()
_SHA256 = SHA256()


class SigningKey:
    """A private key. `algorithm` is what a= says of its signatures, `public` the key that goes into DNS."""

    def __init__(self, private: RSAPrivateKey | Ed25519PrivateKey) -> None:
        """Raises ValueError for an RSA key that is too short: RFC 8301 §3.2 forbids to sign with it."""
        self._private = private
        self.public: RSAPublicKey | Ed25519PublicKey = private.public_key()
        self.algorithm = "ed25519-sha256"
        if isinstance(private, RSAPrivateKey):
            self.algorithm = "rsa-sha256"
            if private.key_size < keys.MIN_RSA_BITS:
                raise ValueError(f"the key has {private.key_size} bits, and must have {keys.MIN_RSA_BITS} at least, better 2048")

    def sign(self, data: bytes) -> bytes:
        """The signature of the octets, by SHA-256."""
        if isinstance(self._private, RSAPrivateKey):
            return self._private.sign(data, _PADDING, _SHA256)
        return self._private.sign(sha256(data).digest())  # RFC 8463 §3


def load_key(pem: bytes) -> SigningKey:
    """A private key from PEM, RSA or Ed25519, without a password. Raises ValueError, in words for a person, for all else."""
    try:
        private = load_pem_private_key(pem, None)
    except TypeError:
        raise ValueError("the key has a password: store it without one, readable for the server only") from None
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError("it holds no private key in PEM") from None
    if not isinstance(private, RSAPrivateKey | Ed25519PrivateKey):
        raise ValueError("DKIM has keys of RSA and of Ed25519 only")
    return SigningKey(private)


def sign(
    message: bytes,
    key: SigningKey,
    *,
    domain: str,
    selector: str,
    now: float,
    expires_after: float | None = None,
    identity: str = "",
    over_signed: Sequence[str] = OVER_SIGNED,
    signed: Sequence[str] = SIGNED,
    header_relaxed: bool = True,
    body_relaxed: bool = True,
) -> bytes:
    """The DKIM-Signature field of a message, folded, with its CRLF: to be put in front of it.

    `message` has lines that end with CRLF. `now` is in seconds since the epoch (t=), `expires_after` in seconds from then (x=).
    `identity` is i=, which defaults to the domain. l= is never used: what is behind it could be replaced.

    Raises ValueError where the message has no From field, or `domain`, `selector` or `identity` cannot stand where they have to.
    """
    section = headers.header_section(message)
    body = BodyHash(body_relaxed)
    body.update(message[len(section) + len(b"\r\n") :])
    body.finish()
    fields = HeaderFields(section)
    if not fields.named(b"from"):
        raise ValueError("the message has no From field, which DKIM has to sign")
    names = covered_names(fields, over_signed, signed)
    tags = [
        "v=1",
        f"a={key.algorithm}",
        f"c={RELAXED if header_relaxed else SIMPLE}/{RELAXED if body_relaxed else SIMPLE}",
        f"d={signing_domain(domain, selector)}",
        f"s={keys.domain_name(selector)}",
        *([f"i={_identity(identity, domain)}"] if identity else []),
        f"t={int(now)}",
        *([f"x={int(now + expires_after)}"] if expires_after is not None else []),
        f"h={':'.join(names)}",
        f"bh={b64encode(body.digest() or b'').decode()}",
    ]
    own = Field(b"DKIM-Signature", folded("DKIM-Signature", tags))
    signature = key.sign(signed_octets(fields.picked(names), own, header_relaxed))
    return b"%b:%b%b\r\n" % (own.name, own.value, wrapped(b64encode(signature)))


def signing_domain(domain: str, selector: str) -> str:
    """d= in A-labels. Raises ValueError for what cannot stand there, or has no name for the key of the selector."""
    name = keys.domain_name(domain)
    if "." not in name:
        raise ValueError("the domain has one label only")
    keys.query(selector, domain)
    return name


def _identity(identity: str, domain: str) -> str:
    """i=. Raises ValueError where its domain is not that of d=, or below it, or what precedes it would have to be quoted."""
    local, at, host = identity.rpartition("@")
    name, signer = keys.domain_name(host), keys.domain_name(domain)
    if not at or not _SAFE.match(local) or (name != signer and not name.endswith("." + signer)):
        raise ValueError(f"the identity has to be plain ASCII, and to end with @{signer} or a domain below it")
    return f"{local}@{name}"


def covered_names(fields: HeaderFields, over_signed: Sequence[str], signed: Sequence[str]) -> list[str]:
    """What h= names: each field as often as it stands, and those of `over_signed` once more."""
    names = []
    for name in over_signed:
        names += [name] * (len(fields.named(name.lower().encode())) + 1)
    for name in signed:
        names += [name] * len(fields.named(name.lower().encode()))
    return names


def folded(name: str, tags: Sequence[str]) -> bytes:
    """The value of a field: the tags, with folds between them and at the colons of h=, and "b=" at the end, on a line of its
    own."""
    lines = [""]
    for tag in tags:
        pieces = tag.split(":") if tag.startswith("h=") else [tag]
        for number, piece in enumerate(pieces):
            text = piece + (";" if number == len(pieces) - 1 else ":")
            blank = " " if number == 0 else ""
            used = len(lines[-1]) + (len(name) + 1 if len(lines) == 1 else 0)
            if used + len(blank) + len(text) > _WIDTH:
                lines.append(" " + text)
            else:
                lines[-1] += blank + text
    return "\r\n".join([*lines, " b="]).encode()


def wrapped(base64: bytes) -> bytes:
    """The value of b=, in lines."""
    first = _WIDTH - len(" b=")
    rest = _WIDTH - len(" ")
    return b"\r\n ".join([base64[:first], *(base64[at : at + rest] for at in range(first, len(base64), rest))])
