"""Leads one message past a reception, as a session does, without a socket: for `waymail verify` and for tests of a policy."""

from __future__ import annotations

from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from waymail.mail import headers
from waymail.server.reception import Client, Judged, Reception, Soon, Transaction
from waymail.wire.replies import Reply

T = TypeVar("T")
Stage = Literal["connect", "mail", "rcpt", "message"]


@dataclass(frozen=True, slots=True)
class Trial:
    """What became of it. `stage` is how far it came; `reply` the refusal, None where the message is taken; `refused` has the
    recipients that were refused. `section` is the header section as it would be stored, with the fields that are added.

    `judged` is what history would keep: see `store.contract.Event`; empty where nobody judged.
    """

    stage: Stage
    reply: Reply | None = None
    refused: Mapping[str, Reply] = field(default_factory=dict)
    section: bytes = b""
    fields: bytes = b""
    folder: str = ""
    is_discarded: bool = False
    judged: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_taken(self) -> bool:
        """Whether the message would be delivered."""
        return self.stage == "message" and self.reply is None and not self.is_discarded


async def attempt(
    reception: Reception, client: Client, sender: str, recipients: Sequence[str], message: bytes, *, now: float
) -> Trial:
    """Try it. `sender` "" is the null path; without `recipients` nothing is asked at RCPT; `message` has CRLF line ends."""
    reply = await _soon(reception.connect(client))
    if reply is not None:
        return Trial("connect", reply)
    transaction = Transaction(sender, now)
    reply = await _soon(reception.mail(client, transaction))
    if reply is not None and not reply.is_positive:
        return Trial("mail", reply)
    refused: dict[str, Reply] = {}
    detail: Mapping[str, Any] = {}
    for recipient in recipients:
        found = await _soon(reception.rcpt(client, transaction, recipient))
        if isinstance(found, Judged) and found.refusal is not None:
            refused[recipient], detail = found.refusal, _detail(found)
        elif isinstance(found, Reply):
            refused[recipient] = found
    if refused and len(refused) == len(set(recipients)):
        return Trial("rcpt", next(iter(refused.values())), refused, judged=detail)
    return await _content(reception, client, transaction, message, refused, now)


async def _content(
    reception: Reception, client: Client, transaction: Transaction, message: bytes, refused: Mapping[str, Reply], now: float
) -> Trial:
    section = headers.header_section(message)
    taker = reception.body(client, transaction, section) if reception.takes_bodies else None
    if taker is not None:
        taker.update(message[len(section) + len(b"\r\n") :])
    head = message if reception.edit is None else reception.edit(client, message)
    found: bytes | Reply | Judged = await _soon(reception.message(client, transaction, head, id="trial", now=now))
    if isinstance(found, Reply):
        return Trial("message", found, refused)
    judged = Judged(fields=found) if isinstance(found, bytes) else found
    return Trial(
        "message",
        judged.refusal,
        refused,
        judged.fields + headers.header_section(head),
        judged.fields,
        judged.folder,
        judged.is_discarded,
        _detail(judged),
    )


def _detail(judged: Judged) -> Mapping[str, Any]:
    return judged.events[0].detail if judged.events else {}


async def _soon(answer: Soon[T]) -> T:
    return await answer if isinstance(answer, Coroutine) else answer
