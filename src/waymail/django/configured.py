"""Where Django's mail goes: from the arguments of a backend and the settings of the project.

A backend that Django makes from MAILERS has an `alias`, and all that it needs is said by its arguments; Django's EMAIL_ settings
cannot be read then. Else what no argument says is read from the settings.
"""

from __future__ import annotations

import inspect
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from waymail.client.transaction import Timeouts

SETTINGS = {
    "host": "EMAIL_HOST",
    "port": "EMAIL_PORT",
    "username": "EMAIL_HOST_USER",
    "password": "EMAIL_HOST_PASSWORD",
    "use_tls": "EMAIL_USE_TLS",
    "use_ssl": "EMAIL_USE_SSL",
    "ssl_keyfile": "EMAIL_SSL_KEYFILE",
    "ssl_certfile": "EMAIL_SSL_CERTFILE",
}
_BESIDES_URL = ("ssl_keyfile", "ssl_certfile")  # what is read where a URL says the rest

# Django's timeout is for each step, not for sending as a whole.
_STEPS = ("connect", "tls", "greeting", "command", "data", "block", "final")
_QUIT = 2.0  # seconds: what QUIT is answered with interests nobody, and the end of the program waits for it


@dataclass(frozen=True, slots=True)
class Configured:
    """What a client or an outbox is made from: its URL, its other arguments, and the files of a client certificate. Two that are
    equal can share one."""

    url: str
    arguments: Mapping[str, Any] = field(repr=False)  # the password is among them
    certificate: tuple[str | None, str | None] = (None, None)

    @property
    def signs(self) -> bool:
        return bool(self.arguments.get("dkim"))

    def but(self, others: Mapping[str, Any]) -> Configured:
        """The same with `others` among the arguments."""
        return replace(self, arguments={**self.arguments, **others})

    def make(self, kind: Callable[..., Any], *before: Any, alias: str | None) -> Any:
        """A `kind`, with what stands `before` the URL. Raises ImproperlyConfigured."""
        known = inspect.signature(kind).parameters
        if unknown := [name for name in self.arguments if name not in known]:
            raise improper(alias, f"unknown option {', '.join(unknown)}: there are {', '.join(known)}")
        try:
            return kind(*before, self.url, **{"tls_context": self._context(), **self.arguments})
        except (ValueError, OSError) as error:
            raise improper(alias, str(error)) from error

    def _context(self) -> ssl.SSLContext | None:
        """With the client certificate, where there is one. Raises OSError."""
        certfile, keyfile = self.certificate
        if not (certfile or keyfile):
            return None
        context = ssl.create_default_context()
        context.load_cert_chain(certfile or keyfile or "", keyfile)
        return context


def configured(alias: str | None, given: Mapping[str, Any], options: Mapping[str, Any]) -> Configured:
    """From what was `given` of Django's arguments (None for what was not) and of `url`; `options` are further arguments of the
    client or the outbox, and have the last word. Raises ImproperlyConfigured."""
    url = given["url"] or (None if given["host"] or alias is not None else getattr(settings, "WAYMAIL_URL", None))
    found = dict(given)
    if alias is None:
        found |= {name: getattr(settings, SETTINGS[name]) for name in (_BESIDES_URL if url else SETTINGS) if given[name] is None}
    arguments: dict[str, Any] = {}
    if found["username"] and found["password"]:
        arguments["auth"] = (found["username"], found["password"])
    if url:
        if found["use_tls"] or found["use_ssl"] or found["port"]:
            raise improper(alias, "the URL says port and TLS: smtps:// is TLS from the first octet, smtp:// is STARTTLS")
    else:
        url = _url(alias, found)
        if not found["use_ssl"]:
            arguments["tls"] = "require" if found["use_tls"] else "off"
    return Configured(url, {**arguments, **options}, (found["ssl_certfile"], found["ssl_keyfile"]))


def timeouts(alias: str | None, seconds: Any) -> Timeouts:
    """Those of a client, from Django's `timeout`: seconds for each step, None for the limits of RFC 5321. Raises
    ImproperlyConfigured."""
    if isinstance(seconds, Timeouts):
        return seconds
    if seconds is None and alias is None:
        seconds = settings.EMAIL_TIMEOUT
    if seconds is None:
        return Timeouts(quit=_QUIT)
    try:
        return Timeouts(**dict.fromkeys(_STEPS, seconds), quit=min(seconds, _QUIT))
    except (ValueError, TypeError) as error:
        raise improper(alias, f"the timeout is {seconds!r}: it is a number of seconds, more than 0") from error


def option_of(alias: str | None, name: str, *, single: str = "") -> dict[str, Any]:
    """What the setting `name` says: a dict, or what stands for the one key `single` of it. Nothing where there is an alias.
    Raises ImproperlyConfigured."""
    found = getattr(settings, name, None) if alias is None else None
    if found is None:
        return {}
    if isinstance(found, Mapping):
        return dict(found)
    if single:
        return {single: found}
    raise improper(alias, f"{name} is a dict of arguments of waymail.sync.Client")


def improper(alias: str | None, what: str) -> ImproperlyConfigured:
    """The error that says so."""
    where = "the settings of mail" if alias is None else f"MAILERS[{alias!r}]"
    return ImproperlyConfigured(f"{where}: {what}")


def _url(alias: str | None, found: Mapping[str, Any]) -> str:
    host = found["host"]
    if not host:
        raise improper(alias, 'say "url" or "host"')
    if found["use_tls"] and found["use_ssl"]:
        raise improper(alias, "use_tls is STARTTLS and use_ssl is TLS from the first octet: set at most one of them")
    scheme = "smtps" if found["use_ssl"] else "smtp"
    port = found["port"] or (465 if found["use_ssl"] else 587 if found["use_tls"] else 25)
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
