"""The outbox, for programs with asyncio.

    async with waymail.Outbox("outbox.db", "smtps://ann:secret@mail.example.org") as outbox:
        ticket = await outbox.submit(message)       # on disk when this returns
        outcome = await ticket.outcome()            # delivered, or given up: perhaps days later

What is submitted is delivered in the background: at once where that is possible, and else again and again by the schedule, also
after the program has ended, been killed and started anew. `waymail.sync.Outbox` is the same for programs without asyncio.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import datetime
from email.message import EmailMessage
from pathlib import Path
from types import TracebackType
from typing import Self

from waymail.client.dsn import Dsn
from waymail.client.prepare import Mail, Preparation
from waymail.client.sending import TlsChoice
from waymail.client.signing import DkimKey
from waymail.client.target import Credentials
from waymail.mail.envelope import NO_OPTIONS, Options
from waymail.net.clock import Clock, SystemClock
from waymail.net.network import Network
from waymail.outbox.cancelling import cancel
from waymail.outbox.carrying import Carrying
from waymail.outbox.message import COLLISIONS, Writer, is_collision
from waymail.outbox.nudge import nudge
from waymail.outbox.outcome import Outcome, Waiting, waiting_of
from waymail.outbox.settings import EXPIRE, GRACE, KEEP, PER_DESTINATION, RETRY, WARNING, settings_of
from waymail.outbox.telling import Kind, Listener, Telling
from waymail.outbox.watching import Watch
from waymail.store.contract import NewMessage, StoreError
from waymail.store.deposit import Depositor
from waymail.store.place import beside
from waymail.store.read import SqliteReader
from waymail.store.schema import FORKED

DEPOSITING = 16  # threads: what they deposit at once shares a transaction


@dataclass(frozen=True, slots=True)
class Ticket:
    """A message that was submitted. `id` finds it again: in `Outbox.ticket`, in another process, and in the trace."""

    id: str
    _outbox: _Open = field(repr=False, compare=False)

    async def outcome(self, timeout: float | None = None) -> Outcome:
        """What became of the message, once each recipient has it or was given up.

        `timeout` is in seconds. Raises TimeoutError, StoreError where the outbox cannot be read, and LookupError where the
        message ended so long ago that nothing is known of it any more.
        """
        async with asyncio.timeout(timeout):
            return await self._outbox.watch.outcome(self.id)

    async def cancel(self) -> bool:
        """Take the message back from all recipients for whom it waits. `outcome` has them in `removed`; nobody is told by mail.

        True where it goes to nobody any more who has not got it. False where it was too late for somebody: he is being sent it or
        about to be, or there was nobody left. Raises StoreError.
        """
        return await self._outbox.cancel(self.id)


class Outbox:
    """A durable queue of messages in the SQLite file `path`, which is made where it is missing.

    `url` is where its mail goes: a server as for `Client` (smtp://, smtps://, lmtp://, a socket), or "mx:" for the hosts that DNS
    names for each recipient. `auth`, `tls`, `tls_context`, `dkim` and `network` are those of `Client`. `hostname` is what this
    machine is called in EHLO and in notices: for "mx:" it should be a name that DNS knows.

    `retry` are the waits between attempts, the last one repeating, and `expire` how long a message is tried; both in seconds.
    With `notices`, the sender gets a notice by mail (RFC 3464) of what failed, and after `delay_warning` seconds of what is late
    (None: never). `keep` is for how many seconds it is remembered what became of a message, None for ever.
    `per_destination` bounds the connections to one server.

    Several processes may open the same file. One of those with `carry` delivers, by its own arguments; the others only submit,
    and one of them takes over when it ends. With `carry` false, this process never delivers.

    `on_delivered`, `on_failed` and `on_deferred` are called with an `OutboxEvent` for each recipient, in the process that
    delivers; a plain function in a thread. They are called before what happened is written down: at least once, therefore, and
    again where the process ends in between. What they raise is logged, and after ten seconds nobody waits for them.

    `clock` is for tests (`waymail.testing.clock`): by it the time of the next attempt comes.

    Leaving the block waits up to `grace` seconds for attempts under way; what is not delivered waits for the next start.

    Raises ValueError (UrlError) for what cannot be meant, TypeError for an argument of another type. Belongs to the event loop in
    which it was entered.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        url: str = "mx:",
        *,
        auth: Credentials | tuple[str, str] | None = None,
        tls: TlsChoice | None = None,
        tls_context: ssl.SSLContext | None = None,
        dkim: DkimKey | Sequence[DkimKey] | None = None,
        network: Network | None = None,
        hostname: str | None = None,
        retry: Sequence[float] = RETRY,
        expire: float = EXPIRE,
        delay_warning: float | None = WARNING,
        notices: bool = True,
        carry: bool = True,
        keep: float | None = KEEP,
        per_destination: int = PER_DESTINATION,
        grace: float = GRACE,
        on_delivered: Listener | None = None,
        on_failed: Listener | None = None,
        on_deferred: Listener | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._place = beside(Path(path))
        self._settings = settings_of(
            url,
            auth=auth,
            tls=tls,
            tls_context=tls_context,
            dkim=dkim,
            network=network,
            hostname=hostname,
            retry=retry,
            expire=expire,
            delay_warning=delay_warning,
            notices=notices,
            keep=keep,
            per_destination=per_destination,
            grace=grace,
        )
        self._carries = carry
        self._clock = clock or SystemClock()
        self._listeners: dict[Kind, Listener | None] = {"delivered": on_delivered, "failed": on_failed, "deferred": on_deferred}
        self._open: _Open | None = None

    async def __aenter__(self) -> Self:
        """Open the outbox. Raises StoreError where its file cannot be used."""
        if self._open is not None:
            raise RuntimeError("this Outbox is open already: make another one")
        self._open = await _opened(self)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    async def submit(
        self,
        message: EmailMessage | bytes,
        *,
        sender: str | None = None,
        recipients: str | Sequence[str] | None = None,
        dsn: Dsn | None = None,
        options: Options = NO_OPTIONS,
        at: datetime | float | None = None,
    ) -> Ticket:
        """Take responsibility for a message: when this returns, it is on disk, and delivery begins.

        The arguments are those of `Client.send`. Date and Message-ID are added where they are missing, and it is signed by
        `dkim`. `at`: not before then, as a datetime with a time zone or in seconds since the epoch.

        Raises ValueError where there is no sender or no recipient, or an address is none; StoreError (StoreFull where the disk
        is full) where it cannot be written: then nothing of it was taken.
        """
        opened = self._opened()
        return await opened.submit(Mail(message, sender, recipients, dsn, options), at)

    async def ticket(self, id: str) -> Ticket | None:
        """The ticket of a message that was submitted earlier, or by another process; None where nothing is known of it. Raises
        StoreError."""
        opened = self._opened()
        return None if await opened.reader.get(id) is None else Ticket(id, opened)

    async def waiting(self, limit: int = 1000) -> list[Waiting]:
        """The recipients that have not got their mail yet, of the `limit` oldest messages: what was said to the last attempt, and
        when the next one comes. Raises StoreError."""
        return waiting_of(await self._opened().reader.list(limit))

    async def drain(self, timeout: float | None = None) -> bool:
        """Wait until nothing is due any more: all is delivered, failed, or waits for its next attempt (`waiting` has those).
        False where that takes longer than `timeout` seconds. Raises StoreError."""
        opened = self._opened()
        try:
            async with asyncio.timeout(timeout):
                await opened.watch.idle(opened.clock.now)
        except TimeoutError:
            return False
        return True

    async def close(self) -> None:
        """End. What leaving the block does; safe to call twice."""
        if self._open is not None and self._open.process == os.getpid():
            opened, self._open = self._open, None
            await opened.parts.aclose()

    @property
    def is_carrying(self) -> bool:
        """Whether this process delivers at this moment."""
        return self._open is not None and self._open.carrying is not None and self._open.carrying.work is not None

    def _opened(self) -> _Open:
        if self._open is None:
            raise RuntimeError("the outbox is not open: use it within `async with`")
        if self._open.process != os.getpid():
            raise RuntimeError(f"the {self._place.name} cannot be used here: {FORKED}")
        if self._open.loop is not asyncio.get_running_loop():
            raise RuntimeError("this Outbox was opened in another event loop: open one in each, of the same file")
        return self._open


@dataclass(frozen=True, slots=True)
class _Open:
    """What there is while an outbox is open; `parts` closes it."""

    process: int
    loop: asyncio.AbstractEventLoop
    clock: Clock
    writer: Writer
    depositor: Depositor
    threads: ThreadPoolExecutor
    reader: SqliteReader
    watch: Watch
    carrying: Carrying | None
    parts: AsyncExitStack

    async def submit(self, mail: Mail, at: datetime | float | None) -> Ticket:
        write = self.writer.write
        new = await asyncio.to_thread(write, mail, at) if self.writer.is_slow(mail) else write(mail, at)
        for left in reversed(range(COLLISIONS)):
            try:
                await self._take(new)
                break
            except StoreError as error:
                if not (left and is_collision(error)):
                    raise
                new = self.writer.again(new)
        return Ticket(new.envelope.id, self)

    async def cancel(self, id: str) -> bool:
        self.depositor.check()
        return await self.loop.run_in_executor(self.threads, cancel, self.depositor, id, self.clock.now())

    async def _take(self, new: NewMessage) -> None:
        self.depositor.check()
        work = self.carrying.work if self.carrying is not None else None
        if work is not None:
            await work.submit(new)
            return
        await self.loop.run_in_executor(self.threads, self.depositor.deposit, new)
        nudge(self.depositor.place)


async def _opened(outbox: Outbox) -> _Open:
    """Raises StoreError."""
    place, settings, clock, loop = outbox._place, outbox._settings, outbox._clock, asyncio.get_running_loop()
    async with AsyncExitStack() as parts:
        depositor = await asyncio.to_thread(Depositor, place)
        parts.callback(depositor.close)
        threads = ThreadPoolExecutor(DEPOSITING, "waymail-outbox-deposit")
        parts.push_async_callback(asyncio.to_thread, threads.shutdown)
        reader = await SqliteReader.open(place)
        parts.push_async_callback(reader.close)
        watch = Watch(reader)
        parts.push_async_callback(watch.close)
        carrying = None
        if outbox._carries:
            carrying = Carrying(place, settings, Telling(outbox._listeners, watch.settled), clock)
            task = loop.create_task(carrying.run(), name="waymail-outbox")
            parts.push_async_callback(_end, carrying, task)
            await carrying.looked()
        how = Preparation(settings.keys, settings.hostname, completes_bytes=True)
        writer = Writer(how, clock.now)
        return _Open(os.getpid(), loop, clock, writer, depositor, threads, reader, watch, carrying, parts.pop_all())


async def _end(carrying: Carrying, task: asyncio.Task[None]) -> None:
    carrying.stop()
    await asyncio.wait([task])
