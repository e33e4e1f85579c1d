"""One connection to an SMTP server, from the client's side: the hot path of delivery.

A raw `asyncio.Protocol` around `wire.ClientConnection`: the commands of a group leave in one write, and one future waits for
all their replies. There is no task and no timer per command: one timer per connection wakes up at the earliest deadline
and sees whether it has moved meanwhile.

How it fails: whatever ends the connection (lost, 421, silence past a timeout, a reply that makes no sense) is recorded once in
`trouble`, and whoever waits is woken. `ask` and `transaction` do not raise for it: they return the replies that came. Being
cancelled in the middle aborts the connection, for nobody knows then where it stands.

`session.open_session` makes connections that are ready for a transaction.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from math import inf
from typing import cast

from waymail.client.errors import Disconnected
from waymail.client.transaction import MOST_RECIPIENTS, Timeouts, Transaction
from waymail.mail.envelope import Body
from waymail.mail.outcome import Peer
from waymail.wire.client import ClientConnection, EndOfContent, Response
from waymail.wire.commands import Command, Data, Mail, Quit, Rcpt, Reset
from waymail.wire.data import BareLineEnd, stuff
from waymail.wire.errors import CommandOrder, ProtocolError
from waymail.wire.replies import Reply

BLOCK = 262_144  # octets written at a time, and read from a file at a time


class Connection(asyncio.Protocol):
    """A connection. Not to be used by two at a time."""

    def __init__(self, host: str, timeouts: Timeouts) -> None:
        self.timeouts = timeouts
        self.peer = Peer(host)
        self.is_confidential = False
        self.trouble: Disconnected | None = None
        self.messages = 0  # transactions begun
        self.most_recipients = MOST_RECIPIENTS
        self.most_messages: int | None = None
        self.core = ClientConnection()
        self._loop = asyncio.get_running_loop()
        self.opened_at = self._loop.time()
        self._transport = cast(asyncio.Transport, None)
        self._responses: list[Response] = []
        self._waiter: asyncio.Future[None] | None = None
        self._room: asyncio.Future[None] | None = None  # waits for the transport to take more
        self._closed: asyncio.Future[None] | None = None
        self._is_full = self._is_lost = self._is_leaving = False
        self._needs_reset = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = self._deadline = 0.0
        self._step = 0.0
        self._limit = inf
        self._max_size = 0
        self._pipelining = self._eight_bit = False

    # --- what a session needs

    @property
    def is_usable(self) -> bool:
        """Whether a transaction can begin: alive, nothing outstanding, nothing said unasked."""
        return self.trouble is None and not self.core.pending

    @property
    def transport(self) -> asyncio.Transport:
        return self._transport

    def use(self, transport: asyncio.Transport, tls: str = "", *, confidential: bool = False) -> None:
        """Go on over `transport`, described as `tls`; after STARTTLS it is another one than before.

        `confidential` says whether a password may be sent over it."""
        self._transport = transport
        self.is_confidential = confidential
        address = transport.get_extra_info("peername")
        self.peer = Peer(self.peer.host, str(address[0]) if isinstance(address, tuple) else "", tls)

    def bound(self, deadline: float) -> None:
        """Wait for nothing past `deadline` (loop time), whatever the timeouts say."""
        self._limit = deadline

    def learn_extensions(self) -> None:
        """Note what the latest EHLO offered (RFC 5321 §4.1.1.1: what an earlier one did counts no more)."""
        offered = self.core.extensions
        self._pipelining = "PIPELINING" in offered
        self._eight_bit = "8BITMIME" in offered
        self._max_size = _number(offered.get("SIZE", ""))  # RFC 1870 §4: 0 or nothing means that none is known
        limits = dict(limit.upper().partition("=")[::2] for limit in offered.get("LIMITS", "").split())  # RFC 9422 §3
        self.most_recipients = min(_number(limits.get("RCPTMAX", "")) or MOST_RECIPIENTS, MOST_RECIPIENTS)
        self.most_messages = _number(limits.get("MAILMAX", "")) or None

    async def ask(self, seconds: float, *commands: Command) -> list[Response]:
        """Send a group of commands in one write and wait for the replies, `seconds` at most for each.

        Where the connection ends meanwhile, `trouble` says why and only the replies that came are returned. Raises ValueError
        for an argument that cannot be sent, before anything is.
        """
        octets = self.core.send(*commands)
        self._put(octets)
        return await self.replies(seconds)

    async def replies(self, seconds: float) -> list[Response]:
        """The replies to all that is outstanding (at first: the greeting)."""
        if self.core.pending and self.trouble is None:
            self._waiter = self._loop.create_future()
            self._expect_within(seconds)
            try:
                await self._waiter
            finally:
                self._waiter = None
        responses, self._responses = self._responses, []
        return responses

    # --- a transaction

    async def transaction(
        self, sender: str, recipients: Sequence[str], body: Body, *, body_type: str = "7BIT", deadline: float = inf
    ) -> Transaction:
        """Send a message to the first `most_recipients` of `recipients`.

        `body_type` is what the message came with (RFC 6152); where the body is in memory its octets are looked at instead.
        `deadline` (loop time) bounds it all. Raises ValueError for an address that cannot be sent, OSError where the body's
        file cannot be read; the connection is of no use then.
        """
        result = Transaction(recipients[: self.most_recipients], self.peer)
        try:
            eight_bit = await self._has_eight_bit(body, body_type)
            pieces: list[bytes] | Body = list(stuff(body.chunks())) if isinstance(body.content, bytes) else body
            result.final = self._unfit(body, eight_bit)
            if result.final is None:
                mail = Mail(sender, self._mail_parameters(body, eight_bit))
                self._limit = min(self._loop.time() + self.timeouts.transaction, deadline)
                await self._carry_out(result, mail, pieces, deadline)
        except BareLineEnd:
            if self._needs_reset:
                self.abort()  # there is no other way to take back content that was sent in part
            result.final = Reply(550, "the message has a line that ends in a bare CR or LF", "5.6.11")
        except BaseException:
            self.abort()
            raise
        result.trouble = None if result.final is not None else self.trouble
        return result

    async def _carry_out(self, result: Transaction, mail: Mail, pieces: list[bytes] | Body, deadline: float) -> None:
        self.messages += 1
        opening: list[Command] = [Reset(), mail] if self._needs_reset else [mail]
        opening += [Rcpt(recipient) for recipient in result.batch]
        self._needs_reset = True
        if self._pipelining:
            # RFC 2920 §3.1: RSET, MAIL and RCPT may stand anywhere in a group, DATA last.
            go = self._sort(result, await self.ask(self.timeouts.command, *opening, Data()))
        else:
            go = await self._one_by_one(result, opening)
        if go is None:
            return
        if go.code != 354:
            if go.is_positive:
                self._end(f"answered DATA with {go}")
            elif result.has_accepted:
                result.final = go
        elif result.has_accepted:
            await self._send_content(result, pieces, deadline)
        else:
            # RFC 2920 §3.1: the server wants content although no recipient stands. A lone dot; it must send that nowhere.
            self._put(b".\r\n")
            self.core.content_sent()
            await self.replies(self.timeouts.final)

    async def _one_by_one(self, result: Transaction, opening: list[Command]) -> Reply | None:
        for command in opening:
            self._sort(result, await self.ask(self.timeouts.command, command))
            if self.trouble is not None:
                return None
            if result.mail is not None and not result.mail.is_positive:
                return None
        if not result.has_accepted:
            return None
        return self._sort(result, await self.ask(self.timeouts.data, Data()))

    def _sort(self, result: Transaction, responses: list[Response]) -> Reply | None:
        """Put the replies where they belong; returns the one to DATA."""
        go = None
        for response in responses:
            match response.command:
                case Rcpt(recipient):
                    result.recipients[recipient] = response.reply
                case Mail():
                    result.mail = response.reply
                case Data():
                    go = response.reply
        return go

    async def _send_content(self, result: Transaction, pieces: list[bytes] | Body, deadline: float) -> None:
        last = await self._write_all_but_last(pieces)
        if self.trouble is not None:
            return
        self._put(last)
        self.core.content_sent()
        self._limit = deadline
        responses = await self.replies(self.timeouts.final)
        reply = responses[-1].reply if responses else None
        if reply is None:
            result.uncertain = True
        elif reply.is_intermediate:
            result.uncertain = True
            self._end(f"answered the content with {reply}")
        else:
            result.final = reply
            self._needs_reset = not reply.is_positive

    async def _write_all_but_last(self, pieces: list[bytes] | Body) -> bytes:
        """Write the content, as fast as the peer takes it, up to its last piece, which is returned."""
        waiting = b""
        if isinstance(pieces, Body):
            content = stuff(pieces.chunks(BLOCK))
            while (piece := await asyncio.to_thread(next, content, None)) is not None:
                if waiting and not await self._write(waiting):
                    return b""
                waiting = piece
            return waiting
        whole = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        at = 0
        while len(whole) - at > BLOCK:
            if not await self._write(whole[at : at + BLOCK]):
                return b""
            at += BLOCK
        return whole[at:] if at else whole

    async def _write(self, octets: bytes) -> bool:
        """Write, and wait while the transport is full. False where the connection is gone."""
        self._put(octets)
        if self._is_full and self.trouble is None:
            self._room = self._loop.create_future()
            self._expect_within(self.timeouts.block)
            try:
                await self._room
            finally:
                self._room = None
        return self.trouble is None

    def _put(self, octets: bytes) -> None:
        # A transport that is closed already, of which we shall hear in a moment, may raise (uvloop's does).
        if self.trouble is None and not self._transport.is_closing():
            self._transport.write(octets)

    # --- what the message needs of the server

    async def _has_eight_bit(self, body: Body, body_type: str) -> bool:
        if isinstance(body.content, bytes):
            return not (body.content.isascii() and body.prefix.isascii())
        if body_type != "7BIT" and self._eight_bit:
            return True
        return await asyncio.to_thread(lambda: not all(chunk.isascii() for chunk in body.chunks(BLOCK)))

    def _unfit(self, body: Body, eight_bit: bool) -> Reply | None:
        if self._max_size and body.size > self._max_size:
            # RFC 1870 §6.1: what is known to be too large is not sent at all.
            return Reply(552, f"{body.size} octets are more than the {self._max_size} that the next host takes", "5.3.4")
        if eight_bit and not self._eight_bit:
            # RFC 6152 §3: 8-bit content goes only to hosts that offer it; RFC 3463 §3.7: 5.6.3, conversion required.
            return Reply(550, "message has 8-bit content, and the next host does not offer 8BITMIME", "5.6.3")
        return None

    def _mail_parameters(self, body: Body, eight_bit: bool) -> dict[str, str | None]:
        parameters: dict[str, str | None] = {}
        if "SIZE" in self.core.extensions:
            parameters["SIZE"] = str(body.size)
        if eight_bit:
            parameters["BODY"] = "8BITMIME"
        return parameters

    # --- the end

    def leave(self) -> None:
        """Say QUIT without waiting: the connection closes when the answer comes, or after `timeouts.quit`. A connection that
        is in the middle of something is aborted."""
        if self._is_lost or self._is_leaving:
            return
        if not self.is_usable:
            self._transport.abort()
            return
        try:
            octets = self.core.send(Quit())
        except CommandOrder:  # content is due, or a challenge waits for its response
            self.abort()
            return
        self._is_leaving = True
        self._put(octets)
        self.trouble = Disconnected("we said QUIT", peer=self.peer)
        self._limit = inf
        self._expect_within(self.timeouts.quit)

    async def quit(self) -> None:
        """`leave`, and wait until the connection is closed: `timeouts.quit` at most, and not at all where QUIT cannot be said."""
        self.leave()
        if self._is_leaving and not self._is_lost:
            self._closed = self._closed or self._loop.create_future()
            await self._closed

    def abort(self, why: str = "given up") -> None:
        """Close at once."""
        self._end(why)

    def _end(self, why: str, reply: Reply | None = None) -> None:
        if self.trouble is None:
            self.trouble = Disconnected(f"{self.peer.host}: {why}", reply, self.peer)
        if self._timer is not None:
            self._timer.cancel()  # where a TLS handshake failed, nobody calls connection_lost
        self._transport.abort()
        self._wake()

    def _wake(self) -> None:
        for future in (self._waiter, self._room):
            if future is not None and not future.done():
                future.set_result(None)

    # --- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.use(cast(asyncio.Transport, transport))

    def data_received(self, data: bytes) -> None:
        if self.trouble is not None:
            if self._is_leaving:
                self._transport.close()
            return
        try:
            responses = self.core.receive(data)
        except ProtocolError as error:
            self._responses += error.responses
            self._end(f"broke the protocol: {error}")
            return
        for response in responses:
            # RFC 5321 §3.8: 421 may come at any moment. As the answer to the content it is an answer: not accepted.
            if response.reply.code == 421:
                if isinstance(response.command, EndOfContent):
                    self._responses.append(response)
                self._end(f"closes the connection: {response.reply}", response.reply)
                return
            self._responses.append(response)
        if self.core.pending:
            self._deadline = min(self._loop.time() + self._step, self._limit)
        elif not responses or not data.endswith(b"\n"):
            self._end("spoke unasked")  # more, or the beginning of more, than was awaited
        elif self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def pause_writing(self) -> None:
        self._is_full = True

    def resume_writing(self) -> None:
        self._is_full = False
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_lost = True
        if self._timer is not None:
            self._timer.cancel()
        if self.trouble is None:
            self.trouble = Disconnected(f"{self.peer.host}: {_why(exc)}", peer=self.peer)
        self._wake()
        if self._closed is not None and not self._closed.done():
            self._closed.set_result(None)

    # --- the timer

    def _expect_within(self, seconds: float) -> None:
        """Something must come within `seconds`; what comes in part gets as many again, but never past the limit."""
        self._step = seconds
        self._deadline = min(self._loop.time() + seconds, self._limit)
        if self._timer is None or self._timer_at > self._deadline:
            if self._timer is not None:
                self._timer.cancel()
            self._timer_at = self._deadline
            self._timer = self._loop.call_at(self._deadline, self._look_at_clock)

    def _look_at_clock(self) -> None:
        self._timer = None
        if self._waiter is None and self._room is None and not self._is_leaving:
            return
        if self._loop.time() < self._deadline:
            self._timer_at = self._deadline
            self._timer = self._loop.call_at(self._deadline, self._look_at_clock)
        else:
            self._end("no answer in time")


def _number(text: str) -> int:
    text = text.strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else 0


def _why(exc: Exception | None) -> str:
    return f"the connection was lost: {exc}" if exc else "closed the connection"
