"""The server of `waymail serve` in a program that has an event loop already: what `waymail.Server` is with a `config`.

It is the same machine, started and stopped in the same order. What belongs to the process is left to the program: signals, the
log's format, the service manager, the limit of open files. The commands of `waymail` find it by its `data_dir`, as any other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from waymail.app.config.load import from_mapping, load
from waymail.app.running import first_cause, operate
from waymail.app.wiring import Host, Machine, build
from waymail.embedded.program import check_names
from waymail.embedded.serving import Speaks
from waymail.server.hooks import overridden
from waymail.server.policy import Policy


class WholeServer:
    """A server that can be started, and stopped for good. `config` is the path of a file, or a mapping as that would be read;
    paths in a mapping are seen from the current folder. `policy` is asked instead of `[inbound] policy`.

    Raises ConfigError; TypeError and ValueError where the policy would not be asked.
    """

    certificate: Path | None = None

    def __init__(self, policy: object, config: str | Path | Mapping[str, Any]) -> None:
        if policy is not None and not isinstance(policy, Policy):
            raise TypeError(f"with a config the program is a waymail.Policy, or None, not {policy!r:.100}")
        if policy is not None:
            check_names(policy, overridden(policy))
        self._policy = policy
        self._config = from_mapping(config, Path.cwd()) if isinstance(config, Mapping) else load(Path(config), to_serve=True)
        if policy is not None and not self._config.inbound.judge:
            raise ValueError("inbound.judge is false: nobody would ask the policy")
        self._machine: Machine | None = None
        self._until = asyncio.Event()
        self._running: asyncio.Task[None] | None = None

    @property
    def speaks(self) -> Speaks:
        """What the first listener speaks."""
        first, has_tls = self._config.listeners[0], self._config.tls.certificate or self._config.tls.self_signed
        return Speaks(first.tls if has_tls else "off", first.kind == "lmtp")

    @property
    def addresses(self) -> tuple[str, ...]:
        """Those of all listeners, in the order of the configuration."""
        listeners = self._machine.listeners if self._machine is not None else ()
        return tuple(address for _, listener in listeners for address in listener.addresses)

    @property
    def failure(self) -> BaseException | None:
        """Why it serves no more, though nobody has stopped it."""
        running = self._running
        if running is None or not running.done() or running.cancelled() or (error := running.exception()) is None:
            return None
        return first_cause(error)

    async def start(self) -> None:
        """Open the queue, and listen. Raises StoreError, ListenFailed, IdentityProblem, UsersFileError, BackendUnusable,
        ConfigError."""
        hangup, ready = asyncio.Event(), asyncio.Event()
        self._machine = machine = await build(self._config, Host(self._policy, hangup))
        self._running = asyncio.create_task(operate(machine, self._until, ready.set, hangup=hangup), name="waymail")
        waiting = asyncio.create_task(ready.wait())
        try:
            await asyncio.wait({self._running, waiting}, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            await self.stop(0.0)
            raise
        finally:
            waiting.cancel()
        if (failure := self.failure) is not None:
            raise failure

    async def stop(self, grace: float) -> None:
        """In the order in which mail flows. The configuration's `stop_after` says how long that may take. Raises what goes wrong
        in it, but nothing that `failure` has told."""
        if self._running is None or self._running.done():
            return
        self._until.set()
        await self._running
