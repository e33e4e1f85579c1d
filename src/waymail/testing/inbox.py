"""Where the messages are that were taken, and how a test waits for them."""

from __future__ import annotations

import asyncio

from waymail.testing.received import ReceivedMail
from waymail.testing.record import Record


class Inbox:
    """What a server took, or several. `wait_for` and `arrival` wait for what is sent in the background."""

    def __init__(self, record: Record) -> None:
        self._record = record

    @property
    def messages(self) -> list[ReceivedMail]:
        """The messages that were taken, in order."""
        return self._record.messages

    def wait_for(self, number: int = 1, timeout: float = 5.0) -> list[ReceivedMail]:
        """The messages, once there are `number` of them. Raises TimeoutError after so many seconds, and RuntimeError in a
        coroutine, where the program under test could not go on meanwhile: there, `await server.arrival(...)`."""
        arrived = self._record.arrived(number)
        if not arrived.done() and _is_in_loop():
            arrived.cancel()
            raise RuntimeError("wait_for would block the event loop; in a coroutine, write: await server.arrival(...)")
        try:
            arrived.result(timeout)
        except TimeoutError:
            raise TimeoutError(self._missing(number, timeout)) from None
        return self.messages

    async def arrival(self, number: int = 1, timeout: float = 5.0) -> list[ReceivedMail]:
        """The same for coroutines of asyncio."""
        try:
            async with asyncio.timeout(timeout):
                await asyncio.wrap_future(self._record.arrived(number))
        except TimeoutError:
            raise TimeoutError(self._missing(number, timeout)) from None
        return self.messages

    def clear(self) -> None:
        """Forget what has happened; scripts stay."""
        self._record.clear()

    @property
    def transcript(self) -> str:
        """All that was said, but content; a line begins with the number of its connection."""
        return "\n".join(self._record.lines)

    def _missing(self, number: int, seconds: float) -> str:
        last = "\n".join(self.transcript.splitlines()[-_LAST_LINES:]) or "nobody connected"
        return f"{len(self.messages)} of {number} messages came within {seconds:g} seconds; what was said last:\n{last}"


_LAST_LINES = 30


def _is_in_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
