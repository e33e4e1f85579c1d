"""Which way mail for a domain goes: the routes and local domains of the configuration, and the longest match.

A target is one of

    mx                                       the hosts that DNS names for the domain (RFC 5321 §5.1)
    smtp://[user:password@]host[:port][?tls=require|opportunistic|off]      a smarthost; port 25
    smtps://[user:password@]host[:port]      a smarthost, TLS from the first octet; port 465
    lmtp://[user:password@]host:port[?tls=...]      final delivery by LMTP (RFC 2033)
    lmtp:/path/of/a/socket                   the same over a Unix-domain socket; smtp:/path/of/a/socket relays over one
    maildir:PATH                             final delivery; PATH may hold {domain} and {local}
    pipe:NAME                                final delivery to a program, the one of the table [pipes.NAME]
    python:MODULE:NAME                       final delivery to a function or a class of the operator's, in this process
    webhook+https://HOST[:PORT][/PATH]       final delivery by a signed POST; webhook+http:// on this machine only

and a pattern one of "example.org" (that domain alone), "*.example.org" (every domain below it) and "*" (all).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from waymail.client import url
from waymail.client.target import Credentials, Host, NextHop, Tls

SMTP_PORT = 25
SMTPS_PORT = 465
LONGEST = 600.0  # seconds that a program or an application may be given: an attempt ends before its message's claim does


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


@dataclass(frozen=True, slots=True)
class Pipe:
    """Final delivery to a program. `name` is that of its table in the configuration."""

    name: str

    @property
    def key(self) -> str:
        return f"pipe:{self.name}"


@dataclass(frozen=True, slots=True)
class Webhook:
    """Final delivery by POST to `url`, spelled as `webhook_url` has it."""

    url: str

    @property
    def key(self) -> str:
        return f"webhook+{self.url}"


@dataclass(frozen=True, slots=True)
class PythonHandler:
    """Final delivery to what "module:name" names."""

    name: str

    @property
    def key(self) -> str:
        return f"python:{self.name}"


Final = Mailboxes | Pipe | Webhook | PythonHandler
Target = ByMx | NextHop | Final


def parse_target(text: str) -> Target:
    """A target from its text. Raises RouteError."""
    if text == "mx":
        return ByMx()
    scheme, colon, rest = text.partition(":")
    if scheme == "maildir" and rest:
        return Mailboxes(rest)
    if scheme in ("smtp", "smtps", "lmtp") and colon:
        return _smarthost(text)
    if scheme == "pipe" and colon:
        return Pipe(pipe_name(rest))
    if scheme == "python" and colon:
        return PythonHandler(handler_name(rest))
    if scheme.startswith("webhook+") and colon:
        return Webhook(webhook_url(text.removeprefix("webhook+")))
    is_host = rest.isdigit() or not colon  # perhaps with a port; anything else might hold a password, and is not repeated
    hint = f'did you mean "smtp://{text}"? Or' if is_host and "." in scheme else "say"
    raise RouteError(
        f'{text if is_host else scheme!r} is no target: {hint} "mx", "smtp://HOST:PORT", "smtps://HOST:PORT", '
        '"lmtp://HOST:PORT", "maildir:PATH", "pipe:NAME", "python:MODULE:NAME" or "webhook+https://HOST/PATH"'
    )


def pipe_name(text: str) -> str:
    """The name of a pipe. Raises RouteError."""
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", text):
        raise RouteError(f'{text!r} is no name of a pipe: those are letters, digits, "_" and "-", like pipe:archive')
    return text


def handler_name(text: str) -> str:
    """A name for `python:`. Raises RouteError."""
    if not re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*", text):
        raise RouteError(f"{text!r} names no function and no class: write python:MODULE:NAME, like python:myapp.mail:handle")
    return text


def webhook_url(text: str) -> str:
    """The one spelling of a webhook's address: scheme and host in lower case, "/" where there is no path. Raises RouteError."""
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise RouteError(f"{text!r} is no address of a webhook: {error}") from None
    if not host or not text.isascii() or not text.isprintable() or set(text) & set(' "<>{}|^`\\'):
        raise RouteError(
            f"{text!r} is no address of a webhook: write it like https://app.example/inbound, other characters as %20"
        )
    if parts.username is not None or parts.fragment:
        raise RouteError("the address of a webhook has no user, password or #fragment: it is seen in the log; sign with secret")
    if parts.scheme != "https" and not (parts.scheme == "http" and _is_loopback(host)):
        raise RouteError(f"{text!r} must begin with https:// (http:// is for 127.0.0.1, [::1] and localhost)")
    where = (f"[{host}]" if ":" in host else host) + (f":{port}" if port is not None else "")
    return f"{parts.scheme}://{where}{parts.path or '/'}" + (f"?{parts.query}" if parts.query else "")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _smarthost(text: str) -> NextHop:
    try:
        target = url.parse(text)
    except ValueError as error:
        raise RouteError(str(error)) from None
    if target.scheme == "mx":
        raise RouteError('to the hosts that DNS names is written "mx", without a colon')
    if target.path:
        hosts = (Host(target.host, 0, path=target.path),)
        return NextHop(f"{target.scheme}:{target.path}", hosts, Tls.OFF, None, target.scheme == "lmtp")
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
