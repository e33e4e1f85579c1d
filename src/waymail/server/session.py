"""One SMTP session: carries octets between a socket and the wire core, and events to the decisions.

Promises: every command gets exactly one reply, in order; the replies to a pipelined group leave in one write; the 250 after the
final dot is sent only when the store has the message on disk; while an answer is being worked out, no more is read than
the wire core's buffer takes. What the peer does wrong costs the peer alone.
"""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any, cast

from waymail.mail import headers
from waymail.mail.address import normalise
from waymail.mail.envelope import Envelope, Origin
from waymail.mail.received import protocol, received_field
from waymail.net import streams, tls
from waymail.server import answers
from waymail.server.authentication import Exchange
from waymail.server.intake import NOT_STORED
from waymail.server.reception import Client, Transaction
from waymail.store.contract import Spool, StoreError
from waymail.wire import replies
from waymail.wire.commands import Auth, AuthResponse, Data, Hello, Help, Mail, Noop, Quit, Rcpt, Reset, StartTls, Verify
from waymail.wire.errors import ProtocolError
from waymail.wire.events import DataChunk, EndOfData, Event, Refused
from waymail.wire.replies import Reply
from waymail.wire.sasl import Challenge, Failure, Success
from waymail.wire.server import ServerConnection
from waymail.wire.state import State

if TYPE_CHECKING:
    from waymail.server.listener import Listener

log = logging.getLogger("waymail.server")

LAST_WORDS = 1.0  # seconds that a peer gets to take a 421 before the connection is cut


class Session(asyncio.Protocol):
    """The protocol object of one connection. `Listener` has what all sessions share."""

    __slots__ = (
        "_busy",
        "_closing",
        "_early",
        "_errors",
        "_exchange",
        "_failures",
        "_id",
        "_junk",
        "_last_words",
        "_listener",
        "_message_until",
        "_paused",
        "_shaking_hands",
        "_spool",
        "_transaction",
        "_transport",
        "_upgrading",
        "_wire",
        "client",
        "deadline",
        "started",
    )

    def __init__(self, listener: Listener, address: str = "") -> None:
        """`address` is given where the client was admitted before its TLS handshake."""
        self._listener = listener
        self._wire = ServerConnection(listener.offer, secure=listener.implicit_tls)
        self._transport: asyncio.Transport | None = None
        self._transaction: Transaction | None = None
        self._spool: Spool | None = None
        self._exchange: Exchange | None = None
        self._id = ""
        self._busy = False  # a reply is being worked out
        self._shaking_hands = bool(address)
        self._early = b""  # what came right behind the handshake
        self._upgrading = False  # STARTTLS was accepted, its handshake has not begun
        self._closing = False
        self._last_words: Reply | None = None
        self._message_until = 0.0
        self._paused = False
        self._errors = 0
        self._failures = 0
        self._junk = 0
        self.client = Client(address)
        self.started = self.deadline = listener.time()

    # --- what the transport calls ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=self._listener.limits.unread)
        if self._shaking_hands:
            self._shaking_hands = False
            self.client.tls = tls.describe(self._transport.get_extra_info("ssl_object"), verified=None)
        else:
            self.client.address = streams.peer_address(self._transport)
            if (refusal := self._listener.admit(self)) is not None:
                self._say_and_close(refusal)
                return
        self.deadline = self._listener.time() + self._listener.limits.command_timeout
        self._transport.write(self._wire.greet())

    def connection_lost(self, exc: Exception | None) -> None:
        # RFC 5321 §4.1.1.10: what was not acknowledged is dropped. A message whose storing has begun may still arrive.
        self._closing = True
        if not self._busy:
            self._drop_transaction()
        self._listener.left(self)

    def data_received(self, data: bytes) -> None:
        if self._closing:
            return
        if self._shaking_hands:
            # Reading in clear has stopped before the handshake began: this is what came in TLS together with its end.
            self._early += data
            return
        limits = self._listener.limits
        if self._spool is None:
            self.deadline = self._listener.time() + limits.command_timeout
        else:
            self.deadline = min(self._listener.time() + limits.data_timeout, self._message_until)
        self._advance(data)

    def eof_received(self) -> bool:
        """The peer has said all that it will. In clear it may still listen: an answer that is due is given first."""
        if not self._busy or self.client.tls:
            return False
        self._closing = True
        return True

    def pause_writing(self) -> None:
        # The peer does not read its replies: it is not listened to until it does.
        self._paused = True
        self._read_on_or_wait()

    def resume_writing(self) -> None:
        self._paused = False
        self._read_on_or_wait()

    # --- the loop: events in, replies out ---

    def _advance(self, data: bytes) -> None:
        """Handle what has come, write what it is answered in one write, and see what follows from it."""
        transport = self._transport
        if transport is None:
            return
        try:
            out = self._replies(data)
        except ProtocolError:
            self._say_and_close(answers.TOO_MANY_ERRORS)
            return
        except Exception:
            log.exception("a session met a bug")
            self._say_and_close(answers.BUG)
            return
        if out:
            transport.write(out[0] if len(out) == 1 else b"".join(out))
        if self._upgrading:
            self._upgrading = False
            transport.pause_reading()  # nothing more is read in clear (RFC 3207 §4.2)
            self._listener.spawn(self._shake_hands(transport))
        elif self._busy:
            self._read_on_or_wait()
        elif self._closing or self._wire.state is State.CLOSED:
            if self._last_words is not None:
                transport.write(replies.encode(self._last_words))
            self._close(transport)

    def _replies(self, data: bytes) -> list[bytes]:
        wire = self._wire
        out: list[bytes] = []
        while not self._busy and not self._closing:
            events = wire.receive(data)
            data = b""
            if not events:
                break
            for event in events:
                reply = self._handle(event)
                if reply is not None:
                    out.append(wire.send(reply))
            if not wire.buffered:
                break
        if data and not self._closing:
            wire.receive(data)  # only buffers: a reply is being worked out
        return out

    def _handle(self, event: Event) -> Reply | None:
        """The reply to an event; None for a part of a message, and where the reply comes later."""
        return HANDLERS[type(event)](self, event)

    def _later(self, work: Coroutine[Any, Any, Reply]) -> None:
        """The reply takes its time: nothing more is handled until it is there."""
        self._busy = True
        self._listener.spawn(self._answer(work))

    async def _answer(self, work: Awaitable[Reply]) -> None:
        try:
            reply = await work
        except Exception:
            log.exception("a session met a bug")
            reply = answers.INTERNAL_ERROR
        self._busy = False
        if self._transport is None or self._transport.is_closing():
            self._drop_transaction()
            return
        self.deadline = self._listener.time() + self._listener.limits.command_timeout
        self._transport.write(self._wire.send(reply))
        self._read_on_or_wait()
        self._advance(b"")

    def _read_on_or_wait(self) -> None:
        """Read only while the peer reads too, and while the wire core's buffer is small."""
        if self._transport is None or self._transport.is_closing():
            return
        if self._paused or (self._busy and self._wire.buffered > self._listener.limits.unread):
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def _say_and_close(self, reply: Reply) -> None:
        """A reply that answers no command: the last words of the session."""
        self._closing = True
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(replies.encode(reply))
            self._close(self._transport)

    def _close(self, transport: asyncio.Transport) -> None:
        """Close when the peer has taken what was written."""
        self._closing = True
        self.deadline = self._listener.time() + LAST_WORDS
        transport.close()

    def end(self, reply: Reply) -> None:
        """Close from outside (time is up, shutting down), unless an answer is being worked out: that comes first.

        A peer that has not taken the last words in time is cut off; so is a handshake.
        """
        if self._shaking_hands or (self._closing and not self._busy and self._listener.time() > self.deadline):
            self.cut()
        elif self._busy:
            self._closing, self._last_words = True, reply
        elif not self._closing:
            self._say_and_close(reply)

    def cut(self) -> None:
        """Close at once, whatever the peer has not read."""
        if self._transport is not None:
            self._transport.abort()

    @property
    def is_receiving(self) -> bool:
        """Whether the peer is in the middle of a message."""
        return self._transaction is not None and not self._busy

    @property
    def is_busy(self) -> bool:
        """Whether this server works out a reply: then the peer is not late."""
        return (self._busy and not self._shaking_hands) or self._transport is None

    # --- commands ---

    def _hello(self, hello: Hello) -> Reply | None:
        self._drop_transaction()  # RFC 5321 §4.1.4: EHLO clears as RSET does
        self.client.helo, self.client.extended = hello.name, hello.extended
        return self._count_junk() or self._wire.hello_reply(hello)

    def _mail(self, mail: Mail) -> Reply | None:
        refusal = self._listener.reception.mail(self.client, mail.sender)
        if refusal is not None:
            return self._count_error(refusal)
        self._junk = 0
        self._transaction = Transaction(mail.sender, mail.parameters.get("BODY") or "7BIT")
        return answers.SENDER_OK

    def _rcpt(self, rcpt: Rcpt) -> Reply | None:
        transaction = self._transaction
        if transaction is None:  # the wire core lets RCPT through only after an accepted MAIL
            raise ProtocolError("RCPT without a transaction")
        found = self._listener.reception.rcpt(self.client, rcpt.recipient)
        if isinstance(found, Reply):
            return self._count_error(found)
        for one in found:
            transaction.recipients.setdefault(normalise(one.address), one)
        transaction.named += 1
        return answers.RECIPIENT_OK

    def _data(self, _: Data) -> Reply | None:
        self._id = self._listener.intake.new_id()
        self._spool = self._listener.intake.spool(self._id)
        now = self._listener.time()
        self.deadline = now + self._listener.limits.data_timeout
        self._message_until = now + self._listener.limits.message_time
        return answers.START_MAIL_INPUT

    def _chunk(self, chunk: DataChunk) -> Reply | None:
        if self._spool is not None:
            try:
                self._spool.write(chunk.content)
            except StoreError as error:
                self._not_stored(error)
        return None

    def _not_stored(self, error: StoreError) -> Reply:
        log.error("a message could not be spooled", extra={"fields": {"id": self._id, "error": str(error)}})
        self._drop_transaction()
        return NOT_STORED

    def _end_of_data(self, end: EndOfData) -> Reply | None:
        transaction, spool, id = self._transaction, self._spool, self._id
        if end.refusal is not None:
            self._drop_transaction()
            return self._count_error(end.refusal)
        if transaction is None or spool is None:  # an earlier chunk could not be stored
            return NOT_STORED
        now = self._listener.intake.now()
        try:
            body = spool.finish()
        except StoreError as error:
            return self._not_stored(error)
        head = body.head(self._listener.limits.head)
        section = headers.header_section(head)
        fields: bytes | Reply
        if len(section) >= self._listener.limits.head:
            fields = answers.HEADER_TOO_LARGE  # what stands beyond could not be judged
        elif headers.count(section, b"received") > self._listener.limits.received_hops:
            fields = answers.LOOP
        else:
            fields = self._listener.reception.message(self.client, head, id=id, now=now)
        if isinstance(fields, Reply):
            self._drop_transaction()
            return self._count_error(fields)
        origin = self._origin()
        # RFC 5321 §7.6: the for clause names the recipient only where there is no other to keep it from.
        recipients = tuple(transaction.recipients.values())
        single = recipients[0] if transaction.named == 1 and len(recipients) == 1 else None
        shown = (single.original or single.address) if single else None
        received = received_field(origin, by=self._listener.offer.hostname, id=id, now=now, recipient=shown)
        message_id = headers.first(fields, b"message-id") or headers.first(section, b"message-id") or b""
        envelope = Envelope(
            id=id,
            sender=transaction.sender,
            recipients=recipients,
            accepted_at=now,
            body=transaction.body,
            message_id=message_id.strip().decode("ascii", "replace")[:998],
            origin=origin,
        )
        self._transaction = self._spool = None
        self._later(self._listener.intake.take(envelope, body.with_prefix(received + fields), spool))
        return None

    def _origin(self) -> Origin:
        client = self.client
        with_ = protocol(secure=bool(client.tls), authenticated=bool(client.user), extended=client.extended)
        return Origin(with_, client.helo, client.address, client.tls, client.user)

    def _reset(self, _: Reset) -> Reply | None:
        self._drop_transaction()
        return self._count_junk() or answers.RESET_OK

    def _noop(self, _: Noop) -> Reply | None:
        return self._count_junk() or answers.OK

    def _verify(self, _: Verify) -> Reply | None:
        return self._count_junk() or answers.NOT_VERIFIED

    def _help(self, _: Help) -> Reply | None:
        return self._count_junk() or answers.HELP

    def _quit(self, _: Quit) -> Reply | None:
        self._closing = True
        return Reply(221, f"{self._listener.offer.hostname} closing", "2.0.0")

    def _refused(self, refused: Refused) -> Reply | None:
        return self._count_error(refused.reply)

    def _count_error(self, reply: Reply) -> Reply:
        self._errors += 1
        if self._errors > self._listener.limits.errors:
            self._closing = True
            return answers.TOO_MANY_ERRORS
        return reply

    def _count_junk(self) -> Reply | None:
        self._junk += 1
        if self._junk > self._listener.limits.junk:
            self._closing = True
            return answers.TOO_MANY_ERRORS
        return None

    def _drop_transaction(self) -> None:
        if self._spool is not None:
            self._spool.discard()
        self._transaction = self._spool = None

    # --- STARTTLS and AUTH ---

    def _start_tls(self, _: StartTls) -> Reply | None:
        self._busy = self._upgrading = True  # the handshake follows once the 220 has been written
        return answers.READY_FOR_TLS

    async def _shake_hands(self, transport: asyncio.Transport) -> None:
        listener = self._listener
        self._shaking_hands = True
        self.deadline = listener.time() + listener.limits.handshake_timeout
        try:
            secure = await streams.start_tls(
                transport, self, listener.tls_context(), server_side=True, timeout=listener.limits.handshake_timeout
            )
        except (streams.TlsFailed, OSError) as error:
            log.info("TLS handshake failed", extra={"fields": {"peer": self.client.address, "error": str(error)}})
            transport.abort()
            self.connection_lost(error)  # what failed in the handshake is not told to the protocol behind it
            return
        finally:
            self._busy = self._shaking_hands = False
        self._transport = secure
        secure.set_write_buffer_limits(high=listener.limits.unread)
        self._wire.tls_started()
        # RFC 3207 §4.2: what was said in clear is forgotten.
        self.client = Client(self.client.address, tls=tls.describe(secure.get_extra_info("ssl_object"), verified=None))
        self.deadline = listener.time() + listener.limits.command_timeout
        early, self._early = self._early, b""
        if early:
            self.data_received(early)

    def _auth(self, auth: Auth) -> Reply | None:
        self._exchange = self._listener.authenticator.begin(auth.mechanism)
        self._later(self._authenticate(auth.initial))
        return None

    def _auth_response(self, answer: AuthResponse) -> Reply | None:
        if answer.response is None:  # RFC 4954 §4: "*" cancels
            self._exchange = None
            return self._count_error(answers.CANCELLED)
        self._later(self._authenticate(answer.response))
        return None

    async def _authenticate(self, response: bytes | None) -> Reply:
        exchange = self._exchange
        if exchange is None:
            return answers.NOT_AUTHENTICATED
        fields = {"peer": self.client.address}
        try:
            step = await exchange.step(response)
        except OSError as error:
            log.error("authentication is not possible", extra={"fields": fields | {"error": str(error)}})
            return answers.BUSY_AUTH
        match step:
            case Challenge(data):
                return Reply(334, base64.b64encode(data).decode("ascii"))
            case Success(user):
                self._exchange = None
                self.client.user = user
                log.info("authenticated", extra={"fields": fields | {"user": user}})
                return answers.AUTHENTICATED
            case Failure(cause):
                log.warning("authentication failed", extra={"fields": fields | {"cause": cause}})
        self._exchange = None
        self._failures += 1
        # The same delay and words for every reason: nobody learns which users exist.
        await self._listener.pause(self._listener.limits.auth_failure_delay)
        return answers.TOO_MANY_FAILURES if self._failures >= self._listener.limits.auth_failures else answers.NOT_AUTHENTICATED


HANDLERS: dict[type, Callable[[Session, Any], Reply | None]] = {
    Hello: Session._hello,
    Mail: Session._mail,
    Rcpt: Session._rcpt,
    Data: Session._data,
    DataChunk: Session._chunk,
    EndOfData: Session._end_of_data,
    Reset: Session._reset,
    Noop: Session._noop,
    Verify: Session._verify,
    Help: Session._help,
    Quit: Session._quit,
    StartTls: Session._start_tls,
    Auth: Session._auth,
    AuthResponse: Session._auth_response,
    Refused: Session._refused,
}
