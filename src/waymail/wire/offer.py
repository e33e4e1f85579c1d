"""What a listener offers, as a value."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

from waymail.wire.limits import DEFAULT, WireLimits


@dataclass(frozen=True, slots=True)
class Offer:
    """What a listener offers.

    `hostname` is the name it goes by. `starttls` is offered while the connection is not secure, the mechanisms of `auth`
    only while it is; with `auth_in_clear` always. `extensions` are the others, by the names of `wire.extensions`. `lmtp`: LMTP is
    spoken instead of SMTP (RFC 2033). `normalise`: clients whose lines end in LF alone are borne with (`wire.line_ends`).
    """

    hostname: str
    starttls: bool = False
    auth: tuple[str, ...] = ()
    limits: WireLimits = DEFAULT
    extensions: frozenset[str] = frozenset()
    lmtp: bool = False
    normalise: bool = False
    auth_in_clear: bool = False

    def __hash__(self) -> int:
        return hash(self.hostname)  # there are few, and each is looked up for every session


@lru_cache(maxsize=256)
def offering(base: Offer, names: frozenset[str], auth: tuple[str, ...], hold: int, lmtp: bool) -> Offer:
    """`base` with the extensions `names`, the mechanisms `auth`, `hold` as in `WireLimits`; made once for the same arguments."""
    if base.normalise:
        names -= {"CHUNKING", "BINARYMIME"}  # content whose octets are counted is not to be altered
    return replace(base, extensions=names, auth=auth, limits=replace(base.limits, hold=hold), lmtp=lmtp)
