"""Sending to where a URL says: what `Client` does, over asyncio (`api`) and over blocking sockets (`sync`) alike.

The coroutines here await nothing but `io` and what it dialled; the two faces differ in how they run them.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from email.message import EmailMessage
from math import inf
from typing import Literal

from waymail.client import url as urls
from waymail.client.attempt import Attempts
from waymail.client.connection import Connection
from waymail.client.dialogue import ask
from waymail.client.errors import ConnectionFailed, SMTPError
from waymail.client.io import Io
from waymail.client.outgoing import Outgoing, outgoing
from waymail.client.pool import Pool
from waymail.client.results import SendResult, result_of
from waymail.client.session import Contexts
from waymail.client.target import Credentials, Host, NextHop, Tls
from waymail.client.transaction import Timeouts
from waymail.mail.envelope import NO_OPTIONS, Options
from waymail.wire import grammar
from waymail.wire.commands import Etrn
from waymail.wire.replies import Reply

TlsChoice = Literal["require", "opportunistic", "off"]


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """A server that has a session for us: its `host` name and `address`, its TLS in words ("" in cleartext), whether it
    `is_authenticated` by our password or token, and the `extensions` that it offers: keywords, and the text behind them."""

    host: str
    address: str
    tls: str
    is_authenticated: bool
    extensions: Mapping[str, str] = field(default_factory=dict)


class Sender:
    """Sends messages to one server. The arguments are those of `api.Client`. Raises ValueError for what cannot be meant."""

    def __init__(
        self,
        io: Io,
        url: str,
        *,
        auth: Credentials | tuple[str, str] | None = None,
        pool: Pool | None = None,
        tls: TlsChoice | None = None,
        tls_context: ssl.SSLContext | None = None,
        timeout: float | Timeouts | None = None,
    ) -> None:
        target = urls.parse(url)
        credentials = Credentials(*auth) if isinstance(auth, tuple) else auth or target.credentials
        host = Host(target.host, target.port, path=target.path)
        self._io = io
        self._next_hop = NextHop(url, (host,), demand(target, tls), credentials, target.scheme == "lmtp")
        self.pool = pool or Pool()
        self._places = io.places(self.pool.max)
        timeouts = timeout if isinstance(timeout, Timeouts) else Timeouts(total=timeout)
        self._total = inf if timeouts.total is None else timeouts.total
        self._attempts = Attempts(
            io,
            hello_name=target.options.get("hello"),
            contexts=Contexts(tls_context, tls_context),
            timeouts=replace(timeouts, quit=min(timeouts.quit, self._total)),
            pool=self.pool.limits,
        )

    async def send(
        self,
        message: EmailMessage | bytes,
        *,
        sender: str | None = None,
        recipients: str | Sequence[str] | None = None,
        options: Options = NO_OPTIONS,
        notify: str = "",
        binary: bool = False,
    ) -> SendResult:
        """As `api.Client.send`."""
        ready = outgoing(message, sender=sender, recipients=recipients, options=options, notify=notify, binary=binary)
        return await self.carry(ready)

    async def carry(self, ready: Outgoing) -> SendResult:
        """Send what is ready to be sent. Raises SMTPError."""
        deadline = self._io.now() + self._total
        await self._turn(deadline)
        try:
            results = await self._attempts.make(self._next_hop, ready.message, ready.addresses, deadline=deadline)
        finally:
            self._places.give_back()
        return result_of(results, ready.given, ready.message_id)

    async def check(self) -> ServerInfo:
        """As `api.Client.check`."""
        deadline = self._io.now() + self._total
        await self._turn(deadline)
        try:
            connection = await self._attempts.session(self._next_hop, deadline=deadline)
            peer, extensions = connection.peer, dict(connection.offer.extensions)
            self._attempts.keep(self._next_hop, connection)
        finally:
            self._places.give_back()
        return ServerInfo(peer.host, peer.address, peer.tls, connection.is_authenticated, extensions)

    async def etrn(self, domain: str, *, below: bool = False) -> Reply:
        """As `api.Client.etrn`."""
        if not grammar.is_domain(domain):
            raise ValueError(f"{domain!r} is no domain")
        deadline = self._io.now() + self._total
        await self._turn(deadline)
        try:
            connection = await self._attempts.session(self._next_hop, deadline=deadline)
            try:
                return await _etrn(connection, Etrn(domain, below))
            finally:
                await connection.quit()
        finally:
            self._places.give_back()

    async def close(self) -> None:
        """Say QUIT and close the idle connections; those of sends that are still under way are closed when these end."""
        await self._attempts.close()

    def forget(self) -> None:
        """Close the idle connections without a word: they are those of the process that forked this one."""
        self._attempts.forget()

    async def _turn(self, deadline: float) -> None:
        """Take a place in which to use a connection, within the deadline; it is the caller's to give back."""
        if not await self._places.take(deadline):
            raise ConnectionFailed(f"{self._next_hop.hosts[0].name}: no connection of the pool was free in time")


async def _etrn(connection: Connection, command: Etrn) -> Reply:
    if "ETRN" not in connection.core.extensions:
        raise SMTPError(f"{connection.peer.host} does not offer ETRN to us", peer=connection.peer)
    reply = await ask(connection, command, "ETRN")
    if not reply.is_positive:
        raise SMTPError(f"{connection.peer.host} refused: {reply}", reply, connection.peer)
    return reply


def demand(target: urls.Target, tls: str | None) -> Tls:
    """What is asked of TLS: by the argument, by the URL, or by what is usual. Raises ValueError for a contradiction."""
    if target.path:
        return Tls.OFF
    if target.tls is Tls.IMPLICIT:
        if tls not in (None, "require"):
            raise ValueError(f'tls="{tls}" contradicts smtps://, which is TLS from the first octet: use smtp://')
        return Tls.IMPLICIT
    if tls not in (None, "require", "opportunistic", "off"):
        raise ValueError('tls is "require", "opportunistic" or "off"')
    if tls is not None:
        return Tls(tls)
    # Who takes mail by LMTP stands next to us, as a rule; a password asks for more.
    return target.tls or (Tls.OPPORTUNISTIC if target.scheme == "lmtp" and not target.user else Tls.REQUIRED)
