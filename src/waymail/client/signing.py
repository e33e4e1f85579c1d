"""DKIM for programs: keys in whatever form they are at hand, and a message signed by all of them, once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_der_private_key

from waymail.client.arguments import check_type
from waymail.senderauth.dkim.key import record
from waymail.senderauth.dkim.sign import SigningKey, load_key, sign, signing_domain

_MARK = "-----BEGIN "


class DkimKey:
    """A private key to sign with (RFC 6376), whose public half stands in DNS at `selector`._domainkey.`domain`.

    `key` is PEM or DER in bytes, PEM as text, the path of a file with either, or a private key of the package cryptography; RSA
    or Ed25519 (RFC 8463), without a password. It is read here, once. Raises ValueError, which says what is wrong with it.
    """

    def __init__(self, domain: str, selector: str, key: bytes | str | Path | RSAPrivateKey | Ed25519PrivateKey) -> None:
        self.domain = domain
        self.selector = selector
        try:
            signing_domain(domain, selector)
            self._key = _loaded(key)
        except ValueError as error:
            raise ValueError(f"the DKIM key of {selector}._domainkey.{domain}: {error}") from None

    def __repr__(self) -> str:
        return f"DkimKey({self.domain!r}, {self.selector!r}, ...)"

    @property
    def record(self) -> str:
        """The text of the TXT record that is to stand in DNS for it."""
        return record(self._key.public)

    @property
    def is_slow(self) -> bool:
        """Whether signing takes long enough to be in the way of an event loop: RSA takes a millisecond, or several."""
        return self._key.algorithm.startswith("rsa")

    def sign(self, message: bytes, now: float) -> bytes:
        """The field for a message with CRLF line ends; `now` is in seconds since the epoch. Raises ValueError where the message
        has no From."""
        return sign(message, self._key, domain=self.domain, selector=self.selector, now=now)


def keys_of(dkim: DkimKey | Sequence[DkimKey] | None) -> tuple[DkimKey, ...]:
    """The keys of an argument `dkim=`. Raises TypeError and ValueError for what is none."""
    example = 'waymail.DkimKey("example.org", "s1", Path("dkim.pem"))'
    check_type(dkim, DkimKey | Iterable | None, f"dkim is a waymail.DkimKey, as {example}, or a sequence of them")
    keys = () if dkim is None else (dkim,) if isinstance(dkim, DkimKey) else tuple(dkim)
    if not all(isinstance(key, DkimKey) for key in keys):
        raise ValueError("dkim is a waymail.DkimKey, or a sequence of them")
    return keys


def signatures(message: bytes, keys: Sequence[DkimKey], now: float) -> bytes:
    """The fields to put in front of a message, one for each key."""
    return b"".join([key.sign(message, now) for key in keys])


def _loaded(key: bytes | str | Path | RSAPrivateKey | Ed25519PrivateKey) -> SigningKey:
    if isinstance(key, RSAPrivateKey | Ed25519PrivateKey):
        return SigningKey(key)
    if isinstance(key, str) and _MARK in key:
        return load_key(key.encode())
    if isinstance(key, str | Path):
        try:
            key = Path(key).read_bytes()
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else "no possible name"
            raise ValueError(f"its file cannot be read ({why}); a key as text begins with {_MARK}PRIVATE KEY-----") from None
    if not isinstance(key, bytes):
        raise ValueError(f"a key is bytes, text, a path or a private key, not {type(key).__name__}")
    if _MARK.encode() in key:
        return load_key(key)
    try:
        private = load_der_private_key(key, None)
    except TypeError:
        raise ValueError("the key has a password: give it without one") from None
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError("it holds no private key in PEM or DER") from None
    if not isinstance(private, RSAPrivateKey | Ed25519PrivateKey):
        raise ValueError("DKIM has keys of RSA and of Ed25519 only")
    return SigningKey(private)
