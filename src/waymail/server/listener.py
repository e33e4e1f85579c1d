"""A listener: its sockets, its sessions, and what they share.

Promises: past the bounds on sessions a client gets a 421 and the others notice nothing; a session that is late is told so with
a 421 within a second, and cut off where it does not take that; `stop` lets messages that are being stored finish.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from waymail.net import streams
from waymail.net.door import TlsDoor
from waymail.server.answers import SHUTTING_DOWN, TIMED_OUT, TOO_MANY_OF_YOURS, TOO_MANY_SESSIONS
from waymail.server.authentication import Authenticator
from waymail.server.intake import Intake
from waymail.server.limits import Limits
from waymail.server.reception import Reception
from waymail.server.session import Session
from waymail.wire.limits import WireLimits
from waymail.wire.replies import Reply
from waymail.wire.server import Offer

log = logging.getLogger("waymail.server")

SWEEP = 0.5  # seconds between looks for sessions that are late


async def _contained(work: Coroutine[Any, Any, None]) -> None:
    """A bug that one session meets must not end the others."""
    try:
        await work
    except Exception:
        log.exception("a session ended in a bug")


class Listener:
    """Serves one kind of session at one address.

    `tls_context` gives the TLS context of the moment, so that a renewed certificate is taken up without a restart; None where
    the listener offers no TLS.
    """

    def __init__(
        self,
        reception: Reception,
        intake: Intake,
        authenticator: Authenticator,
        *,
        hostname: str,
        limits: Limits,
        tls_context: Callable[[], ssl.SSLContext] | None,
        implicit_tls: bool = False,
    ) -> None:
        self.reception = reception
        self.intake = intake
        self.authenticator = authenticator
        self.limits = limits
        self.implicit_tls = implicit_tls
        self.offer = Offer(
            hostname=hostname,
            starttls=tls_context is not None and not implicit_tls,
            auth=reception.mechanisms,
            limits=WireLimits(message_size=limits.message_size, recipients=limits.recipients),
        )
        self._tls_context = tls_context
        self._sessions: set[Session] = set()
        self._per_client: Counter[str] = Counter()
        self._group: asyncio.TaskGroup | None = None
        self._sockets: streams.Listener | TlsDoor | None = None
        self._done = asyncio.Event()
        self.time = asyncio.get_running_loop().time

    # --- for sessions ---

    def tls_context(self) -> ssl.SSLContext:
        if self._tls_context is None:
            raise streams.TlsFailed("this listener offers no TLS")
        return self._tls_context()

    def admit(self, session: Session) -> Reply | None:
        """Count a new session; a Reply is the refusal that it gets instead of a greeting."""
        self._sessions.add(session)
        self._per_client[session.client.address] += 1
        if self._done.is_set():
            return SHUTTING_DOWN
        if len(self._sessions) > self.limits.sessions:
            return TOO_MANY_SESSIONS
        if self._per_client[session.client.address] > self.limits.sessions_per_client:
            return TOO_MANY_OF_YOURS
        return None

    def left(self, session: Session) -> None:
        """The session's connection is gone."""
        if session in self._sessions:
            self._sessions.remove(session)
            self._per_client[session.client.address] -= 1
            if self._per_client[session.client.address] <= 0:
                del self._per_client[session.client.address]

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Work of a session that takes its time."""
        if self._group is None:
            work.close()
            raise RuntimeError("Listener.run must be running")
        return self._group.create_task(_contained(work))

    async def pause(self, seconds: float) -> None:
        """Wait, but not longer than the listener serves."""
        try:
            async with asyncio.timeout(seconds):
                await self._done.wait()
        except TimeoutError:
            return

    # --- for the application ---

    async def open(self, address: str) -> Sequence[str]:
        """Bind `address` ("0.0.0.0:25"). Returns the addresses bound. Raises OSError with a text that names the fix."""
        if self.implicit_tls:
            timeout = self.limits.handshake_timeout
            door = TlsDoor(self._admit_to_tls, context=self.tls_context, timeout=timeout, spawn=self.spawn)
            await door.open(address)
            self._sockets = door
        else:
            self._sockets = await streams.listen(lambda: Session(self), address)
        return self._sockets.addresses

    def _admit_to_tls(self, address: str) -> Session | None:
        session = Session(self, address)
        if self.admit(session) is None:
            return session
        self.left(session)
        return None

    async def run(self) -> None:
        """Serve until `stop`, then until what is being stored is stored."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            while not self._done.is_set():
                self._sweep()
                try:
                    async with asyncio.timeout(SWEEP):
                        await self._done.wait()
                except TimeoutError:
                    continue

    def _sweep(self) -> None:
        now = self.time()
        for session in list(self._sessions):
            if session.is_busy:
                continue  # this server is at work, not the peer
            age = now - session.started
            too_old = age > self.limits.session_time and (not session.is_receiving or age > 2 * self.limits.session_time)
            if now > session.deadline or too_old:
                self._end(session, TIMED_OUT)

    @staticmethod
    def _end(session: Session, reply: Reply) -> None:
        try:
            session.end(reply)
        except Exception:
            log.exception("a session could not be ended")

    async def stop(self, grace: float) -> None:
        """Take no more sessions; end those that are in the middle of a message after `grace` seconds at most, the others now."""
        if self._sockets is not None:
            self._sockets.close()
        deadline = self.time() + grace
        while self._sessions and self.time() < deadline:
            for session in list(self._sessions):
                if not session.is_receiving:
                    self._end(session, SHUTTING_DOWN)
            await asyncio.sleep(0.05)
        for session in list(self._sessions):
            self._end(session, SHUTTING_DOWN)
        self._done.set()  # what is being stored is waited for by `run`
