"""An SMTP or LMTP server for the tests of a program that sends mail, in a thread of its own: the program may block, or not.

    with SmtpServer() as server:
        server.script("RCPT TO:<bob@", "550 5.1.1 no such user")
        send_the_newsletter(server.host, server.port)
        assert server.messages[0].subject == "News"

Without a script it takes every message, and refuses what no server takes. It listens on 127.0.0.1, at a port that was free.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from dataclasses import replace
from types import TracebackType
from typing import Self, Unpack

from waymail.testing import certificates
from waymail.testing.certificates import CertificateWord
from waymail.testing.channel import Channel
from waymail.testing.inbox import Inbox
from waymail.testing.loop import LoopThread
from waymail.testing.received import ReceivedMail
from waymail.testing.record import Record
from waymail.testing.script import Fault, Said
from waymail.testing.smtp_options import Options, OptionWords, check_words
from waymail.testing.smtp_session import Session

HOST = "127.0.0.1"


class SmtpServer(Inbox):
    """The server. `options` are those of `waymail.testing.smtp_options.Options`. It serves while its `with` block lasts, or from
    `open` to `close`. All methods but `arrival` are for any thread, and block for less than milliseconds; `wait_for` waits.

    `loop`, which must have started, is for several servers in one thread; `on_mail` is told of each message, in that thread.
    """

    def __init__(
        self,
        *,
        loop: LoopThread | None = None,
        on_mail: Callable[[ReceivedMail], None] | None = None,
        **options: Unpack[OptionWords],
    ) -> None:
        check_words(options)
        super().__init__(Record(on_mail))
        self._options = Options(**options)
        self._owns_loop = loop is None
        self._loop = loop or LoopThread("waymail.testing.smtp_server")
        self._socket: socket.socket | None = None
        self._server: asyncio.Server | None = None
        self._channels: set[Channel] = set()
        self._sessions = 0
        self._failure: Exception | None = None
        self._port = 0
        self._is_open = False

    # --- where it is ---

    @property
    def host(self) -> str:
        return HOST

    @property
    def port(self) -> int:
        return self._port

    @property
    def address(self) -> str:
        """Host and port, with a colon between them."""
        return f"{HOST}:{self._port}"

    @property
    def url(self) -> str:
        """For `waymail.Client` and the like. With TLS, it is used with `tls_context`."""
        if self._options.tls == "implicit":
            return f"smtps://{self.address}"
        scheme = "lmtp" if self._options.lmtp else "smtp"
        return f"{scheme}://{self.address}{'?tls=off' if self._options.tls == 'off' else ''}"

    @property
    def tls_context(self) -> ssl.SSLContext:
        """For the client: it trusts the certificates of these servers, and no others."""
        return certificates.client_context()

    @property
    def ca_file(self) -> str:
        """The path of a file with the authority that `tls_context` trusts, in PEM."""
        return certificates.ca_file()

    # --- what has happened ---

    @property
    def commands(self) -> list[str]:
        """The lines that clients sent, in order, without content."""
        return self._record.commands

    @property
    def connections(self) -> int:
        """How many there were."""
        return self._record.connections

    # --- what is to happen ---

    def configure(self, **options: Unpack[OptionWords]) -> None:
        """Change options; the others stay. They hold for connections from now on. Raises ValueError as `Options` does."""
        check_words(options)
        self._options = replace(self._options, **options)

    def script(
        self,
        moment: str,
        reply: Said = None,
        *,
        times: int | None = None,
        delay: float = 0.0,
        drop: bool = False,
        hang: bool = False,
        lose_reply: bool = False,
        trickle: float = 0.0,
        endless: bool = False,
        certificate: CertificateWord = "good",
    ) -> Fault:
        """From now on something else happens at a moment: each time, or so many `times`. Of several scripts for a moment, the
        one that was written last is followed.

        `moment` is the beginning of a command line in any case ("RCPT", "RCPT TO:<bob@"), or "GREETING", "TLS" (the handshake),
        "END" (the whole message has come). `reply` is a reply ("451 4.7.1 later"), the octets to send, which may be anything,
        or a function that is given the command line and returns one of these, None for the usual reply.

        `delay` waits so many seconds. `drop` closes the connection and `hang` says nothing any more, after `reply` where there is
        one, else in its place. `lose_reply` does what the reply says, a message is taken, and closes the connection instead of
        telling. `trickle` sends octet by octet with so many seconds in between, `endless` the lines of the reply over and over,
        none of them as the last.
        `certificate`, for "TLS", is "expired", for an "other name", or "self-signed".

        Returns the fault, whose `happened` counts. Raises ValueError for what makes no sense.
        """
        fault = Fault(moment, reply, times, delay, drop, hang, lose_reply, trickle, endless, certificate)
        return self._record.script.add(fault)

    def forget(self) -> None:
        """End all scripts."""
        self._record.script.forget()

    def stop(self) -> None:
        """Connections are closed, and new ones refused, until `start`. The port stays this server's."""
        if self._server is not None:
            self._loop.run(self._stop())
            self._socket = _bound(self._port)  # nobody listens there, and nobody else gets it

    def start(self) -> None:
        """Serve, and after `stop` again at the same port. Who did not open the server in a `with` block has to close it."""
        if not self._port:
            self.open()
        elif self._server is None:
            self._loop.run(self._listen(self._socket or _bound(self._port)))
            self._socket = None  # it is the server's now

    # --- its life ---

    def open(self) -> Self:
        if self._owns_loop:
            self._loop.start()
        self._socket = _bound(0)
        self._port = self._socket.getsockname()[1]
        self.start()
        self._is_open = True
        return self

    def close(self) -> None:
        """For ever. Connections that are open are closed. Raises what a function in a script has raised."""
        if not self._is_open:
            return
        self._is_open = False
        self._loop.run(self._stop())
        if self._socket is not None:
            self._socket.close()
        if self._owns_loop:
            self._loop.stop()
        if self._failure is not None:
            raise self._failure

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    async def _listen(self, bound: socket.socket) -> None:
        self._server = await asyncio.get_running_loop().create_server(lambda: Channel(self._serve), sock=bound)

    async def _stop(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        tasks = [channel.task for channel in self._channels if channel.task is not None]
        for channel in self._channels:
            channel.drop()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, channel: Channel) -> None:
        self._sessions += 1
        self._record.connections += 1
        self._channels.add(channel)
        try:
            await Session(channel, self._options, self._record, self._sessions).run()
        except Exception as error:  # noqa: BLE001 - of the test's function in a script: raised where the test sees it
            self._record.note(self._sessions, "", f"the script raised {error!r}")
            self._failure = self._failure or error
        finally:
            self._channels.discard(channel)


def _bound(port: int) -> socket.socket:
    """A socket that does not listen yet."""
    bound = socket.socket(proto=socket.IPPROTO_TCP)  # asyncio sets TCP_NODELAY on nothing else
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((HOST, port))
    except OSError:
        bound.close()
        raise
    return bound
