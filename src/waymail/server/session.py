"""One SMTP session: carries octets between a socket and the wire core, and events to the conversation.

Promises: every command gets exactly one reply, in order; the replies to a pipelined group leave in one write; the 250 after the
final dot is sent only when the store has the message on disk; while an answer is being worked out, no more is read than
the wire core's buffer takes. What the peer does wrong costs the peer alone.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Coroutine
from typing import TYPE_CHECKING, Any, cast

from waymail.net import binding, streams, tls
from waymail.server import answers
from waymail.server.conversation import Conversation
from waymail.server.reception import Client
from waymail.wire import replies
from waymail.wire.errors import ProtocolError
from waymail.wire.replies import Reply
from waymail.wire.server import ServerConnection
from waymail.wire.state import State

if TYPE_CHECKING:
    from waymail.server.listener import Listener

log = logging.getLogger("waymail.server")

LAST_WORDS = 1.0  # seconds that a peer gets to take a 421 before the connection is cut
TURN = 250  # commands that are answered in one go: then it is the other sessions' turn


class Session(asyncio.Protocol):
    """The protocol object of one connection. `Listener` has what all sessions share."""

    __slots__ = (
        "_busy",
        "_closing",
        "_early",
        "_greeting",
        "_last_words",
        "_listener",
        "_message_until",
        "_paused",
        "_resting",
        "_shaking_hands",
        "_talk",
        "_transport",
        "_upgrading",
        "_wire",
        "_work",
        "deadline",
        "started",
    )

    def __init__(self, listener: Listener, address: str = "") -> None:
        """`address` is given where the client was admitted before its TLS handshake."""
        self._listener = listener
        self._wire = ServerConnection(listener.offer, secure=listener.implicit_tls)
        self._talk = Conversation(listener, self._wire, Client(address))
        self._transport: asyncio.Transport | None = None
        self._busy = False  # a reply is being worked out
        self._work: asyncio.Task[None] | None = None  # what works it out, or did so last
        self._greeting = False  # whether there will be a greeting is being decided
        self._shaking_hands = bool(address)
        self._early = b""  # what came right behind the handshake
        self._upgrading = False  # STARTTLS was accepted, its handshake has not begun
        self._closing = False
        self._last_words: Reply | None = None
        self._message_until = 0.0
        self._paused = False
        self._resting = False  # it has had its turn, and more waits
        self.started = self.deadline = listener.time()

    @property
    def client(self) -> Client:
        return self._talk.client

    # --- what the transport calls ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=self._listener.limits.unread)
        if self._shaking_hands:
            self._shaking_hands = False
            self._secured(self._transport)
        else:
            self.client.address = streams.peer_address(self._transport)
            if (refusal := self._listener.admit(self)) is not None:
                self._say_and_close(refusal)
                return
        self._offer()
        self.deadline = self._listener.time() + self._listener.limits.command_timeout
        try:
            decision = self._listener.reception.connect(self.client)
        except Exception:
            log.exception("a session met a bug")
            decision = answers.BUG
        if decision is None:
            self._transport.write(self._wire.greet())
        elif isinstance(decision, Reply):
            self._turn_away(decision)
        else:
            self._busy = self._greeting = self._resting = True
            self._work = self._listener.spawn(self._greet(decision))

    def connection_lost(self, exc: Exception | None) -> None:
        # RFC 5321 §4.1.1.10: what was not acknowledged is dropped. A message whose storing has begun may still arrive.
        self._closing = True
        if self._talk.is_deciding and self._work is not None:
            self._work.cancel()  # nobody is left to tell
        elif not self._busy:
            self._talk.abandon()
        self._listener.left(self)
        self._talk.left()

    def data_received(self, data: bytes) -> None:
        if self._closing:
            return
        if self._shaking_hands:
            # Reading in clear has stopped before the handshake began: this is what came in TLS together with its end.
            self._early += data
            return
        if self._resting:
            self._early += data  # little: reading has stopped
            if self._greeting and self._transport is not None:
                self.client.talked_early = True
                self._transport.pause_reading()
            return
        self._advance(data)

    def eof_received(self) -> bool:
        """The peer has said all that it will. In clear it may still listen: an answer that is due is given first."""
        if self.client.tls or self._greeting or not (self._busy or self._resting):
            return False
        # What waits for its turn is answered; then a client that is still there says QUIT, or its time is over.
        self._closing = self._closing or not self._resting
        return True

    def pause_writing(self) -> None:
        # The peer does not read its replies: it is not listened to until it does.
        self._paused = True
        self._read_on_or_wait()

    def resume_writing(self) -> None:
        self._paused = False
        self._read_on_or_wait()
        if self._resting:
            asyncio.get_running_loop().call_soon(self._take_turn)

    def _rest(self) -> None:
        """More commands wait than are answered in one go: a megabyte of them must not keep all others waiting, nor its replies
        pile up."""
        self._resting = True
        self._read_on_or_wait()
        asyncio.get_running_loop().call_soon(self._take_turn)

    def _take_turn(self) -> None:
        if not self._resting or self._paused or self._closing:
            return
        self._resting = False
        early, self._early = self._early, b""
        self._read_on_or_wait()
        self._advance(early)

    def _secured(self, transport: asyncio.Transport) -> None:
        """Note what the handshake came to."""
        connection, client = transport.get_extra_info("ssl_object"), self.client
        client.tls = tls.describe(connection, verified=None)
        client.certificate = tls.peer_certificate(connection)
        client.bindings = binding.of_server(connection, tls.served_certificate(connection) or b"")

    def _offer(self) -> None:
        """What is offered depends on who it is."""
        listener = self._listener
        self._wire.offer = listener.reception.offer(listener.offer, self.client)

    async def _greet(self, work: Coroutine[Any, Any, Reply | None]) -> None:
        """Greet the client when it is decided that it may stay. What it has said meanwhile is answered then."""
        try:
            refusal = await self._talk.decided(work)
        except asyncio.CancelledError:
            self._called_off()
            raise
        self._busy = self._greeting = False
        if self._transport is None or self._transport.is_closing():
            self._talk.abandon()
            return
        if self._last_words is not None:
            self._say_and_close(self._last_words)
            return
        self.deadline = self._listener.time() + self._listener.limits.command_timeout
        if refusal is None:
            self._transport.write(self._wire.greet())
        else:
            self._turn_away(refusal)
        self._take_turn()

    def _turn_away(self, refusal: Reply) -> None:
        """RFC 5321 §3.1: a session that is refused goes on until QUIT, but no mail is taken in it."""
        said = self._talk.turn_away(refusal)
        if said.code == 421:
            self._say_and_close(said)
        elif self._transport is not None:
            self._transport.write(replies.encode(said))

    # --- the loop: events in, replies out ---

    def _advance(self, data: bytes) -> None:
        """Handle what has come, write what it is answered in one write, and see what follows from it."""
        transport = self._transport
        if transport is None:
            return
        try:
            out = self._replies(data)
        except ProtocolError as error:
            log.info("a session was ended", extra={"fields": {"peer": self.client.address, "why": str(error)}})
            self._say_and_close(answers.TOO_MANY_ERRORS)
            return
        except Exception:
            log.exception("a session met a bug")
            self._say_and_close(answers.BUG)
            return
        if (is_in_content := self._wire.is_in_content) or out:  # a part of a line gains no time
            self._set_deadline(is_in_content)
        if out:
            transport.write(out[0] if len(out) == 1 else b"".join(out))
        if self._upgrading:
            self._upgrading = False
            transport.pause_reading()  # nothing more is read in clear (RFC 3207 §4.2)
            self._listener.spawn(self._shake_hands(transport))
        elif self._busy or self._resting:
            self._read_on_or_wait()
        elif self._closing or self._wire.state is State.CLOSED:
            if self._last_words is not None:
                transport.write(replies.encode(self._last_words))
            self._close(transport)

    def _replies(self, data: bytes) -> list[bytes]:
        wire, talk = self._wire, self._talk
        out: list[bytes] = []
        turn = TURN
        while not self._busy and not self._closing:
            if turn == 0:
                self._rest()
                return out
            turn -= 1
            events = wire.receive(data)
            data = b""
            if not events:
                break
            for event in events:
                answer = talk.handle(event)
                if isinstance(answer, Reply):
                    out.append(wire.send(answer))
                elif answer is not None:
                    self._later(answer)
            if talk.is_over:
                self._closing = True
            if talk.wants_tls:
                self._busy, self._upgrading = True, True  # the handshake follows once the 220 has been written
            if not wire.buffered:
                break
        if data and not self._closing:
            wire.receive(data)  # only buffers: a reply is being worked out
        return out

    def _set_deadline(self, is_in_content: bool) -> None:
        now, limits = self._listener.time(), self._listener.limits
        if not is_in_content:
            self.deadline = now + limits.command_timeout
            if self._wire.state is not State.BDAT:
                self._message_until = 0.0
            else:  # between two chunks: a message in a million of them has no more time than any other
                self._message_until = self._message_until or now + limits.message_time
                self.deadline = min(self.deadline, self._message_until)
            return
        if not self._message_until:
            self._message_until = now + limits.message_time
        self.deadline = min(now + limits.data_timeout, self._message_until)

    def _later(self, work: Coroutine[Any, Any, Reply]) -> None:
        """The reply takes its time: nothing more is handled until it is there."""
        self._busy = True
        self._work = self._listener.spawn(self._answer(work))

    async def _answer(self, work: Awaitable[Reply]) -> None:
        try:
            reply = await work
        except asyncio.CancelledError:
            self._called_off()
            raise
        except Exception:
            log.exception("a session met a bug")
            reply = answers.INTERNAL_ERROR
        self._busy = False
        if self._transport is None or self._transport.is_closing():
            self._talk.abandon()
            return
        self._transport.write(self._wire.send(reply))
        self._set_deadline(is_in_content=False)
        self._read_on_or_wait()
        self._advance(b"")

    def _called_off(self) -> None:
        """What was to be answered is given up: the client is gone, or has to go."""
        self._busy = self._greeting = False
        self._talk.abandon()
        self._say_and_close(self._last_words or answers.SHUTTING_DOWN)

    def _read_on_or_wait(self) -> None:
        """Read only while the peer reads too, and while the wire core's buffer is small."""
        if self._transport is None or self._transport.is_closing():
            return
        if self._paused or self._resting or (self._busy and self._wire.buffered > self._listener.limits.unread):
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

    # --- what the listener calls ---

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

    def call_off(self) -> None:
        """Let it wait no longer for a decision. A message that is being stored is waited for."""
        if self._talk.is_deciding and self._work is not None:
            self._work.cancel()

    def cut(self) -> None:
        """Close at once, whatever the peer has not read."""
        if self._transport is not None:
            self._transport.abort()

    @property
    def is_receiving(self) -> bool:
        """Whether the peer is in the middle of a message."""
        return self._talk.is_in_transaction and not self._busy

    @property
    def is_closing(self) -> bool:
        """Whether its last words were said."""
        return self._closing

    @property
    def is_parting(self) -> bool:
        """Whether its last words are with the kernel, and all that it waits for is the peer's end of TLS."""
        transport = self._transport
        return self._closing and not self._busy and transport is not None and not transport.get_write_buffer_size()

    @property
    def is_busy(self) -> bool:
        """Whether this server works out a reply: then the peer is not late."""
        return (self._busy and not self._shaking_hands) or self._transport is None

    # --- STARTTLS ---

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
        self._talk.tls_started()
        self._secured(secure)
        self._offer()
        self.deadline = listener.time() + listener.limits.command_timeout
        early, self._early = self._early, b""
        if early:
            self.data_received(early)
