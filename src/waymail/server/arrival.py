"""A message on its way in: from its first octet to the envelope and body that go into the queue.

Promises: the octets are kept as they come, in memory while they are few; nothing is added to them but fields in front, and
nothing taken away but what `Reception.edit` takes out of the header section. Whoever wants to see the body sees each octet once,
as it comes. What cannot be stored is known at the end, and answered there.
"""

from __future__ import annotations

import logging
from dataclasses import replace

from waymail.mail import headers
from waymail.mail.envelope import Body, Envelope, Origin, Recipient
from waymail.mail.received import protocol, received_field
from waymail.server import answers
from waymail.server.intake import not_stored
from waymail.server.limits import Limits
from waymail.server.reception import BodyTaker, Client, Reception, Transaction
from waymail.store.contract import Spool, StoreError
from waymail.values import value
from waymail.wire.replies import Reply

log = logging.getLogger("waymail.server")


class Arrival:
    """One message: `transaction` of `client`. Its header section waits until it is complete where the reception edits it, or
    wants to see the body; up to `head_limit` octets of it."""

    __slots__ = ("_client", "_failure", "_head", "_head_limit", "_reception", "_spool", "_taker", "_transaction", "_waits", "id")

    def __init__(
        self, id: str, spool: Spool, client: Client, transaction: Transaction, reception: Reception, *, head_limit: int
    ) -> None:
        self.id = id
        self._spool = spool
        self._client = client
        self._transaction = transaction
        self._reception = reception
        self._waits = reception.edit is not None or reception.takes_bodies
        self._head = bytearray()  # what waits until the header section is complete
        self._head_limit = head_limit
        self._taker: BodyTaker | None = None
        self._failure: Reply | None = None

    @property
    def spool(self) -> Spool:
        return self._spool

    def write(self, chunk: bytes) -> None:
        """Take some octets. A failure to store them is told by `finish`."""
        if self._failure is not None:
            return
        if self._waits:
            searched = max(len(self._head) - 3, 0)
            self._head += chunk
            if self._head.find(b"\r\n\r\n", searched) < 0 and len(self._head) < self._head_limit:
                return
            chunk = self._begun()
        elif self._taker is not None:
            self._taker.update(chunk)
        self._write(chunk)

    def finish(self) -> Body | Reply:
        """The whole message; a Reply where it could not be stored."""
        if self._waits:  # a message without a body, or without an end to its header section
            self._write(self._begun())
        if self._failure is not None:
            return self._failure
        try:
            return self._spool.finish()
        except StoreError as error:
            return self._fail(error)

    def discard(self) -> None:
        """The message is not wanted after all."""
        self._spool.discard()

    def _begun(self) -> bytes:
        """What has waited, as it is to be kept; the body begins."""
        head, reception = bytes(self._head), self._reception
        self._head, self._waits = bytearray(), False
        if reception.takes_bodies:
            section = headers.header_section(head)
            if len(section) < self._head_limit:
                self._taker = reception.body(self._client, self._transaction, section)
            if self._taker is not None and (start := head[len(section) + 2 :]):
                self._taker.update(start)
        return head if reception.edit is None else reception.edit(self._client, head)

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


@value
class Complete:
    """A message whose last octet has come, at the time `now`."""

    transaction: Transaction
    arrival: Arrival
    body: Body
    section: bytes
    now: float


def examined(head: bytes, limits: Limits) -> bytes | Reply:
    """The header section of a complete message; a Reply refuses what no kind of listener takes."""
    section = headers.header_section(head)
    if len(section) >= limits.head:
        return answers.HEADER_TOO_LARGE  # what stands beyond could not be judged
    if headers.count(section, b"received") > limits.received_hops:
        return answers.LOOP  # RFC 5321 §6.3
    return section


def enveloped(
    message: Complete, fields: bytes, client: Client, *, by: str, lmtp: bool, folder: str = ""
) -> tuple[Envelope, Body]:
    """What goes into the queue: the envelope, and the body with `fields` and a Received field in front. The recipients get it in
    `folder`, where one is named."""
    transaction, id, now = message.transaction, message.arrival.id, message.now
    recipients = tuple(transaction.recipients.values())
    if folder:
        recipients = tuple(replace(one, folder=folder) for one in recipients)
    message_id = headers.first(fields, b"message-id") or headers.first(message.section, b"message-id") or b""
    envelope = envelope_of(transaction, client, recipients, id=id, now=now, lmtp=lmtp, message_id=message_id)
    # RFC 5321 §7.6: the for clause names the recipient only where there is no other to keep it from.
    single = recipients[0] if transaction.named == 1 and len(recipients) == 1 else None
    shown = (single.original or single.address) if single else None
    priority = transaction.options.priority
    received = received_field(envelope.origin, by=by, id=id, now=now, recipient=shown, priority=priority)
    return envelope, message.body.with_prefix(received + fields)


def envelope_of(
    transaction: Transaction,
    client: Client,
    recipients: tuple[Recipient, ...],
    *,
    id: str,
    now: float,
    lmtp: bool,
    message_id: bytes = b"",
) -> Envelope:
    """The envelope of a message, or of one that is not taken."""
    options = transaction.options
    with_ = protocol(
        secure=bool(client.tls), authenticated=bool(client.user), extended=client.extended, utf8=options.smtputf8, lmtp=lmtp
    )
    return Envelope(
        id=id,
        sender=transaction.sender,
        recipients=recipients,
        accepted_at=now,
        body=transaction.body,
        message_id=message_id.strip().decode("ascii", "replace")[:998],
        origin=Origin(with_, client.helo, client.address, client.tls, client.user),
        options=options,
    )
