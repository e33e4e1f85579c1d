"""aiosmtplib's interface over waymail's client, thin: what its own network tests are run against (docs/compatibility.md).

Everything that is said and heard goes over `client.asynchronous.AsyncConnection`; messages are prepared and sent as
`waymail.Client` does it, logging in is `client.authenticate`. What is aiosmtplib's own stays so: names, arguments, exceptions,
and who may connect when. As a pytest plugin (`-p aiosmtplib_adapter`) this module puts itself in the place of its classes.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from math import inf
from typing import TYPE_CHECKING, Any, Self, cast

import aiosmtplib as theirs
import pytest
from aiosmtplib import SMTPResponse

from waymail.client.asynchronous import AsyncConnection, AsyncIo
from waymail.client.authenticate import authenticate
from waymail.client.errors import AuthenticationFailed, ConnectionFailed
from waymail.client.prepare import PLAIN, Mail, prepare
from waymail.client.target import Credentials
from waymail.client.transaction import Timeouts, Transaction
from waymail.mail.message import to_wire
from waymail.net import streams
from waymail.smtplib.message import address_only
from waymail.wire import commands
from waymail.wire.client import Response
from waymail.wire.data import stuff
from waymail.wire.replies import Reply

Sent = tuple[dict[str, SMTPResponse], str]
KEEP: Any = object()  # an argument that was not given
_SETTINGS = {
    "hostname": None, "port": None, "username": None, "password": None, "oauth_token_generator": None, "local_hostname": None,
    "source_address": None, "use_tls": False, "start_tls": None, "validate_certs": True, "client_cert": None, "client_key": None,
    "tls_context": None, "cert_bundle": None, "socket_path": None, "sock": None,
}  # fmt: skip
_NOT_WANTED = theirs.SMTPResponseException
_BARE: dict[bytes, commands.Command] = {b"NOOP": commands.Noop(), b"RSET": commands.Reset(), b"QUIT": commands.Quit()}


class _Connection(AsyncConnection):
    """A connection whose owner hears when it is lost."""

    _over_ssl = property(lambda self: self.tls is not None)

    def __init__(self, host: str, lost: Callable[[_Connection], None]) -> None:
        super().__init__(host, Timeouts())
        self._tell = lost

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._tell(self)


class SMTP:
    """aiosmtplib.SMTP, as far as its tests need it."""

    if TYPE_CHECKING:

        def __getattr__(self, setting: str) -> Any: ...  # one of _SETTINGS: `_set` sets them

    def __init__(self, *, timeout: float | None = 60, **settings: Any) -> None:
        self.timeout = timeout
        self.protocol: _Connection | None = None
        self._connect_lock = asyncio.Lock()  # held while there is a connection: who wants one waits
        self._turn = asyncio.Lock()
        self.last_ehlo_response: SMTPResponse | None = None
        self.last_helo_response: SMTPResponse | None = None
        self._set(_SETTINGS | settings)

    def _set(self, settings: Mapping[str, Any]) -> None:
        if unknown := settings.keys() - _SETTINGS.keys():
            raise TypeError(f"unknown arguments: {unknown}")
        for name, value in settings.items():
            setattr(self, "_start_tls_on_connect" if name == "start_tls" else name, value)
        is_socket = bool(self.sock or self.socket_path)
        if (
            (self.password and self.oauth_token_generator)
            or (self._start_tls_on_connect and self.use_tls)
            or (self.tls_context and self.client_cert)
            or (self.sock and self.socket_path)
            or (is_socket and self.port is not None)
            or (is_socket and self.use_tls and self.hostname is None)
            or (self.hostname and not self.hostname.isprintable())
        ):
            raise ValueError("these arguments are mutually exclusive, or no host name")
        if (name := vars(self)["local_hostname"]) is not None:
            self.local_hostname = _name(name)

    # --- what is known

    @property
    def transport(self) -> Any:
        return self.protocol and self.protocol._transport

    @property
    def is_connected(self) -> bool:
        return self.protocol is not None and self.protocol.trouble is None

    @property
    def supports_esmtp(self) -> bool:
        return self.last_ehlo_response is not None

    @property
    def esmtp_extensions(self) -> dict[str, str]:
        found = self.protocol.core.extensions if self.protocol else {}
        return {name.lower(): text for name, text in found.items()}

    @property
    def server_auth_methods(self) -> list[str]:
        return self.esmtp_extensions.get("auth", "").lower().split()

    supported_auth_methods = server_auth_methods

    @property
    def is_ehlo_or_helo_needed(self) -> bool:
        return self.last_ehlo_response is None and self.last_helo_response is None

    def supports_extension(self, extension: str, /) -> bool:
        return extension.lower() in self.esmtp_extensions

    def get_transport_info(self, key: str) -> Any:
        if not self.is_connected:
            raise theirs.SMTPServerDisconnected("Server not connected")
        return self.transport.get_extra_info(key)

    # --- there and away

    async def __aenter__(self) -> Self:
        if not self.is_connected:
            await self.connect()
        return self

    async def __aexit__(self, kind: object, error: object, trace: object) -> None:
        if not isinstance(error, (ConnectionError, TimeoutError)):
            with suppress(theirs.SMTPServerDisconnected, theirs.SMTPResponseException, theirs.SMTPTimeoutError):
                await self.quit()
        self.close()

    async def connect(self, *, timeout: float | None = KEEP, **settings: Any) -> SMTPResponse:
        self._set(settings)
        if self.is_connected:
            raise theirs.SMTPException("SMTP instance is already connected")
        await self._connect_lock.acquire()
        try:
            self.local_hostname = self.local_hostname or await self._get_default_local_hostname()
            greeting = await self._create_connection(timeout)
            await self._open()
        except BaseException:
            self.close()
            raise
        return greeting

    async def _get_default_local_hostname(self) -> str:
        return "[127.0.0.1]"

    async def _create_connection(self, timeout: float | None) -> SMTPResponse:
        port = self.port or (465 if self.use_tls else 587 if self._start_tls_on_connect else 25)
        where = f"{self.hostname or 'localhost'} on port {port}"
        try:
            self.protocol = connection = await self._dial(port, self._seconds(timeout))
        except (streams.ConnectFailed, streams.TlsFailed) as error:
            if isinstance(error.__cause__, TimeoutError):
                raise theirs.SMTPConnectTimeoutError(f"Timed out connecting to {where}") from error
            raise theirs.SMTPConnectError(f"Error connecting to {where}: {error}") from error
        responses = await connection.replies(self._seconds(timeout))
        try:
            greeting = self._only(connection, responses)
        except theirs.SMTPTimeoutError as error:
            raise theirs.SMTPConnectTimeoutError("Timed out waiting for server ready message") from error
        except theirs.SMTPServerDisconnected as error:
            raise theirs.SMTPConnectError(f"Error connecting to {where}: {error}") from error
        if greeting.code != 220:
            raise theirs.SMTPConnectResponseError(*greeting)
        return greeting

    async def _dial(self, port: int, seconds: float) -> _Connection:
        name = self.hostname or "localhost"
        common: dict[str, Any] = {"timeout": seconds, "tls": self._context() if self.use_tls else None, "server_hostname": name}

        def factory() -> _Connection:
            return _Connection(name, self._lost)

        if self.sock:
            return (await streams.adopt(factory, self.sock, name, **common))[1]
        if self.socket_path:
            return (await streams.connect_unix(factory, os.fsdecode(self.socket_path), **common))[1]
        source = (self.source_address or ("",))[0]
        return (await streams.connect(factory, name, port, source=source, **common))[1]

    async def _open(self) -> None:
        """STARTTLS and AUTH, as the arguments say."""
        starts_tls = self._start_tls_on_connect
        if starts_tls is None and not self.use_tls:
            await self._ehlo_or_helo_if_needed()
            starts_tls = self.supports_extension("starttls")
        if starts_tls:
            await self.starttls()
        if self.oauth_token_generator is not None:
            if self.username is None:
                raise theirs.SMTPException("username is required when using oauth_token_generator")
            await self._ehlo_or_helo_if_needed()
            if "xoauth2" not in self.server_auth_methods:
                raise theirs.SMTPException("oauth_token_generator provided but server does not support XOAUTH2")
            await self._authenticate(Credentials(self.username, token=self.oauth_token_generator))
        elif self.username is not None:
            await self.login(self.username, self.password or "")

    def _lost(self, connection: _Connection) -> None:
        if connection is self.protocol:
            self.close()

    def close(self) -> None:
        connection, self.protocol = self.protocol, None
        if connection is not None:
            connection.abort()
        if self._connect_lock.locked():
            self._connect_lock.release()
        self._forget()

    def _forget(self) -> None:
        self.last_ehlo_response = self.last_helo_response = None

    async def quit(self, **wait: Any) -> SMTPResponse:
        response = await self._say(commands.Quit(), 221, **wait)
        self.close()
        return response

    # --- commands

    def _seconds(self, timeout: float | None) -> float:
        seconds = self.timeout if timeout is KEEP else timeout
        return inf if seconds is None else seconds

    def _connected(self) -> _Connection:
        if self.protocol is None:
            raise theirs.SMTPServerDisconnected("Server not connected")
        return self.protocol

    async def _ask(self, command: commands.Command, timeout: float | None = KEEP) -> SMTPResponse:
        connection = self._connected()
        async with self._turn:
            responses = await connection.ask(self._seconds(timeout), command)
        return self._only(connection, responses)

    def _only(self, connection: _Connection, responses: list[Response]) -> SMTPResponse:
        """The reply, or what became of it."""
        if responses:
            return _response(responses[-1].reply)
        trouble = connection.trouble
        why = str(trouble)
        self.close()
        if trouble is not None and trouble.reply is not None:
            return _response(trouble.reply)  # 421
        if "no answer in time" in why:
            raise theirs.SMTPReadTimeoutError(why)
        if "broke the protocol" in why:
            raise theirs.SMTPResponseException(-1, why)
        raise theirs.SMTPServerDisconnected(why)

    async def _say(self, command: commands.Command, *wanted: int, failure: Any = _NOT_WANTED, **wait: Any) -> SMTPResponse:
        response = await self._ask(command, **wait)
        if response.code not in wanted:
            raise failure(*response)
        return response

    async def execute_command(self, *args: bytes, **wait: Any) -> SMTPResponse:
        return await self._ask(_BARE[b" ".join(args)], **wait)

    async def _hello(self, name: str | None, extended: bool, **wait: Any) -> SMTPResponse:
        name = self.local_hostname or await self._get_default_local_hostname() if name is None else _name(name)
        response = await self._say(commands.Hello(name, extended), 250, failure=theirs.SMTPHeloError, **wait)
        if self.protocol is not None:
            self.protocol.learn_extensions()
        return response

    async def ehlo(self, *, hostname: str | None = None, **wait: Any) -> SMTPResponse:
        self.last_ehlo_response = await self._hello(hostname, True, **wait)
        return self.last_ehlo_response

    async def helo(self, *, hostname: str | None = None, **wait: Any) -> SMTPResponse:
        self.last_helo_response = await self._hello(hostname, False, **wait)
        return self.last_helo_response

    async def _ehlo_or_helo_if_needed(self) -> None:
        if self.is_ehlo_or_helo_needed:
            try:
                await self.ehlo()
            except theirs.SMTPHeloError:
                if not self.is_connected:
                    raise
                await self.helo()

    async def noop(self, **wait: Any) -> SMTPResponse:
        await self._ehlo_or_helo_if_needed()
        return await self._say(commands.Noop(), 250, **wait)

    async def rset(self, **wait: Any) -> SMTPResponse:
        await self._ehlo_or_helo_if_needed()
        return await self._say(commands.Reset(), 250, **wait)

    async def help(self, **wait: Any) -> str:
        await self._ehlo_or_helo_if_needed()
        return (await self._say(commands.Help(), 211, 214, 250, **wait)).message

    async def vrfy(self, address: str, /, *, options: Iterable[str] = (), **wait: Any) -> SMTPResponse:
        await self._ehlo_or_helo_if_needed()
        self._check_utf8(utf8 := "SMTPUTF8" in options)
        return await self._say(commands.Verify(_address(address), utf8), 250, 251, 252, **wait)

    async def mail(self, sender: str, /, *, options: Any = (), encoding: str = "ascii", **wait: Any) -> SMTPResponse:
        await self._ehlo_or_helo_if_needed()
        sender.encode(encoding)
        command = commands.Mail(_address(sender), _parameters(options))
        return await self._say(command, 250, failure=lambda code, text: theirs.SMTPSenderRefused(code, text, sender), **wait)

    async def rcpt(self, recipient: str, /, *, options: Any = (), encoding: str = "ascii", **wait: Any) -> SMTPResponse:
        await self._ehlo_or_helo_if_needed()
        recipient.encode(encoding)
        command = commands.Rcpt(_address(recipient), _parameters(options))
        return await self._say(command, 250, 251, failure=lambda *reply: _refused(recipient, SMTPResponse(*reply)), **wait)

    async def data(self, message: str | bytes, /, *, timeout: float | None = KEEP) -> SMTPResponse:
        connection = self._connected()
        await self._ehlo_or_helo_if_needed()
        await self._say(commands.Data(), 354, failure=theirs.SMTPDataError, timeout=timeout)
        connection.put(b"".join(stuff((to_wire(_octets(message)),))))
        connection.core.content_sent()
        end = self._only(connection, await connection.replies(self._seconds(timeout)))
        if end.code != 250:
            raise theirs.SMTPDataError(*end)
        return end

    # --- TLS and AUTH

    def _context(self) -> ssl.SSLContext:
        context: ssl.SSLContext | None = self.tls_context
        if context is not None:
            return context
        context = ssl.create_default_context(cafile=self.cert_bundle)
        if not self.validate_certs:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if self.client_cert is not None:
            context.load_cert_chain(self.client_cert, self.client_key)
        return context

    async def starttls(self, *, server_hostname: str = "", timeout: float | None = KEEP, **settings: Any) -> SMTPResponse:
        connection = self._connected()
        if connection.tls is not None:
            raise theirs.SMTPException("Connection already using TLS")
        self._set(settings)
        await self._ehlo_or_helo_if_needed()
        if not self.supports_extension("starttls"):
            raise theirs.SMTPException("SMTP STARTTLS extension not supported by server.")
        response = await self._say(commands.StartTls(), 220, timeout=timeout)
        connection.core.tls_started()
        try:
            seconds = self._seconds(timeout)
            await connection.start_tls(self._context(), server_hostname or self.hostname or "", seconds)
        except streams.TlsFailed as error:
            self.close()
            cause = error.__cause__
            if isinstance(cause, ssl.SSLError) and not isinstance(cause, ssl.SSLEOFError):
                raise cause from error
            failure = theirs.SMTPTimeoutError if isinstance(cause, TimeoutError) else theirs.SMTPServerDisconnected
            raise failure(str(error)) from error
        self._forget()
        return response

    async def login(self, username: str, password: str, /, timeout: float | None = KEEP) -> SMTPResponse:
        await self._ehlo_or_helo_if_needed()
        if not self.supports_extension("auth"):
            raise theirs.SMTPException("The SMTP AUTH extension is not supported by this server. Try connecting via TLS")
        return await self._authenticate(Credentials(username, password))

    async def _authenticate(self, credentials: Credentials) -> SMTPResponse:
        connection = self._connected()
        connection.describe(confidential=connection.tls is not None)
        try:
            await authenticate(AsyncIo(), connection, credentials)
        except AuthenticationFailed as error:
            if error.reply is None:
                raise theirs.SMTPException(str(error)) from error
            raise theirs.SMTPAuthenticationError(*_response(error.reply)) from error
        except ConnectionFailed as error:
            raise theirs.SMTPServerDisconnected(str(error)) from error
        return _response(connection.heard[-1].reply)

    # --- messages: prepared and sent as by waymail.Client

    def _check_utf8(self, is_needed: bool) -> None:
        if is_needed and not self.supports_extension("smtputf8"):
            raise theirs.SMTPNotSupported("SMTPUTF8 is not supported by this server")

    async def sendmail(self, sender: str, recipients: Any, message: str | bytes, /, **options: Any) -> Sent:
        return await self._send(Mail(_octets(message), sender, recipients), **options)

    async def send_message(self, message: Any, /, *, sender: Any = None, recipients: Any = None, **options: Any) -> Sent:
        return await self._send(Mail(message, sender, recipients), **options)

    async def _send(self, mail: Mail, *, mail_options: Any = (), rcpt_options: Any = (), timeout: float | None = KEEP) -> Sent:
        options = _parameters(mail_options or ())
        if rcpt_options or options.keys() - {"BODY", "SMTPUTF8"}:
            raise theirs.SMTPNotSupported("there are no parameters but those that have a type: waymail.Dsn, waymail.Options")
        connection = self._connected()
        await self._ehlo_or_helo_if_needed()
        message, recipients = prepare(mail, PLAIN, now=time.time(), unique=lambda: uuid.uuid4().hex)
        self._check_utf8("SMTPUTF8" in options or message.options.smtputf8)
        seconds = self._seconds(timeout)
        async with self._turn:
            result = await connection.transaction(message, recipients, deadline=connection.now() + seconds)
        try:
            return self._sent(connection, result)
        except (theirs.SMTPResponseException, theirs.SMTPRecipientsRefused):
            with suppress(ConnectionError, theirs.SMTPResponseException):
                await self.rset()
            raise

    def _sent(self, connection: _Connection, result: Transaction) -> Sent:
        if result.mail is not None and not result.mail.is_positive:
            raise theirs.SMTPSenderRefused(*_response(result.mail), "")
        refused = {name: _response(reply) for name, reply in result.recipients.items() if not reply.is_positive}
        if len(refused) == len(result.batch):
            raise theirs.SMTPRecipientsRefused([_refused(*item) for item in refused.items()])
        final = _response(result.final) if result.final else self._only(connection, [])
        if final.code != 250:
            raise theirs.SMTPDataError(*final)
        return refused, final.message

    def sendmail_sync(self, *args: Any, **kwargs: Any) -> Sent:
        return asyncio.run(self._alone(self.sendmail, *args, **kwargs))

    def send_message_sync(self, *args: Any, **kwargs: Any) -> Sent:
        return asyncio.run(self._alone(self.send_message, *args, **kwargs))

    async def _alone(self, send: Callable[..., Any], *args: Any, **kwargs: Any) -> Sent:
        async with self:
            return cast(Sent, await send(*args, **kwargs))


async def send(message: Any, /, *, sender: Any = None, recipients: Any = None, **settings: Any) -> Sent:
    """aiosmtplib.send."""
    options = {name: settings.pop(name) for name in ("mail_options", "rcpt_options") if name in settings}
    if isinstance(message, (str, bytes)):
        if not (sender and recipients):
            raise ValueError("a message that is no object has no envelope of its own")
        message = _octets(message)
    async with SMTP(**settings) as client:
        return await client._send(Mail(message, sender, recipients), **options)


def _refused(recipient: str, reply: SMTPResponse) -> theirs.SMTPRecipientRefused:
    return theirs.SMTPRecipientRefused(*reply, recipient)


def _name(text: str) -> str:
    name = text.strip()
    if not name or not name.isprintable() or " " in name:
        raise ValueError(f"{text!r} is no name of a host")
    return name


def _address(text: str) -> str:
    """Without a name and angle brackets, where it can be read as an address; else as it is, and the command does not take it."""
    return address_only(text) if text.isprintable() and text.count(">") == text.endswith(">") else text


def _octets(message: str | bytes) -> bytes:
    return message.encode("ascii") if isinstance(message, str) else message


def _parameters(options: Iterable[str]) -> dict[str, str | None]:
    found = {}
    for option in options:
        name, equals, value = option.partition("=")
        found[name.upper()] = value if equals else None
    return found


def _response(reply: Reply) -> SMTPResponse:
    """As aiosmtplib has it: with the enhanced status code in the text."""
    lead = f"{reply.enhanced} " if reply.enhanced else ""
    return SMTPResponse(reply.code, "\n".join(lead + line for line in reply.text.split("\n")))


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests() -> None:
    """Before aiosmtplib's tests import anything."""
    cast(Any, theirs).SMTP = cast(Any, theirs.smtp).SMTP = SMTP
    cast(Any, theirs).send = send
