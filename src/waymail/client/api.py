"""Sending, for programs.

    result = await waymail.send(message, "smtp://ann:secret@mail.example.org")

    async with waymail.Client("smtp://ann:secret@mail.example.org") as client:
        await client.send(message)

`smtp://` demands STARTTLS with a verified certificate, and `smtps://` TLS from the first octet; less than that must be said.
Whatever goes wrong outside of the program raises an `SMTPError`; what the caller got wrong is a ValueError.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from email.message import EmailMessage
from math import inf
from types import TracebackType
from typing import Literal, Self

from waymail.client import url as urls
from waymail.client.attempt import Attempts, Result, Stage
from waymail.client.dialogue import ask
from waymail.client.errors import (
    AllRecipientsRefused,
    ConnectionFailed,
    MessageRefused,
    SenderRefused,
    SMTPError,
)
from waymail.client.pool import PoolLimits
from waymail.client.session import Contexts
from waymail.client.target import Credentials, Host, NextHop, Tls
from waymail.client.transaction import Message, Timeouts
from waymail.mail.envelope import NO_OPTIONS, Body, Options, Recipient
from waymail.mail.message import body_parameter, envelope_of, to_wire
from waymail.mail.needs import needs
from waymail.wire import grammar
from waymail.wire.commands import Etrn
from waymail.wire.parameters import NOTIFY_VALUE
from waymail.wire.replies import Reply

TlsChoice = Literal["require", "opportunistic", "off"]


@dataclass(frozen=True, slots=True)
class SendResult:
    """What became of a message that was accepted for at least one recipient.

    `accepted` are the addresses for which the server took responsibility; `refused` has the reply for each other one; `reply`
    is what the server said when it accepted (often with its queue id). `uncertain` are addresses for which nobody can say: the
    connection was lost after the whole message was sent to them, in a further transaction. It is nearly always empty; where
    that happens to all recipients, `UncertainDelivery` is raised instead.
    """

    accepted: tuple[str, ...]
    refused: Mapping[str, Reply] = field(default_factory=dict)
    uncertain: tuple[str, ...] = ()
    reply: Reply | None = None


async def send(
    message: EmailMessage | bytes,
    url: str,
    *,
    sender: str | None = None,
    recipients: str | Sequence[str] | None = None,
    options: Options = NO_OPTIONS,
    notify: str = "",
    binary: bool = False,
    tls: TlsChoice | None = None,
    tls_context: ssl.SSLContext | None = None,
    timeout: float | None = None,
) -> SendResult:
    """Send one message over a connection of its own. The arguments are those of `Client` and `Client.send`, and so is what it
    returns and raises."""
    async with Client(url, tls=tls, tls_context=tls_context, timeout=timeout) as client:
        return await client.send(message, sender=sender, recipients=recipients, options=options, notify=notify, binary=binary)


class Client:
    """Sends messages to one server, and keeps connections for the next ones.

    `url` is smtp://user:password@host:port, smtps://... or lmtp://... (see `waymail.client.url`); without a port, 587 or 465.
    `auth` is a user name and password, or `Credentials`, instead of those in the URL. `pool` bounds the connections: 10 at most,
    idle for 15 seconds at most, unless it says otherwise; sends that find none free wait.

    `tls` is "require" (the default for smtp://: STARTTLS, verified certificate), "opportunistic" (TLS where offered, any
    certificate, else cleartext) or "off"; the URL may say it, too (?tls=off). `tls_context` is used instead of the system's
    certification authorities.

    `timeout` is in seconds, for one `send` as a whole; without it, the limits of RFC 5321 §4.5.3.2 hold for each step: minutes.

    Passwords go by SCRAM where the server has it; by PLAIN or LOGIN only over TLS that was demanded (RFC 4954 §4).

    Raises ValueError (UrlError for the URL) for what cannot be meant. Belongs to one event loop; any number of tasks may
    use it at once.
    """

    def __init__(
        self,
        url: str,
        *,
        auth: Credentials | tuple[str, str] | None = None,
        pool: PoolLimits | None = None,
        tls: TlsChoice | None = None,
        tls_context: ssl.SSLContext | None = None,
        timeout: float | None = None,
    ) -> None:
        target = urls.parse(url)
        credentials = Credentials(*auth) if isinstance(auth, tuple) else auth or target.credentials
        host = Host(target.host, target.port, path=target.path)
        self._next_hop = NextHop(url, (host,), _demand(target, tls), credentials, target.scheme == "lmtp")
        limits = pool or PoolLimits()
        self._free = asyncio.Semaphore(limits.connections)
        self._timeout = timeout
        self._attempts = Attempts(
            hello_name=target.options.get("hello"),
            contexts=Contexts(tls_context, tls_context),
            timeouts=Timeouts() if timeout is None else Timeouts(quit=min(timeout, Timeouts().quit)),
            pool=limits,
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
        """Send a message.

        `message` is an EmailMessage (its Bcc fields are not sent) or bytes, whose line ends become CRLF, and which are sent as
        they are otherwise. `sender` ("" is the null reverse-path) and `recipients` are the envelope; where they are None, the
        header fields say: Sender or From; To, Cc and Bcc.

        `options` asks the server for more (see `Options`): for DSN's RET and ENVID, to hold the message, to deliver it by some
        time, for REQUIRETLS or a priority. SMTPUTF8 is asked for by itself where the message needs it. `notify` is when to send
        a notice: "NEVER", or some of SUCCESS, FAILURE and DELAY with commas between them (RFC 3461 §4.1). What makes a
        promise that a server without the extension cannot keep (REQUIRETLS, holding, mode "R") fails there with a
        MessageRefused; the rest is left out. `binary`: the message, in bytes, is sent octet for octet, line ends included (RFC
        3030); a server without BINARYMIME gets it converted.

        Returns where the server accepted the message for at least one recipient. Raises SMTPError where not, and ValueError
        where there is no sender or no recipient, or an address is none.
        """
        sender, addresses = _envelope(message, sender, recipients)
        if notify and NOTIFY_VALUE.fullmatch(notify) is None:
            raise ValueError("notify is NEVER, or some of SUCCESS, FAILURE and DELAY with commas between them")
        content = message if binary and isinstance(message, bytes) else to_wire(message)
        if options.hold_until and not options.hold:
            until = datetime.fromtimestamp(int(options.hold_until), UTC)
            options = replace(options, hold=f"until;{until:%Y-%m-%dT%H:%M:%SZ}")
        outgoing = Message(
            sender,
            Body(content, len(content)),
            "BINARYMIME" if binary else body_parameter(content),
            _with_utf8(options, content, sender, addresses),
            tuple(Recipient(address, notify=notify.upper()) for address in addresses) if notify else (),
        )
        deadline = inf if self._timeout is None else asyncio.get_running_loop().time() + self._timeout
        async with _Turn(self._free, deadline, self._next_hop.hosts[0].name):
            results = await self._attempts.make(self._next_hop, outgoing, addresses, deadline=deadline)
        return result_of(results)

    async def etrn(self, domain: str, *, below: bool = False) -> Reply:
        """Ask the server to try at once what waits there for `domain`, and with `below` for the domains below it (RFC 1985 §5):
        for a host that is reached only at times. The mail comes by connections that the server opens.

        Returns the positive reply. Raises SMTPError where the server does not offer it or refuses, ValueError for what is no
        domain.
        """
        if not grammar.is_domain(domain):
            raise ValueError(f"{domain!r} is no domain")
        deadline = inf if self._timeout is None else asyncio.get_running_loop().time() + self._timeout
        async with _Turn(self._free, deadline, self._next_hop.hosts[0].name):
            connection = await self._attempts.session(self._next_hop, deadline=deadline)
            try:
                if "ETRN" not in connection.core.extensions:
                    raise SMTPError(f"{connection.peer.host} does not offer ETRN to us", peer=connection.peer)
                reply = await ask(connection, Etrn(domain, below), "ETRN")
                if not reply.is_positive:
                    raise SMTPError(f"{connection.peer.host} refused: {reply}", reply, connection.peer)
                return reply
            finally:
                await connection.quit()

    async def close(self) -> None:
        """Say QUIT and close the idle connections; those of sends that are still under way are closed when these end."""
        await self._attempts.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()


def result_of(results: Mapping[str, Result]) -> SendResult:
    """What `send` returns or raises, from what became of each recipient."""
    accepted = tuple(address for address, result in results.items() if result.is_accepted)
    if not accepted:
        raise _error_of(results)
    others = {address: result for address, result in results.items() if not result.is_accepted}
    return SendResult(
        accepted,
        {address: _reply_of(result) for address, result in others.items() if not result.is_uncertain},
        tuple(address for address, result in others.items() if result.is_uncertain),
        results[accepted[-1]].reply,
    )


def _error_of(results: Mapping[str, Result]) -> SMTPError:
    refused = {address: result.reply for address, result in results.items() if result.stage is Stage.RCPT and result.reply}
    # Where some recipients were refused and the message as well, the message's reply says more.
    decisive = next((result for result in results.values() if result.stage is not Stage.RCPT or result.trouble), None)
    if decisive is None:
        last = list(results.values())[-1]
        return AllRecipientsRefused(f"no recipient was accepted: {last.reply}", refused, last.peer)
    if decisive.trouble is not None:
        return decisive.trouble
    if decisive.stage is Stage.MAIL:
        return SenderRefused(f"the sender was refused: {decisive.reply}", decisive.reply, decisive.peer)
    return MessageRefused(f"the message was refused: {decisive.reply}", decisive.reply, decisive.peer)


def _reply_of(result: Result) -> Reply:
    if result.reply is not None:
        return result.reply
    return Reply(451, f"the session ended before a reply came: {result.trouble}", "4.4.2")


def _demand(target: urls.Target, tls: str | None) -> Tls:
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


def _envelope(message: EmailMessage | bytes, sender: str | None, recipients: str | Sequence[str] | None) -> tuple[str, list[str]]:
    """Raises ValueError (EnvelopeProblem where the header fields are at fault)."""
    if isinstance(recipients, str):
        recipients = [recipients]
    if sender is None or recipients is None:
        sender, recipients = envelope_of(message, sender=sender, recipients=recipients)
    if not recipients:
        raise ValueError("no recipients")
    for address in (sender, *recipients) if sender else recipients:
        # RFC 5321 §4.1.2, RFC 6531 §3.3: what no address can hold must not come near the wire.
        if not grammar.is_mailbox(address) or not address.isprintable():
            raise ValueError(f"{address!r} is no address")
    return sender, list(recipients)


def _with_utf8(options: Options, content: bytes, sender: str, recipients: Sequence[str]) -> Options:
    """RFC 6531 §3.4: SMTPUTF8 where an address or a header field calls for it."""
    if options.smtputf8 or (content.isascii() and sender.isascii() and all(map(str.isascii, recipients))):
        return options
    is_international = not content.isascii() and needs((content,)).utf8_headers
    local_parts = (address.rpartition("@")[0] for address in (sender, *recipients))
    return replace(options, smtputf8=True) if is_international or not all(map(str.isascii, local_parts)) else options


class _Turn:
    """A turn to use a connection, within the deadline."""

    def __init__(self, free: asyncio.Semaphore, deadline: float, host: str) -> None:
        self._free = free
        self._deadline = deadline
        self._host = host

    async def __aenter__(self) -> None:
        if not self._free.locked() or self._deadline == inf:
            await self._free.acquire()
            return
        try:
            async with asyncio.timeout_at(self._deadline):
                await self._free.acquire()
        except TimeoutError:
            raise ConnectionFailed(f"{self._host}: no connection of the pool was free in time") from None

    async def __aexit__(self, *_: object) -> None:
        self._free.release()
