"""Every constructor call of the server: reading this file shows the whole machine.

    listeners ─▶ intake ─▶ store ◀─▶ runner ─▶ dispatch ─▶ smtp | mailboxes

`serve` runs it until SIGTERM or SIGINT, then stops in the order in which mail flows: no new sessions, messages that are being
received are finished, attempts under way get their time, the store hands back what was not attempted. A second signal cuts the
waiting short.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import random
import resource
import secrets
import signal
import ssl
import sys
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

import uvloop

from waymail.app.config.schema import Config
from waymail.app.config.schema import Listener as ListenerConfig
from waymail.app.config.values import Endpoint
from waymail.app.log import batch as batch_log
from waymail.app.log import flush as flush_log
from waymail.app.wiring_users import Accounts, open_accounts
from waymail.client.target import NextHop
from waymail.delivery.dispatch import Dispatch
from waymail.delivery.maildir import MaildirTransport
from waymail.delivery.routes import Mailboxes, Routes
from waymail.delivery.smtp import SmtpTransport
from waymail.mail.envelope import QueueIds
from waymail.net import streams, tls
from waymail.net.clock import SystemClock
from waymail.net.identity import Pair, ServerIdentity
from waymail.net.resolver import Resolver
from waymail.net.self_signed import self_signed
from waymail.queue.bounce import NoticeWriter
from waymail.queue.plan import RunnerLimits
from waymail.queue.retry import DAY, Schedule
from waymail.queue.runner import Runner
from waymail.server.backends.contract import BackendUnusable
from waymail.server.directory import Directory, LocalDomain
from waymail.server.freezes import FreezesUnusable
from waymail.server.inbound import Inbound, Trust
from waymail.server.intake import Intake
from waymail.server.limits import Limits
from waymail.server.listener import Listener
from waymail.server.quota import WRITE_INTERVAL
from waymail.server.reception import Networks, Reception
from waymail.server.submission import Submission
from waymail.server.users import UsersFileError
from waymail.store.contract import Store, StoreError
from waymail.store.memory import MemoryStore
from waymail.store.sqlite import SqliteStore

log = logging.getLogger("waymail")

SESSIONS_GRACE = 10.0  # seconds that sessions get to finish their message when the server stops
ATTEMPTS_GRACE = 30.0  # seconds that deliveries under way get
HISTORY = 30 * DAY  # how long the trace of a finished message is kept
# Objects made before the collector looks for circles: a message makes some two hundred that end by themselves, and with ten
# thousand sessions open each look is long. The default of 700 costs a tenth of the CPU time where sessions are reused.
GC_THRESHOLD = 20_000


@dataclass(frozen=True, slots=True)
class Machine:
    """The running parts that `serve` starts and stops."""

    store: Store
    runner: Runner[NextHop | Mailboxes]
    resolver: Resolver
    smtp: SmtpTransport
    accounts: Accounts
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
    return Machine(store, runner, resolver, smtp, accounts, listeners)


def sending_side(
    config: Config, store: Store, resolver: Resolver, smtp: SmtpTransport, clock: SystemClock, ids: QueueIds
) -> Runner[NextHop | Mailboxes]:
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


def mailboxes(config: Config) -> Mapping[Mailboxes, MaildirTransport]:
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


async def operate(
    machine: Machine, until: asyncio.Event, ready: Callable[[], None] = lambda: None, hurry: asyncio.Event | None = None
) -> None:
    """Run the machine until the event is set, and stop it without losing anything. `hurry` cuts the time short that sessions and
    deliveries get then."""
    hurry = hurry or asyncio.Event()
    async with asyncio.TaskGroup() as group:
        running = group.create_task(machine.runner.run())
        serving = [group.create_task(listener.run()) for _, listener in machine.listeners]
        await asyncio.sleep(0)  # the groups of runner and listeners are open now
        forgetting = group.create_task(forget_history(machine.store))
        saving = group.create_task(save_counts(machine.accounts))
        try:
            for one, listener in machine.listeners:
                for address in await listener.open(str(one.address), one.mode):
                    log.info("listening", extra={"fields": {"kind": one.kind, "address": address, "tls": one.tls}})
            flush_log()  # what is said below comes after that the listeners stand
            ready()
            await until.wait()
        finally:
            log.info("stopping")
            stops = (within(SESSIONS_GRACE, listener.stop, hurry) for _, listener in machine.listeners)
            await asyncio.gather(*stops, *serving)
            await within(ATTEMPTS_GRACE, machine.runner.stop, hurry)
            await running
            forgetting.cancel()
            saving.cancel()
            await machine.smtp.close()
            await machine.resolver.close()
            await machine.store.close()
            await machine.accounts.close()
    log.info("stopped")


async def within(grace: float, stop: Callable[[float], Coroutine[Any, Any, None]], hurry: asyncio.Event) -> None:
    """Stop with a grace, or with none as soon as there is a hurry."""
    stopping, hurried = asyncio.ensure_future(stop(grace)), asyncio.ensure_future(hurry.wait())
    await asyncio.wait({stopping, hurried}, return_when=asyncio.FIRST_COMPLETED)
    hurried.cancel()
    if not stopping.done():
        stopping.cancel()
        await stop(0.0)
    elif not stopping.cancelled():
        stopping.result()


async def save_counts(accounts: Accounts) -> None:
    """Once a minute, what users have sent is written down."""
    while True:
        await asyncio.sleep(WRITE_INTERVAL)
        await asyncio.to_thread(accounts.quota.save, SystemClock().now())


async def forget_history(store: Store) -> None:
    """Once a day, what was finished long ago goes."""
    while True:
        try:
            await store.forget(SystemClock().now() - HISTORY)
        except StoreError as error:
            log.error("old history could not be removed", extra={"fields": {"error": str(error)}})
        await asyncio.sleep(DAY)


async def run_until_signalled(config: Config, ready: Callable[[], None]) -> None:
    """Build and operate, until SIGTERM or SIGINT; a second one is a hurry."""
    gc.set_threshold(GC_THRESHOLD)
    sys.unraisablehook = on_unraisable
    raise_descriptor_limit(config.limits.sessions)
    stop, hurry = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    batch_log(loop)

    def on_signal() -> None:
        (hurry if stop.is_set() else stop).set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    loop.add_signal_handler(signal.SIGHUP, on_hangup)
    await operate(await build(config), stop, ready, hurry)


def raise_descriptor_limit(sessions: int) -> None:
    """A session is a file descriptor: take as many as the system allows, and say so where those are not enough."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        with suppress(OSError, ValueError):  # a sandbox may forbid it; then the service manager sets it
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard != resource.RLIM_INFINITY and hard < sessions:
        fields = {"sessions": sessions, "descriptors": hard}
        log.warning("fewer descriptors than sessions: raise LimitNOFILE, or lower limits.sessions", extra={"fields": fields})


def on_unraisable(problem: sys.UnraisableHookArgs) -> None:
    """Python itself reports a host name in a TLS handshake that is not ASCII, with a traceback that anybody could cause again and
    again. The handshake has failed, and is logged as all others are."""
    if not (isinstance(problem.exc_value, UnicodeDecodeError) and isinstance(problem.object, bytes)):
        sys.__unraisablehook__(problem)


def on_hangup() -> None:
    """Certificates and users are taken up when their files change; everything else needs a restart."""
    log.info("SIGHUP: certificates and users are read anew by themselves; other changes need a restart")


def serve(config: Config, *, ready: Callable[[], None] = lambda: None) -> int:
    """Run the server until it is told to stop. Returns an exit status of sysexits: what cannot start says why."""
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(run_until_signalled(config, ready))
    except Exception as error:
        reason = first_cause(error)
        status = next((status for kind, status in CANNOT_START.items() if isinstance(reason, kind)), None)
        if status is None:
            raise
        log.error("cannot serve", extra={"fields": {"error": str(reason)}})
        return status
    return os.EX_OK


def first_cause(error: BaseException) -> BaseException:
    """What is at the bottom of groups of exceptions."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


CANNOT_START: Mapping[type[BaseException], int] = {
    streams.ListenFailed: os.EX_UNAVAILABLE,
    UsersFileError: os.EX_CONFIG,
    FreezesUnusable: os.EX_CONFIG,
    BackendUnusable: os.EX_CONFIG,
    tls.IdentityProblem: os.EX_CONFIG,
    StoreError: os.EX_IOERR,
}
