"""A message on its way in: from its first octet to the envelope and body that go into the queue.

Promises: the octets are kept as they come, in memory while they are few; nothing is added to them but fields in front, and
nothing taken away but what `Reception.edit` takes out of the header section of a user's own message. What cannot be stored is
known at the end, and answered there.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from waymail.mail import headers
from waymail.mail.envelope import Body, Envelope, Origin
from waymail.mail.received import protocol, received_field
from waymail.server import answers
from waymail.server.intake import not_stored
from waymail.server.limits import Limits
from waymail.server.reception import Client, Reception, Transaction
from waymail.store.contract import Spool, StoreError
from waymail.wire.replies import Reply

log = logging.getLogger("waymail.server")

Edit = Callable[[bytes], bytes]


class Arrival:
    """One message. `edit` is given the header section, once it is complete, and returns it as it is to be kept."""

    __slots__ = ("_edit", "_failure", "_head", "_head_limit", "_spool", "id")

    def __init__(self, id: str, spool: Spool, *, edit: Edit | None, head_limit: int) -> None:
        self.id = id
        self._spool = spool
        self._edit = edit
        self._head = b""  # what waits until the header section is complete
        self._head_limit = head_limit
        self._failure: Reply | None = None

    @property
    def spool(self) -> Spool:
        return self._spool

    def write(self, chunk: bytes) -> None:
        """Take some octets. A failure to store them is told by `finish`."""
        if self._failure is not None:
            return
        if self._edit is not None:
            self._head = self._head + chunk if self._head else chunk
            if self._head.find(b"\r\n\r\n") < 0 and len(self._head) < self._head_limit:
                return
            chunk = self._edited()
        self._write(chunk)

    def finish(self) -> Body | Reply:
        """The whole message; a Reply where it could not be stored."""
        if self._head:  # a message without a body, or without an end to its header section
            self._write(self._edited())
        if self._failure is not None:
            return self._failure
        try:
            return self._spool.finish()
        except StoreError as error:
            return self._fail(error)

    def discard(self) -> None:
        """The message is not wanted after all."""
        self._spool.discard()

    def _edited(self) -> bytes:
        head, edit = self._head, self._edit
        self._head, self._edit = b"", None
        return head if edit is None else edit(head)

    def _write(self, octets: bytes) -> None:
        try:
            self._spool.write(octets)
        except StoreError as error:
            self._fail(error)

    def _fail(self, error: StoreError) -> Reply:
        log.error("a message could not be spooled", extra={"fields": {"id": self.id, "error": str(error)}})
        self._failure = not_stored(error)
        self._spool.discard()
        return self._failure


def judged(
    body: Body, client: Client, transaction: Transaction, reception: Reception, limits: Limits, *, id: str, now: float
) -> tuple[bytes, bytes] | Reply:
    """The header section of a complete message, and the fields to put in front of it; a Reply refuses it."""
    head = body.head(limits.head)
    section = headers.header_section(head)
    if len(section) >= limits.head:
        return answers.HEADER_TOO_LARGE  # what stands beyond could not be judged
    if headers.count(section, b"received") > limits.received_hops:
        return answers.LOOP  # RFC 5321 §6.3
    fields = reception.message(client, transaction, head, id=id, now=now)
    return fields if isinstance(fields, Reply) else (section, fields)


def enveloped(
    body: Body,
    section: bytes,
    fields: bytes,
    transaction: Transaction,
    client: Client,
    *,
    id: str,
    now: float,
    by: str,
    lmtp: bool,
) -> tuple[Envelope, Body]:
    """What goes into the queue: the envelope, and the body with `fields` and a Received field in front."""
    options = transaction.options
    with_ = protocol(
        secure=bool(client.tls), authenticated=bool(client.user), extended=client.extended, utf8=options.smtputf8, lmtp=lmtp
    )
    origin = Origin(with_, client.helo, client.address, client.tls, client.user)
    # RFC 5321 §7.6: the for clause names the recipient only where there is no other to keep it from.
    recipients = tuple(transaction.recipients.values())
    single = recipients[0] if transaction.named == 1 and len(recipients) == 1 else None
    shown = (single.original or single.address) if single else None
    received = received_field(origin, by=by, id=id, now=now, recipient=shown, priority=options.priority)
    message_id = headers.first(fields, b"message-id") or headers.first(section, b"message-id") or b""
    envelope = Envelope(
        id=id,
        sender=transaction.sender,
        recipients=recipients,
        accepted_at=now,
        body=transaction.body,
        message_id=message_id.strip().decode("ascii", "replace")[:998],
        origin=origin,
        options=options,
    )
    return envelope, body.with_prefix(received + fields)
