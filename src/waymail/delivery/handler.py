"""Final delivery to Python of the operator's own, in this process.

    from waymail.delivery.handler import IncomingMail, Reject, Retry

    async def handle(mail: IncomingMail) -> None:
        if mail.email()["List-Id"] is None:
            raise Reject("this address takes mail from lists only")
        await archive(mail.id, mail.raw())

and in the configuration `deliver = "python:myapp.mail:handle"`. What is named is a function, asynchronous or not, or a class:
of that one instance is made, without arguments, and its method `handle` is called. A plain function runs in a thread of its own.

**The recipients are Delivered when it returns None.** It may return an `Outcome` for all of them, or a mapping with one for each
address. `Reject` fails the message, `Retry` puts it off; any other exception, and a handler that takes longer than
`TIMEOUT`, puts it off as well, is logged, and tells the sender nothing. A message may come a second time: `IncomingMail.id`
is the same then.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from email.message import EmailMessage
from functools import cached_property
from typing import Any, Self, cast

from waymail.delivery.parsed import View, parse, view
from waymail.mail.envelope import Body, Envelope, Recipient
from waymail.mail.outcome import Deferred, Delivered, Failed, Outcome
from waymail.net import foreign
from waymail.wire.replies import Reply

log = logging.getLogger("waymail.delivery")

TIMEOUT = 300.0  # seconds for one message
CONCURRENCY = 16  # messages that one handler has at a time

DELIVERED = Delivered(Reply(250, "delivered", "2.0.0"), final=True)
_TOO_LONG = Reply(451, "delivery to this address took too long", "4.3.0")
_ERROR = Reply(451, "internal error; the message stays in the queue", "4.3.0")

Result = Outcome | Mapping[str, Outcome] | None
Handler = Callable[["IncomingMail"], Result | Awaitable[Result]]


class HandlerUnusable(Exception):
    """What the configuration names cannot be a handler. The text says why."""


class Reject(Exception):
    """Never: the sender is told `text`. `enhanced` is an enhanced status code (RFC 3463) that begins with 5."""

    def __init__(self, text: str, *, code: int = 550, enhanced: str = "5.7.1") -> None:
        super().__init__(text)
        if not (500 <= code < 600 and enhanced.startswith("5.")):
            raise ValueError(f"{code} {enhanced} does not reject: both begin with 5")
        self.reply = Reply(code, text, enhanced)


class Retry(Exception):
    """Not now: the message is tried again, as the schedule of the queue says. `enhanced` begins with 4."""

    def __init__(self, text: str, *, code: int = 451, enhanced: str = "4.3.0") -> None:
        super().__init__(text)
        if not (400 <= code < 500 and enhanced.startswith("4.")):
            raise ValueError(f"{code} {enhanced} does not put off: both begin with 4")
        self.reply = Reply(code, text, enhanced)


@dataclass(frozen=True)
class IncomingMail:
    """A message and those of its recipients that this handler is for."""

    envelope: Envelope
    body: Body = field(repr=False)
    recipients: tuple[str, ...]

    @classmethod
    def of(cls, message: bytes, *recipients: str, sender: str = "", id: str = "0000000000000") -> Self:
        """One for tests. `message` has CRLF line ends."""
        envelope = Envelope(id, sender, tuple(map(Recipient, recipients)), 0.0)
        return cls(envelope, Body(message, len(message)), recipients)

    @property
    def id(self) -> str:
        """The queue id: the same whenever the message comes again."""
        return self.envelope.id

    @property
    def sender(self) -> str:
        """The reverse-path, "" for the null path: never send an automatic answer to that one (RFC 3834 §2)."""
        return self.envelope.sender

    @property
    def size(self) -> int:
        """Octets."""
        return self.body.size

    def chunks(self) -> Iterator[bytes]:
        """The message as it was received, in pieces of 64 KiB at most but for the first. Raises OSError."""
        return self.body.chunks()

    def raw(self) -> bytes:
        """The message as it was received, CRLF line ends. Raises OSError."""
        return b"".join(self.chunks())

    @cached_property
    def _email(self) -> EmailMessage:
        return parse(self.raw())

    def email(self) -> EmailMessage:
        """The message as the email package has it, parsed once. A large one takes a while: asyncio.to_thread(mail.email)."""
        return self._email

    def view(self) -> View:
        """Text, attachments and header fields, whatever the octets are. It takes as long as `email`."""
        return view(self.raw())


def find(name: str) -> Any:
    """What "module:name" names: a function or a class that can be a handler. Raises HandlerUnusable."""
    try:
        found = foreign.find(name)
    except foreign.NotFound as problem:
        raise HandlerUnusable(str(problem)) from problem
    if isinstance(found, type) and not callable(getattr(found, "handle", None)):
        raise HandlerUnusable(f"{name} is a class without a method handle(self, mail)")
    if not callable(found):
        raise HandlerUnusable(f"{name} is neither a function nor a class")
    return found


def load(name: str) -> Handler:
    """The function, or the method of a new instance. Raises HandlerUnusable."""
    found = find(name)
    if not isinstance(found, type):
        function: Handler = found
        return function
    try:
        method: Handler = found().handle
    except Exception as error:  # it is somebody else's code
        raise HandlerUnusable(f"{name} cannot be made: {type(error).__name__}: {error}") from error
    return method


class HandlerTransport:
    """Delivers to one handler. `timeout` in seconds."""

    def __init__(self, handler: Handler, *, timeout: float = TIMEOUT, concurrency: int = CONCURRENCY) -> None:
        self._handler = handler
        self._is_async = inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(getattr(handler, "__call__", None))  # noqa: B004
        self._timeout = timeout
        self._slots = asyncio.Semaphore(concurrency)  # of one that is asynchronous
        self._threads = foreign.Threads(concurrency, "waymail-handler")

    async def deliver(self, envelope: Envelope, body: Body, recipients: Sequence[Recipient]) -> dict[str, Outcome]:
        """Call the handler once for all recipients. The outcomes are by `Recipient.address`."""
        addresses = tuple(recipient.address for recipient in recipients)
        outcome = await self._handled(IncomingMail(envelope, body, addresses))
        if not isinstance(outcome, Mapping):
            return dict.fromkeys(addresses, outcome)
        missing = Deferred(_ERROR, cause="the handler gave no outcome for this address")
        return {address: self._checked(outcome.get(address, missing), envelope.id) for address in addresses}

    async def _handled(self, mail: IncomingMail) -> Outcome | Mapping[str, Outcome]:
        deadline = asyncio.timeout(self._timeout)
        try:
            async with deadline:
                result = await self._call(mail)
        except Reject as refusal:
            return Failed(refusal.reply)
        except Retry as refusal:
            return Deferred(refusal.reply)
        except (KeyboardInterrupt, GeneratorExit):
            raise  # they are not the handler's, but the interpreter's
        except BaseException as error:  # it is somebody else's code, and some libraries have exceptions that are no Exception
            if isinstance(error, asyncio.CancelledError) and cast("asyncio.Task[Any]", asyncio.current_task()).cancelling():
                raise  # it is not the handler's, but ours
            if deadline.expired():
                return Deferred(_TOO_LONG, uncertain=True, cause=f"the handler took longer than {self._timeout:g} s")
            log.exception("a handler failed", extra={"fields": {"id": mail.id}})
            return Deferred(_ERROR, cause=f"{type(error).__name__}: {error}")
        if result is None:
            return DELIVERED
        return result if isinstance(result, Mapping) else self._checked(result, mail.id)

    def _checked(self, outcome: object, id: str) -> Outcome:
        if isinstance(outcome, Delivered | Deferred | Failed) and isinstance(outcome.reply, Reply):
            return outcome
        cause = f"the handler returned {outcome!r:.100}, which is no outcome, or has no Reply"
        log.error(cause, extra={"fields": {"id": id}})
        return Deferred(_ERROR, cause=cause)

    async def _call(self, mail: IncomingMail) -> Result:
        if not self._is_async:
            outcome: Result = await self._threads.call(self._handler, mail)
            return outcome
        async with self._slots:
            result = self._handler(mail)
            return await result if inspect.isawaitable(result) else result
