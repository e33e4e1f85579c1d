"""What a client says and what it is answered: one handler for each command.

A conversation knows nothing of sockets. It is given the events of the wire core and gives the reply to each, or a coroutine where
that takes time: until it is done, nothing further is handed in. It counts what the client does wrong, asks the reception who may
do what, and hands complete messages to the intake. What it refuses it keeps in the history where the reception has given a reason
to.
"""

from __future__ import annotations

import asyncio
import base64
import ipaddress
import logging
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from waymail.mail.address import normalise
from waymail.mail.envelope import Recipient
from waymail.mail.expansion import inherit
from waymail.mail.options import options_of
from waymail.server import answers
from waymail.server.arrival import Arrival, Complete, envelope_of, enveloped, examined
from waymail.server.authentication import Blocked, Exchange
from waymail.server.intake import DISK_FULL
from waymail.server.reception import Client, Judged, T, Transaction
from waymail.server.submission import connection_of
from waymail.store.contract import Refusal, State
from waymail.wire.commands import (
    Auth,
    AuthResponse,
    Data,
    Etrn,
    Hello,
    Help,
    Mail,
    Noop,
    Quit,
    Rcpt,
    Reset,
    StartTls,
    Verify,
    XClient,
    XForward,
)
from waymail.wire.errors import ProtocolError
from waymail.wire.events import DataChunk, EndOfChunk, EndOfData, Event, Refused
from waymail.wire.replies import Reply
from waymail.wire.sasl import Challenge, Failure, Success
from waymail.wire.server import ServerConnection

if TYPE_CHECKING:
    from waymail.server.listener import Listener

log = logging.getLogger("waymail.server")

Answer = Reply | Coroutine[Any, Any, Reply] | None

NOTHING_SAID = Judged()
SMALL_CHUNK = 64  # octets: a chunk below that counts as junk, for it costs more than it carries
# What no SMTP client says. A browser can be made to say SMTP commands behind the first of these, in a request's body.
OTHER_PROTOCOLS = frozenset(b"GET HEAD POST PUT DELETE CONNECT OPTIONS TRACE PATCH PRI".split())
OTHER_BEGINNINGS = (b"SSH-", b"\x16\x03")  # RFC 4253 §4.2; a handshake of TLS, RFC 8446 §5.1


class Conversation:
    """One session's talk. `is_over`: the reply that was given last is the last one. `wants_tls`: the handshake follows it.
    `is_deciding`: the reception works on an answer, and may be interrupted."""

    __slots__ = (
        "_arrival",
        "_errors",
        "_exchange",
        "_failures",
        "_handlers",
        "_junk",
        "_listener",
        "_transaction",
        "_wire",
        "client",
        "is_deciding",
        "is_over",
        "wants_tls",
    )

    def __init__(self, listener: Listener, wire: ServerConnection, client: Client) -> None:
        self._listener = listener
        self._wire = wire
        self._transaction: Transaction | None = None
        self._arrival: Arrival | None = None
        self._exchange: Exchange | None = None
        self._handlers = HANDLERS
        self._errors = self._failures = self._junk = 0
        self.client = client
        self.is_over = self.wants_tls = self.is_deciding = False

    def handle(self, event: Event) -> Answer:
        """The answer to an event; None for a part of a message."""
        return self._handlers[type(event)](self, event)

    @property
    def is_in_transaction(self) -> bool:
        """Whether the client is in the middle of a message."""
        return self._transaction is not None

    def drop_transaction(self) -> None:
        """What was not acknowledged is dropped (RFC 5321 §4.1.1.10)."""
        if self._arrival is not None:
            self._arrival.discard()
        self._transaction = self._arrival = None

    def abandon(self) -> None:
        """The client has gone: what it began is dropped."""
        self.drop_transaction()
        self._end_exchange()

    def tls_started(self) -> None:
        """RFC 3207 §4.2: what was said in clear is forgotten."""
        self.wants_tls = False
        old = self.client
        self.client = Client(old.address, proxy=old.proxy, talked_early=old.talked_early, evidence=old.evidence)

    def left(self) -> None:
        """The client is no more; its reception is told where it has kept something of it."""
        if self.client.evidence is not None:
            self._listener.reception.left(self.client)

    async def decided(self, work: Coroutine[Any, Any, T]) -> T | Reply:
        """What a reception that takes its time decides, or a Reply that puts the client off."""
        self.is_deciding = True
        try:
            async with asyncio.timeout(self._listener.limits.decision_time):
                return await work
        except TimeoutError:
            log.warning("a decision took too long", extra={"fields": {"peer": self.client.address}})
            return answers.UNDECIDED
        except Exception:
            log.exception("a decision met a bug", extra={"fields": {"peer": self.client.address}})
            return answers.INTERNAL_ERROR
        finally:
            self.is_deciding = False

    # --- the transaction ---

    def _hello(self, hello: Hello) -> Answer:
        self.drop_transaction()  # RFC 5321 §4.1.4: EHLO clears as RSET does
        self.client.helo, self.client.extended = hello.name, hello.extended
        return self._count_junk() or self._wire.hello_reply(hello, now=self._listener.intake.now())

    def _mail(self, mail: Mail) -> Answer:
        if not self._listener.allows_message(self.client):
            return self._count_error(answers.TOO_FAST)
        intake = self._listener.intake
        # RFC 1870 §6.1: 452 where there is no room for a message of the size that is declared.
        if not intake.room.holds(int(mail.parameters.get("SIZE") or 0)):
            return self._count_junk() or DISK_FULL
        transaction = Transaction(mail.sender, intake.now())
        if mail.parameters:
            transaction.body = mail.parameters.get("BODY") or "7BIT"
            transaction.options = options_of(mail.parameters, transaction.at)
        reply = self._listener.reception.mail(self.client, transaction)
        if reply is None or isinstance(reply, Reply):
            return self._mail_decided(transaction, reply)
        return self._mail_later(transaction, reply)

    async def _mail_later(self, transaction: Transaction, work: Coroutine[Any, Any, Reply | None]) -> Reply:
        return self._mail_decided(transaction, await self.decided(work))

    def _mail_decided(self, transaction: Transaction, reply: Reply | None) -> Reply:
        if reply is not None and not reply.is_positive:
            return self._turned_down("a sender was refused", reply, {"from": transaction.sender})
        self._junk = 0
        self._transaction = transaction
        return reply or answers.SENDER_OK

    def _rcpt(self, rcpt: Rcpt) -> Answer:
        transaction = self._transaction
        if transaction is None:  # the wire core lets RCPT through only after an accepted MAIL
            raise ProtocolError("RCPT without a transaction")
        found = self._listener.reception.rcpt(self.client, transaction, rcpt.recipient)
        if not isinstance(found, tuple) and isinstance(found, Coroutine):  # a tuple is the rule, and told quickly
            return self._rcpt_later(transaction, rcpt, found)
        return self._rcpt_decided(transaction, rcpt, found)

    async def _rcpt_later(
        self, transaction: Transaction, rcpt: Rcpt, work: Coroutine[Any, Any, Sequence[Recipient] | Reply | Judged]
    ) -> Reply:
        answer = self._rcpt_decided(transaction, rcpt, await self.decided(work))
        return answer if isinstance(answer, Reply) else await answer

    def _rcpt_decided(
        self, transaction: Transaction, rcpt: Rcpt, found: Sequence[Recipient] | Reply | Judged
    ) -> Reply | Coroutine[Any, Any, Reply]:
        if isinstance(found, Reply):
            return self._turned_down("a recipient was refused", found, {"from": transaction.sender, "to": rcpt.recipient})
        if isinstance(found, Judged):
            return self._rcpt_refused(transaction, rcpt, found)
        if rcpt.parameters:
            # Who was named before keeps what was asked for him then. So the mark of an expansion goes to one who is new.
            found = sorted(found, key=lambda one: normalise(one.address) in transaction.recipients)
            found = inherit(found, rcpt.parameters.get("NOTIFY") or "", rcpt.parameters.get("ORCPT") or "")
        for one in found:
            transaction.recipients.setdefault(normalise(one.address), one)
        transaction.named += 1
        return answers.RECIPIENT_OK

    def _data(self, _: Data) -> Answer:
        self._arrival = self._arriving()
        return answers.START_MAIL_INPUT

    def _arriving(self) -> Arrival:
        intake, reception = self._listener.intake, self._listener.reception
        id = intake.new_id()
        transaction = self._transaction or Transaction("")
        return Arrival(id, intake.spool(id), self.client, transaction, reception, head_limit=self._listener.limits.head)

    def _chunk(self, chunk: DataChunk) -> Answer:
        if self._arrival is None:  # the first chunk of BDAT
            self._arrival = self._arriving()
        self._arrival.write(chunk.content)
        return None

    def _end_of_chunk(self, end: EndOfChunk) -> Answer:
        if end.refusal is not None:
            return self._refused_message(end.refusal)
        over = self._count_junk() if end.size < SMALL_CHUNK else None
        return over or Reply(250, f"{end.size} octets received", "2.0.0")

    def _end_of_data(self, end: EndOfData) -> Answer:
        transaction, arrival = self._transaction, self._arrival or self._arriving()
        self._arrival = arrival
        if transaction is None:
            raise ProtocolError("a message without a transaction")
        if end.refusal is not None:
            return self._refused_message(end.refusal)
        body = arrival.finish()
        if isinstance(body, Reply):
            self.drop_transaction()
            return body
        listener = self._listener
        head = body.head(listener.limits.head)
        section = examined(head, listener.limits)
        if isinstance(section, Reply):
            return self._refused_message(section)
        message = Complete(transaction, arrival, body, section, listener.intake.now())
        decision = listener.reception.message(self.client, transaction, head, id=arrival.id, now=message.now)
        if isinstance(decision, bytes) or isinstance(decision, Reply | Judged):  # noqa: SIM101 - bytes is the rule, and quick
            return self._message_decided(message, decision)
        return self._message_later(message, decision)

    async def _message_later(self, message: Complete, work: Coroutine[Any, Any, bytes | Reply | Judged]) -> Reply:
        answer = self._message_decided(message, await self.decided(work))
        return answer if isinstance(answer, Reply) else await answer

    def _message_decided(self, message: Complete, decision: bytes | Reply | Judged) -> Reply | Coroutine[Any, Any, Reply]:
        if isinstance(decision, Reply):
            return self._refused_message(decision)
        judged = NOTHING_SAID if isinstance(decision, bytes) else decision
        fields = decision if isinstance(decision, bytes) else judged.fields
        offer = self._wire.offer
        envelope, body = enveloped(message, fields, self.client, by=offer.hostname, lmtp=offer.lmtp, folder=judged.folder)
        if judged.refusal is not None:
            reply = self._refused_message(judged.refusal, envelope.id)
            return self._recorded(Refusal(envelope, str(judged.refusal), judged.events, message.body.size), reply)
        if judged.is_discarded:
            return self._discarded(Refusal(envelope, "", judged.events, message.body.size, State.REMOVED))
        self._transaction = self._arrival = None
        return self._listener.intake.take(envelope, body, message.arrival.spool, judged.events)

    def _discarded(self, message: Refusal) -> Coroutine[Any, Any, Reply]:
        self.drop_transaction()
        envelope, reply = message.envelope, Reply(250, f"queued as {message.envelope.id}", "2.0.0")
        fields = {"id": envelope.id, "peer": self.client.address, "from": envelope.sender}
        log.info("a message was discarded", extra={"fields": fields})
        return self._record(replace(message, reply=str(reply)), reply)

    def _rcpt_refused(self, transaction: Transaction, rcpt: Rcpt, judged: Judged) -> Reply | Coroutine[Any, Any, Reply]:
        if judged.refusal is None:
            raise TypeError("of a recipient Judged can only be a refusal")
        intake, people = self._listener.intake, (Recipient(rcpt.recipient),)
        lmtp = self._wire.offer.lmtp
        envelope = envelope_of(transaction, self.client, people, id=intake.new_id(), now=intake.now(), lmtp=lmtp)
        fields = {"id": envelope.id, "from": envelope.sender, "to": rcpt.recipient}
        reply = self._turned_down("a recipient was refused", judged.refusal, fields)
        return self._recorded(Refusal(envelope, str(judged.refusal), judged.events), reply)

    def _recorded(self, refusal: Refusal, reply: Reply) -> Reply | Coroutine[Any, Any, Reply]:
        """The reply, once the history has what it is about. Whoever is refused again and again waits for the disk each time."""
        return self._record(refusal, reply) if refusal.events else reply

    async def _record(self, refusal: Refusal, reply: Reply) -> Reply:
        await self._listener.intake.record(refusal)
        return reply

    # --- what carries no mail ---

    def _reset(self, _: Reset) -> Answer:
        self.drop_transaction()
        return self._count_junk() or answers.RESET_OK

    def _noop(self, _: Noop) -> Answer:
        return self._count_junk() or answers.OK

    def _verify(self, _: Verify) -> Answer:
        return self._count_junk() or answers.NOT_VERIFIED

    def _help(self, _: Help) -> Answer:
        return self._count_junk() or answers.HELP

    def _quit(self, _: Quit) -> Answer:
        self.is_over = True
        return Reply(221, f"{self._listener.offer.hostname} closing", "2.0.0")

    def _refused(self, refused: Refused) -> Answer:
        line = refused.line
        self._end_exchange()  # RFC 4954 §4: a response that is no base64, or too long, ends it
        if line.startswith(OTHER_BEGINNINGS) or line.partition(b" ")[0] in OTHER_PROTOCOLS:
            return self._over(answers.NOT_SMTP, "it speaks another protocol")
        return self._count_error(refused.reply)

    def _refused_message(self, reply: Reply, id: str = "") -> Reply:
        """`id` is by what the history knows it."""
        transaction = self._transaction
        self.drop_transaction()
        known = {"id": id} if id else {}
        return self._turned_down("a message was refused", reply, known | {"from": transaction.sender if transaction else ""})

    def _turned_down(self, what: str, reply: Reply, fields: dict[str, str]) -> Reply:
        """A refusal that an operator may be asked about."""
        who = {"user": self.client.user} if self.client.user else {}
        log.info(what, extra={"fields": {"peer": self.client.address} | who | fields | {"reply": str(reply)}})
        return self._count_error(reply)

    def _count_error(self, reply: Reply) -> Reply:
        self._errors += 1
        if self._errors > self._listener.limits.errors:
            return self._over(answers.TOO_MANY_ERRORS, "too many refused commands")
        return reply

    def _count_junk(self) -> Reply | None:
        self._junk += 1
        if self._junk > self._listener.limits.junk:
            return self._over(answers.TOO_MANY_ERRORS, "too many commands that carry no mail")
        return None

    def _over(self, reply: Reply, why: str) -> Reply:
        """The last reply."""
        self.is_over = True
        log.info("a session was ended", extra={"fields": {"peer": self.client.address, "why": why}})
        return reply

    # --- who speaks ---

    def _start_tls(self, _: StartTls) -> Answer:
        self.wants_tls = True
        return answers.READY_FOR_TLS

    def _xclient(self, xclient: XClient) -> Answer:
        """From here on it is the client that a trusted proxy speaks for."""
        said, old = xclient.attributes, self.client
        address = old.address if said.get("ADDR") is None else _ip_address(said["ADDR"] or "")
        if address is None:
            return self._count_error(answers.NO_ADDRESS)
        self.left()
        self.client = Client(address, said.get("HELO") or old.helo, tls=old.tls, user=said.get("LOGIN") or "", proxy=old.address)
        reception = self._listener.reception
        self._wire.offer = reception.offer(self._listener.offer, self.client)
        log.info("a proxy speaks for another client", extra={"fields": {"proxy": old.address, "peer": address}})
        decision = reception.connect(self.client)
        if decision is None or isinstance(decision, Reply):
            return self._greeting(decision)
        return self._greeting_later(decision)

    def _greeting(self, refusal: Reply | None) -> Reply:
        if refusal is None:
            return Reply(220, f"{self._listener.offer.hostname} ESMTP waymail")
        return self.turn_away(refusal)

    async def _greeting_later(self, work: Coroutine[Any, Any, Reply | None]) -> Reply:
        return self._greeting(await self.decided(work))

    def turn_away(self, refusal: Reply) -> Reply:
        """The client was refused as such: all that it can say from here on is QUIT (RFC 5321 §3.1). Returns what it is told: 554,
        or 421 where it may come back, and then the session ends (§3.8)."""
        self._handlers = TURNED_AWAY
        refusal = replace(refusal, code=554 if refusal.code >= 500 else 421)
        log.info("a client was refused", extra={"fields": {"peer": self.client.address, "reply": str(refusal)}})
        return refusal

    def _turned_away(self, _: Event) -> Answer:
        self._end_exchange()
        return self._count_error(answers.TURNED_AWAY)

    def _xforward(self, xforward: XForward) -> Answer:
        said = {name.lower(): value for name, value in xforward.attributes.items() if value is not None}
        log.info("a filter says where messages come from", extra={"fields": {"peer": self.client.address} | said})
        return self._count_junk() or answers.OK

    def _etrn(self, etrn: Etrn) -> Answer:
        return self._count_junk() or self._start_queue(etrn)

    async def _start_queue(self, etrn: Etrn) -> Reply:
        """RFC 1985 §5.1: what waits for the node is due now."""
        node = etrn.node
        waiting = await self._listener.intake.flush(node, below=etrn.below)
        if waiting is None:
            return Reply(458, f"the messages for {node} cannot be looked up now", "4.3.0")
        if not waiting:
            return Reply(251, f"no messages wait for {node}", "2.0.0")
        return Reply(253, f"{waiting} messages for {node} are tried now", "2.0.0")

    def _auth(self, auth: Auth) -> Answer:
        listener = self._listener
        connection = connection_of(self.client, offers_plus=any(name.endswith("-PLUS") for name in self._wire.offer.auth))
        self._exchange = listener.authenticator.begin(auth.mechanism, connection, pause=listener.pause)
        return self._authenticate(auth.initial)

    def _auth_response(self, answer: AuthResponse) -> Answer:
        if answer.response is None:  # RFC 4954 §4: "*" cancels
            self._end_exchange()
            return self._count_error(answers.CANCELLED)
        return self._authenticate(answer.response)

    def _end_exchange(self) -> None:
        """Give up an exchange that is not over (a back end may hold a connection for it), or forget one that is."""
        if self._exchange is not None:
            self._exchange.close()
            self._exchange = None

    async def _authenticate(self, response: bytes | None) -> Reply:
        exchange = self._exchange
        if exchange is None:
            return answers.NOT_AUTHENTICATED
        fields = {"peer": self.client.address}
        step = None
        try:
            step = await exchange.step(response)
        except OSError as error:
            log.error("authentication is not possible", extra={"fields": fields | {"error": str(error)}})
            return answers.BUSY_AUTH
        finally:
            if not isinstance(step, Challenge):
                self._end_exchange()
        match step:
            case Challenge(data):
                return Reply(334, base64.b64encode(data).decode("ascii"))
            case Success(user):
                self.client.user = user
                log.info("authenticated", extra={"fields": fields | {"user": user}})
                return answers.AUTHENTICATED
            case Blocked(reply):
                return reply
            case Failure(cause):
                log.warning("authentication failed", extra={"fields": fields | {"cause": cause}})
        self._failures += 1
        # The same words for every reason: nobody learns which users exist.
        return answers.TOO_MANY_FAILURES if self._failures >= self._listener.limits.auth_failures else answers.NOT_AUTHENTICATED


def _ip_address(text: str) -> str | None:
    """The address of XCLIENT, which writes "IPV6:" before one of version 6; None where it is none."""
    try:
        return str(ipaddress.ip_address(text.upper().removeprefix("IPV6:").lower()))
    except ValueError:
        return None


HANDLERS: dict[type, Callable[[Conversation, Any], Answer]] = {
    Hello: Conversation._hello,
    Mail: Conversation._mail,
    Rcpt: Conversation._rcpt,
    Data: Conversation._data,
    DataChunk: Conversation._chunk,
    EndOfChunk: Conversation._end_of_chunk,
    EndOfData: Conversation._end_of_data,
    Reset: Conversation._reset,
    Noop: Conversation._noop,
    Verify: Conversation._verify,
    Help: Conversation._help,
    Quit: Conversation._quit,
    StartTls: Conversation._start_tls,
    Auth: Conversation._auth,
    AuthResponse: Conversation._auth_response,
    Etrn: Conversation._etrn,
    XClient: Conversation._xclient,
    XForward: Conversation._xforward,
    Refused: Conversation._refused,
}
TURNED_AWAY: dict[type, Callable[[Conversation, Any], Answer]] = dict.fromkeys(HANDLERS, Conversation._turned_away)
TURNED_AWAY[Quit] = Conversation._quit
