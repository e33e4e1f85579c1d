"""What to connect to, as values: shared by the public client and by delivery."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum


class Tls(Enum):
    """What is asked of TLS on a connection."""

    OFF = "off"  # cleartext even where STARTTLS is offered
    OPPORTUNISTIC = "opportunistic"  # STARTTLS where offered, any certificate; cleartext otherwise (RFC 7435)
    REQUIRED = "require"  # STARTTLS with a verified certificate, or no delivery (RFC 8314 §5)
    IMPLICIT = "implicit"  # TLS from the first octet, verified (RFC 8314 §3)


Token = str | Callable[[], str | Awaitable[str]]


@dataclass(frozen=True, slots=True)
class Credentials:
    """What AUTH needs: a user name, and a password, a bearer token of OAuth 2.0, or neither, where the client certificate of the
    TLS context proves who we are (EXTERNAL; `user` may be empty then).

    `token` may be a function that gives one. It is called whenever one is needed, a plain function in a thread, so that it may
    block, and again where the server refused what it gave: it should not give the same one then. `mechanism` names the one
    to use, "" the strongest that the server offers. `cleartext` true permits to send password or token to where anybody may
    listen (RFC 4954 §4 forbids it for good reasons).
    """

    user: str
    password: str = ""
    token: Token = ""
    mechanism: str = ""
    cleartext: bool = False

    def __repr__(self) -> str:
        return f"Credentials({self.user!r}, ...)"


@dataclass(frozen=True, slots=True)
class Host:
    """One host. `addresses` are its IP addresses in the order to try; empty means: let the system resolve `name`. Where there is
    a `path`, it is a Unix-domain socket of this machine instead."""

    name: str
    port: int = 25
    addresses: tuple[str, ...] = ()
    path: str = ""


@dataclass(frozen=True, slots=True)
class NextHop:
    """The hosts that take mail for a destination, in the order in which to try them.

    `key` is the same for all domains that share the host set: reuse, concurrency and back-off go by it. With `lmtp` it is asked
    for final delivery (RFC 2033): each recipient has an answer of its own.
    """

    key: str
    hosts: tuple[Host, ...]
    tls: Tls = Tls.OPPORTUNISTIC
    credentials: Credentials | None = None
    lmtp: bool = False
