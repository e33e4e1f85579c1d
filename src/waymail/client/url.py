"""Where to send, as a URL.

    smtp://[user:password@]host[:port][?tls=require|opportunistic|off]      STARTTLS; port 587 where none is given
    smtps://[user:password@]host[:port]                                     TLS from the first octet; port 465
    lmtp://[user:password@]host:port[?tls=...]                              LMTP; STARTTLS where it is offered
    smtp:/path/of/a/socket, lmtp:/path/of/a/socket                          over a Unix-domain socket
    mx:[?tls=...]                                                           the hosts that DNS names for each recipient

587 is submission's port (RFC 6409 §3.1), for that is what a program does that sends mail. Who relays knows better, and reads
`explicit_port`. LMTP has no port of its own, and never that of SMTP (RFC 2033 §5). User and password are percent-decoded; an IPv6
address stands in brackets. `?hello=` names us in EHLO.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote

from waymail.client.target import Credentials, Tls
from waymail.wire import grammar

SUBMISSION_PORT = 587
SUBMISSIONS_PORT = 465
SMTP_PORT = 25

_URL = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://"
    r"(?:(?P<user>[^/?#@:]*)(?::(?P<password>[^/?#@]*))?@)?"
    r"(?P<host>\[[0-9A-Fa-f:.]+(?:%[\w.~-]+)?\]|[^/?#@:\[\]\s\0-\x1f]+)?"
    r"(?::(?P<port>[0-9]*))?"
    r"/?(?:\?(?P<query>[^#]*))?"
)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_OPTIONS = ("tls", "hello")
_PORTS = {"smtps": SUBMISSIONS_PORT, "mx": SMTP_PORT}


class UrlError(ValueError):
    """The URL cannot be used. The text says what to write instead, and never shows the password."""


@dataclass(frozen=True, slots=True)
class Target:
    """A URL's parts. `tls` is what it says of TLS: None where it says nothing, IMPLICIT for smtps. `path` is that of a
    Unix-domain socket; the host is "localhost" then. For mx: there is no host, and the port is SMTP's."""

    scheme: str
    host: str
    explicit_port: int | None = None
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: Tls | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    path: str = ""

    @property
    def port(self) -> int:
        return self.explicit_port or _PORTS.get(self.scheme, SUBMISSION_PORT)

    @property
    def credentials(self) -> Credentials | None:
        return Credentials(self.user, self.password or "") if self.user else None


def parse(url: str) -> Target:
    """The parts of `url`. Raises UrlError."""
    if not isinstance(url, str):
        raise UrlError(f"a URL is text, not {type(url).__name__}")
    scheme, colon, rest = url.partition(":")
    scheme = scheme.lower()
    if scheme == "mx" and colon:
        return _direct(rest)
    if (scheme == "lmtp" and not rest.startswith("//")) or (scheme == "smtp" and re.match("/(?!/)", rest)):
        return _socket(scheme, rest)
    found = _URL.fullmatch(url)
    if found is None or "@" in (found["query"] or ""):  # a "?" in the password makes a query of what follows
        raise UrlError(_what_is_wrong(url))
    if scheme not in ("smtp", "smtps", "lmtp"):
        raise UrlError(f"unknown scheme {scheme}://: use smtp:// (STARTTLS), smtps:// (TLS from the first octet), lmtp:// or mx:")
    if not found["host"]:
        raise UrlError(f"the host is missing: write {scheme}://mail.example.org")
    options = _options(found["query"] or "")
    port = _port(found["port"])
    if scheme == "lmtp" and port in (None, 25):
        raise UrlError(
            f"LMTP has no port of its own, and 25 is SMTP's: write lmtp://{found['host']}:24, or lmtp:/path/of/a/socket"
        )
    return Target(
        scheme,
        found["host"].strip("[]"),
        port,
        _decoded(found["user"], "user name"),
        _decoded(found["password"], "password"),
        _tls(scheme, options.get("tls")),
        options,
    )


def _socket(scheme: str, path: str) -> Target:
    if not path.startswith("/") or _CONTROL.search(path) or re.search(":.*@", path):  # user:password@host, with a slash missing
        raise UrlError(f"a server is written {scheme}://host:port, or {scheme}:/path/of/a/socket")
    return Target(scheme, "localhost", path=path)


def _direct(rest: str) -> Target:
    found = re.fullmatch(r"(?:\?(?P<query>[^#]*))?", rest)
    if found is None:
        raise UrlError('direct delivery is written "mx:", or "mx:?tls=require": DNS names the hosts, and they know no user')
    options = _options(found["query"] or "")
    return Target("mx", "", tls=_tls("mx", options.get("tls")), options=options)


def _what_is_wrong(url: str) -> str:
    # Whatever stands before the last "@" may be a password: nothing of the URL is repeated but its scheme.
    scheme, separator, rest = url.partition("://")
    if not separator or not scheme.isalnum():
        return "not a URL: write smtp://host:port or smtps://host:port"
    if rest.count("@") > 1 or ("@" in rest and re.search(r"[/?#:].*[/?#:].*@", rest)):
        return 'in user and password, "@", ":", "/", "?" and "#" are written %40, %3A, %2F, %3F and %23'
    if rest.rpartition("@")[2].count(":") > 1:
        return f"an IPv6 address is written in brackets: {scheme}://[2001:db8::1]:587"
    return f"cannot be read: write {scheme}://user:password@host:port, nothing behind the port but ?tls="


def _port(digits: str | None) -> int | None:
    if not digits:
        return None
    if len(digits) > 5 or not 0 < int(digits) < 65536:
        raise UrlError(f"port {digits[:10]} does not exist: use 1 to 65535")
    return int(digits)


def _decoded(text: str | None, what: str) -> str | None:
    if text is None:
        return None
    try:
        decoded = unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise UrlError(f"the {what} is no UTF-8 once its %XX are decoded") from None
    if _CONTROL.search(decoded):
        # RFC 4013 §2.3 prohibits them, so no user or password of a server that prepares its own can hold one.
        raise UrlError(f"the {what} holds a control character (%00 to %1F, or %7F to %9F): was a line end copied along?")
    return decoded


def _options(query: str) -> dict[str, str]:
    options = dict(parse_qsl(query, keep_blank_values=True))
    for name in options:
        if name not in _OPTIONS:
            raise UrlError(f"unknown option {name!r}: there are {' and '.join(_OPTIONS)}")
    if "hello" in options and not grammar.is_hello_name(options["hello"]):
        raise UrlError("hello is a host name, or an address literal as in [192.0.2.1]")
    return options


def _tls(scheme: str, value: str | None) -> Tls | None:
    if scheme == "smtps":
        if value not in (None, "require"):
            raise UrlError(f"smtps:// is TLS from the first octet: use smtp://...?tls={value} instead")
        return Tls.IMPLICIT
    match value:
        case None:
            return None
        case "require" | "opportunistic" | "off":
            return Tls(value)
    raise UrlError("tls is one of require, opportunistic, off")
