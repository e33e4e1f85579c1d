"""Runs the machine that `app.wiring` puts together: start, signals, and an end within a deadline.

`serve` runs it until SIGTERM or SIGINT, then stops in the order in which mail flows: no new sessions, messages that are being
received are finished, attempts under way get their time, the store hands back what was not attempted. A second signal cuts the
waiting short.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import resource
import signal
import sys
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from typing import Any

import uvloop

from waymail.app.config.schema import Config
from waymail.app.log import batch as batch_log
from waymail.app.log import flush as flush_log
from waymail.app.wiring import Machine, build
from waymail.app.wiring_users import Accounts
from waymail.net import streams, tls
from waymail.net.clock import SystemClock
from waymail.server.backends.contract import BackendUnusable
from waymail.server.freezes import FreezesUnusable
from waymail.server.quota import WRITE_INTERVAL
from waymail.server.users import UsersFileError
from waymail.store.contract import StoreError

log = logging.getLogger("waymail")

SESSIONS_GRACE = 10.0  # seconds that sessions get to finish their message when the server stops
ATTEMPTS_GRACE = 30.0  # seconds that deliveries under way get
# Objects made before the collector looks for circles: a message makes some two hundred that end by themselves, and with ten
# thousand sessions open each look is long. The default of 700 costs a tenth of the CPU time where sessions are reused.
GC_THRESHOLD = 20_000


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
        forgetting = group.create_task(machine.history.run())
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
            await machine.sending.smtp.close()
            await machine.sending.resolver.close()
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
