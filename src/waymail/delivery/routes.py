"""Which way mail for a domain goes: the routes and local domains of the configuration, and the longest match.

A target is one of

    mx                                       the hosts that DNS names for the domain (RFC 5321 §5.1)
    smtp://[user:password@]host[:port][?tls=require|opportunistic|off]      a smarthost; port 25
    smtps://[user:password@]host[:port]      a smarthost, TLS from the first octet; port 465
    lmtp://[user:password@]host:port[?tls=...]      final delivery by LMTP (RFC 2033)
    lmtp:/path/of/a/socket                   the same over a Unix-domain socket
    maildir:PATH                             final delivery; PATH may hold {domain} and {local}

and a pattern one of "example.org" (that domain alone), "*.example.org" (every domain below it) and "*" (all).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from waymail.client import url
from waymail.client.target import Credentials, Host, NextHop, Tls

SMTP_PORT = 25
SMTPS_PORT = 465


class RouteError(ValueError):
    """A target or pattern that cannot be understood. The text names the fix, and never a password."""


@dataclass(frozen=True, slots=True)
class ByMx:
    """Deliver to the hosts that DNS names."""


@dataclass(frozen=True, slots=True)
class Mailboxes:
    """Final delivery into Maildirs. `template` is the path, with {domain} and {local}."""

    template: str

    @property
    def key(self) -> str:
        return f"maildir:{self.template}"


Target = ByMx | NextHop | Mailboxes


def parse_target(text: str) -> Target:
    """A target from its text. Raises RouteError."""
    if text == "mx":
        return ByMx()
    scheme, colon, rest = text.partition(":")
    if scheme == "maildir" and colon and rest:
        return Mailboxes(rest)
    if scheme in ("smtp", "smtps", "lmtp") and colon:
        return _smarthost(text)
    raise RouteError(
        f'{scheme!r} is no target: say "mx", "smtp://HOST:PORT", "smtps://HOST:PORT", "lmtp://HOST:PORT" or "maildir:PATH"'
    )


def _smarthost(text: str) -> NextHop:
    try:
        target = url.parse(text)
    except ValueError as error:
        raise RouteError(str(error)) from None
    if target.path:
        return NextHop(f"lmtp:{target.path}", (Host(target.host, 0, path=target.path),), Tls.OFF, None, True)
    credentials = Credentials(target.user, target.password or "") if target.user else None
    if target.scheme == "smtps":
        port, tls = target.explicit_port or SMTPS_PORT, Tls.IMPLICIT
    else:
        # A password goes over verified TLS unless the route says otherwise; without one, any TLS is better than none.
        port, tls = target.explicit_port or SMTP_PORT, target.tls or (Tls.REQUIRED if credentials else Tls.OPPORTUNISTIC)
    host = f"[{target.host}]" if ":" in target.host else target.host
    return NextHop(f"{target.scheme}://{host}:{port}", (Host(target.host, port),), tls, credentials, target.scheme == "lmtp")


class Routes:
    """Looks targets up by domain. Local domains come before routes; among routes the longest pattern wins."""

    def __init__(self, local: Mapping[str, Target], routes: Mapping[str, Target]) -> None:
        self._exact = {domain.lower(): target for domain, target in routes.items() if not domain.startswith("*")}
        self._exact |= {domain.lower(): target for domain, target in local.items()}
        self._below = {pattern[2:].lower(): target for pattern, target in routes.items() if pattern.startswith("*.")}
        self._default = routes.get("*", ByMx())

    def match(self, domain: str) -> Target:
        """The target for `domain` (in lower case, A-labels)."""
        if (exact := self._exact.get(domain)) is not None:
            return exact
        _, dot, parent = domain.partition(".")
        while dot:
            if (below := self._below.get(parent)) is not None:
                return below
            _, dot, parent = parent.partition(".")
        return self._default
