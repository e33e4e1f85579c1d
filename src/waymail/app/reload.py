"""SIGHUP: the configuration file is read anew, and a running server goes by it. No session is ended by that.

First everything is made that could fail: the file is read and checked, back ends and certificates are loaded, new addresses
opened. Whatever fails is logged with its line, and all stays as it was. Then the new parts take the place of the old ones.

    sessions that are open     go by the new rules from their next command; what their last EHLO was told (size, extensions) stays
    attempts under way         end with the routes and transports that they began with
    messages in memory         find their way anew
    messages in the store      keep the time of their next attempt, and find their way then
    listeners                  new ones open; those that are named no more close their socket and end after their last session;
                               one whose table has changed gives its socket to a new one, and ends in the same way
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from waymail.app import log as logs
from waymail.app.changes import changes, stamps, startable
from waymail.app.config.listening import UnixSocket
from waymail.app.config.load import dotted, load
from waymail.app.config.problems import ConfigError, Problem
from waymail.app.config.schema import Config
from waymail.app.config.schema import Listener as ListenerConfig
from waymail.app.config.values import Endpoint
from waymail.app.wiring import Machine, Receiving, receiving_side, sending_side
from waymail.app.wiring_inbound import open_judging
from waymail.app.wiring_users import open_accounts
from waymail.net import streams, tls
from waymail.server.backends.contract import BackendUnusable, UserBackend
from waymail.server.freezes import FreezesUnusable
from waymail.server.listener import Listener
from waymail.server.users import UsersFileError

log = logging.getLogger("waymail")

LEAVE = 600.0  # seconds for which a back end of users that was replaced answers those who had begun to log in

Spawn = Callable[[Coroutine[Any, Any, None]], "asyncio.Task[None]"]


@dataclass(slots=True)
class Plan:
    """What becomes of the listeners. `kept` go on, `replaced` give their sockets to another, `gone` drain, `new` open."""

    kept: list[tuple[ListenerConfig, Listener]] = field(default_factory=list)
    replaced: list[tuple[ListenerConfig, Listener]] = field(default_factory=list)
    new: list[tuple[int, ListenerConfig]] = field(default_factory=list)
    gone: list[tuple[ListenerConfig, Listener]] = field(default_factory=list)


def plan(running: Sequence[tuple[ListenerConfig, Listener]], wanted: Sequence[ListenerConfig]) -> Plan:
    """The listeners of `wanted`, each with the one that is at its address already. The mode of a file can change in place."""
    made, left = Plan(), list(running)
    for index, one in enumerate(wanted):
        at = next((pair for pair in left if str(pair[0].address) == str(one.address)), None)
        if at is None:
            made.new.append((index, one))
            continue
        left.remove(at)
        is_same = at[0].model_copy(update={"mode": one.mode}) == one
        (made.kept if is_same else made.replaced).append((one, at[1]))
    made.gone = left
    return made


class Serving:
    """The listeners that run, those among them that are leaving too. `spawn` starts tasks."""

    def __init__(self, machine: Machine, spawn: Spawn) -> None:
        self.machine = machine
        self.spawn = spawn
        self.tasks: dict[Listener, asyncio.Task[None]] = {}
        self.leaving: dict[Listener, ListenerConfig] = {}
        self.retiring: set[asyncio.Task[None]] = set()
        self.stamps = stamps(machine.config)

    def retire(self, work: Coroutine[Any, Any, None]) -> None:
        """Let go of a part that is not used any more."""
        task = self.spawn(_contained(work))
        self.retiring.add(task)
        task.add_done_callback(self.retiring.discard)

    def run(self, listener: Listener) -> None:
        """Let it run, until it is stopped or has drained."""
        task = self.tasks[listener] = self.spawn(listener.run())

        def done(_: asyncio.Task[None]) -> None:
            self.tasks.pop(listener, None)
            self.leaving.pop(listener, None)

        task.add_done_callback(done)

    async def open(self, one: ListenerConfig, listener: Listener) -> None:
        """Raises ListenFailed."""
        await listener.open(str(one.address), one.mode)
        _tell(one, listener)

    async def open_new(self, config: Config, receiving: Receiving, steps: Plan) -> list[tuple[ListenerConfig, Listener]]:
        """Open what is new; where that fails, all is as before. Raises ConfigError."""
        in_the_way = [pair for pair in steps.gone if any(_clash(pair[0], one) for _, one in steps.new)]
        opened: list[tuple[ListenerConfig, Listener]] = []
        for one, listener in in_the_way:
            self.leave(one, listener)
        try:
            for index, one in steps.new:
                opened.append((one, receiving.listener(one, self.machine.intake)))
                self.run(opened[-1][1])
                await asyncio.sleep(0)  # it runs now
                try:
                    await self.open(one, opened[-1][1])
                except streams.StreamError as error:
                    raise ConfigError([_problem(config, ("listener", index, "address"), str(error))]) from error
        except BaseException:
            for _, listener in opened:
                listener.drain()
            await self._come_back(in_the_way)
            raise
        return opened

    async def _come_back(self, left: Sequence[tuple[ListenerConfig, Listener]]) -> None:
        """Open again what was closed for nothing."""
        machine = self.machine
        for one, listener in left:
            again = machine.receiving.listener(one, machine.intake)
            self.run(again)
            await asyncio.sleep(0)
            try:
                await self.open(one, again)
            except streams.StreamError as error:
                log.error("a listener could not be opened again", extra={"fields": {"error": str(error)}})
            machine.listeners = tuple((table, again if known is listener else known) for table, known in machine.listeners)

    async def replace(self, one: ListenerConfig, old: Listener) -> Listener:
        """Another listener takes over the sockets of `old`, which ends after its last session."""
        listener = self.machine.receiving.listener(one, self.machine.intake)
        self.run(listener)
        await asyncio.sleep(0)
        before = next(table for table, known in self.machine.listeners if known is old)
        self.leaving[old] = before
        if (bound := old.hand_over()) is not None:
            await listener.serve(bound)
        _tell(one, listener)
        return listener

    def leave(self, one: ListenerConfig, listener: Listener) -> None:
        """It takes nobody more, and ends after its last session."""
        log.info("listening no more", extra={"fields": {"kind": one.kind, "address": str(one.address)}})
        self.leaving[listener] = one
        listener.drain()

    def reconfigure(self, kept: Sequence[tuple[ListenerConfig, Listener]]) -> None:
        """All that have sessions go by the machine's new rules."""
        for one, listener in kept:
            self.machine.receiving.reconfigure(one, listener)
            if isinstance(one.address, UnixSocket):
                with suppress(OSError):
                    one.address.path.chmod(one.mode)
        for listener, one in self.leaving.items():
            self.machine.receiving.reconfigure(one, listener, is_leaving=True)


UNUSABLE = (ConfigError, UsersFileError, FreezesUnusable, BackendUnusable, tls.IdentityProblem)


async def reload(serving: Serving) -> None:
    """Read the file that the machine was made from, and let it go by that. Logs what came of it; raises nothing."""
    running = serving.machine.config
    file = running.source.file
    if file is None:
        log.warning("nothing to reload: there is no configuration file")
        return
    try:
        # Reading takes its time, and what it looks at may be on a slow disk.
        wanted, needing_restart = startable(running, await asyncio.to_thread(load, file, to_serve=True))
        changed = list(changes(running, wanted))
        found = await asyncio.to_thread(stamps, wanted)  # before they are read: what changes meanwhile is told the next time
        await take_up(serving, wanted)
    except UNUSABLE as error:
        for problem in error.problems if isinstance(error, ConfigError) else (error,):
            log.error("configuration", extra={"fields": {"problem": str(problem)}})
        log.error("not reloaded, the configuration from before stays", extra={"fields": {"file": str(file)}})
        return
    except Exception:
        log.exception("a reload met a bug, the configuration from before may stay")
        return
    for warning in wanted.source.warnings:
        log.warning("configuration", extra={"fields": {"problem": str(warning)}})
    if needing_restart:
        log.warning("changed, and needs a restart", extra={"fields": {"keys": [dotted(key) for key in needing_restart]}})
    fields: dict[str, Any] = {"file": str(file), "changed": [dotted(key) for key in changed]}
    if others := [str(path) for path, stamp in found.items() if serving.stamps.get(path) != stamp]:
        fields["files"] = others  # their names stand there as before, and what is in them counts
    serving.stamps = found
    log.info("reloaded", extra={"fields": fields})


async def take_up(serving: Serving, wanted: Config) -> None:
    """Let the machine go by another configuration. Raises what `UNUSABLE` names; then all is as before."""
    machine = serving.machine
    running, users = machine.config, machine.accounts.users
    kept_users = users if wanted.users == running.users else None
    accounts = open_accounts(wanted, machine.clock, machine.accounts, kept_users)
    try:
        resolver = machine.sending.resolver if wanted.dns == running.dns else None
        sending = sending_side(wanted, machine.clock, machine.ids, resolver)
        judging = open_judging(wanted, sending.resolver, machine.clock, machine.judging, machine.policy)
        receiving = receiving_side(wanted, accounts, judging)
        if kept_users is None:
            await accounts.start()
        steps = plan(machine.listeners, wanted.listeners)
        opened = await serving.open_new(wanted, receiving, steps)
    except BaseException:
        if kept_users is None:
            await accounts.users.close()
        raise
    # From here on nothing fails.
    left, machine.sending = machine.sending, sending
    machine.config, machine.accounts, machine.receiving, machine.judging = wanted, accounts, receiving, judging
    machine.runner.reconfigure(sending.carrier, sending.notices, sending.schedule, sending.limits)
    machine.history.bounds, machine.intake.room.reserve = wanted.history, wanted.queue.reserve
    replaced = [(one, await serving.replace(one, old)) for one, old in steps.replaced]
    for one, listener in steps.gone:
        if listener in serving.tasks and listener not in serving.leaving:
            serving.leave(one, listener)
    serving.reconfigure(steps.kept)
    made = {id(one): listener for one, listener in (*steps.kept, *replaced, *opened)}
    machine.listeners = tuple((one, made[id(one)]) for one in wanted.listeners)
    if wanted.log != running.log and machine.host is None:
        logs.flush()
        logs.configure(wanted.log.format, wanted.log.level)
        logs.batch(asyncio.get_running_loop())
    serving.retire(left.transports.close())
    serving.retire(left.smtp.close())  # its idle connections; an attempt under way keeps its own
    if kept_users is None:
        serving.retire(_let_go(users))


async def _contained(work: Coroutine[Any, Any, None]) -> None:
    """What goes wrong with an old part does not end the server."""
    try:
        await work
    except Exception:
        log.exception("a part that was replaced could not be let go")


async def _let_go(users: UserBackend) -> None:
    try:
        await asyncio.sleep(LEAVE)
    finally:
        await users.close()


def _tell(one: ListenerConfig, listener: Listener) -> None:
    for address in listener.addresses:
        log.info("listening", extra={"fields": {"kind": one.kind, "address": address, "tls": one.tls}})


def _clash(old: ListenerConfig, new: ListenerConfig) -> bool:
    """Whether the new one cannot be opened while the old one is: the same port, of all addresses or of one."""
    return isinstance(old.address, Endpoint) and isinstance(new.address, Endpoint) and 0 != old.address.port == new.address.port


def _problem(config: Config, key: tuple[str | int, ...], message: str) -> Problem:
    file = config.source.file
    if file is None:
        raise RuntimeError("a configuration that is reloaded comes from a file")
    return Problem(file, config.source.lines.get(key, 1), dotted(key), message)
