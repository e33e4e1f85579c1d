"""The outbox, for programs without asyncio.

    with waymail.sync.Outbox("outbox.db", "smtps://ann:secret@mail.example.org") as outbox:
        ticket = outbox.submit(message)         # on disk when this returns

Each call does its work in the thread that makes it. Delivering takes an event loop: with carry="thread" that is one thread,
"waymail-outbox", which this outbox starts and ends; with carry=False there is none, and another process delivers.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import ssl
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from email.message import EmailMessage
from pathlib import Path
from types import TracebackType
from typing import Literal, Self
from weakref import WeakMethod

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
from waymail.outbox.message import Writer, persist
from waymail.outbox.nudge import nudge
from waymail.outbox.outcome import Outcome, Waiting, waiting_of
from waymail.outbox.settings import EXPIRE, GRACE, KEEP, PER_DESTINATION, RETRY, WARNING, Settings, settings_of
from waymail.outbox.telling import Listener, Telling
from waymail.outbox.watching import BlockingWatch
from waymail.store.contract import NewMessage
from waymail.store.deposit import Depositor
from waymail.store.place import Place, beside

log = logging.getLogger("waymail.outbox")

LAST = 5.0  # seconds that the thread gets besides the grace, to write down what it knows


@dataclass(frozen=True, slots=True)
class Ticket:
    """A message that was submitted. `id` finds it again: in `Outbox.ticket`, in another process, and in the trace."""

    id: str
    _outbox: _Open = field(repr=False, compare=False)

    def outcome(self, timeout: float | None = None) -> Outcome:
        """What became of the message, once each recipient has it or was given up. Arguments and errors are those of the ticket's
        twin in `waymail`; StoreError also where the outbox was closed since: it has other tickets when it is open again."""
        self._outbox.depositor.check()
        return self._outbox.watch.outcome(self.id, timeout)

    def cancel(self) -> bool:
        """Take the message back, where it is not too late. Result and errors are those of the ticket's twin in `waymail`."""
        return self._outbox.cancel(self.id)


class Outbox:
    """A durable queue of messages in the SQLite file `path`, as `waymail.Outbox` is; the other arguments are those, too.

    With carry="thread", this process delivers in a thread of its own whenever no other one does. `carry=False` leaves that to
    others: to a program with an outbox in the same file, or to `waymail outbox run`. The functions for events are called in
    threads of their own.

    It opens when it is first used or entered. `close`, leaving the block and the end of the program wait up to `grace` seconds
    for attempts under way; what is not delivered waits for the next start. Threads that outlive the main thread may go on
    submitting. A child of os.fork() can use it where nothing had it open before: else RuntimeError says so.

    Any thread may use it. Raises ValueError (UrlError) and TypeError as the other one, StoreError where the file cannot be used.
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
        carry: Literal["thread", False] = "thread",
        keep: float | None = KEEP,
        per_destination: int = PER_DESTINATION,
        grace: float = GRACE,
        on_delivered: Listener | None = None,
        on_failed: Listener | None = None,
        on_deferred: Listener | None = None,
        clock: Clock | None = None,
    ) -> None:
        if carry not in ("thread", False):
            raise ValueError('carry is "thread", or False where another process delivers')
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
        self._carries = bool(carry)
        self._telling = Telling(
            {"delivered": on_delivered, "failed": on_failed, "deferred": on_deferred}, settled=lambda id: None
        )
        how = Preparation(self._settings.keys, self._settings.hostname, completes_bytes=True)
        self._clock = clock or SystemClock()
        self._writer = Writer(how, self._clock.now)
        self._lock = threading.Lock()  # of opening and closing
        self._open: _Open | None = None

    def __enter__(self) -> Self:
        self._opened()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def submit(
        self,
        message: EmailMessage | bytes,
        *,
        sender: str | None = None,
        recipients: str | Sequence[str] | None = None,
        dsn: Dsn | None = None,
        options: Options = NO_OPTIONS,
        at: datetime | float | None = None,
    ) -> Ticket:
        """Take responsibility for a message: when this returns, it is on disk. Arguments and errors are those of
        `waymail.Outbox.submit`."""
        opened = self._opened()
        new = self._writer.write(Mail(message, sender, recipients, dsn, options), at)
        id = persist(new, opened.deposit, self._writer)
        nudge(self._place)
        return Ticket(id, opened)

    def ticket(self, id: str) -> Ticket | None:
        """As `waymail.Outbox.ticket`."""
        opened = self._opened()
        return None if opened.watch.story(id) is None else Ticket(id, opened)

    def waiting(self, limit: int = 1000) -> list[Waiting]:
        """As `waymail.Outbox.waiting`."""
        return waiting_of(self._watch().stories(limit))

    def drain(self, timeout: float | None = None) -> bool:
        """As `waymail.Outbox.drain`. Where nobody delivers, it comes to no end before `timeout`."""
        return self._watch().idle(self._clock.now, timeout)

    def close(self) -> None:
        """End: it may be opened again. Safe to call twice, from any thread, and in a forked child."""
        with self._lock:
            opened, self._open = self._open, None
            if opened is not None and opened.process == os.getpid():
                opened.close()

    @property
    def is_carrying(self) -> bool:
        """Whether this process delivers at this moment."""
        opened = self._open
        return opened is not None and opened.thread is not None and opened.thread.is_carrying

    def _watch(self) -> BlockingWatch:
        return self._opened().watch

    def _opened(self) -> _Open:
        opened = self._open
        if opened is None:
            with self._lock:
                opened = self._open
                if opened is None:
                    opened = self._open = _Open(
                        self._place, self._settings, self._telling if self._carries else None, self._clock
                    )
                    _close_at_exit(self)
        opened.depositor.check()
        return opened


class _Open:
    """What there is while an outbox is open. Raises StoreError."""

    def __init__(self, place: Place, settings: Settings, telling: Telling | None, clock: Clock) -> None:
        self.process = os.getpid()
        self.clock = clock
        self.depositor = Depositor(place)
        self.thread: CarryingThread | None = None
        try:
            self.watch = BlockingWatch(place)
        except BaseException:
            self.depositor.close()
            raise
        if telling is not None:
            thread = CarryingThread(place, settings, telling, clock)
            if _stop_at_exit(thread):  # else other threads submit still, for the next start
                self.thread = thread
                thread.start()

    def deposit(self, new: NewMessage) -> None:
        self.depositor.deposit(new)

    def cancel(self, id: str) -> bool:
        return cancel(self.depositor, id, self.clock.now())

    def close(self) -> None:
        if self.thread is not None:
            self.thread.stop()
        self.watch.close()
        self.depositor.close()


class CarryingThread(threading.Thread):
    """The event loop that delivers. A daemon, so that a program that hangs there can end: nothing is lost by it."""

    def __init__(self, place: Place, settings: Settings, telling: Telling, clock: Clock) -> None:
        super().__init__(name="waymail-outbox", daemon=True)
        self._place = place
        self._settings = settings
        self._telling = telling
        self._clock = clock
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._carrying: Carrying | None = None

    @property
    def is_carrying(self) -> bool:
        """Whether it delivers at this moment."""
        return self._carrying is not None and self._carrying.work is not None

    def start(self) -> None:
        """Begin; returns once it is known whether this process carries."""
        super().start()
        self._ready.wait()

    def run(self) -> None:
        """Until `stop`."""
        try:
            asyncio.run(self._run())
        except Exception:
            log.exception("the thread of the outbox ended in a bug")
        finally:
            self._ready.set()

    def stop(self) -> None:
        """End, with the grace of the settings for attempts under way."""
        if self._loop is not None and self._carrying is not None and self.is_alive():
            self._loop.call_soon_threadsafe(self._carrying.stop)
            self.join(self._settings.grace + LAST)
            if self.is_alive():
                log.error("the thread of the outbox did not end in time: the next start goes on where it was")

    async def _run(self) -> None:
        carrying = Carrying(self._place, self._settings, self._telling, self._clock)
        self._loop, self._carrying = asyncio.get_running_loop(), carrying
        running = asyncio.create_task(carrying.run())
        await carrying.looked()
        self._ready.set()
        await running


def _close_at_exit(outbox: Outbox) -> None:
    """Close it when the program ends and all its threads have, if it is still there."""
    close = WeakMethod(outbox.close)

    def end() -> None:
        if (found := close()) is not None:
            found()

    atexit.register(end)


def _stop_at_exit(thread: CarryingThread) -> bool:
    """Stop it when the main thread ends: what it needs of threads ends before the functions of `atexit` are called. So it is
    asked for where the interpreter ends threads, where it has that. False where the main thread has ended already."""
    stop = WeakMethod(thread.stop)

    def end() -> None:
        if (found := stop()) is not None:
            found()

    try:
        getattr(threading, "_register_atexit", atexit.register)(end)
    except RuntimeError:
        return False
    return True
