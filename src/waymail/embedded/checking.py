"""What makes no sense in the arguments of a server is said when it is made, and not to its first client."""

from __future__ import annotations

import math
import ssl
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from waymail.client.arguments import check_type
from waymail.net import streams
from waymail.server.limits import Limits
from waymail.wire import domains, grammar

if TYPE_CHECKING:
    from waymail.embedded.serving import Settings

UNIX = "unix:"  # what the address of a Unix-domain socket begins with


def checked(addresses: Sequence[str], settings: Settings) -> Settings:
    """The settings, with a hostname as SMTP has it. Raises TypeError, ValueError (AddressProblem for an address)."""
    check_type(settings.hostname, str, 'hostname is a name, as "mail.example.org"')
    check_type(settings.limits, Limits | None, "limits is a waymail.server.limits.Limits, as Limits(recipients=50)")
    check_type(settings.size, int | None, "size is the number of octets of the largest message, as 50_000_000")
    check_type(settings.timeout, int | float, "timeout is in seconds, as 300")
    if settings.size is not None and settings.size < 1:
        raise ValueError(f"size is the number of octets of the largest message, 1 or more, not {settings.size}")
    if not 0 < settings.timeout < math.inf:
        raise ValueError(f"timeout is in seconds, and above 0, not {settings.timeout}")
    if settings.line_ends not in ("strict", "normalise"):
        raise ValueError(f'line_ends is "strict" or "normalise", not {settings.line_ends!r}')
    _check_addresses(addresses)
    _check_security(settings)
    return replace(settings, hostname=_hostname(settings.hostname))


def check_grace(grace: float) -> None:
    """Raises TypeError, ValueError."""
    check_type(grace, int | float, "grace is in seconds, as 5")
    if not 0 <= grace < math.inf:
        raise ValueError(f"grace is in seconds, and 0 or more, not {grace}")


def _hostname(given: str) -> str:
    if not given:
        return ""
    try:
        name = domains.to_ascii(given)
    except domains.BadDomain as error:
        raise ValueError(f"hostname is {given!r}: {error}") from None
    if not (grammar.is_domain(name) or grammar.is_address_literal(given)):
        raise ValueError(f'hostname is the name that the server gives, as "mail.example.org", not {given!r}')
    return given if given.isascii() else name


def _check_addresses(addresses: Sequence[str]) -> None:
    if not addresses:
        raise ValueError('address is empty: say where to listen, as "127.0.0.1:8025" or "unix:/run/mail.sock"')
    for address in addresses:
        check_type(address, str, 'address is "host:port" or "unix:/path", or several of these')
        if not address.startswith(UNIX):
            streams.parse_address(address)
        elif address == UNIX:
            raise ValueError('address is "unix:" without a path, as in "unix:/run/mail.sock"')


def _check_security(settings: Settings) -> None:
    tls: object = settings.tls
    if not (tls is None or tls == "self-signed" or isinstance(tls, ssl.SSLContext) or (isinstance(tls, tuple) and len(tls) == 2)):
        raise TypeError(f'tls is (certificate, key), an ssl.SSLContext, or "self-signed" for tests, not {tls!r:.100}')
    needs_tls = {"implicit_tls": settings.implicit_tls, "require_tls": settings.require_tls}
    for name, is_set in needs_tls.items():
        if is_set and tls is None:
            raise ValueError(f"{name} needs a certificate: tls=(certificate, key), or tls='self-signed' for tests")
    if settings.users is None and (settings.require_auth or settings.auth_in_clear):
        raise ValueError("nobody could log in: give users, a mapping of names to passwords or a function")
    if settings.users is not None and tls is None and not settings.auth_in_clear:
        raise ValueError("nobody could log in without TLS: give tls, or auth_in_clear=True where nobody can listen")
