"""What a client says and what it is answered: one handler for each command.

A conversation knows nothing of sockets. It is given the events of the wire core and gives the reply to each, or a coroutine where
that takes time: until it is done, nothing further is handed in. It counts what the client does wrong, asks the reception who may
do what, and hands complete messages to the intake.
"""

from __future__ import annotations

import base64
import ipaddress
import logging
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from waymail.mail.address import normalise
from waymail.mail.expansion import inherit
from waymail.mail.options import options_of
from waymail.server import answers
from waymail.server.arrival import Arrival, enveloped, judged
from waymail.server.authentication import Blocked, Exchange
from waymail.server.intake import DISK_FULL
from waymail.server.reception import Client, Transaction
from waymail.server.submission import connection_of
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

SMALL_CHUNK = 64  # octets: a chunk below that counts as junk, for it costs more than it carries
# What no SMTP client says. A browser can be made to say SMTP commands behind the first of these, in a request's body.
OTHER_PROTOCOLS = frozenset(b"GET HEAD POST PUT DELETE CONNECT OPTIONS TRACE PATCH PRI".split())
OTHER_BEGINNINGS = (b"SSH-", b"\x16\x03")  # RFC 4253 §4.2; a handshake of TLS, RFC 8446 §5.1


class Conversation:
    """One session's talk. `is_over`: the reply that was given last is the last one. `wants_tls`: the handshake follows it."""

    __slots__ = (
        "_arrival",
        "_errors",
        "_exchange",
        "_failures",
        "_junk",
        "_listener",
        "_transaction",
        "_wire",
        "client",
        "is_over",
        "wants_tls",
    )

    def __init__(self, listener: Listener, wire: ServerConnection, client: Client) -> None:
        self._listener = listener
        self._wire = wire
        self._transaction: Transaction | None = None
        self._arrival: Arrival | None = None
        self._exchange: Exchange | None = None
        self._errors = self._failures = self._junk = 0
        self.client = client
        self.is_over = self.wants_tls = False

    def handle(self, event: Event) -> Answer:
        """The answer to an event; None for a part of a message."""
        return HANDLERS[type(event)](self, event)

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
        self.client = Client(self.client.address, proxy=self.client.proxy)

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
        if reply is not None and not reply.is_positive:
            return self._turned_down("a sender was refused", reply, {"from": mail.sender})
        self._junk = 0
        self._transaction = transaction
        return reply or answers.SENDER_OK

    def _rcpt(self, rcpt: Rcpt) -> Answer:
        transaction = self._transaction
        if transaction is None:  # the wire core lets RCPT through only after an accepted MAIL
            raise ProtocolError("RCPT without a transaction")
        found = self._listener.reception.rcpt(self.client, transaction, rcpt.recipient)
        if isinstance(found, Reply):
            return self._turned_down("a recipient was refused", found, {"from": transaction.sender, "to": rcpt.recipient})
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
        return Arrival(id, intake.spool(id), edit=reception.edit, head_limit=self._listener.limits.head)

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
        now = listener.intake.now()
        found = judged(body, self.client, transaction, listener.reception, listener.limits, id=arrival.id, now=now)
        if isinstance(found, Reply):
            return self._refused_message(found)
        envelope, body = enveloped(
            body,
            *found,
            transaction,
            self.client,
            id=arrival.id,
            now=now,
            by=self._wire.offer.hostname,
            lmtp=self._wire.offer.lmtp,
        )
        self._transaction = self._arrival = None
        return listener.intake.take(envelope, body, arrival.spool)

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

    def _refused_message(self, reply: Reply) -> Reply:
        transaction = self._transaction
        self.drop_transaction()
        return self._turned_down("a message was refused", reply, {"from": transaction.sender if transaction else ""})

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
        self.client = Client(address, said.get("HELO") or old.helo, tls=old.tls, user=said.get("LOGIN") or "", proxy=old.address)
        self._wire.offer = self._listener.reception.offer(self._listener.offer, self.client)
        log.info("a proxy speaks for another client", extra={"fields": {"proxy": old.address, "peer": address}})
        return Reply(220, f"{self._listener.offer.hostname} ESMTP waymail")

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
