"""What is wrong between keys: each check looks at values that are right by themselves. (`files` looks at what they name.)

A check names the sections that it looks at, and is left out where one of them could not be read, so that one mistake is
reported once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from waymail.app.config import inbound, transports
from waymail.app.config.aliases import misled
from waymail.app.config.listening import oddities, problems
from waymail.app.config.mailboxes import without_effect
from waymail.app.config.notices import unreachable
from waymail.app.config.positions import KeyPath
from waymail.app.config.schema import Config
from waymail.app.config.values import Endpoint
from waymail.app.units import duration_text, size_text
from waymail.client.target import NextHop, Tls


@dataclass(frozen=True, slots=True)
class Finding:
    """Something at a key. A warning leaves the configuration usable."""

    path: KeyPath
    message: str
    is_warning: bool = False


Check = Callable[[Config], Iterator[Finding]]


def check(config: Config, unreadable: frozenset[str] = frozenset()) -> Iterator[Finding]:
    """All findings. `unreadable` are the sections that stand in `config` by their defaults only."""
    for sections, look in _CHECKS:
        if unreadable.isdisjoint(sections):
            yield from look(config)


def _listeners(config: Config) -> Iterator[Finding]:
    taken: dict[str, int] = {}
    for index, listener in enumerate(config.listeners):
        # RFC 4954 §4, RFC 8314 §3: passwords go over TLS only; a submission listener without it could let nobody in.
        if listener.kind == "submission" and listener.tls == "off" and not listener.address.is_loopback:
            message = 'must be "starttls" or "implicit" where users send passwords; "off" is for loopback addresses only'
            yield Finding(("listener", index, "tls"), message)
        if listener.line_ends == "normalise" and listener.kind != "submission":
            message = (
                'must be "strict" where other servers send: what one takes for a line end and another does not smuggles mail'
            )
            yield Finding(("listener", index, "line_ends"), message)
        if isinstance(listener.address, Endpoint) and listener.address.port == 0:
            continue
        if (first := taken.setdefault(str(listener.address), index)) != index:
            yield Finding(("listener", index, "address"), f"{listener.address} is already taken by listener[{first}]")
    if not config.listeners:
        yield Finding((), "no [[listener]]: this server will receive nothing", is_warning=True)


def _certificate(config: Config) -> Iterator[Finding]:
    tls = config.tls
    if tls.self_signed and (tls.certificate or tls.key):
        yield Finding(("tls", "self_signed"), "must be false where a certificate and a key are given")
    elif bool(tls.certificate) != bool(tls.key):
        given, wanted = ("certificate", "key") if tls.certificate else ("key", "certificate")
        yield Finding(("tls", given), f'needs "{wanted}" beside it')


def _certificate_for_listeners(config: Config) -> Iterator[Finding]:
    if config.tls.self_signed or config.tls.certificate or config.tls.key:
        return
    for index, listener in enumerate(config.listeners):
        if listener.tls != "off":
            message = f'"{listener.tls}" needs certificate and key in [tls]; or self_signed = true there, for trying things out'
            if listener.address.is_loopback and listener.tls == "starttls":
                message += '; or tls = "off" here, for this machine only'
            yield Finding(("listener", index, "tls"), message)


def _doors(config: Config) -> Iterator[Finding]:
    for path, message in problems(config):
        yield Finding(path, message)
    for path, message in oddities(config):
        yield Finding(path, message, is_warning=True)


def _relay(config: Config) -> Iterator[Finding]:
    for index, network in enumerate(config.relay.allow):
        if network.prefixlen == 0:
            message = f"{network} makes this an open relay: anybody may send anything to anywhere through it"
            yield Finding(("relay", "allow", index), message, is_warning=True)


def _inbound(config: Config) -> Iterator[Finding]:
    for path, message in inbound.problems(config):
        yield Finding(path, message)
    for path, message in inbound.oddities(config):
        yield Finding(path, message, is_warning=True)


def _forwarding(config: Config) -> Iterator[Finding]:
    domain = config.forwarding.domain
    if domain is not None and domain not in config.domains:
        yield Finding(("forwarding", "domain"), f"{domain} is no domain of this server: bounces to it would not come back")


def _queue(config: Config) -> Iterator[Finding]:
    queue = config.queue
    if not queue.retry:
        yield Finding(("queue", "retry"), 'must hold one duration or more, like ["5m", "30m", "4h"]')
    if queue.store == "memory":
        yield Finding(("queue", "store"), "what is queued in memory is lost when the process ends", is_warning=True)
    if queue.delay_warning is not None and queue.delay_warning >= queue.expire:
        message = f"comes after the message has expired ({duration_text(queue.expire)}): no warning will ever be sent"
        yield Finding(("queue", "delay_warning"), message, is_warning=True)


def _notices(config: Config) -> Iterator[Finding]:
    for path, message in unreachable(config):
        yield Finding(path, message, is_warning=True)


def _limits(config: Config) -> Iterator[Finding]:
    limits = config.limits
    least = (
        ("message_size", limits.message_size, 65_536, size_text(65_536), "RFC 5321 §4.5.3.1.7"),
        ("recipients", limits.recipients, 100, "100", "RFC 5321 §4.5.3.1.8"),
        ("received_hops", limits.received_hops, 100, "100", "RFC 5321 §6.3"),
        ("command_timeout", limits.command_timeout, 300, "5m", "RFC 5321 §4.5.3.2.7"),
    )
    for name, value, minimum, text, section in least:
        if value < minimum:
            yield Finding(("limits", name), f"is less than the {text} that {section} asks for", is_warning=True)


def _domains(config: Config) -> Iterator[Finding]:
    for name, domain in config.domains.items():
        if not domain.aliases and domain.recipients is not None and not domain.recipients:
            message = 'has neither recipients nor aliases: only mail to postmaster is taken; perhaps recipients = "any"'
            yield Finding(("domains", name), message, is_warning=True)
    for path, message in misled(config):
        yield Finding(path, message)
    for path, message in without_effect(config):
        yield Finding(path, message, is_warning=True)


def _routes(config: Config) -> Iterator[Finding]:
    for pattern, target in config.routes.items():
        if pattern in config.domains:
            message = 'is never used: the domain has its own section in [domains], and "deliver" there decides'
            yield Finding(("routes", pattern), message, is_warning=True)
        if isinstance(target, NextHop) and target.credentials and target.tls in (Tls.OFF, Tls.OPPORTUNISTIC):
            message = f"the password may be sent without TLS, or to an impostor, with tls={target.tls.value}; safe is tls=require"
            yield Finding(("routes", pattern), message, is_warning=True)


def _transports(config: Config) -> Iterator[Finding]:
    for path, message in transports.problems(config):
        yield Finding(path, message)
    for path, message in transports.unused(config):
        yield Finding(path, message, is_warning=True)


def _users(config: Config) -> Iterator[Finding]:
    users = config.users
    if len(users.other) > 1:
        first, *rest = users.other
        yield Finding(("users", rest[0]), f'users come from one place, and "{first}" is named already')
    if (ldap := users.ldap) is not None:
        is_clear = ldap.url.startswith("ldap://") and not ldap.starttls
        if is_clear and not re.match(r"ldap://(localhost|127\.[0-9.]+|\[::1\])(:|/|\Z)", ldap.url):
            yield Finding(("users", "ldap", "starttls"), "must be true: passwords would cross the network in clear")
        if "{name}" not in ldap.filter:
            yield Finding(("users", "ldap", "filter"), 'must hold {name} where the user name belongs, like "(mail={name})"')
        if bool(ldap.bind_dn) is not bool(ldap.bind_password):
            yield Finding(("users", "ldap"), "bind_dn and bind_password belong together; without both, the search is anonymous")
    # as `server.backends.sql` finds it: "::name" is a cast, ":names" something else
    if users.sql is not None and not re.search(r"(?<![:\w]):name\b", users.sql.query):
        yield Finding(("users", "sql", "query"), "must hold :name, which stands for the user's name")
    if (oauth := users.oauth) is not None:
        if sum(one is not None for one in (oauth.jwks, oauth.jwks_file, oauth.introspection)) != 1:
            yield Finding(("users", "oauth"), "needs one of jwks, jwks_file and introspection")
        if oauth.audience is None:
            message = "has no audience: a token that a user gave to any other service of the issuer would be taken"
            yield Finding(("users", "oauth"), message, is_warning=True)
    if "CRAM-MD5" in (users.mechanisms or ()):
        message = "names CRAM-MD5, for which passwords have to be kept in clear"
        yield Finding(("users", "mechanisms"), message, is_warning=True)


_CHECKS: tuple[tuple[tuple[str, ...], Check], ...] = (
    (("listener",), _listeners),
    (("tls",), _certificate),
    (("listener", "tls"), _certificate_for_listeners),
    (("listener", "tls"), _doors),
    (("users",), _users),
    (("relay",), _relay),
    (("inbound",), _inbound),
    (("forwarding", "domains"), _forwarding),
    (("queue",), _queue),
    (("notices", "domains", "routes", "hostname"), _notices),
    (("limits",), _limits),
    (("domains",), _domains),
    (("domains", "routes"), _routes),
    (("domains", "routes", "pipes", "webhooks"), _transports),
)
