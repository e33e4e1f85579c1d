"""What became of a message, as a program is told: a `SendResult`, or an error of `errors`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.message import EmailMessage

from waymail.client.attempt import Result, Stage
from waymail.client.errors import AllRecipientsRefused, MessageRefused, SenderRefused, SMTPError
from waymail.wire.replies import Reply

_MESSAGE_ID = re.compile(rb"^message-id:[ \t]*(?:\r\n[ \t]+)?(\S+)", re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True, slots=True)
class SendResult:
    """What became of a message that was accepted for at least one recipient.

    `accepted` are the addresses for which the server took responsibility; `refused` has the reply for each other one; `reply`
    is what the server said when it accepted (often with its queue id). `uncertain` are addresses for which nobody can say: the
    connection was lost after the whole message was sent to them, in a further transaction. It is nearly always empty; where
    that happens to all recipients, `UncertainDelivery` is raised instead.

    `message` is the message as it was given, `message_id` what its field Message-ID says ("" without one). `error` is set by
    `send_many` alone, which raises nothing for one message of many: the SMTPError or ValueError that `send` would have
    raised. Nothing was accepted then.
    """

    accepted: tuple[str, ...]
    refused: Mapping[str, Reply] = field(default_factory=dict)
    uncertain: tuple[str, ...] = ()
    reply: Reply | None = None
    error: Exception | None = None
    message: EmailMessage | bytes | None = field(default=None, repr=False)  # it may be megabytes, and nobody's business
    message_id: str = ""


def message_id_of(content: bytes) -> str:
    """What the field Message-ID of the message says (RFC 5322 §3.6.4), "" without one."""
    end = content.find(b"\r\n\r\n")
    found = _MESSAGE_ID.search(content, 0, end if end >= 0 else len(content))
    return found[1].decode("ascii", "replace") if found else ""


def failed(error: Exception, message: EmailMessage | bytes | None, message_id: str = "") -> SendResult:
    """The result of a message that was accepted for nobody."""
    refused = error.refused if isinstance(error, AllRecipientsRefused) else {}
    reply = error.reply if isinstance(error, SMTPError) else None
    return SendResult((), refused, (), reply, error, message, message_id)


def result_of(results: Mapping[str, Result], message: EmailMessage | bytes | None = None, message_id: str = "") -> SendResult:
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
        None,
        message,
        message_id,
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
