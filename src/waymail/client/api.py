"""Sending, for programs with asyncio.

    result = await waymail.send(message, "smtp://ann:secret@mail.example.org")

    async with waymail.Client("smtp://ann:secret@mail.example.org") as client:
        await client.send(message)

`smtp://` demands STARTTLS with a verified certificate, and `smtps://` TLS from the first octet; less than that must be said.
Whatever goes wrong outside of the program raises an `SMTPError`; what the caller got wrong is a ValueError. `waymail.sync` has
the same for programs without asyncio.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Sequence
from email.message import EmailMessage
from types import TracebackType
from typing import Self, Unpack

from waymail.client.asynchronous import AsyncIo
from waymail.client.crowd import send_many
from waymail.client.dsn import Dsn
from waymail.client.many import Given
from waymail.client.pool import Pool
from waymail.client.rate import Rate
from waymail.client.results import SendResult
from waymail.client.retry import Retry
from waymail.client.sending import Sender, ServerInfo, Settings, TlsChoice
from waymail.client.signing import DkimKey
from waymail.client.target import Credentials
from waymail.client.transaction import Timeouts
from waymail.mail.envelope import NO_OPTIONS, Options
from waymail.net.network import Network, network_of
from waymail.wire.replies import Reply


async def send(
    message: EmailMessage | bytes,
    url: str,
    *,
    sender: str | None = None,
    recipients: str | Sequence[str] | None = None,
    dsn: Dsn | None = None,
    options: Options = NO_OPTIONS,
    binary: bool = False,
    **settings: Unpack[Settings],
) -> SendResult:
    """Send one message over a connection of its own. The arguments are those of `Client` and `Client.send`, and so is what it
    returns and raises."""
    async with Client(url, **settings) as client:
        return await client.send(message, sender=sender, recipients=recipients, dsn=dsn, options=options, binary=binary)


class Client:
    """Sends messages to one server, and keeps connections for the next ones.

    `url` is smtp://user:password@host:port, smtps://... or lmtp://... (see `waymail.client.url`); without a port, 587 or 465.
    "mx:" is no server: it delivers to the hosts that DNS names for each recipient.
    `auth` is a user name and password, or `Credentials`, instead of those in the URL. `pool` bounds the connections: 10 at most,
    idle for 15 seconds at most, unless it says otherwise; sends that find none free wait.

    `tls` is "require" (the default for smtp://: STARTTLS, verified certificate), "opportunistic" (TLS where offered, any
    certificate, else cleartext) or "off"; the URL may say it, too (?tls=off). `tls_context` is used instead of the system's
    certification authorities.

    `timeout` is in seconds, for one `send` as a whole, or `Timeouts` for the single steps; without it, the limits of RFC 5321
    §4.5.3.2 hold for each step: minutes.

    Passwords go by SCRAM where the server has it; by PLAIN or LOGIN only over TLS that was demanded (RFC 4954 §4).

    `rate` bounds how many messages go out in some time: a send waits for its turn. `retry` tries again what is safe to try again
    (see `Retry`); without it, nothing is. `dkim` is the key to sign with, or several. `hello` names us in EHLO: the host name of
    this machine in the world; without it we are the address from which we connect.

    `source_address` is the local IP address to connect from; `proxy` the URL of a proxy, socks5://, socks5h:// or http://, which
    needs the extra `proxy`. `network` says both for several clients, and which resolvers to ask (see `Network`).

    Raises ValueError (UrlError for the URL) for what cannot be meant, TypeError for an argument of another type. Belongs to the
    event loop in which it is used first, and raises RuntimeError in another one; any number of tasks may use it at once.
    """

    def __init__(
        self,
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
        source_address: str | None = None,
        proxy: str | None = None,
        network: Network | None = None,
    ) -> None:
        self._own = Sender(
            AsyncIo(network_of(network, source_address, proxy)),
            url,
            auth=auth,
            pool=pool,
            tls=tls,
            tls_context=tls_context,
            timeout=timeout,
            rate=rate,
            retry=retry,
            dkim=dkim,
            hello=hello,
        )
        self._loop: asyncio.AbstractEventLoop | None = None

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
        """Send a message.

        `message` is an EmailMessage (its Bcc fields are not sent; Date and Message-ID are put in front where it has none) or
        bytes, whose line ends become CRLF, and which are sent as they are otherwise. `sender` ("" is the null reverse-path) and
        `recipients` are the envelope, each an address or one mailbox with its name: "Ann <ann@example.org>". Where they are None,
        the header fields say: Sender or From; To, Cc and Bcc.

        `dsn` says which notices to send (see `Dsn`). `options` asks the server for more (see `Options`): to hold the message, to
        deliver it by some time, for REQUIRETLS or a priority. SMTPUTF8 is asked for by itself where the message needs it. What
        makes a promise that a server without the extension cannot keep (REQUIRETLS, holding, mode "R") fails there with a
        MessageRefused; the rest is left out. `binary`: the message, in bytes, is sent octet for octet, line ends included (RFC
        3030); a server without BINARYMIME gets it converted.

        Returns where the server accepted the message for at least one recipient. Raises SMTPError where not, and ValueError
        where there is no sender or no recipient, or an address is none.
        """
        return await self._sender.send(message, sender=sender, recipients=recipients, dsn=dsn, options=options, binary=binary)

    def send_many(self, messages: Iterable[Given] | AsyncIterable[Given]) -> AsyncGenerator[SendResult, None]:
        """Send many messages, over as many connections at once as the pool has; the results come as they are ready.

        A message is an EmailMessage, bytes, or a `Mail`, which has the arguments that `send` takes besides. They are asked for
        as they can be sent. Nothing is raised for one message: its result's `error` has what `send` would have raised. What
        `messages` itself raises is raised when those before it are done. Who leaves the loop early stops those that are under
        way: of these nobody can say what became of them.
        """
        return send_many(self._sender, messages)

    async def check(self) -> ServerInfo:
        """Open a session as a `send` would, with TLS and AUTH, and keep it for the next one. What is known of the server then.
        Raises SMTPError where there is no session."""
        return await self._sender.check()

    async def etrn(self, domain: str, *, below: bool = False) -> Reply:
        """Ask the server to try at once what waits there for `domain`, and with `below` for the domains below it (RFC 1985 §5):
        for a host that is reached only at times. The mail comes by connections that the server opens.

        Returns the positive reply. Raises SMTPError where the server does not offer it or refuses, ValueError for what is no
        domain.
        """
        return await self._sender.etrn(domain, below=below)

    async def close(self) -> None:
        """Say QUIT and close the idle connections; those of sends that are still under way are closed when these end."""
        await self._sender.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    @property
    def _sender(self) -> Sender:
        """The sender, in the event loop to which its connections belong."""
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = loop
        elif self._loop is not loop:
            raise RuntimeError(
                "this waymail.Client was used in another event loop, to which its connections belong: make one for each loop, "
                "or use waymail.sync.Client"
            )
        return self._own
