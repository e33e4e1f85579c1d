"""`send_many` in an event loop: several carriers at once, each with a connection of its own, that share the program's messages.

Messages are asked for as they can be sent, and not further ahead than there are results that nobody has taken yet.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Sized

from waymail.client.many import Carrier, Given, Source
from waymail.client.results import SendResult
from waymail.client.sending import Sender


class AsyncSource(Source):
    """The messages of an asynchronous iterable, which is asked by one at a time."""

    def __init__(self, messages: AsyncIterable[Given]) -> None:
        super().__init__(())
        self._arriving = aiter(messages)
        self._turn = asyncio.Lock()

    async def _given(self) -> Given:
        async with self._turn:
            if self._is_over:
                raise StopAsyncIteration
            return await anext(self._arriving)


async def send_many(sender: Sender, messages: Iterable[Given] | AsyncIterable[Given]) -> AsyncGenerator[SendResult, None]:
    """The results of the messages, in the order in which they are complete. Who stops listening stops those under way."""
    source = AsyncSource(messages) if isinstance(messages, AsyncIterable) else Source(messages, is_ready=True)
    count = min(sender.pool.max, len(messages)) if isinstance(messages, Sized) else sender.pool.max
    done: asyncio.Queue[list[SendResult] | None] = asyncio.Queue(count)
    # No TaskGroup: what it cancels is whoever made it, and that is the program that is told the results.
    tasks = [asyncio.create_task(_work(Carrier(sender, source), source, done)) for _ in range(count)]
    try:
        while count:
            results = await done.get()
            if results is None:
                count -= 1
                continue
            for result in results:
                yield result
        if source.raised is not None:
            raise source.raised
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _work(carrier: Carrier, source: Source, done: asyncio.Queue[list[SendResult] | None]) -> None:
    try:
        while (results := await carrier.results()) is not None:
            await done.put(results)
    except Exception as error:  # noqa: BLE001 - not for one message: it is raised when all that are under way are done
        source.fail(error)
    await done.put(None)
