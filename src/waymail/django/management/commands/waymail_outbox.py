"""manage.py waymail_outbox: delivers what is in the outbox, until it is told to end."""

from __future__ import annotations

import asyncio
import signal
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from waymail.django.queued import OutboxBackend
from waymail.outbox.api import Outbox
from waymail.store.contract import StoreError


class Command(BaseCommand):  # type: ignore[misc]  # Django has no types
    """The command."""

    help = "Delivers what waymail.django.OutboxBackend puts in the outbox, until SIGTERM or SIGINT."
    requires_system_checks: tuple[str, ...] = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--using", metavar="ALIAS", help="the mailer of MAILERS, where it is not the default one")
        parser.add_argument("--drain", action="store_true", help="end as soon as nothing is due")

    def handle(self, *args: Any, **options: Any) -> None:
        backend = _backend(options["using"])
        if not isinstance(backend, OutboxBackend):
            raise CommandError(f"mail is sent by {type(backend).__module__}, which has no outbox: see EMAIL_BACKEND or MAILERS")
        outbox: Outbox = backend.made(Outbox, carry=True)
        try:
            asyncio.run(_deliver(outbox, drain=options["drain"]))
        except StoreError as error:
            raise CommandError(f"the outbox cannot be used: {error}") from error


def _backend(alias: str | None) -> Any:
    """The backend of the settings, which is not a test's."""
    from django.core import mail

    if not hasattr(mail, "mailers"):  # before Django 6.1
        if alias is not None:
            raise CommandError("this Django has no MAILERS: leave --using out")
        return mail.get_connection()
    return mail.mailers.default if alias is None else mail.mailers[alias]


async def _deliver(outbox: Outbox, *, drain: bool) -> None:
    """Raises StoreError."""
    async with outbox:
        if drain:
            await outbox.drain()
            return
        ended = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, ended.set)
        await ended.wait()
