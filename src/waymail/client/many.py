"""What `send_many` does with its messages, over asyncio and over blocking sockets: one after the other, in one `Carrier`.

Nothing is raised for one message: its `SendResult` has the error. What the program's own iterable raises is raised, after the
messages before it have got their results.
"""

from __future__ import annotations

from collections.abc import Iterable, Sized
from email.message import EmailMessage

from waymail.client.prepare import Mail
from waymail.client.results import SendResult
from waymail.client.sending import Sender
from waymail.client.stream import Stream

Given = EmailMessage | bytes | Mail


class Source:
    """The messages of a program, asked for one at a time. `raised` is what the program's iterable raised, after which there are
    no more.

    `is_ready`: asking for the next one does not wait for anything, so it may be done while others are under way. That is known of
    what has a length, as a list has; a generator may wait for whatever it likes, even for the result before.
    """

    def __init__(self, messages: Iterable[Given], *, is_ready: bool = False) -> None:
        self.is_ready = is_ready or isinstance(messages, Sized)
        self._messages = iter(messages)
        self._is_over = False
        self.raised: Exception | None = None

    async def next(self) -> Mail | None:
        """The next message, None where there are no more."""
        if self._is_over:
            return None
        try:
            given = await self._given()
        except (StopIteration, StopAsyncIteration):
            self._is_over = True
            return None
        except Exception as error:  # noqa: BLE001 - the program's own
            self.fail(error)
            return None
        return given if isinstance(given, Mail) else Mail(given)

    def fail(self, error: Exception) -> None:
        """There are no more messages, since this went wrong."""
        self._is_over = True
        self.raised = self.raised or error

    async def _given(self) -> Given:
        for given in self._messages:
            return given
        raise StopAsyncIteration


class Carrier:
    """Carries messages of a source, which it may share with others."""

    def __init__(self, sender: Sender, source: Source) -> None:
        self._sender = sender
        self._source = source

    async def results(self) -> list[SendResult] | None:
        """What became of the next message, or of the next few. None where there are no more."""
        mail = await self._source.next()
        if mail is None:
            return None
        connection = await self._sender.stream_connection() if self._source.is_ready else None
        if connection is None:
            return [await self._sender.told(mail)]
        stream = Stream(self._sender, connection, self._source.next)
        try:
            await stream.carry(mail)
        finally:
            self._sender.give_back(connection)
        return stream.results + [await self._sender.told_of(*left) for left in stream.left]
