"""Sending, for programs without asyncio: what `waymail.sync` shows.

The same as `api`, on the same steps (`sending`), over blocking sockets: each call waits in the thread that makes it. There is no
event loop and no thread of its own.
"""

from __future__ import annotations

import inspect
import os
import ssl
from collections.abc import Generator, Iterable, Sequence
from email.message import EmailMessage
from functools import partial
from types import TracebackType
from typing import Self, Unpack

from waymail.client.blocking import BlockingIo, run
from waymail.client.dsn import Dsn
from waymail.client.many import Carrier, Given, Source
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


def send(
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
    """Send one message over a connection of its own: `waymail.send`, waiting in the calling thread."""
    with Client(url, **settings) as client:
        return client.send(message, sender=sender, recipients=recipients, dsn=dsn, options=options, binary=binary)


class Client:
    """Sends messages to one server, and keeps connections for the next ones: `waymail.Client` for programs without asyncio.

    The arguments mean the same. Any number of threads may use it at once: each send has a connection of its own, and where the
    pool has none free, waits. After os.fork() the child opens connections of its own.

    One thing is different. A `token` that is a function is called in the thread that sends: it cannot be a coroutine function
    (ValueError), and how long it takes is not bounded by `timeout`.
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
        if isinstance(auth, Credentials) and inspect.iscoroutinefunction(auth.token):
            raise ValueError("waymail.sync takes a token from a plain function, not from a coroutine function")
        self._network = network_of(network, source_address, proxy)
        self._make = partial(
            Sender,
            url=url,
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
        self._own, self._process = self._make(BlockingIo(self._network)), os.getpid()

    def send(
        self,
        message: EmailMessage | bytes,
        *,
        sender: str | None = None,
        recipients: str | Sequence[str] | None = None,
        dsn: Dsn | None = None,
        options: Options = NO_OPTIONS,
        binary: bool = False,
    ) -> SendResult:
        """Send a message: see `waymail.Client.send` for the arguments, what is returned and what is raised."""
        return run(self._sender.send(message, sender=sender, recipients=recipients, dsn=dsn, options=options, binary=binary))

    def send_many(self, messages: Iterable[Given]) -> Generator[SendResult, None, None]:
        """Send many messages, one after the other; the results come in their order. See `waymail.Client.send_many`; what goes
        wrong with one message is the `error` of its result.

        Messages in a list overlap on the connection where the server permits it, and their results come in bunches. Of a
        generator the next message is asked for when the result of the one before has been taken.
        """
        source = Source(messages)
        carrier = Carrier(self._sender, source)
        while (results := run(carrier.results())) is not None:
            yield from results
        if source.raised is not None:
            raise source.raised

    def check(self) -> ServerInfo:
        """Open a session as a `send` would, with TLS and AUTH, and keep it for the next one. What is known of the server then.
        Raises SMTPError where there is no session."""
        return run(self._sender.check())

    def etrn(self, domain: str, *, below: bool = False) -> Reply:
        """Ask the server to try at once what waits there for `domain`: see `waymail.Client.etrn`."""
        return run(self._sender.etrn(domain, below=below))

    def close(self) -> None:
        """Say QUIT and close the idle connections; those of sends that are still under way are closed when these end."""
        run(self._sender.close())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    @property
    def _sender(self) -> Sender:
        """The sender whose connections are this process's own."""
        process = os.getpid()
        if self._process != process:
            others, self._own, self._process = self._own, self._make(BlockingIo(self._network)), process
            others.forget()
        return self._own
