"""Django's mail is sent at once."""

from __future__ import annotations

import atexit
import logging
import threading
from collections.abc import Sequence
from functools import partial
from typing import Any
from weakref import WeakSet

from django.core.mail.backends.base import BaseEmailBackend

from waymail.client.errors import AuthenticationFailed, ConnectionFailed, SMTPError, TlsError
from waymail.client.prepare import Mail
from waymail.client.results import SendResult
from waymail.client.threads import Client
from waymail.client.transaction import Timeouts
from waymail.django.configured import configured, option_of, timeouts
from waymail.django.errors import translated
from waymail.django.message import mail_of
from waymail.django.shared import Shared

log = logging.getLogger("waymail.django")

_NO_SESSION = (AuthenticationFailed, ConnectionFailed, TlsError)  # it would be the same for the next message

_clients: Shared[Client] = Shared()
atexit.register(_clients.close)
_proven: WeakSet[Client] = WeakSet()  # those that had a session, and none has failed since


class EmailBackend(BaseEmailBackend):  # type: ignore[misc]  # Django has no types
    """Sends by SMTP, in the thread that calls, over connections that the process keeps for the next mail.

    The arguments are those of Django's own backend, and mean the same; `url` stands in place of `host`, `port`, `use_tls` and
    `use_ssl`. `options` are further arguments of `waymail.sync.Client`. What is not given is read from Django's settings, from
    WAYMAIL_URL and from the dict WAYMAIL_CLIENT, unless Django made the backend from MAILERS.

    Raises ImproperlyConfigured for what cannot be meant. `client` is the `waymail.sync.Client`, which all backends that are
    configured alike share.
    """

    def __init__(
        self,
        host: str | None = None,
        port: int | None = None,
        username: str | None = None,
        password: str | None = None,
        use_tls: bool | None = None,
        fail_silently: bool = False,
        use_ssl: bool | None = None,
        timeout: float | Timeouts | None = None,
        ssl_keyfile: str | None = None,
        ssl_certfile: str | None = None,
        *,
        url: str | None = None,
        alias: str | None = None,
        _ignore_unknown_kwargs: object = None,  # Django says what it gives for the sake of older backends
        **options: Any,
    ) -> None:
        super().__init__(alias=alias)
        self.alias = alias
        self.fail_silently = fail_silently
        given = {
            "url": url,
            "host": host or None,
            "port": port or None,
            "username": username,
            "password": password,
            "use_tls": use_tls,
            "use_ssl": use_ssl,
            "ssl_keyfile": ssl_keyfile,
            "ssl_certfile": ssl_certfile,
        }
        options = option_of(alias, "WAYMAIL_CLIENT") | options
        options["timeout"] = timeouts(alias, options.get("timeout") if timeout is None else timeout)
        self._configured = configured(alias, given, options)
        self._is_open = False
        self.client  # noqa: B018 - a mistake in the settings is told now

    @property
    def client(self) -> Client:
        return _clients.get(self._configured, partial(self._configured.make, Client, alias=self.alias))

    def open(self) -> bool | None:
        """Have a session with the server, so that what is wrong with the connection, TLS or the password is told before there is
        mail; where this process had one already, that is enough. True, False where it is open already, None where it failed
        silently. Raises SMTPException."""
        if self._is_open:
            return False
        client = self.client
        if client not in _proven and not self._configured.url.startswith("mx:"):  # which has a server for each recipient
            try:
                client.check()
            except SMTPError as error:
                if self.fail_silently:
                    _tell("no mail can be sent, and the program does not want to know: %s", error)
                    return None
                raise translated(error) from error
            _proven.add(client)
        self._is_open = True
        return True

    def close(self) -> None:
        """No more is to be sent by this backend. The connection stays open for a while, for the next one."""
        self._is_open = False

    def send_messages(self, email_messages: Sequence[Any]) -> int:
        """Send them, one after the other over one connection, and return how many were sent: accepted for one recipient at least.
        What became of each is its `send_result` then, a `waymail.SendResult`.

        Raises one of smtplib's exceptions for the first that is not sent, and those behind it are not; with `fail_silently`
        the others are sent nevertheless. Raises ValueError for a message that cannot be meant.
        """
        sent = 0
        for message in email_messages:
            if not message.recipients():
                continue
            mail = mail_of(message, signed=self._configured.signs)
            try:
                message.send_result = self._sent(mail)
            except SMTPError as error:
                if not self.fail_silently:
                    raise translated(error, mail.sender or "") from error
                _tell("a mail was not sent, and the program does not want to know: %s", error)
                if isinstance(error, _NO_SESSION):
                    break
            else:
                sent += 1
        return sent

    def _sent(self, mail: Mail) -> SendResult:
        """As `Client.send`. Django has no way to tell of recipients that were refused beside others: the log does."""
        client = self.client
        try:
            result = client.send(mail.message, sender=mail.sender, recipients=mail.recipients)
        except _NO_SESSION:
            _proven.discard(client)
            raise
        _proven.add(client)
        for address, reply in result.refused.items():
            _tell("a mail was not accepted for %s, but for others: %s", address, reply)
        for address in result.uncertain:
            _tell("nobody knows whether a mail was accepted for %s: the connection was lost", address)
        return result


_telling = threading.local()


def _tell(text: str, *arguments: object) -> None:
    """Log a warning, unless it is about a mail that carries one: Django's handler for the log sends mail through us."""
    if getattr(_telling, "is_telling", False):
        return
    _telling.is_telling = True
    try:
        log.warning(text, *arguments)
    finally:
        _telling.is_telling = False
