"""Runs the machine that `app.wiring` puts together: start, signals, and an end within a deadline.

`serve` runs it until SIGTERM or SIGINT, then stops in the order in which mail flows: no new sessions, messages that are being
received are finished, attempts under way get their time, the store hands back what was not attempted. A second signal cuts the
waiting short. Whatever hangs, the process ends a second after `stop_after` at the latest. SIGHUP is for `app.reload`.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping
from contextlib import suppress
from typing import Any

import uvloop

from waymail import __version__
from waymail.app import moving, systemd
from waymail.app.config.schema import Config
from waymail.app.control import Control
from waymail.app.log import batch as batch_log
from waymail.app.log import flush as flush_log
from waymail.app.reload import Serving, reload
from waymail.app.wiring import Machine, build
from waymail.net import streams, tls
from waymail.server.backends.contract import BackendUnusable
from waymail.server.freezes import FreezesUnusable
from waymail.server.quota import WRITE_INTERVAL
from waymail.server.room import LOOK, Room
from waymail.server.users import UsersFileError
from waymail.store.contract import Store, StoreError

log = logging.getLogger("waymail")

SESSIONS = 10.0  # seconds of a stop that sessions get at most to finish their message
LAST = 2.0  # seconds of a stop that are kept for its end: what is known of attempts is written down, the store closes
HURRY = 5.0  # seconds that a stop takes at most from the second signal on
CUT_OFF = 0.2  # seconds that a task gets to end when it is cut off
STORE_LOOK = 1.0  # seconds between two looks at whether the store can be used
LATE = 0.5  # seconds behind the deadline after which the process is ended by force
# Objects made before the collector looks for circles: a message makes some two hundred that end by themselves, and with ten
# thousand sessions open each look is long. The default of 700 costs a tenth of the CPU time where sessions are reused.
GC_THRESHOLD = 20_000


async def operate(
    machine: Machine,
    until: asyncio.Event,
    ready: Callable[[], None] = lambda: None,
    hurry: asyncio.Event | None = None,
    hangup: asyncio.Event | None = None,
) -> None:
    """Run the machine until the event is set, and stop it without losing anything. `hurry` cuts the time short that sessions and
    deliveries get then; `hangup` lets it read its configuration anew."""
    async with asyncio.TaskGroup() as group:
        running = group.create_task(machine.runner.run())
        serving = Serving(machine, group.create_task)
        for _, listener in machine.listeners:
            serving.run(listener)
        await asyncio.sleep(0)  # the groups of runner and listeners are open now
        control = Control(machine)
        control.open()
        chores = [
            group.create_task(control.run()),
            group.create_task(machine.history.run()),
            group.create_task(save_counts(machine)),
            group.create_task(watch_room(machine.intake.room)),
            group.create_task(watch_senders(machine)),
            group.create_task(stay_alive(machine)),
            group.create_task(watch_store(machine.store)),
            group.create_task(reload_at(hangup or asyncio.Event(), serving)),
        ]
        try:
            for one, listener in machine.listeners:
                await serving.open(one, listener)
            await asyncio.to_thread(moving.sweep, machine.config, machine.clock.now())
            await tell_start(machine)
            flush_log()  # what is said below comes after that the listeners stand
            ready()
            tell_manager(machine, systemd.READY)
            await until.wait()
        finally:
            tell_manager(machine, systemd.STOPPING)
            log.info("stopping")
            await stop(serving, running, chores, hurry or asyncio.Event())
    log.info("stopped")


async def tell_start(machine: Machine) -> None:
    """What an operator looks for first in the log of a server."""
    fields: dict[str, object] = {"version": __version__, "pid": os.getpid()}
    fields["config"] = str(machine.config.source.file or ("of development" if machine.host is None else "of the program"))
    try:
        backlog = await machine.store.waiting(0)
        fields |= {"waiting": backlog.queued, "held": backlog.held}
    except StoreError as error:
        log.error("the queue cannot be read", extra={"fields": {"error": str(error)}})
    log.info("started", extra={"fields": fields})


async def stop(serving: Serving, running: asyncio.Task[None], chores: list[asyncio.Task[None]], hurry: asyncio.Event) -> None:
    """In the order in which mail flows, within `stop_after`: no new sessions, messages that are coming in, attempts under way;
    then the store hands back what was not attempted."""
    machine, time = serving.machine, asyncio.get_running_loop().time
    last = min(LAST, machine.config.stop_after / 5)
    ends = time() + machine.config.stop_after - last
    for chore in (*chores, *serving.retiring):
        chore.cancel()
    await patiently(chores, CUT_OFF, hurry)  # a reload that is cut off may have opened something
    listeners = dict(serving.tasks)
    await asyncio.gather(*(within(min(SESSIONS, (ends - time()) / 3), one.stop, hurry) for one in listeners))
    await patiently(listeners.values(), (ends - time()) / 2, hurry)
    await within(max(0.0, ends - time()), machine.runner.stop, hurry)
    await patiently([running], last / 2, hurry)
    closing = [machine.sending.smtp.close(), machine.sending.transports.close()]
    await patiently([asyncio.ensure_future(one) for one in closing], last / 4, hurry)
    await machine.sending.resolver.close()
    await machine.store.close()
    await machine.accounts.close()
    if machine.judging is not None:
        await asyncio.to_thread(machine.judging.save, stopping=True)


async def patiently(tasks: Iterable[asyncio.Future[None]], seconds: float, hurry: asyncio.Event) -> None:
    """Wait for tasks, but no longer than that, and not at all in a hurry; those that are not done then are cut off."""
    if not (waited := set(tasks)):
        return
    hurried = asyncio.ensure_future(hurry.wait())
    ended = asyncio.ensure_future(asyncio.wait(waited, timeout=max(0.0, seconds)))
    await asyncio.wait({ended, hurried}, return_when=asyncio.FIRST_COMPLETED)
    ended.cancel()
    hurried.cancel()
    await asyncio.wait(waited, timeout=CUT_OFF)  # what was about to end anyway
    for task in waited:
        task.cancel()
    await asyncio.wait(waited, timeout=CUT_OFF)


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


async def save_counts(machine: Machine) -> None:
    """Once a minute, what users have sent is written down."""
    while True:
        await asyncio.sleep(WRITE_INTERVAL)
        await asyncio.to_thread(machine.accounts.quota.save, machine.clock.now())


async def watch_senders(machine: Machine) -> None:
    """Look after what the judge goes by, also when a reload has put another in its place."""
    while True:
        judging = machine.judging
        async with asyncio.TaskGroup() as group:
            watching = group.create_task(judging.watch()) if judging is not None else None
            while machine.judging is judging:  # noqa: ASYNC110 - a reload tells nobody
                await asyncio.sleep(LOOK)
            if watching is not None:
                watching.cancel()


async def watch_room(room: Room) -> None:
    """See again and again how much of the disk is free."""
    while True:
        room.look()
        await asyncio.sleep(LOOK)


async def watch_store(store: Store) -> None:
    """A store that has to be opened anew ends the server, and whoever looks after it starts it again. Raises StoreError."""
    while True:
        await asyncio.sleep(STORE_LOOK)
        store.check()


def tell_manager(machine: Machine, state: str) -> None:
    """Tell the service manager, unless it looks after a program that the server is only a part of."""
    if machine.host is None:
        systemd.notify(state)


async def stay_alive(machine: Machine) -> None:
    """Tell the service manager that the loop turns, where it wants to know."""
    while (seconds := systemd.watchdog_seconds()) is not None:
        tell_manager(machine, systemd.ALIVE)
        await asyncio.sleep(seconds)


async def reload_at(hangup: asyncio.Event, serving: Serving) -> None:
    """Go by the file anew whenever `hangup` is set; several at once are one."""
    while True:
        await hangup.wait()
        hangup.clear()
        machine = serving.machine
        tell_manager(machine, systemd.reloading())
        await reload(serving)
        if machine.host is None:
            raise_descriptor_limit(machine.config.limits.sessions)
        tell_manager(machine, systemd.READY)


class LastResort(threading.Thread):
    """Ends the process when its stop takes longer than it may: a thread that waits for a dead disk cannot be cut off. Nothing is
    lost by it: what was accepted is on disk, and the next start goes on."""

    def __init__(self, seconds: float) -> None:
        super().__init__(daemon=True, name="last resort")
        self._at = time.monotonic() + seconds
        self._sooner = threading.Event()

    def hurry(self) -> None:
        """The stop is to be over in `HURRY` seconds at most."""
        self._at = min(self._at, time.monotonic() + HURRY)
        self._sooner.set()

    def run(self) -> None:
        """Until the process ends, in one way or the other."""
        while (left := self._at + LATE - time.monotonic()) > 0:
            self._sooner.wait(left)
            self._sooner.clear()
        log.error("the stop took too long, the process ends now; the next start goes on where it was")
        os._exit(os.EX_TEMPFAIL)


async def run_until_signalled(config: Config, ready: Callable[[], None]) -> None:
    """Build and operate, until SIGTERM or SIGINT; a second one is a hurry. SIGHUP is a reload."""
    gc.set_threshold(GC_THRESHOLD)
    sys.unraisablehook = on_unraisable
    raise_descriptor_limit(config.limits.sessions)
    stop, hurry, hangup = asyncio.Event(), asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    batch_log(loop)
    machine: Machine | None = None
    last_resort: LastResort | None = None

    def on_signal() -> None:
        nonlocal last_resort
        if last_resort is not None:
            last_resort.hurry()
            hurry.set()
            return
        last_resort = LastResort((machine.config if machine else config).stop_after)
        last_resort.start()
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    loop.add_signal_handler(signal.SIGHUP, hangup.set)
    machine = await build(config)
    await operate(machine, stop, ready, hurry, hangup)


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
