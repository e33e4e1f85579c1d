"""Key records (RFC 6376 §3.6): where they stand, what they say, and the public keys in them.

Pure: `query` is the question, `parse` reads an answer. A key once parsed is remembered by its text.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from binascii import Error as NoBase64
from functools import lru_cache
from hashlib import sha256

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from waymail.lookups import Query
from waymail.senderauth.dkim import tags
from waymail.values import value
from waymail.wire.domains import to_ascii

RSA = "rsa"
ED25519 = "ed25519"
ALGORITHMS = {"rsa-sha256": RSA, "ed25519-sha256": ED25519}  # RFC 8301 §3.1, RFC 8463 §3
MIN_RSA_BITS = 1024  # RFC 8301 §3.2
MAX_EXPONENT_BITS = 64  # a public exponent is 65537 or little else; a long one only makes verifying slow

MAX_NAME = 253  # RFC 1035 §3.1, as text

_MAX_REMEMBERED = 4096  # octets of a key record: more than any that is in use, so that memory stays bounded
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_DOMAIN = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\Z")
_PADDING = PKCS1v15()
_SHA256 = SHA256()


@value
class Key:
    """What one key record says.

    `type` is "rsa" or "ed25519" or whatever else the record names; `public` is None where the key is revoked or of another type.
    `bits` is its length, 0 where there is none. `hashes` are those that h= names, empty for all of them.
    """

    type: str
    public: RSAPublicKey | Ed25519PublicKey | None
    bits: int
    hashes: tuple[str, ...] = ()
    services: tuple[str, ...] = ("*",)
    flags: tuple[str, ...] = ()
    is_revoked: bool = False

    @property
    def is_testing(self) -> bool:
        """The domain is trying DKIM out (t=y): its mail is to be treated as if it were not signed."""
        return "y" in self.flags

    @property
    def is_strict(self) -> bool:
        """The domain of i= must be that of d=, not one below it (t=s)."""
        return "s" in self.flags

    def verifies(self, signature: bytes, data: bytes) -> bool:
        """Whether the key's owner signed the octets (by SHA-256). False without a key."""
        try:
            if isinstance(self.public, RSAPublicKey):
                self.public.verify(signature, data, _PADDING, _SHA256)
            elif self.public:  # RFC 8463 §3: what is signed is the hash
                self.public.verify(signature, sha256(data).digest())
        except InvalidSignature:
            return False
        return self.public is not None


@lru_cache(maxsize=4096)  # only of what is a name, and so short
def domain_name(text: str) -> str:
    """The domain name in A-labels and lower case. Raises ValueError where it is none, or ends with a dot."""
    # RFC 8616 §5: U-labels may stand in d=, i= and s=. Their A-labels are no shorter.
    name = to_ascii(text) if len(text) <= MAX_NAME else ""
    if len(name) > MAX_NAME or not _DOMAIN.match(name):
        raise ValueError("it is no domain name")
    return name


@lru_cache(maxsize=4096)
def query(selector: str, domain: str) -> Query:
    """The question for the key of a selector (RFC 6376 §3.6.2.1). Raises ValueError where no such name can be."""
    name = f"{domain_name(selector)}._domainkey.{domain_name(domain)}"
    if len(name) > MAX_NAME:
        raise ValueError("the name of the key is too long for DNS")
    return Query(name, "TXT")


def parse(text: str | bytes) -> Key:
    """Read one TXT record, its strings joined. Raises ValueError, with words for a person, where it is no key record."""
    if isinstance(text, bytes):
        text = text.decode("utf-8", "surrogateescape")
    return _remembered(text) if len(text) <= _MAX_REMEMBERED else _parsed(text)


@lru_cache(maxsize=1024)
def _remembered(text: str) -> Key:
    return _parsed(text)


def _parsed(text: str) -> Key:
    found = tags.parse(text)
    if "v" in found and (next(iter(found)) != "v" or found["v"] != "DKIM1"):  # RFC 6376 §3.6.1
        raise ValueError("its v= is not DKIM1, or is not the first tag")
    if "p" not in found:
        raise ValueError("it has no p=")
    kind = found.get("k", RSA).lower()
    data = tags.compact(found["p"])
    public, bits = _public_key(kind, data) if data else (None, 0)
    return Key(
        type=kind,
        public=public,
        bits=bits,
        hashes=_members(found, "h"),
        services=_members(found, "s") or ("*",),
        flags=_members(found, "t"),
        is_revoked=not data,
    )


def _members(found: dict[str, str], name: str) -> tuple[str, ...]:
    return tags.listed(found[name].lower()) if name in found else ()


def _public_key(kind: str, text: str) -> tuple[RSAPublicKey | Ed25519PublicKey | None, int]:
    """The key and its length in bits; (None, 0) for a type that nobody here knows. Raises ValueError for a broken one."""
    try:
        data = b64decode(text, validate=True)
    except (NoBase64, ValueError):
        raise ValueError("its p= is no base64") from None
    if kind == ED25519:
        if len(data) != 32:  # RFC 8463 §4.2: the key itself, with nothing around it
            raise ValueError(f"its Ed25519 key has {len(data)} octets, not 32")
        return Ed25519PublicKey.from_public_bytes(data), 256
    return _rsa(data) if kind == RSA else (None, 0)


def _rsa(data: bytes) -> tuple[RSAPublicKey, int]:
    """RFC 6376 §3.6.1 says RSAPublicKey, its example has SubjectPublicKeyInfo, which is what nearly everybody publishes: both
    are read."""
    try:
        key = load_der_public_key(data)
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError("its p= holds no key that can be read") from None
    if not isinstance(key, RSAPublicKey):
        raise ValueError("its p= holds a key of another kind than RSA")
    if key.public_numbers().e.bit_length() > MAX_EXPONENT_BITS:
        raise ValueError(f"the exponent of its key is longer than {MAX_EXPONENT_BITS} bits")
    return key, key.key_size


def record(public: RSAPublicKey | Ed25519PublicKey) -> str:
    """The text of the TXT record for a public key, to be read by `parse` and by everybody else."""
    if isinstance(public, RSAPublicKey):
        data = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return f"v=DKIM1; k=rsa; p={b64encode(data).decode()}"
    data = public.public_bytes(Encoding.Raw, PublicFormat.Raw)
    return f"v=DKIM1; k=ed25519; p={b64encode(data).decode()}"
