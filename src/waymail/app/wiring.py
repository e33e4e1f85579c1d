"""Every constructor call of the server: reading this file shows the whole machine.

    listeners ─▶ intake ─▶ store ◀─▶ runner ─▶ dispatch ─▶ smtp | mailboxes | transports

`app.running` starts and stops it, `app.reload` gives it other parts while it runs.
"""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import partial

from waymail.app.config.notices import read_texts
from waymail.app.config.schema import Config, Domain
from waymail.app.config.schema import Listener as ListenerConfig
from waymail.app.config.values import Endpoint
from waymail.app.history import HistoryBound
from waymail.app.wiring_forwarding import forwarding, returns
from waymail.app.wiring_inbound import Judging, open_judging
from waymail.app.wiring_schedules import schedules
from waymail.app.wiring_transports import Transports, open_transports
from waymail.app.wiring_users import Accounts, open_accounts
from waymail.client.target import NextHop
from waymail.delivery.dispatch import Dispatch
from waymail.delivery.maildir import MaildirTransport, Rules
from waymail.delivery.maildir_quota import Quota
from waymail.delivery.routes import Final, Mailboxes, Routes
from waymail.delivery.smtp import SmtpTransport
from waymail.mail.envelope import QueueIds, Recipient
from waymail.net.clock import SystemClock
from waymail.net.identity import Pair, ServerIdentity
from waymail.net.resolver import Resolver
from waymail.net.self_signed import self_signed
from waymail.queue.bounce import NoticeWriter
from waymail.queue.plan import RunnerLimits
from waymail.queue.retry import Schedules
from waymail.queue.runner import Runner
from waymail.server.authentication import Authenticator
from waymail.server.directory import Directory, LocalDomain
from waymail.server.inbound import Inbound, Trust
from waymail.server.intake import Intake
from waymail.server.limits import Limits
from waymail.server.listener import Listener
from waymail.server.policy import Policy
from waymail.server.reception import Networks, Reception
from waymail.server.room import Room
from waymail.server.submission import Submission
from waymail.store.contract import Store
from waymail.store.memory import MemoryStore
from waymail.store.sqlite import SqliteStore
from waymail.wire.replies import Reply

log = logging.getLogger("waymail")


PATIENCE = 5.0  # seconds that a start waits for a command that has the queue, since no server ran when it began


@dataclass(frozen=True, slots=True)
class Sending:
    """What the queue's runner works with, and what stands behind it."""

    resolver: Resolver
    smtp: SmtpTransport
    transports: Transports
    carrier: Dispatch
    notices: NoticeWriter
    schedule: Schedules
    limits: RunnerLimits


@dataclass(frozen=True, slots=True)
class Host:
    """A program that the machine runs in, where it has no process of its own. `policy` is its own, None where it leaves that
    to the configuration; `hangup` lets the machine read its configuration anew. Signals, the service manager and the log are the
    host's."""

    policy: Policy | None
    hangup: asyncio.Event


@dataclass(slots=True)
class Machine:
    """The running parts. `app.reload` replaces those by which mail is taken and sent; store, runner and intake stay."""

    config: Config
    clock: SystemClock
    ids: QueueIds
    store: Store
    runner: Runner[NextHop | Final]
    intake: Intake
    history: HistoryBound
    sending: Sending
    accounts: Accounts
    receiving: Receiving
    judging: Judging | None
    listeners: tuple[tuple[ListenerConfig, Listener], ...]
    host: Host | None = None

    @property
    def policy(self) -> Policy | None:
        """The host's."""
        return self.host.policy if self.host is not None else None


async def build(config: Config, host: Host | None = None) -> Machine:
    """Make the machine; nothing listens yet. Raises StoreError, IdentityProblem, UsersFileError, FreezesUnusable,
    BackendUnusable, ConfigError."""
    clock, ids = SystemClock(), QueueIds(secrets.randbits(11))
    # What can be wrong in files comes first: then nothing has been opened yet.
    accounts, sending = open_accounts(config, clock), sending_side(config, clock, ids)
    judging = open_judging(config, sending.resolver, clock, policy=host.policy if host is not None else None)
    receiving = receiving_side(config, accounts, judging)
    store = await open_store(config, clock, patience=PATIENCE)
    runner: Runner[NextHop | Final] = Runner(
        store,
        sending.carrier,
        sending.notices,
        clock=clock,
        rng=random.SystemRandom(),
        schedule=sending.schedule,
        limits=sending.limits,
    )
    room = Room(config.data_dir if config.queue.store == "sqlite" else None, config.queue.reserve)
    intake = Intake(store, runner, ids, clock, room)
    await accounts.start()
    listeners = tuple((one, receiving.listener(one, intake)) for one in config.listeners)
    history = HistoryBound(store, config.history, clock)
    return Machine(config, clock, ids, store, runner, intake, history, sending, accounts, receiving, judging, listeners, host)


def sending_side(config: Config, clock: SystemClock, ids: QueueIds, resolver: Resolver | None = None) -> Sending:
    """A `resolver` that is given stays in use. Raises ConfigError."""
    notices = notice_writer(config, ids)
    resolvers = [str(one) for one in config.dns.resolvers] or None
    resolver = resolver or Resolver(resolvers, dnssec=config.dns.dnssec, clock=clock)
    transports = open_transports(config, clock)
    smtp = SmtpTransport(
        hello_name=config.delivery.hello or config.hostname,
        idle_seconds=config.delivery.idle,
        forwarding=forwarding(config),
    )
    carrier = Dispatch(
        Routes({name: domain.deliver for name, domain in config.domains.items()}, config.routes),
        smtp,
        {**mailboxes(config), **transports.by_target},
        resolver=resolver,
        clock=clock,
        rng=random.SystemRandom(),
        own_names={config.hostname, config.delivery.hello or config.hostname},
        own_addresses={one.address.host for one in config.listeners if isinstance(one.address, Endpoint)},
    )
    schedule = schedules(config.queue)
    limits = RunnerLimits(config.delivery.per_destination, config.delivery.total, 2 * config.delivery.total)
    return Sending(resolver, smtp, transports, carrier, notices, schedule, limits)


def notice_writer(config: Config, ids: QueueIds) -> NoticeWriter:
    """What tells senders, in the operator's words. Raises ConfigError where the file that has them cannot be used."""
    directory, told = local_directory(config), config.notices.double_bounce

    def resolve(address: str) -> tuple[Recipient, ...]:
        found = directory.resolve(address)
        if found is None:
            return (Recipient(address),)
        return () if isinstance(found, Reply) else found

    if told == "postmaster":
        told = next((one.original or one.address for one in resolve("postmaster")), f"postmaster@{config.hostname}")
    return NoticeWriter(
        config.hostname,
        ids.next,
        text=read_texts(config.notices.language),
        double_bounce="" if told == "drop" else told,
        resolve=resolve,
    )


def local_directory(config: Config) -> Directory:
    """Who is local."""
    domains = {name: LocalDomain(domain.recipients, domain.aliases, domain.detail) for name, domain in config.domains.items()}
    return Directory(config.hostname, domains)


@dataclass(frozen=True, slots=True)
class Receiving:
    """What all listeners go by."""

    config: Config
    receptions: Mapping[str, Reception]
    authenticator: Authenticator
    identity: ServerIdentity | None
    limits: Limits

    def listener(self, one: ListenerConfig, intake: Intake) -> Listener:
        """One that goes by this."""
        return Listener(
            self.receptions[one.kind],
            intake,
            self.authenticator,
            hostname=self.config.hostname,
            limits=self.limits,
            tls_context=self._tls(one),
            implicit_tls=one.tls == "implicit",
            proxies=Networks(one.proxies) if one.proxies else None,
            exempt=self._exempt(one),
            normalise=one.line_ends == "normalise",
        )

    def reconfigure(self, one: ListenerConfig, listener: Listener, *, is_leaving: bool = False) -> None:
        """Let a listener go by this. One that is leaving serves the certificates that it had."""
        listener.reconfigure(
            self.receptions[one.kind],
            self.authenticator,
            hostname=self.config.hostname,
            limits=self.limits,
            tls_context=None if is_leaving else self._tls(one),
            exempt=self._exempt(one),
        )

    def _tls(self, one: ListenerConfig) -> Callable[[], ssl.SSLContext] | None:
        return partial(self.identity.context, one.client_certificates) if self.identity and one.tls != "off" else None

    def _exempt(self, one: ListenerConfig) -> Networks:
        return Networks([*self.config.relay.allow, *one.proxies])


def receiving_side(config: Config, accounts: Accounts, judging: Judging | None) -> Receiving:
    """Raises IdentityProblem."""
    directory, relay = local_directory(config), config.relay
    trust = Trust(Networks(relay.allow), Networks(relay.etrn), Networks(relay.xclient), Networks(relay.xforward))
    authenticator, quota = accounts.authenticator, accounts.quota
    hold, hostname = int(config.limits.hold), config.hostname
    mx = Inbound(directory, trust, returns=returns(config))
    receptions: dict[str, Reception] = {
        "mx": mx if judging is None else judging.judge(mx),
        "lmtp": Inbound(directory, trust, lmtp=True),
        "submission": Submission(
            directory,
            accounts.users,
            trust,
            hostname,
            mechanisms=authenticator.mechanisms,
            hold=hold,
            quota=quota,
            authserv_id=config.inbound.authserv_id or hostname,
        ),
    }
    return Receiving(config, receptions, authenticator, server_identity(config), server_limits(config))


async def open_store(config: Config, clock: SystemClock, *, patience: float = 0.0) -> Store:
    if config.queue.store == "memory":
        return MemoryStore(now=clock.now, monotonic=clock.monotonic)
    return await SqliteStore.open(config.data_dir / "queue", now=clock.now, monotonic=clock.monotonic, patience=patience)


def mailboxes(config: Config) -> Mapping[Final, MaildirTransport]:
    """A transport for every Maildir that a domain or a route names."""
    targets = [domain.deliver for domain in config.domains.values()] + list(config.routes.values())
    rules = {name: mailbox_rules(domain) for name, domain in config.domains.items()}
    return {
        target: MaildirTransport(target.template, config.hostname, rules) for target in targets if isinstance(target, Mailboxes)
    }


def mailbox_rules(domain: Domain) -> Rules:
    """How a domain's mailboxes are kept."""
    quota = Quota(domain.quota or 0, domain.quota_messages or 0)
    return Rules(
        domain.detail,
        None if domain.recipients is None else domain.recipients | {"postmaster"},
        makes_folders=domain.folders == "create",
        quota=None if quota == Quota() else quota,
        fails_when_full=domain.over_quota == "fail",
    )


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
