"""Django's mail is on disk at once, and delivered in the background."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from smtplib import SMTPException
from typing import Any

from django.conf import settings
from django.core.mail.backends.base import BaseEmailBackend

from waymail.django.configured import Configured, configured, improper, option_of
from waymail.django.message import mail_of
from waymail.django.shared import Shared
from waymail.outbox.sync import Outbox
from waymail.store.contract import StoreError

_outboxes: Shared[Outbox] = Shared()


class OutboxBackend(BaseEmailBackend):  # type: ignore[misc]  # Django has no types
    """Keeps mail in the SQLite file `path`, from where a thread of this process delivers it, or another process.

    The server is said as for `EmailBackend`; the settings and arguments of Django's that have no meaning here are not read.
    `options` are further arguments of `waymail.sync.Outbox`. What is not given is read from Django's settings, from WAYMAIL_URL
    and from WAYMAIL_OUTBOX, which is the path, or a dict of the path and options, unless Django made the backend from MAILERS.

    Raises ImproperlyConfigured for what cannot be meant. `outbox` is the `waymail.sync.Outbox`, which all backends of this
    process that are configured alike share.
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
        timeout: object = None,
        ssl_keyfile: str | None = None,
        ssl_certfile: str | None = None,
        *,
        path: str | os.PathLike[str] | None = None,
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
        options = option_of(alias, "WAYMAIL_OUTBOX", single="path") | options
        usual = options.pop("path", None)
        self._path = _path(alias, usual if path is None else path)
        self._configured: Configured = configured(alias, given, options)
        self.outbox  # noqa: B018 - a mistake in the settings is told now; the file is opened by the first mail

    @property
    def outbox(self) -> Outbox:
        # A child of fork() leaves its parent's outbox alone, and has one of its own where its parent had none open.
        key = (os.getpid(), self._path, self._configured)
        return _outboxes.get(key, partial(self.made, Outbox))

    def made(self, kind: Callable[..., Any], **others: Any) -> Any:
        """A `kind` of outbox, configured as this one is, but for `others`. Raises ImproperlyConfigured."""
        return self._configured.but(others).make(kind, self._path, alias=self.alias)

    def send_messages(self, email_messages: Sequence[Any]) -> int:
        """Put them on disk, and return how many. Each has its `ticket` then, whose `id` finds it again: `outbox.ticket(id)`.

        Raises smtplib's SMTPException where one cannot be written (a full disk), and those behind it are not; with
        `fail_silently` it is not raised. Raises ValueError for a message that cannot be meant.
        """
        taken = 0
        for message in email_messages:
            if not message.recipients():
                continue
            mail = mail_of(message, signed=self._configured.signs)
            try:
                message.ticket = self.outbox.submit(mail.message, sender=mail.sender, recipients=mail.recipients)
            except StoreError as error:
                if not self.fail_silently:
                    raise SMTPException(f"the outbox did not take the mail: {error}") from error
                break
            taken += 1
        return taken


def _path(alias: str | None, path: str | os.PathLike[str] | None) -> Path:
    """Where the file is: below BASE_DIR, which Django's new projects have, where the path is not absolute, for a server and a
    command are seldom started in the same folder. Raises ImproperlyConfigured."""
    if path is None or path == "":
        where = "WAYMAIL_OUTBOX" if alias is None else '"path"'
        raise improper(alias, f"say in {where} which file the outbox is")
    base = getattr(settings, "BASE_DIR", "")
    return Path(base) / path
