"""One connection to an SMTP or LMTP server as a line on which commands are said and replies come: all but the transaction.

A raw `asyncio.Protocol` around `wire.ClientConnection`: the commands of a group leave in one write, and one future waits for
all their replies. There is no task and no timer per command: one timer per connection wakes up at the earliest deadline
and sees whether it has moved meanwhile.

How it fails: whatever ends the connection (lost, 421, silence past a timeout, a reply that makes no sense) is recorded once in
`trouble`, and whoever waits is woken. `ask` does not raise for it: it returns the replies that came. Being cancelled in the
middle aborts the connection, for nobody knows then where it stands.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from math import inf
from typing import cast

from waymail.client.errors import Disconnected
from waymail.client.offer import NOTHING, Offer, offer_of
from waymail.client.transaction import Timeouts
from waymail.mail.outcome import Peer
from waymail.wire.client import ClientConnection, EndOfContent, Response
from waymail.wire.commands import Bdat, Command, Quit
from waymail.wire.errors import CommandOrder, ProtocolError
from waymail.wire.replies import Reply


class Line(asyncio.Protocol):
    """A connection. Not to be used by two at a time.

    To be read, not set: `peer`, `trouble`, `offer` (what the latest EHLO offered), `heard` (what was answered since the
    connection began, or the transaction). Set by what opens a session: `is_authenticated`, `is_lmtp`, `is_local` (a Unix-domain
    socket), `opening` (what was answered until it was open).
    """

    def __init__(self, host: str, timeouts: Timeouts) -> None:
        self.timeouts = timeouts
        self.peer = Peer(host)
        self.is_confidential = self.is_verified = self.is_authenticated = self.is_lmtp = self.is_local = False
        self.trouble: Disconnected | None = None
        self.offer: Offer = NOTHING
        self.core = ClientConnection()
        self._loop = asyncio.get_running_loop()
        self.opened_at = self._loop.time()
        self._transport = cast(asyncio.Transport, None)
        self._responses: list[Response] = []
        self.opening: Sequence[Response] = ()
        self.heard: list[Response] = []
        self._parting: Response | None = None  # 421, which is nobody's answer
        self._waiter: asyncio.Future[None] | None = None
        self._room: asyncio.Future[None] | None = None  # waits for the transport to take more
        self._closed: asyncio.Future[None] | None = None
        self._is_full = self._is_lost = self._is_leaving = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = self._deadline = 0.0
        self._step = 0.0
        self._limit = inf

    # --- what a session needs

    @property
    def is_usable(self) -> bool:
        """Whether a transaction can begin: alive, nothing outstanding, nothing said unasked."""
        return self.trouble is None and not self.core.pending

    @property
    def transport(self) -> asyncio.Transport:
        return self._transport

    def use(self, transport: asyncio.Transport, tls: str = "", *, confidential: bool = False, verified: bool = False) -> None:
        """Go on over `transport`, described as `tls`; after STARTTLS it is another one than before.

        `confidential` says whether a password may be sent over it, `verified` whether TLS was demanded and the host's
        certificate stood the test (RFC 8689 §4.2.1)."""
        self._transport = transport
        self.is_confidential = confidential
        self.is_verified = verified
        address = transport.get_extra_info("peername")
        self.peer = Peer(self.peer.host, str(address[0]) if isinstance(address, tuple) else "", tls)

    def bound(self, deadline: float) -> None:
        """Wait for nothing past `deadline` (loop time), whatever the timeouts say."""
        self._limit = deadline

    def learn_extensions(self) -> None:
        """Note what the latest EHLO offered (RFC 5321 §4.1.1.1: what an earlier one did counts no more)."""
        self.offer = offer_of(self.core.extensions)

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
        self.heard += responses
        if self._parting is not None:
            self.heard.append(self._parting)
            self._parting = None
        return responses

    # --- writing

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
                if isinstance(response.command, (EndOfContent, Bdat)):
                    self._responses.append(response)
                else:
                    self._parting = response
                self._end(f"closes the connection: {response.reply}", response.reply)
                return
            self._responses.append(response)
            if response.reply.code >= 400 and isinstance(response.command, (EndOfContent, Bdat)) and self.core.owes_content:
                # It need not read the rest, and what it would take for a command nobody knows.
                self._end(f"refused the content before it was complete: {response.reply}")
                return
        if self.core.pending:
            if responses:
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
        """A reply must be complete within `seconds`, and the next one within as many again, but never past the limit. A part of
        a reply gains no time: a server that says an octet now and then would keep us for years."""
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


def _why(exc: Exception | None) -> str:
    return f"the connection was lost: {exc}" if exc else "closed the connection"
