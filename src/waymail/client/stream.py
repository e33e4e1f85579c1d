"""Messages one after the other on one connection, each in one round trip.

RFC 2920 §3.1: what follows DATA must wait for its reply, but the content itself may have commands behind it. So what leaves in
one write is the content of one message, and MAIL, RCPT and DATA of the next; while the server works on them the one after that is
made ready.

What that means when something breaks: of a message whose content was not sent nothing was taken, however far its commands got,
and it is sent by itself, on another connection where need be. So one message at most is uncertain, as without all this. And
since 354 is the reply to DATA alone, it shows with each message whether replies and commands still belong together: where
they do not, or the session ends before that can be seen, the reply to the content before is not believed.

A stream is short: it ends before its results are told, so that no transaction is open, and no place of the pool taken, while the
program does something else.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from waymail.client.attempt import judge
from waymail.client.connection import GROUPED_CHUNK, Begun, Connection
from waymail.client.outgoing import Outgoing
from waymail.client.prepare import Mail
from waymail.client.results import SendResult, failed
from waymail.client.sending import Partial, Sender
from waymail.values import value

MOST = 50  # messages in one stream
SECONDS = 1.0  # after which no further one is begun in it

Left = tuple[Outgoing, float, Partial | None]
Next = Callable[[], Awaitable[Mail | None]]


@value
class _Job:
    """A message and its transaction."""

    outgoing: Outgoing
    begun: Begun


class Stream:
    """One stream. Afterwards `results` has what became of its messages, and `left` those that are to be sent by themselves,
    each with its deadline and what is decided of it."""

    def __init__(self, sender: Sender, connection: Connection, following: Next) -> None:
        self._sender = sender
        self._connection = connection
        self._following = following
        self._count = 0
        self._until = sender.now() + SECONDS
        self._is_over = False
        self.results: list[SendResult] = []
        self.left: list[Left] = []

    async def carry(self, first: Mail) -> None:
        """Send this message and those that follow it."""
        connection = self._connection
        current: _Job | None = None
        ready = await self._ready(first) or await self._next()
        try:
            while current is not None or ready is not None:
                following, ready = ready, None
                connection.pass_on(_begun(current), _begun(following))
                if following is not None:
                    ready = await self._next()
                await connection.pass_over(_begun(current), _begun(following))
                if current is not None:
                    self._decide(current)
                current = following if following is not None and following.begun.is_open else None
                if following is not None and current is None:
                    self._decide(following)
        except BaseException:
            connection.abort()
            raise

    async def _next(self) -> _Job | None:
        """The next message that can be in the stream, made ready. None where it is to end."""
        while not self._is_over:
            self._is_over = (
                self._count >= MOST
                or self._connection.trouble is not None
                or self._sender.now() >= self._until
                or not self._sender.may_go_on(self._connection)
            )
            mail = None if self._is_over else await self._following()
            if mail is None:
                return None
            job = await self._ready(mail)
            if job is not None:
                return job
        return None

    async def _ready(self, mail: Mail) -> _Job | None:
        """None where it cannot be in the stream: it is large, or needs more than one transaction, or is no message."""
        self._count += 1
        try:
            outgoing = await self._sender.ready(mail)
        except ValueError as error:
            self.results.append(failed(error, mail.message))
            return None
        deadline = self._sender.deadline()
        body, offer = outgoing.message.body, self._connection.offer
        is_small = isinstance(body.content, bytes) and body.size <= GROUPED_CHUNK
        if not is_small or len(offer.batch(outgoing.addresses)) != len(outgoing.addresses):
            self._is_over = True
            self.left.append((outgoing, deadline, None))
            return None
        return _Job(outgoing, await self._connection.prepared(outgoing.message, outgoing.addresses, deadline))

    def _decide(self, job: _Job) -> None:
        outgoing, begun = job.outgoing, job.begun
        partial: Partial | None = None if begun.is_void else judge(begun.result)
        if partial is None or not self._sender.is_decided(partial):
            self.left.append((outgoing, begun.deadline, partial))
        else:
            self.results.append(self._sender.result(outgoing, partial[0]))


def _begun(job: _Job | None) -> Begun | None:
    return None if job is None else job.begun
