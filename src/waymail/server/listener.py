"""A listener: its sockets, its sessions, and what they share.

Promises: past the bounds on sessions (`admission`) a client gets a 421 and the others notice nothing; a session that is late is
told so with a 421 within a second, and cut off where it does not take that; `stop` lets messages that are being stored finish.
Where sessions are scarce, those that are silent are ended early. What a listener goes by can be changed while it serves: sessions
ask for it anew at each command, and keep only what their last EHLO was told.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from waymail.net import streams, unix
from waymail.net.door import Addresses, Door
from waymail.server.admission import Admission
from waymail.server.answers import SHUTTING_DOWN, TIMED_OUT
from waymail.server.authentication import Authenticator
from waymail.server.intake import Taking
from waymail.server.limits import Limits
from waymail.server.reception import Client, Reception
from waymail.server.session import Session
from waymail.wire.limits import WireLimits
from waymail.wire.offer import Offer
from waymail.wire.replies import Reply

log = logging.getLogger("waymail.server")

UNIX = "unix:"  # what the address of a Unix-domain socket begins with
SWEEP = 0.5  # seconds between looks for sessions that are late
LOOK_AGAIN = 0.02  # seconds from the first look to the second at what sessions do, at a stop
TELL = 10.0  # seconds between lines in the log about connections that are refused


async def _contained(work: Coroutine[Any, Any, None]) -> None:
    """A bug that one session meets must not end the others."""
    try:
        await work
    except Exception:
        log.exception("a session ended in a bug")


class Listener:
    """Serves one kind of session at one address.

    `tls_context` gives the TLS context of the moment, so that a renewed certificate is taken up without a restart; None where
    the listener offers no TLS. From `proxies` a PROXY header is read, and tells who the client is. `exempt` are the addresses
    that no rate applies to. With `auth_in_clear` clients may log in without TLS.
    """

    def __init__(
        self,
        reception: Reception,
        intake: Taking,
        authenticator: Authenticator,
        *,
        hostname: str,
        limits: Limits,
        tls_context: Callable[[], ssl.SSLContext] | None,
        implicit_tls: bool = False,
        proxies: Addresses | None = None,
        exempt: Addresses = (),
        normalise: bool = False,
        auth_in_clear: bool = False,
    ) -> None:
        self.intake = intake
        self.implicit_tls = implicit_tls
        self._normalise = normalise
        self._auth_in_clear = auth_in_clear
        self._tls_context = tls_context
        self._proxies = proxies
        # The address that each is counted under, which it may not keep (XCLIENT); None for one that is not counted.
        self._sessions: dict[Session, str | None] = {}
        self._expected: dict[Session, tuple[str, str]] = {}  # the addresses of client and proxy, before the session is connected
        self._silent: dict[Session, tuple[float, float]] = {}  # where sessions are scarce: a deadline, and since when it stands
        self._admission = Admission(limits, exempt)
        self._turned_away = 0  # connections since the last line in the log about them
        self._tell_at = 0.0
        self._group: asyncio.TaskGroup | None = None
        self._bound: streams.Bound | None = None
        self._sockets: streams.Listener | Door | None = None
        self._draining = False
        self._done = asyncio.Event()
        self._empty = asyncio.Event()
        self.time = asyncio.get_running_loop().time
        self.reconfigure(reception, authenticator, hostname=hostname, limits=limits, tls_context=tls_context, exempt=exempt)

    # --- for sessions ---

    def tls_context(self) -> ssl.SSLContext:
        if self._tls_context is None:
            raise streams.TlsFailed("this listener offers no TLS")
        return self._tls_context()

    def admit(self, session: Session) -> Reply | None:
        """Count a new session; a Reply is the refusal that it gets instead of a greeting."""
        if self._expected and (expected := self._expected.pop(session, None)) is not None:
            session.client.address, session.client.proxy = expected
        address = session.client.address
        refusal = SHUTTING_DOWN if self._done.is_set() else self._admission.enter(address, self.time())
        self._sessions[session] = address if refusal is None else None
        if refusal is not None:
            self._turn_away(address, refusal)
        return refusal

    def _turn_away(self, address: str, refusal: Reply) -> None:
        """Tell the operator: not of each, for the log is not to be flooded with them."""
        self._turned_away += 1
        if (now := self.time()) >= self._tell_at:
            fields = {"peer": address, "connections": self._turned_away, "reply": str(refusal)}
            log.warning("connections are refused", extra={"fields": fields})
            self._turned_away, self._tell_at = 0, now + TELL

    def allows_message(self, client: Client) -> bool:
        """Whether the client may begin one more message now (`messages_per_minute`)."""
        return self._admission.allows_message(client.address, client.user, self.time())

    def left(self, session: Session) -> None:
        """The session's connection is gone."""
        address = self._sessions.pop(session, None)
        if address is not None:
            self._admission.leave(address)
        self._expected.pop(session, None)
        self._silent.pop(session, None)
        if not self._sessions:
            self._empty.set()

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

    async def open(self, address: str, mode: int = 0o660) -> Sequence[str]:
        """Bind `address` ("0.0.0.0:25", or "unix:/run/waymail/lmtp.sock" with the file mode `mode`). Returns the addresses bound.
        Raises ListenFailed, whose text names the fix."""
        if not address.startswith(UNIX):
            bound = await streams.bind(address)
        elif self.implicit_tls or self._proxies is not None:
            raise streams.ListenFailed(f"cannot listen on {address}: a Unix socket has neither implicit TLS nor proxies")
        else:
            bound = unix.bound(Path(address.removeprefix(UNIX)), mode)
        await self.serve(bound)
        return bound.addresses

    @property
    def addresses(self) -> Sequence[str]:
        """Those that it takes sessions at."""
        return () if self._bound is None else self._bound.addresses

    async def serve(self, bound: streams.Bound) -> None:
        """Take the sessions that come to sockets which listen already; they are the listener's from here on."""
        self._bound = bound
        if self.implicit_tls or self._proxies is not None:
            door = Door(
                self._admit_to_tls if self.implicit_tls else self._expect,
                context=self.tls_context if self.implicit_tls else None,
                proxies=self._proxies or (),
                timeout=self.limits.handshake_timeout,
                most_waiting=self.limits.sessions,
                spawn=self.spawn,
            )
            door.serve(bound)
            self._sockets = door
        else:
            self._sockets = await streams.serve(lambda: Session(self), bound)

    def reconfigure(
        self,
        reception: Reception,
        authenticator: Authenticator,
        *,
        hostname: str,
        limits: Limits,
        exempt: Addresses,
        tls_context: Callable[[], ssl.SSLContext] | None = None,
    ) -> None:
        """Go by other rules from now on, in open sessions from their next command. Without a `tls_context` it keeps its own."""
        self.reception, self.authenticator, self.limits = reception, authenticator, limits
        self._tls_context = tls_context or self._tls_context
        self.offer = Offer(
            hostname=hostname,
            starttls=self._tls_context is not None and not self.implicit_tls,
            normalise=self._normalise,
            auth_in_clear=self._auth_in_clear,
            limits=WireLimits(
                message_size=limits.message_size, recipients=limits.recipients, transactions=limits.messages_per_session
            ),
        )
        self._admission.reconfigure(limits, exempt, [one for one in self._sessions.values() if one is not None])
        if isinstance(self._sockets, Door):
            self._sockets.most_waiting = limits.sessions

    def drain(self) -> None:
        """Take no more sessions; `run` ends after the last of those that are open."""
        if (bound := self.hand_over()) is not None:
            bound.close()

    def hand_over(self) -> streams.Bound | None:
        """The same, but the sockets stay open, for another listener to serve."""
        self._draining = True
        if isinstance(self._sockets, Door):
            self._sockets.shut()
        elif self._sockets is not None:
            self._sockets.close()
        bound, self._bound = self._bound, None
        return bound

    def _expect(self, address: str, proxy: str) -> Session:
        """A session in clear: it is admitted when it is connected, so that one that is refused can be told."""
        session = Session(self)
        self._expected[session] = address, proxy
        return session

    def _admit_to_tls(self, address: str, proxy: str) -> Session | None:
        session = Session(self, address)
        session.client.proxy = proxy
        if self.admit(session) is None:
            return session
        self.left(session)
        return None

    async def run(self) -> None:
        """Serve until `stop`, then until what is being stored is stored; or until it is drained."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            while not self._done.is_set():
                self._sweep()
                if self._draining and not self._sessions and not (isinstance(self._sockets, Door) and self._sockets.is_busy):
                    self._done.set()
                try:
                    async with asyncio.timeout(SWEEP):
                        await self._done.wait()
                except TimeoutError:
                    continue

    def _sweep(self) -> None:
        now, is_crowded = self.time(), self._admission.is_crowded
        if not is_crowded:
            self._silent.clear()
        for session in list(self._sessions):
            if session.is_busy:
                continue  # this server is at work, not the peer
            age = now - session.started
            too_old = age > self.limits.session_time and (not session.is_receiving or age > 2 * self.limits.session_time)
            if now > session.deadline or too_old or (is_crowded and self._is_silent(session, now)):
                self._end(session, TIMED_OUT)

    def _is_silent(self, session: Session, now: float) -> bool:
        """Whether its peer has let time pass that others need: whatever it says moves the deadline. In the middle of a message,
        that counts only for a peer with many sessions."""
        deadline, since = self._silent.get(session, (0.0, now))
        if deadline != session.deadline:
            self._silent[session] = session.deadline, now
            return False
        return now - since > self.limits.crowded_timeout and (
            not session.is_receiving or self._admission.holds_many(self._sessions[session] or "")
        )

    @staticmethod
    def _end(session: Session, reply: Reply) -> None:
        if reply is TIMED_OUT and not session.is_closing:
            log.info("a session was ended", extra={"fields": {"peer": session.client.address, "why": "it let its time pass"}})
        try:
            session.end(reply)
        except Exception:
            log.exception("a session could not be ended")

    async def stop(self, grace: float) -> None:
        """Take no more sessions; end those that are in the middle of a message after `grace` seconds at most, the others now."""
        if self._sockets is not None:
            self._sockets.close()
        if self._bound is not None:
            self._bound.close()
        deadline, pause = self.time() + grace, LOOK_AGAIN
        while self._sessions and self.time() < deadline:
            for session in list(self._sessions):
                if session.is_parting:
                    session.cut()  # it was told, and has nothing left to say
                elif not session.is_receiving:
                    self._end(session, SHUTTING_DOWN)
            self._empty.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(min(pause, max(0.0, deadline - self.time()))):
                    await self._empty.wait()
            pause = min(2 * pause, SWEEP / 2)
        for session in list(self._sessions):
            self._end(session, SHUTTING_DOWN)
            session.call_off()
        self._done.set()  # what is being stored is waited for by `run`
