"""The types of single configuration values: from what TOML gives to what the program uses, and back to text.

Each reader raises ValueError with a sentence that says what would be right. Relative paths become absolute with the folder
that comes as validation context `{"folder": Path}`.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from math import inf
from pathlib import Path
from string import Formatter
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer, PlainValidator, ValidationInfo

from waymail.app import units
from waymail.app.units import shown
from waymail.client.target import NextHop
from waymail.delivery.routes import ByMx, Mailboxes, Pipe, PythonHandler, RouteError, Target, Webhook, parse_target
from waymail.mail import address as addresses
from waymail.wire import domains

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# RFC 1035 §2.3.4: 63 octets a label, 255 a name on the wire, which is 253 characters. "_" is for DNS names, not for mail's.
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_DOMAIN = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*")
# RFC 5321 §4.1.2: Dot-string. Names of mailboxes on this server need no quoting.
_LOCAL_PART = re.compile(r"[\w!#$%&'*+/=?^`{|}~-]+(?:\.[\w!#$%&'*+/=?^`{|}~-]+)*")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An IP address and a port. Port 0 lets the system choose a free one."""

    host: str
    port: int

    @property
    def is_loopback(self) -> bool:
        return ipaddress.ip_address(self.host).is_loopback

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def endpoint(text: object, default_port: int | None = None) -> Endpoint:
    """ "192.0.2.1:25", "[2001:db8::1]:25"; the port may be missing where there is a default one."""
    wanted = 'and a port, like "0.0.0.0:25" or "[::]:25"' if default_port is None else 'like "127.0.0.53" or "[2001:db8::53]:53"'
    wanted = f"must be an IP address {wanted}, not {shown(text)}"
    if not isinstance(text, str):
        raise ValueError(wanted)
    if default_port is not None and _is_ip(text):
        return Endpoint(text, default_port)
    host, colon, port = text.rpartition(":")
    is_bracketed = host.startswith("[") and host.endswith("]")
    bare = host[1:-1] if is_bracketed else host
    if default_port is not None and text.endswith("]") and _is_ip(text[1:-1]):
        return Endpoint(text[1:-1], default_port)
    if not colon or not _is_ip(bare) or (":" in bare) is not is_bracketed or not re.fullmatch(r"[0-9]{1,5}", port):
        raise ValueError(wanted)
    if int(port) > 65_535:
        raise ValueError(f"{port} is no port: it must be 65535 or less")
    return Endpoint(bare, int(port))


def domain_name(value: object) -> str:
    """A domain name (RFC 5321 §2.3.5) in lower case and A-labels, without a trailing dot; the file may have it in U-labels."""
    if not isinstance(value, str):
        raise ValueError(f'must be a domain name, like "mail.example.org", not {shown(value)}')
    name = value.lower().removesuffix(".")
    if _is_ip(name.strip("[]")) or re.fullmatch(r"[0-9.]+", name):
        raise ValueError(f'must be a domain name, like "mail.example.org": {shown(value)} is an IP address')
    try:
        name = domains.to_ascii(name)
    except domains.BadDomain as problem:
        raise ValueError(f"{shown(value)} is no domain name: {problem}") from None
    if not _DOMAIN.fullmatch(name):
        raise ValueError(f"{shown(value)} is no domain name: those are letters, digits and inner hyphens between dots")
    return name


def route_pattern(value: object) -> str:
    """ "*" for all, "example.org" for that domain alone, "*.example.org" (or ".example.org") for every domain below it."""
    if value == "*":
        return "*"
    if isinstance(value, str) and value.startswith((".", "*.")):
        return "*." + domain_name(value.removeprefix("*").removeprefix("."))
    try:
        return domain_name(value)
    except ValueError as error:
        raise ValueError(f'{error}; a pattern is "*", "example.org", or "*.example.org" for the domains below it') from None


def local_part(value: object) -> str:
    """The part before the "@", in lower case: this server does not tell Ann from ann (RFC 5321 §2.4 leaves that to it)."""
    if not isinstance(value, str):
        raise ValueError(f'must be the part before the "@", like "ann", not {shown(value)}')
    if "@" in value:
        raise ValueError(f'must be the part before the "@" only: {shown(value.partition("@")[0])}, not {shown(value)}')
    # RFC 5321 §4.5.3.1.1: 64 octets.
    if not _LOCAL_PART.fullmatch(value) or len(value.encode()) > 64:
        allowed = "letters, digits, inner dots and !#$%&'*+/=?^_`{|}~-, 64 octets at most"
        raise ValueError(f'{shown(value)} cannot stand before an "@": {allowed}')
    return addresses.folded(value)


def detail_separator(value: object) -> str:
    """What stands between user and detail (RFC 5233); "" where there are no details."""
    if not isinstance(value, str) or not re.fullmatch(r"[+=_#~^|-]{0,3}", value):
        raise ValueError(
            f'must be what separates a detail from the user, like "+" or "-" (one to three of +-=_#~^|), or "" for '
            f"no details, not {shown(value)}"
        )
    return value


def mailbox(value: object) -> str:
    """What an alias leads to: a local part of the same domain, or a whole address."""
    if not isinstance(value, str):
        raise ValueError(f'must be a local part or an address, like "ann" or "ann@example.org", not {shown(value)}')
    local, at, domain = value.rpartition("@")
    if not at:
        return local_part(value)
    if not _LOCAL_PART.fullmatch(local):
        raise ValueError(f'{shown(value)} is no address: {shown(local)} cannot stand before the "@"')
    return f"{local}@{domain_name(domain)}"


def one_or_more(value: object) -> list[Any]:
    """One target of an alias, or a list of them, as a list."""
    if value == []:
        raise ValueError('must lead somewhere: a local part, an address, or a list of them, like ["ann", "bob@example.net"]')
    return value if isinstance(value, list) else [value]


def any_or_list(value: object) -> list[Any] | None:
    """A list of local parts, or None for "any"."""
    if value == "any":
        return None
    if not isinstance(value, list):
        raise ValueError(f'must be a list of local parts, like ["ann", "bob"], or "any", not {shown(value)}')
    return value


def network(value: object) -> Network:
    """An IP network; a lone address is a network of one."""
    if not isinstance(value, str):
        raise ValueError(f'must be a network, like "10.0.0.0/8" or "2001:db8::/32", not {shown(value)}')
    try:
        return ipaddress.ip_network(value)
    except ValueError:
        pass
    try:
        nearest = ipaddress.ip_network(value, strict=False)
    except ValueError:
        raise ValueError(f'{shown(value)} is no network: write it like "10.0.0.0/8" or "2001:db8::/32"') from None
    raise ValueError(f"{shown(value)} has bits set behind its prefix: {shown(str(nearest))} is the network")


def reply_text(value: object) -> str:
    """What a reply begins with, or what is in its text."""
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f'must be a reply code, an enhanced status code or some text, like "4.2.2", not {shown(value)}')
    return value


def seconds_or_never(value: object) -> float:
    """Seconds, infinitely many for "off": so that a key that is left out can be told from one that says "off"."""
    return inf if (seconds := units.duration_or_off(value)) is None else seconds


def seconds_or_never_text(value: float | None) -> str | None:
    """The same as the file has it."""
    return value if value is None else units.duration_text(None if value == inf else value)


def flag(value: object) -> bool:
    """true or false, without quotes."""
    if not isinstance(value, bool):
        raise ValueError(f"must be true or false, without quotes, not {shown(value)}")
    return value


def count(value: object) -> int:
    """A whole number of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"must be a whole number, not {shown(value)}")
    if value < 1:
        raise ValueError(f"must be 1 or more, not {value}")
    return value


def path(value: object, info: ValidationInfo) -> Path:
    """An absolute path; a relative one is seen from the folder of the configuration file."""
    if not isinstance(value, str) or not value or "\0" in value:
        raise ValueError(f"must be a path, not {shown(value)}")
    return folder(info) / Path(value).expanduser()


def target(value: object, info: ValidationInfo) -> Target:
    """Where mail goes next; a relative Maildir is seen from the folder of the configuration file."""
    if not isinstance(value, str):
        raise ValueError(f'must be a target, like "mx", "smtp://HOST:PORT" or "maildir:PATH", not {shown(value)}')
    try:
        found = parse_target(value)
    except RouteError as error:
        raise ValueError(str(error)) from None
    return Mailboxes(_maildir(found.template, folder(info))) if isinstance(found, Mailboxes) else found


def target_text(value: Target) -> str:
    """A target as the configuration writes it, with its defaults spelled out and without its password."""
    match value:
        case ByMx():
            return "mx"
        case Mailboxes() | Pipe() | PythonHandler() | Webhook():
            return value.key
        case NextHop():
            scheme, authority, rest = value.key.partition("://")
            if not authority:
                return value.key  # a socket of this machine
            user = f"{value.credentials.user}:***@" if value.credentials else ""
            return f"{scheme}://{user}{rest}" + ("" if scheme == "smtps" else f"?tls={value.tls.value}")


def folder(info: ValidationInfo) -> Path:
    """The folder of the configuration file."""
    context: dict[str, Any] = info.context or {}
    found: Path = context.get("folder") or Path.cwd()
    return found


def _maildir(template: str, base: Path) -> str:
    try:
        names = {name for _, name, _, _ in Formatter().parse(template) if name is not None}
    except ValueError as error:
        raise ValueError(f"{shown(template)}: {error}") from None
    if strange := names - {"domain", "local"}:
        raise ValueError(f"{{{min(strange)}}} means nothing in a Maildir's path: it may hold {{domain}} and {{local}}")
    return str(base / Path(template).expanduser())


def _is_ip(value: str) -> bool:
    try:
        ipaddress.ip_address(value)
    except ValueError:
        return False
    return True


Flag = Annotated[bool, PlainValidator(flag)]
Count = Annotated[int, PlainValidator(count)]
Octets = Annotated[int, PlainValidator(units.size), PlainSerializer(units.size_text)]
OctetsOrOff = Annotated[int | None, PlainValidator(units.size_or_off), PlainSerializer(units.size_text)]
Seconds = Annotated[float, PlainValidator(units.duration), PlainSerializer(units.duration_text)]
SecondsOrOff = Annotated[float | None, PlainValidator(units.duration_or_off), PlainSerializer(units.duration_text)]
SecondsOrNever = Annotated[float, PlainValidator(seconds_or_never), PlainSerializer(seconds_or_never_text)]
AbsolutePath = Annotated[Path, PlainValidator(path), PlainSerializer(str)]
DomainName = Annotated[str, PlainValidator(domain_name)]
RoutePattern = Annotated[str, PlainValidator(route_pattern)]
LocalPart = Annotated[str, PlainValidator(local_part)]
DetailSeparator = Annotated[str, PlainValidator(detail_separator)]
ResolverAddress = Annotated[Endpoint, PlainValidator(lambda value: endpoint(value, default_port=53)), PlainSerializer(str)]
ReplyText = Annotated[str, PlainValidator(reply_text)]
RelayNetwork = Annotated[Network, PlainValidator(network), PlainSerializer(str)]
Destination = Annotated[Target, PlainValidator(target), PlainSerializer(target_text)]
Mailbox = Annotated[str, PlainValidator(mailbox)]
AliasTargets = Annotated[tuple[Mailbox, ...], BeforeValidator(one_or_more)]
LocalParts = Annotated[
    frozenset[LocalPart] | None,
    BeforeValidator(any_or_list),
    PlainSerializer(lambda value: "any" if value is None else sorted(value)),
]
