"""The server of a program that takes mail itself: its listeners, and the folder for what is too large for memory."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from ipaddress import ip_network
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from waymail.embedded import users as accounts
from waymail.embedded.checking import checked
from waymail.embedded.program import Asking, hooks_of
from waymail.embedded.receiving import Demands, Receiving, extensions_of
from waymail.log_lines import speak_up
from waymail.net.identity import ServerIdentity
from waymail.net.self_signed import self_signed
from waymail.server.backends.contract import UserBackend
from waymail.server.limits import Limits
from waymail.server.listener import Listener
from waymail.server.reception import Networks

log = logging.getLogger("waymail.server")

LAST = 1.0  # seconds after the grace of a stop in which what is cut off has to end

Tls = ssl.SSLContext | tuple[str | Path, str | Path] | Literal["self-signed"] | None
"""A context; the PEM files of a certificate chain and its key, read anew when they change; or a certificate made on the spot."""


@dataclass(frozen=True, slots=True)
class Speaks:
    """What a client has to know of a server."""

    tls: Literal["off", "starttls", "implicit"] = "off"
    lmtp: bool = False


@dataclass(frozen=True, slots=True)
class Settings:
    """What `Server` is told; see there."""

    hostname: str = ""
    tls: Tls = None
    implicit_tls: bool = False
    require_tls: bool = False
    users: accounts.Users | None = field(default=None, repr=False)
    require_auth: bool | None = None
    auth_in_clear: bool = False
    lmtp: bool = False
    size: int | None = None
    limits: Limits | None = None
    extensions: Sequence[str] = ()
    proxies: Sequence[str] = ()
    line_ends: Literal["strict", "normalise"] = "strict"
    mode: int = 0o660
    timeout: float = 300.0


class Serving:
    """A server that can be started, and stopped for good. What is wrong with the settings is raised when it is made: TypeError,
    ValueError."""

    def __init__(self, program: object, addresses: Sequence[str], settings: Settings) -> None:
        speak_up()
        self._hooks = hooks_of(program)
        self._at = addresses
        self._users = None if settings.users is None else accounts.backend(settings.users)
        self._settings = settings = checked(addresses, settings)
        self._extensions = extensions_of(settings.extensions)
        self._proxies = Networks([ip_network(one) for one in settings.proxies]) if settings.proxies else None
        self._limits = _limits(settings)
        self._listeners: list[Listener] = []
        self._running: list[asyncio.Task[None]] = []
        self._closing = AsyncExitStack()
        self.certificate: Path | None = None

    @property
    def addresses(self) -> tuple[str, ...]:
        """Those that it listens at, with their real ports."""
        return tuple(address for listener in self._listeners for address in listener.addresses)

    @property
    def speaks(self) -> Speaks:
        """What it speaks at each of them."""
        settings = self._settings
        return Speaks("off" if settings.tls is None else "implicit" if settings.implicit_tls else "starttls", settings.lmtp)

    @property
    def failure(self) -> BaseException | None:
        """Why it serves no more, though nobody has stopped it."""
        ended = (task for task in self._running if task.done() and not task.cancelled())
        return next((error for task in ended if (error := task.exception()) is not None), None)

    async def start(self) -> None:
        """Listen. Raises ListenFailed, AddressProblem, IdentityProblem, OSError; then nothing is left behind."""
        try:
            await self._start()
        except BaseException:
            await self.stop(0.0)
            raise

    async def _start(self) -> None:
        settings = self._settings
        hostname = settings.hostname or socket.gethostname()
        # It goes with the process, too, where nobody stops the server.
        folder = Path(self._closing.enter_context(TemporaryDirectory(prefix="waymail-", ignore_cleanup_errors=True)))
        users = self._users or UserBackend()
        self._closing.push_async_callback(users.close)
        await users.start()
        authenticator = accounts.authenticator(users)
        demands = Demands(
            authenticator.mechanisms if self._users is not None else lambda _: (),
            needs_tls=settings.require_tls,
            needs_auth=self._users is not None if settings.require_auth is None else settings.require_auth,
            lmtp=settings.lmtp,
            extensions=self._extensions,
        )
        receiving = Receiving(Asking(self._hooks, settings.timeout), demands, folder)
        context = self._context(hostname, folder)
        for address in self._at:
            listener = Listener(
                receiving,
                receiving,
                authenticator,
                hostname=hostname,
                limits=self._limits,
                tls_context=context,
                implicit_tls=settings.implicit_tls,
                proxies=self._proxies,
                normalise=settings.line_ends == "normalise",
                auth_in_clear=settings.auth_in_clear,
            )
            self._listeners.append(listener)
            self._running.append(asyncio.create_task(listener.run(), name=f"waymail at {address}"))
            await asyncio.sleep(0)  # it runs now
            await listener.open(address, settings.mode)

    def _context(self, hostname: str, folder: Path) -> Callable[[], ssl.SSLContext] | None:
        tls = self._settings.tls
        if tls is None:
            return None
        if isinstance(tls, ssl.SSLContext):
            return lambda: tls
        certificate, key = self_signed(folder / "tls", hostname) if tls == "self-signed" else tls
        self.certificate = Path(certificate)
        identity = ServerIdentity(
            certificate, key, report=lambda text: log.error("TLS certificate", extra={"fields": {"error": text}})
        )
        return identity.context

    async def stop(self, grace: float) -> None:
        """Take no more sessions. Messages that are coming in, and hooks that are at work, have `grace` seconds to end; what is
        not done then is cut off, and its client told nothing that it could take for a yes."""
        time = asyncio.get_running_loop().time
        ends = time() + grace
        try:
            await asyncio.gather(*(listener.stop(grace) for listener in self._listeners))
            if self._running:
                await asyncio.wait(self._running, timeout=max(0.0, ends - time()))
        finally:
            for task in self._running:
                task.cancel()
            if self._running:
                await asyncio.wait(self._running, timeout=LAST)
            await self._closing.aclose()


def _limits(settings: Settings) -> Limits:
    limits = settings.limits or Limits()
    return limits if settings.size is None else replace(limits, message_size=settings.size)
