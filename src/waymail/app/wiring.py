"""Every constructor call of the server: reading this file shows the whole machine.

    listeners ─▶ intake ─▶ store ◀─▶ runner ─▶ dispatch ─▶ smtp | mailboxes

`app.running` starts and stops it.
"""

from __future__ import annotations

import logging
import random
import secrets
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import partial

from waymail.app.config.schema import Config
from waymail.app.config.schema import Listener as ListenerConfig
from waymail.app.config.values import Endpoint
from waymail.app.history import HistoryBound
from waymail.app.wiring_users import Accounts, open_accounts
from waymail.client.target import NextHop
from waymail.delivery.dispatch import Dispatch
from waymail.delivery.maildir import MaildirTransport
from waymail.delivery.routes import Final, Mailboxes, Routes
from waymail.delivery.smtp import SmtpTransport
from waymail.mail.envelope import QueueIds
from waymail.net.clock import SystemClock
from waymail.net.identity import Pair, ServerIdentity
from waymail.net.resolver import Resolver
from waymail.net.self_signed import self_signed
from waymail.queue.bounce import NoticeWriter
from waymail.queue.plan import RunnerLimits
from waymail.queue.retry import Schedule
from waymail.queue.runner import Runner
from waymail.server.directory import Directory, LocalDomain
from waymail.server.inbound import Inbound, Trust
from waymail.server.intake import Intake
from waymail.server.limits import Limits
from waymail.server.listener import Listener
from waymail.server.reception import Networks, Reception
from waymail.server.submission import Submission
from waymail.store.contract import Store
from waymail.store.memory import MemoryStore
from waymail.store.sqlite import SqliteStore

log = logging.getLogger("waymail")


@dataclass(frozen=True, slots=True)
class Machine:
    """The running parts that `serve` starts and stops."""

    store: Store
    runner: Runner[NextHop | Final]
    resolver: Resolver
    smtp: SmtpTransport
    accounts: Accounts
    history: HistoryBound
    listeners: tuple[tuple[ListenerConfig, Listener], ...]


async def build(config: Config) -> Machine:
    """Make the machine; nothing listens yet. Raises StoreError, IdentityProblem, UsersFileError, FreezesUnusable,
    BackendUnusable."""
    clock, ids = SystemClock(), QueueIds(secrets.randbits(11))
    # What can be wrong in files comes first: then nothing has been opened yet.
    accounts, identity = open_accounts(config, clock), server_identity(config)
    store = await open_store(config, clock)
    resolver = Resolver([str(one) for one in config.dns.resolvers] or None, dnssec=config.dns.dnssec, clock=clock)
    smtp = SmtpTransport(hello_name=config.delivery.hello or config.hostname, idle_seconds=config.delivery.idle)
    runner = sending_side(config, store, resolver, smtp, clock, ids)
    await accounts.start()
    listeners = receiving_side(config, Intake(store, runner, ids, clock), accounts, identity)
    return Machine(store, runner, resolver, smtp, accounts, HistoryBound(store, config.history, clock), listeners)


def sending_side(
    config: Config, store: Store, resolver: Resolver, smtp: SmtpTransport, clock: SystemClock, ids: QueueIds
) -> Runner[NextHop | Final]:
    rng = random.SystemRandom()
    dispatch = Dispatch(
        Routes({name: domain.deliver for name, domain in config.domains.items()}, config.routes),
        smtp,
        mailboxes(config),
        resolver=resolver,
        clock=clock,
        rng=rng,
        own_names={config.hostname, config.delivery.hello or config.hostname},
        own_addresses={one.address.host for one in config.listeners if isinstance(one.address, Endpoint)},
    )
    return Runner(
        store,
        dispatch,
        NoticeWriter(config.hostname, ids.next),
        clock=clock,
        rng=rng,
        schedule=Schedule(config.queue.retry, config.queue.expire, config.queue.delay_warning),
        limits=RunnerLimits(config.delivery.per_destination, config.delivery.total),
    )


def receiving_side(
    config: Config, intake: Intake, accounts: Accounts, identity: ServerIdentity | None
) -> tuple[tuple[ListenerConfig, Listener], ...]:
    domains = {name: LocalDomain(domain.recipients, domain.aliases) for name, domain in config.domains.items()}
    directory, relay = Directory(config.hostname, domains), config.relay
    trust = Trust(Networks(relay.allow), Networks(relay.etrn), Networks(relay.xclient), Networks(relay.xforward))
    authenticator, quota = accounts.authenticator, accounts.quota
    hold, hostname = int(config.limits.hold), config.hostname
    receptions: dict[str, Reception] = {
        "mx": Inbound(directory, trust),
        "lmtp": Inbound(directory, trust, lmtp=True),
        "submission": Submission(
            directory, accounts.users, trust, hostname, mechanisms=authenticator.mechanisms, hold=hold, quota=quota
        ),
    }
    limits = server_limits(config)

    def listener(one: ListenerConfig) -> Listener:
        return Listener(
            receptions[one.kind],
            intake,
            authenticator,
            hostname=config.hostname,
            limits=limits,
            tls_context=partial(identity.context, one.client_certificates) if identity and one.tls != "off" else None,
            implicit_tls=one.tls == "implicit",
            proxies=Networks(one.proxies) if one.proxies else None,
            exempt=Networks([*relay.allow, *one.proxies]),
            normalise=one.line_ends == "normalise",
        )

    return tuple((one, listener(one)) for one in config.listeners)


async def open_store(config: Config, clock: SystemClock) -> Store:
    if config.queue.store == "memory":
        return MemoryStore(now=clock.now)
    return await SqliteStore.open(config.data_dir / "queue", now=clock.now)


def mailboxes(config: Config) -> Mapping[Final, MaildirTransport]:
    """A transport for every Maildir that a domain or a route names."""
    targets = [domain.deliver for domain in config.domains.values()] + list(config.routes.values())
    return {target: MaildirTransport(target.template, config.hostname) for target in targets if isinstance(target, Mailboxes)}


def server_limits(config: Config) -> Limits:
    """[limits] has the names of `server.limits.Limits`; what it does not name keeps its default."""
    named = {field.name for field in fields(Limits)}
    return Limits(**{name: value for name, value in config.limits if name in named})


def server_identity(config: Config) -> ServerIdentity | None:
    """What gives listeners their TLS contexts: None where the configuration has no certificate."""
    if config.tls.certificate and config.tls.key:
        certificate, key = config.tls.certificate, config.tls.key
    elif config.tls.self_signed:
        certificate, key = self_signed(config.data_dir / "tls", config.hostname)
    else:
        return None
    return ServerIdentity(
        certificate,
        key,
        others=[Pair(one.certificate, one.key, one.names) for one in config.tls.certificates],
        minimum=ssl.TLSVersion.TLSv1_3 if config.tls.minimum == "1.3" else ssl.TLSVersion.TLSv1_2,
        client_ca=config.tls.client_ca,
        asks=tuple({one.client_certificates for one in config.listeners if one.tls != "off"}) or ("off",),
        report=lambda text: log.error("TLS certificate", extra={"fields": {"error": text}}),
    )
