"""The handler: from `logging` into a bounded heap of records, and from there, in a thread, into mails.

Whoever logs waits for no server: he formats his record and puts it down. It never logs by itself, and takes nothing that sending
makes others log: what goes wrong with its mails is told on `logging.lastResort`, which is standard error.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from email.message import EmailMessage
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, Unpack
from weakref import WeakSet

from waymail.client.errors import SMTPError
from waymail.client.sending import Settings
from waymail.client.threads import Client
from waymail.client.transaction import Timeouts
from waymail.logging.gathered import Gathered
from waymail.logging.report import SUBJECT, subject_of, text_of
from waymail.logging.schedule import Schedule
from waymail.mail.compose import Mailboxes, compose
from waymail.mail.compose_fields import Mailbox
from waymail.store.contract import StoreError

if TYPE_CHECKING:
    from waymail.outbox.sync import Outbox

# What a function that sends returns: who did not get it, in words.
_Post: TypeAlias = Callable[[EmailMessage], str]

_TIMEOUT = 10.0
_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_handlers: WeakSet[MailHandler] = WeakSet()


class MailHandler(logging.Handler):
    """Mails what is logged. Logging waits for no server, and breaks nothing where none answers.

    `url` is where mails go, as for `waymail.Client`; `settings` are its other arguments, `timeout` being 10 seconds where it is
    not said. In place of the URL there may be a `waymail.sync.Client`, or a `waymail.sync.Outbox`, which keeps mails that wait
    for a server when the program ends. Either stays the program's own, to be closed by it.

    `sender` and `to` are mailboxes, as for `waymail.compose`. In `subject`, {level}, {logger}, {message}, {host} and {count}
    are filled in, from the gravest record of the mail. `level` is the lowest that is mailed.

    The first record is mailed after `gather` seconds, with what else came meanwhile; further ones `digest` seconds after the mail
    before, and no more than `hourly` mails go out in an hour. Records are told apart by the place that logs them, their words
    before arguments are put in, and the exception: what repeats itself is counted, the first one is shown as a whole and
    the last one in a line. Of more than `records` different ones in a mail, the number is told.

    Where the server is away, records wait, and it is tried again after a minute, two, and so on. What is refused for good, and
    what is left at the end, is written to standard error, as are all failures (by `logging.lastResort`); none is logged. What
    `waymail` itself logs is not mailed.

    Mails go out in a daemon thread, "waymail-logging", which begins with the first record. A child of os.fork() has its own, and
    what the parent gathered stays with the parent; an outbox that the parent has open the child cannot use, and what it logs then
    goes to standard error. `flush`, and with it the end of the program (`logging.shutdown`), sends what
    is there in the calling thread.

    Raises ValueError (UrlError) for what cannot be meant.
    """

    def __init__(
        self,
        url: str | Client | Outbox,
        *,
        sender: Mailbox,
        to: Mailboxes,
        subject: str = SUBJECT,
        level: int | str = logging.ERROR,
        gather: float = 2.0,
        digest: float = 300.0,
        hourly: int = 12,
        records: int = 100,
        **settings: Unpack[Settings],
    ) -> None:
        super().__init__(level)
        if not (gather >= 0 and digest >= 0 and hourly >= 1 and records >= 1):
            raise ValueError("gather and digest are seconds, hourly and records at least 1")
        self._sender, self._to, self._subject = sender, to, subject
        self._gathered = Gathered(records)
        self._schedule = Schedule(gather, digest, hourly)
        self._own: Client | None = None
        self._timeout = _TIMEOUT
        self._post = self._way(url, settings)
        self._is_closed = False
        self._fresh()
        self._check()
        _handlers.add(self)

    def _way(self, url: object, settings: Settings) -> _Post:
        if isinstance(url, str):
            timeout = settings.setdefault("timeout", _TIMEOUT)
            total = timeout.total if isinstance(timeout, Timeouts) else timeout
            self._timeout = _TIMEOUT if total is None else total
            url = self._own = Client(url, **settings)
        elif settings:
            raise ValueError(f"{', '.join(settings)}: belongs to the client or outbox that is given")
        if isinstance(url, Client):
            return _by_client(url)
        from waymail.outbox.sync import Outbox  # who has none need not import it

        if isinstance(url, Outbox):
            return _by_outbox(url)
        raise ValueError(f"url is a URL, a waymail.sync.Client or a waymail.sync.Outbox, not {type(url).__name__}")

    def _fresh(self) -> None:
        """The state of a process that has logged nothing."""
        self._changed = threading.Condition()
        self._sending = threading.Lock()
        self._sending_thread = 0
        self._thread: threading.Thread | None = None
        self._gathered.take()
        self._schedule.taken()

    def _check(self) -> None:
        """Raises ValueError where no mail can be made with these arguments."""
        sample = Gathered(1)
        sample.add(logging.makeLogRecord({}), "a test", "a test")
        if not self._mail(sample)["To"]:
            raise ValueError("to: whom are mails for?")

    # --- what logging calls

    def handle(self, record: logging.LogRecord) -> bool:
        """Take a record that the filters let through: without the handler's lock, which `logging.shutdown` has while it sends."""
        if str(record.name).partition(".")[0] == "waymail" or threading.get_ident() == self._sending_thread:
            return False
        found: object = self.filter(record)
        if found:
            self.emit(found if isinstance(found, logging.LogRecord) else record)  # Python 3.12: a filter may return another one
        return bool(found)

    def emit(self, record: logging.LogRecord) -> None:
        """Put a record down, to be mailed. After `close`, it goes to standard error."""
        try:
            text = self.format(record)  # which calls what others wrote: before the lock
            message = record.getMessage()
            with self._changed:
                if not self._is_closed:
                    self._gathered.add(record, message, text)
                    self._schedule.waiting(time.monotonic())
                    self._wake()
                    return
            _tell(text)
        except Exception:  # noqa: BLE001 - as all handlers do: a program does not break because it logs
            self.handleError(record)

    def format(self, record: logging.LogRecord) -> str:
        """The text of a record in a mail: by the formatter of this handler, or with time, level and logger."""
        return (self.formatter or _FORMATTER).format(record)

    def flush(self) -> None:
        """Mail what was gathered, now and in this thread. Returns within twice the timeout, and raises nothing: where it cannot
        be sent, it waits."""
        if threading.get_ident() != self._sending_thread:
            self._send()

    def close(self) -> None:
        """Mail what was gathered, also where it was to be tried again later, unless a `flush` has just waited for a silent server
        in vain; what is left then is written to standard error."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        if self._schedule.allows_last(time.monotonic()):
            self.flush()
        with self._changed:
            left = self._gathered.take()
        if left:
            _tell(f"not mailed:\n{text_of(left, _where())}")
        if self._own is not None:
            self._own.close()
        super().close()

    # --- the thread

    def _wake(self) -> None:
        if self._thread is None:
            thread = threading.Thread(target=self._run, name="waymail-logging", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # the program is ending, or has no room for a thread: `flush` will send
                return
            self._thread = thread
        self._changed.notify_all()

    def _run(self) -> None:
        """Send what is due, until the handler is closed."""
        while True:
            with self._changed:
                while not self._is_closed and (wait := self._wait()) != 0:
                    self._changed.wait(wait)
                if self._is_closed:
                    return
            self._send()

    def _wait(self) -> float | None:
        due = self._schedule.due
        return None if due is None else min(max(0.0, due - time.monotonic()), threading.TIMEOUT_MAX)

    # --- sending

    def _send(self) -> None:
        if not self._sending.acquire(timeout=self._timeout):
            return
        try:
            self._sending_thread = threading.get_ident()
            with self._changed:
                batch = self._gathered.take()
                self._schedule.taken()
            if batch:
                self._send_batch(batch)
        finally:
            self._sending_thread = 0
            self._sending.release()

    def _send_batch(self, batch: Gathered) -> None:
        began = time.monotonic()
        try:
            if refused := self._post(self._mail(batch)):
                _tell(f"not mailed to all: {refused}")
        except Exception as error:  # noqa: BLE001 - whatever it is, the program goes on
            if isinstance(error, StoreError) or (isinstance(error, SMTPError) and error.is_temporary):
                _tell(f"not mailed yet: {_words(error)}")
                with self._changed:
                    self._gathered.put_back(batch)
                    now = time.monotonic()
                    self._schedule.failed(now, now - began)
                    self._schedule.waiting(now)
                return
            _tell(f"not mailed: {_words(error)}\n{text_of(batch, _where())}")
        with self._changed:
            self._schedule.sent(time.monotonic())

    def _mail(self, batch: Gathered) -> EmailMessage:
        return compose(
            sender=self._sender,
            to=self._to,
            subject=subject_of(self._subject, batch, socket.gethostname()),
            text=text_of(batch, _where()) + "\n",
            headers={"Auto-Submitted": "auto-generated"},  # RFC 3834 §5: nobody's absence is told to it
        )


_FORMATTER = logging.Formatter(_FORMAT)


def _by_client(client: Client) -> _Post:
    def post(message: EmailMessage) -> str:
        result = client.send(message)
        refused = [f"{address}: {reply.code} {reply.text}" for address, reply in result.refused.items()]
        return "; ".join([*refused, *(f"{address}: the connection was lost" for address in result.uncertain)])

    return post


def _by_outbox(outbox: Outbox) -> _Post:
    def post(message: EmailMessage) -> str:
        outbox.submit(message)
        return ""

    return post


def _where() -> str:
    program = Path(sys.argv[0]).name if sys.argv and sys.argv[0] else "python"
    return f"{program}, process {os.getpid()} on {socket.gethostname()}"


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _tell(text: str) -> None:
    """Tell it where logging tells what has no handler."""
    if logging.lastResort is not None:
        record = {"name": __name__, "levelno": logging.ERROR, "levelname": "ERROR", "msg": f"waymail.logging: {text}"}
        logging.lastResort.handle(logging.makeLogRecord(record))


def _forked() -> None:
    """A child of fork() has no threads, and what its parent gathered is the parent's to mail."""
    for handler in list(_handlers):
        handler._fresh()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
