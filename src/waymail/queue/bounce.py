"""The notices that the queue sends about its messages: failure DSNs and delay warnings (RFC 3464)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal

from waymail.mail import dsn
from waymail.mail.envelope import Body, Envelope, Origin, Recipient
from waymail.queue.settle import Report
from waymail.store.contract import NewMessage


class NoticeWriter:
    """Writes notices in the name of `hostname`. `new_id` makes queue ids from a time."""

    def __init__(self, hostname: str, new_id: Callable[[float], str]) -> None:
        self._hostname = hostname
        self._new_id = new_id

    def write(
        self,
        action: Literal["failed", "delayed"],
        envelope: Envelope,
        body: Body,
        reports: Sequence[Report],
        *,
        now: float,
        retry_until: float | None = None,
    ) -> NewMessage | None:
        """The notice to the sender, or None where nobody may be told.

        RFC 5321 §4.5.5, §6.1: a message from the null path is never answered, and a notice has the null path itself.
        """
        if not envelope.sender or not reports:
            return None
        id = self._new_id(now)
        build = partial(
            dsn.build,
            action=action,
            hostname=self._hostname,
            envelope=envelope,
            recipients=[dsn.ReportedRecipient(r.pending.recipient, r.reply, r.peer, now) for r in reports],
            now=now,
            message_id=f"<{id}@{self._hostname}>",
            boundary=f"=_{id}",
            retry_until=retry_until,
        )
        try:
            content = build(body=body)
        except OSError:  # its file is gone or cannot be read: the sender is told all the same
            content = build(body=Body(b"", 0))
        notice = Envelope(
            id=id,
            sender="",
            recipients=(Recipient(envelope.sender),),
            accepted_at=now,
            body="7BIT" if content.isascii() else "8BITMIME",
            message_id=f"<{id}@{self._hostname}>",
            origin=Origin(protocol="notice"),
        )
        return NewMessage(notice, Body(content, len(content)))
