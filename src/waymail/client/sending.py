"""Sending to where a URL says: what `Client` does, over asyncio (`api`) and over blocking sockets (`sync`) alike.

The coroutines here await nothing but `io` and what it dialled; the two faces differ in how they run them.
"""

from __future__ import annotations

import random
import secrets
import ssl
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from email.message import EmailMessage
from math import inf
from typing import Literal, TypedDict

from waymail.client import direct
from waymail.client import url as urls
from waymail.client.arguments import check_type
from waymail.client.attempt import Attempts, Result, Stage
from waymail.client.connection import Connection
from waymail.client.dialogue import ask
from waymail.client.dsn import Dsn
from waymail.client.errors import ConnectionFailed, SMTPError
from waymail.client.io import Io
from waymail.client.outgoing import Outgoing, outgoing
from waymail.client.pool import Pool
from waymail.client.prepare import Mail, Preparation
from waymail.client.rate import Pace, Rate
from waymail.client.results import SendResult, failed, result_of
from waymail.client.retry import NO_RETRY, Retry, may_help, persist
from waymail.client.session import Contexts
from waymail.client.signing import DkimKey, keys_of
from waymail.client.target import Credentials, Host, NextHop, Tls
from waymail.client.transaction import Message, Timeouts
from waymail.mail.envelope import NO_OPTIONS, Options
from waymail.net.network import Network
from waymail.wire import grammar
from waymail.wire.commands import Etrn
from waymail.wire.replies import Reply

# What is decided of a message, and the addresses that are to be tried by themselves: for them nothing was taken.
Partial = tuple[Mapping[str, Result], Sequence[str]]
TlsChoice = Literal["require", "opportunistic", "off"]


class Settings(TypedDict, total=False):
    """The arguments of `Client` besides the URL, for who hands them on."""

    auth: Credentials | tuple[str, str] | None
    pool: Pool | None
    tls: TlsChoice | None
    tls_context: ssl.SSLContext | None
    timeout: float | Timeouts | None
    rate: Rate | None
    retry: Retry | None
    dkim: DkimKey | Sequence[DkimKey] | None
    hello: str | None
    source_address: str | None
    proxy: str | None
    network: Network | None


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
    """Sends messages to one server. The arguments are those of `api.Client`. Raises ValueError for what cannot be meant,
    TypeError for what is of another type."""

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
        rate: Rate | None = None,
        retry: Retry | None = None,
        dkim: DkimKey | Sequence[DkimKey] | None = None,
        hello: str | None = None,
    ) -> None:
        check_type(pool, Pool | None, "pool is a waymail.Pool, as waymail.Pool(max=5)")
        check_type(rate, Rate | None, "rate is a waymail.Rate, as waymail.Rate(14, per=1)")
        check_type(retry, Retry | None, "retry is a waymail.Retry, as waymail.Retry(times=3)")
        check_network(tls_context, io.network)
        target = urls.parse(url)
        credentials = credentials_of(auth) or target.credentials
        self._is_direct = target.scheme == "mx"
        if self._is_direct and credentials is not None:
            raise ValueError("mx: takes no user and password: nobody logs in at the mail hosts of others")
        host = Host(target.host, target.port, path=target.path)
        hello = _hello(target.options.get("hello") if hello is None else hello)
        self._io = io
        self._how = Preparation(keys_of(dkim), hello if hello and grammar.is_domain(hello) else "", self._is_direct)
        self._pace = None if rate is None else Pace(rate)
        self._retry = retry or NO_RETRY
        self._rng = random.SystemRandom()
        self._next_hop = NextHop(f"{target.scheme}:{host}", (host,), demand(target, tls), credentials, target.scheme == "lmtp")
        self.pool = pool or Pool()
        self._places = io.places(self.pool.max)
        timeouts = timeout if isinstance(timeout, Timeouts) else Timeouts(total=timeout)
        self._total = inf if timeouts.total is None else timeouts.total
        self._attempts = Attempts(
            io,
            hello_name=hello,
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
        dsn: Dsn | None = None,
        options: Options = NO_OPTIONS,
        binary: bool = False,
    ) -> SendResult:
        """As `api.Client.send`."""
        return await self.carry(await self.ready(Mail(message, sender, recipients, dsn, options, binary)))

    async def told(self, mail: Mail) -> SendResult:
        """Send a message; what `send` would raise is the result's `error`."""
        try:
            ready = await self.ready(mail)
        except ValueError as error:
            return failed(error, mail.message)
        return await self.told_of(ready, self.deadline())

    async def told_of(self, ready: Outgoing, deadline: float, begun: Partial | None = None) -> SendResult:
        """`told`, for what is ready. `begun`: what is decided already, and the addresses for which nothing is."""
        try:
            return await self.carry(ready, deadline, begun)
        except (SMTPError, ValueError) as error:
            return failed(error, ready.given, ready.message_id)

    def result(self, ready: Outgoing, results: Mapping[str, Result]) -> SendResult:
        """The result of what is decided."""
        try:
            return result_of(results, ready.given, ready.message_id)
        except SMTPError as error:
            return failed(error, ready.given, ready.message_id)

    def is_decided(self, begun: Partial) -> bool:
        """Whether nothing is left to try."""
        return not begun[1] and not (self._retry.times and any(map(may_help, begun[0].values())))

    async def ready(self, mail: Mail) -> Outgoing:
        """The message as it is sent, completed and signed. Raises ValueError."""
        if self._how.is_slow:
            return await self._io.offload(outgoing, mail, self._how, now=time.time(), unique=_unique)
        return outgoing(mail, self._how, now=time.time(), unique=_unique)

    async def carry(self, ready: Outgoing, deadline: float | None = None, begun: Partial | None = None) -> SendResult:
        """Send what is ready to be sent. Raises SMTPError."""
        deadline = self.deadline() if deadline is None else deadline
        if self._pace is not None:
            await self._keep_pace(self._pace, deadline)

        async def attempt(addresses: Sequence[str]) -> Mapping[str, Result]:
            nonlocal begun
            if begun is not None:
                (decided, again), begun = begun, None
                return {**decided, **(await attempt(again))} if again else decided
            if self._is_direct:
                return await self._attempt_directly(ready.message, addresses, deadline)
            return await self._attempt(self._next_hop, ready.message, addresses, deadline)

        results = await persist(self._retry, ready.addresses, attempt, clock=self._io, chance=self._rng.random, deadline=deadline)
        return result_of({address: results[address] for address in ready.addresses}, ready.given, ready.message_id)

    # --- for a stream

    async def stream_connection(self) -> Connection | None:
        """An idle connection on which transactions may overlap, in a place of the pool. None where there is none."""
        if self._pace is not None or self._is_direct or not await self._places.take(self._io.now() + self._total):
            return None
        connection = self._attempts.idle(self._next_hop)
        if connection is not None and connection.can_overlap:
            return connection
        if connection is not None:
            self._attempts.keep(self._next_hop, connection)
        self._places.give_back()
        return None

    def may_go_on(self, connection: Connection) -> bool:
        """Whether one more transaction may begin on it."""
        return self._attempts.may_go_on(connection)

    def give_back(self, connection: Connection) -> None:
        """Take back what `stream_connection` gave."""
        self._attempts.keep(self._next_hop, connection)
        self._places.give_back()

    def deadline(self) -> float:
        """The time (by `now`) by which a send that begins now is to be over."""
        return self._io.now() + self._total

    def now(self) -> float:
        return self._io.now()

    async def _keep_pace(self, pace: Pace, deadline: float) -> None:
        seconds = pace.turn(self._io.now(), deadline)
        if seconds is None:
            raise ConnectionFailed("the rate left no turn in time: nothing was sent")
        if seconds > 0:
            await self._io.sleep(seconds)

    async def _attempt(
        self, next_hop: NextHop, message: Message, addresses: Sequence[str], deadline: float
    ) -> Mapping[str, Result]:
        """One attempt with one next hop, in a place of the pool."""
        try:
            await self._turn(deadline)
        except ConnectionFailed as error:
            return dict.fromkeys(addresses, Result(Stage.SESSION, None, error))
        try:
            return await self._attempts.make(next_hop, message, addresses, deadline=deadline)
        finally:
            self._places.give_back()

    async def _attempt_directly(self, message: Message, addresses: Sequence[str], deadline: float) -> Mapping[str, Result]:
        """One attempt with all the hosts that take mail for these addresses."""
        network = self._io.network
        lookups = direct.plan(
            addresses,
            tls=self._next_hop.tls,
            rng=self._rng,
            source_address=network.source_address,
            allow_loopback=network.reroute is not None,
        )
        plan = await self._io.look_up(lookups, min(direct.LOOKUP_SECONDS, deadline - self._io.now()))
        results = plan.results
        for found in await self._io.each([self._attempt(hop, message, some, deadline) for hop, some in plan.hops]):
            results |= found
        return {address: results[address] for address in addresses}

    async def check(self) -> ServerInfo:
        """As `api.Client.check`."""
        self._need_server()
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
        self._need_server()
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

    def _need_server(self) -> None:
        if self._is_direct:
            raise ValueError("mx: is no server: which ones there are depends on the recipients")

    async def _turn(self, deadline: float) -> None:
        """Take a place in which to use a connection, within the deadline; it is the caller's to give back."""
        if not await self._places.take(deadline):
            raise ConnectionFailed(f"{self._next_hop.hosts[0].name or 'mx:'}: no connection of the pool was free in time")


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
        if tls == "require":
            raise ValueError('tls="require" makes no sense over a Unix-domain socket, which does not leave this machine')
        return Tls.OFF
    if target.tls is Tls.IMPLICIT:
        if tls not in (None, "require"):
            raise ValueError(f'tls="{tls}" contradicts smtps://, which is TLS from the first octet: use smtp://')
        return Tls.IMPLICIT
    if tls not in (None, "require", "opportunistic", "off"):
        raise ValueError('tls is "require", "opportunistic" or "off"')
    if tls is not None:
        return Tls(tls)
    # Who takes mail by LMTP stands next to us, as a rule; a password asks for more. The mail hosts of the world have certificates
    # of all kinds (RFC 7435 §1).
    is_relaxed = target.scheme == "mx" or (target.scheme == "lmtp" and not target.user)
    return target.tls or (Tls.OPPORTUNISTIC if is_relaxed else Tls.REQUIRED)


def check_network(tls_context: ssl.SSLContext | None, network: Network | None) -> None:
    """Raises TypeError."""
    example = 'ssl.create_default_context(cafile="ca.pem")'
    check_type(tls_context, ssl.SSLContext | None, f"tls_context is an ssl.SSLContext, as {example}")
    check_type(network, Network | None, 'network is a waymail.Network, as waymail.Network(source_address="192.0.2.1")')


def credentials_of(auth: Credentials | tuple[str, str] | None) -> Credentials | None:
    """Raises ValueError for what is none. It is not shown, for whatever it is holds a password."""
    match auth:
        case None | Credentials():
            return auth
        case (str(user), str(password)):
            return Credentials(user, password)
    raise ValueError("auth is a tuple of user name and password, or waymail.Credentials")


def _hello(name: str | None) -> str | None:
    """Raises ValueError for a name that EHLO cannot say (RFC 5321 §4.1.1.1)."""
    if name is not None and not grammar.is_hello_name(name):
        raise ValueError(f"hello is a host name, or an address literal as in [192.0.2.1], not {name!r}")
    return name


def _unique() -> str:
    """What stands before the "@" of a Message-ID."""
    return f"{int(time.time() * 1000):x}.{secrets.token_hex(8)}"
