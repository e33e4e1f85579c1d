"""What to connect to, as values: shared by the public client and by delivery."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Tls(Enum):
    """What is asked of TLS on a connection."""

    OFF = "off"  # cleartext even where STARTTLS is offered
    OPPORTUNISTIC = "opportunistic"  # STARTTLS where offered, any certificate; cleartext otherwise (RFC 7435)
    REQUIRED = "require"  # STARTTLS with a verified certificate, or no delivery (RFC 8314 §5)
    IMPLICIT = "implicit"  # TLS from the first octet, verified (RFC 8314 §3)


@dataclass(frozen=True, slots=True)
class Credentials:
    """User name and password for AUTH."""

    user: str
    password: str

    def __repr__(self) -> str:
        return f"Credentials({self.user!r}, ...)"


@dataclass(frozen=True, slots=True)
class Host:
    """One host. `addresses` are its IP addresses in the order to try; empty means: let the system resolve `name`."""

    name: str
    port: int = 25
    addresses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class NextHop:
    """The hosts that take mail for a destination, in the order in which to try them.

    `key` is the same for all domains that share the host set: reuse, concurrency and back-off go by it.
    """

    key: str
    hosts: tuple[Host, ...]
    tls: Tls = Tls.OPPORTUNISTIC
    credentials: Credentials | None = None
