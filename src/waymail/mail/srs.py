"""The Sender Rewriting Scheme: the sender of a message that is forwarded, so that SPF holds at the next host and bounces return.

Whoever forwards is a host that the sender's domain has not named in its SPF record. So the message goes on from an address of his
own, which holds the sender's, a day and a keyed hash:

    SRS0=HASH=DAY=example.org=ann@forwarder.example             once forwarded
    SRS1=HASH=forwarder.example==HASH=DAY=example.org=ann@second.example   again: only who was first has to be found

What comes back to it is a notice for the sender. Nobody can make such an address without the key, and it ends after some weeks,
so it opens no relay. There is no RFC; this is the form that Shevek published in 2004, and that libsrs2 and postsrsd have. Nobody
but who made an address reads its hash and its day.
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Sequence

from waymail.mail import address as addresses
from waymail.wire import grammar

DAYS = 21  # for which an address takes notices: longer than any queue keeps a message
DAY = 86_400
_ROUND = 1024  # days are counted modulo this: two characters of base32
_BASE32 = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
_HASH = 8  # characters of base32, 40 bits
_SEPARATORS = frozenset("=+-")


class NotOurs(ValueError):
    """An address of this form that we did not make, or that is too old. The text says which."""


class Srs:
    """Makes addresses with the first of `keys`, and knows those that were made with any of them."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        if not keys or not all(keys):
            raise ValueError("SRS needs a key")
        self._keys = tuple(keys)

    def rewritten(self, sender: str, domain: str, now: float) -> str | None:
        """The address in `domain` by which a message from `sender` is forwarded. `now` is in seconds since the epoch. None where
        it would be longer than an address may be (RFC 5321 §4.5.3.1.1, §4.5.3.1.3)."""
        name, origin = addresses.mailbox_name(sender), addresses.domain_of(sender)
        if is_srs(name):
            made = self._again(name, origin)
        else:
            day = _day(now)
            made = f"SRS0={self._hash(self._keys[0], day, origin, name)}={day}={origin}={name}"
        found = addresses.from_name(made, domain)
        return found if grammar.is_mailbox(found) else None

    def original(self, address: str, now: float) -> str:
        """Whom a notice to `address` is for: the sender, or who forwarded first. Raises NotOurs."""
        name = addresses.mailbox_name(address)
        if not is_srs(name):
            raise NotOurs("this is no SRS address")
        return self._first(name) if name[3] == "1" else self._sender(name, now)

    def _again(self, name: str, origin: str) -> str:
        if name[3] == "1" and (parts := _parts_of_srs1(name)) is not None:
            first, rest = parts[1:]
        else:
            first, rest = origin, name[4:]
        return f"SRS1={self._hash(self._keys[0], first, rest)}={first}={rest}"

    def _sender(self, name: str, now: float) -> str:
        parts = name[5:].split("=", 3)
        if len(parts) != 4 or not all(parts):
            raise NotOurs("this is no SRS address")
        made, day, domain, local = parts
        if not self._is_made_here(made, day.upper(), domain, local):
            raise NotOurs("this address was not made here")
        if (_number(_day(now)) - _number(day.upper())) % _ROUND > DAYS:
            raise NotOurs("this address has expired")
        return addresses.from_name(local, domain)

    def _first(self, name: str) -> str:
        parts = _parts_of_srs1(name)
        if parts is None:
            raise NotOurs("this is no SRS address")
        made, domain, rest = parts
        if not self._is_made_here(made, domain, rest):
            raise NotOurs("this address was not made here")
        return addresses.from_name(f"SRS0{rest}", domain)

    def _is_made_here(self, made: str, *parts: str) -> bool:
        # Hosts on the way may have changed the case.
        given = made.upper().encode("utf-8", "surrogatepass")
        return any(hmac.compare_digest(given, self._hash(key, *parts).encode()) for key in self._keys)

    @staticmethod
    def _hash(key: bytes, *parts: str) -> str:
        text = "=".join(parts).lower().encode("utf-8", "surrogatepass")
        return base64.b32encode(hmac.digest(key, text, "sha256"))[:_HASH].decode()


def is_srs(local: str) -> bool:
    """Whether a local part has this form."""
    return len(local) > 5 and local[:4].upper() in ("SRS0", "SRS1") and local[4] in _SEPARATORS


def _parts_of_srs1(name: str) -> tuple[str, str, str] | None:
    """Hash, first host, and what stood behind "SRS0" in its address, separator included."""
    made, _, behind = name[5:].partition("=")
    domain, _, rest = behind.partition("=")
    return (made, domain, rest) if made and domain and len(rest) > 1 and rest[0] in _SEPARATORS else None


def _day(now: float) -> str:
    number = int(now // DAY) % _ROUND
    return _BASE32[number >> 5] + _BASE32[number & 31]


def _number(day: str) -> int:
    """Raises NotOurs where it is no day."""
    if len(day) != 2 or not set(day) <= set(_BASE32):
        raise NotOurs("this is no SRS address")
    return _BASE32.index(day[0]) << 5 | _BASE32.index(day[1])
