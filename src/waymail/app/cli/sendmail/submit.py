"""One message to the server, and where that is away into the outbox: what `waymail sendmail` does with each.

What a server refuses for good is told at once, for the caller still has the message. Everything else that goes wrong is about
the way there and not about the message: it is written to the outbox, and is on disk before the caller hears that it was taken.
A refused password is the exception: that mends itself for no message, and waiting would only hide it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from waymail.app.cli.output import CommandFailed, Exit
from waymail.app.cli.sendmail.keep import keep
from waymail.app.cli.sendmail.message import Outgoing
from waymail.app.cli.sendmail.settings import Settings
from waymail.wire.replies import Reply

if TYPE_CHECKING:
    from waymail.client.errors import SMTPError
    from waymail.client.results import SendResult


@dataclass(frozen=True, slots=True)
class Became:
    """What became of a message: who has it, who is to get it from the outbox, and who never will. `why` says why something
    waits, or why all was refused; `reply` is the server's to what it took."""

    accepted: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()
    refused: Mapping[str, Reply] = field(default_factory=dict)
    why: str = ""
    reply: Reply | None = None
    code: Exit = Exit.OK


def submit(mail: Outgoing, settings: Settings, *, queue_only: bool = False) -> Became:
    """Send it, or keep it. Raises CommandFailed where it could be neither sent nor kept; the caller has it then as before."""
    became = Became(waiting=mail.recipients, why="queued, as was asked") if queue_only else _sent(mail, settings)
    if became.waiting:
        keep(replace(mail, recipients=became.waiting), settings, became.why)
    return became


def _sent(mail: Outgoing, settings: Settings) -> Became:
    from waymail.client.errors import SMTPError
    from waymail.client.url import UrlError

    try:
        return of_result(_send(mail, settings))
    except SMTPError as error:
        return of_error(error, mail.recipients)
    except UrlError as error:
        raise CommandFailed(Exit.CONFIG, f"where to send: {error}") from None
    except ValueError as error:
        raise CommandFailed(Exit.DATA, f"cannot be sent: {error}") from None


def _send(mail: Outgoing, settings: Settings) -> SendResult:
    from waymail.client import threads
    from waymail.client.dsn import Dsn, notify_of
    from waymail.client.transaction import Timeouts

    dsn = Dsn(notify_of(mail.notify), mail.ret, mail.envid)
    soon = Timeouts(connect=10, tls=30, greeting=30, command=60, opening=60)  # the caller waits, and the outbox has more patience
    return threads.send(mail.content, settings.url, sender=mail.sender, recipients=mail.recipients, dsn=dsn, timeout=soon)


def of_result(result: SendResult) -> Became:
    """What is to be done where at least one recipient was accepted."""
    for_good, later = _parted(result.refused)
    waiting = (*later, *result.uncertain)
    why = str(next(iter(later.values()))) if later else "the connection was lost before the last reply" if waiting else ""
    return Became(result.accepted, waiting, for_good, why, result.reply, _code(for_good))


def of_error(error: SMTPError, recipients: tuple[str, ...]) -> Became:
    """What is to be done where nobody was accepted."""
    from waymail.client.errors import AllRecipientsRefused, AuthenticationFailed, MessageRefused, SenderRefused

    if isinstance(error, AllRecipientsRefused):
        for_good, later = _parted(error.refused)
        return Became((), tuple(later), for_good, str(error), code=_code(for_good))
    if isinstance(error, AuthenticationFailed) and not error.is_temporary:
        raise CommandFailed(Exit.NO_PERMISSION, f"not sent: {error}")
    if isinstance(error, MessageRefused | SenderRefused) and error.reply is not None and error.reply.is_permanent:
        refused = dict.fromkeys(recipients, error.reply)
        return Became((), (), refused, str(error), code=_code(refused))
    return Became((), recipients, why=str(error))


def _parted(refused: Mapping[str, Reply]) -> tuple[dict[str, Reply], dict[str, Reply]]:
    """Who was refused for good, and who for now."""
    for_good = {address: reply for address, reply in refused.items() if reply.is_permanent}
    return for_good, {address: reply for address, reply in refused.items() if address not in for_good}


def _code(refused: Mapping[str, Reply]) -> Exit:
    """RFC 3463 §3.2: X.1.1 to X.1.3 are about the address."""
    if not refused:
        return Exit.OK
    return Exit.NO_USER if all(_no_such_user(reply) for reply in refused.values()) else Exit.UNAVAILABLE


def _no_such_user(reply: Reply) -> bool:
    return reply.status in ("5.1.1", "5.1.2", "5.1.3")
