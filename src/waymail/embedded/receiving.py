"""What sessions ask, and where messages go, where a program takes the mail: the reception and the intake in one.

Promises: the 250 after a message is said when the program's hook `message` has returned without refusing it, and never else;
nothing is queued or kept here. A client that has gone in the meantime does not end the hook: what has begun is done, and the
message may come again.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from waymail.embedded.mail import IncomingMail, evidence_of
from waymail.embedded.program import replies_to, reply_to
from waymail.mail.address import normalise
from waymail.mail.envelope import Body, Envelope, QueueIds, Recipient, decode_id
from waymail.net.clock import SystemClock
from waymail.server import policy
from waymail.server.authentication import Connection
from waymail.server.hooks import Hook, Hooks
from waymail.server.inbound import believed
from waymail.server.reception import Client, Judged, Reception, Soon, Transaction
from waymail.server.room import Room
from waymail.server.submission import AUTHENTICATE_FIRST, connection_of
from waymail.store.body import BodyFiles, FileSpool
from waymail.store.contract import Event, Refusal, Spool
from waymail.wire.offer import Offer, offering
from waymail.wire.replies import Reply

log = logging.getLogger("waymail.server")

# RFC 3207 §4: 530 where a command needs TLS first.
TLS_FIRST = Reply(530, "say STARTTLS first", "5.7.0")
# What works with any program. Whoever offers DSN and the like has to do what the sender asks for.
ALWAYS = frozenset({"CHUNKING", "BINARYMIME", "SMTPUTF8", "LIMITS"})
AT_WILL = frozenset({"DSN", "DELIVERBY", "MT-PRIORITY", "REQUIRETLS"})


@dataclass(frozen=True, slots=True)
class Demands:
    """What a client has to bring along, and what it is offered. `mechanisms` tells those of AUTH."""

    mechanisms: Callable[[Connection], tuple[str, ...]]
    needs_tls: bool = False
    needs_auth: bool = False
    lmtp: bool = False
    extensions: frozenset[str] = field(default=ALWAYS)


class Receiving(Reception):
    """Asks the program's hooks. Large messages are in files below `folder`, as long as the program has them."""

    def __init__(self, hooks: Hooks, demands: Demands, folder: Path) -> None:
        """Raises OSError where the folder cannot be written."""
        self.edit: Callable[[Client, bytes], bytes] | None = None
        self.room = Room(None, None)
        self._hooks = hooks
        self._demands = demands
        self._clock = SystemClock()
        self._ids = QueueIds(secrets.randbits(11))
        self._files = BodyFiles(folder)
        self._files.folder.mkdir(mode=0o700)
        self._coming: dict[str, tuple[Client, Transaction]] = {}  # from `message` to `take`, which follows at once

    # --- what a reception decides ---

    def offer(self, base: Offer, client: Client) -> Offer:
        """The same to everybody."""
        demands = self._demands
        return offering(base, demands.extensions, demands.mechanisms(connection_of(client)), 0, demands.lmtp)

    def connect(self, client: Client) -> Soon[Reply | None]:
        """As the program says."""
        return self._refused("connect", policy.client_of(client)) if self._hooks.has("connect") else None

    def mail(self, client: Client, transaction: Transaction) -> Soon[Reply | None]:
        """As the program says, to whom may speak at all."""
        if self._demands.needs_tls and not client.tls:
            return TLS_FIRST
        if self._demands.needs_auth and not client.user:
            return AUTHENTICATE_FIRST
        said = None if client.user else believed(transaction)
        if not self._hooks.has("mail"):
            return said
        return self._refused("mail", policy.Sender(policy.client_of(client), transaction.sender), said)

    def rcpt(self, client: Client, transaction: Transaction, recipient: str) -> Soon[Sequence[Recipient] | Reply | Judged]:
        """Any recipient, unless the program says otherwise."""
        if not self._hooks.has("rcpt"):
            return self._named(transaction, recipient)
        return self._rcpt(client, transaction, recipient)

    async def _rcpt(self, client: Client, transaction: Transaction, recipient: str) -> Sequence[Recipient] | Reply:
        who = policy.client_of(client)
        asked = policy.Recipient(who, transaction.sender, recipient, evidence_of(who, transaction.sender))
        return await self._refused("rcpt", asked) or self._named(transaction, recipient)

    def _named(self, transaction: Transaction, recipient: str) -> tuple[Recipient]:
        """Remember the order in which LMTP wants its replies, those who are named twice among them."""
        if not isinstance(transaction.evidence, list):
            transaction.evidence = []
        transaction.evidence.append(normalise(recipient))
        return (Recipient(recipient),)

    async def _refused(self, hook: Hook, what: object, said: Reply | None = None) -> Reply | None:
        decision = await self._hooks.ask(hook, what)
        return decision.reply if isinstance(decision, policy.Refuse) else said

    def message(self, client: Client, transaction: Transaction, head: bytes, *, id: str, now: float) -> bytes:
        """Nothing is added; what the program says of it comes in `take`, which has the whole of it."""
        self._coming[id] = client, transaction
        return b""

    # --- what an intake does ---

    def now(self) -> float:
        """Seconds since the epoch."""
        return self._clock.now()

    def new_id(self) -> str:
        """An id that this process has not given yet."""
        return self._ids.next(self._clock.now())

    def spool(self, id: str) -> Spool:
        """Memory, above 64 KiB a file."""
        return FileSpool(decode_id(id) or 0, self._files, set())

    async def flush(self, domain: str, *, below: bool) -> int | None:
        """There is no queue; ETRN is offered to nobody."""
        return None

    async def record(self, refusal: Refusal) -> None:
        """There is no history."""

    async def take(self, envelope: Envelope, body: Body, spool: Spool, events: tuple[Event, ...] = ()) -> Reply:
        """Give the message to the program; what that comes to."""
        client, transaction = self._coming.pop(envelope.id)
        mail = IncomingMail(envelope, body, tuple(one.address for one in envelope.recipients), policy.client_of(client))
        try:
            answer = await self._hooks.call("message", mail)
            reply = self._reply(mail, transaction, answer)
        finally:
            spool.discard()
        fields = {"id": mail.id, "peer": client.address, "from": mail.sender, "to": mail.recipients, "reply": str(reply)}
        log.log(logging.DEBUG if reply.is_positive else logging.INFO, "a program was given a message", extra={"fields": fields})
        return reply

    def _reply(self, mail: IncomingMail, transaction: Transaction, answer: Any) -> Reply:
        taken = Reply(250, f"accepted as {mail.id}", "2.0.0")
        if not isinstance(answer, Mapping):
            return reply_to(answer, taken, self._hooks)
        spelled = {key: one.address for key, one in transaction.recipients.items()}
        named = [spelled[key] for key in transaction.evidence] if isinstance(transaction.evidence, list) else []
        return replies_to(answer, named, taken, self._hooks, lmtp=self._demands.lmtp)


def extensions_of(named: Sequence[str]) -> frozenset[str]:
    """What is offered where the program undertakes `named` besides. Raises ValueError for what it cannot."""
    if unknown := sorted(set(named) - AT_WILL - ALWAYS):
        raise ValueError(f"extensions that a program can offer are {', '.join(sorted(AT_WILL))}, not {', '.join(unknown)}")
    return ALWAYS | set(named)
