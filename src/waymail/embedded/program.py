"""What a program brings along: an object with hooks, or a function.

    connect(client)  mail(mail)  rcpt(rcpt)  message(message)

are called as those of `waymail.Policy`, from which it may be derived and need not; `message` is given an `IncomingMail`. A
function by itself is `message`, and so is a method `handle`, as of a handler in a configuration (`delivery.handler`).

A hook answers None or `accept()` to go on, or with a refusal; `Reject` and `Retry` may be raised instead. `message` may answer
with `discard()`, with an outcome, or over LMTP with a mapping that has one of these for each recipient. Whatever else it raises
or answers defers the mail: the client keeps it and comes again, and the log has the trace.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, get_args

from waymail.delivery.handler import Reject, Retry
from waymail.mail.outcome import Deferred, Delivered, Failed
from waymail.server import hooks
from waymail.server.hooks import Hook, Hooks
from waymail.server.policy import Accept, Discard, Policy, Refuse
from waymail.wire.replies import RepliesToEach, Reply

log = logging.getLogger("waymail.server")

Function = Callable[[Any], Any]


def hooks_of(program: object) -> dict[Hook, Function]:
    """The hooks that `program` has. Raises TypeError where it can take no mail; the text says what is missing."""
    if isinstance(program, type):
        raise TypeError(f"give an instance: {program.__name__}()")
    names: tuple[Hook, ...] = get_args(Hook)
    if isinstance(program, Policy):
        found = hooks.overridden(program)
    else:
        found = {name: function for name in names if callable(function := getattr(program, name, None))}
        if "message" not in found and callable(function := getattr(program, "handle", None) or program):
            found["message"] = function
    if "message" not in found:
        raise TypeError(f"{program!r:.100} takes no mail: it has no method message(self, mail), and is no function of a mail")
    return {name: _refusing(function) for name, function in found.items()}


def _refusing(function: Function) -> Function:
    """The same function, which answers with the refusal that it raises."""

    async def awaited(answer: Awaitable[Any]) -> Any:
        try:
            return await answer
        except (Reject, Retry) as refusal:
            return Refuse(refusal.reply)

    def called(what: object) -> Any:
        try:
            answer = function(what)
        except (Reject, Retry) as refusal:
            return Refuse(refusal.reply)
        return awaited(answer) if inspect.isawaitable(answer) else answer

    async def called_at_once(what: object) -> Any:
        return await awaited(function(what))

    is_async = inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004
    return called_at_once if is_async else called


def reply_to(answer: object, taken: Reply, asked: Hooks) -> Reply:
    """What the client is told where `message` has given this answer for one recipient, or for all."""
    match answer:
        case None | Accept() | Discard() | Delivered():
            return taken
        case Refuse(Reply() as reply) | Deferred(Reply() as reply) | Failed(Reply() as reply) if reply.code >= 400:
            return reply
    return asked.misunderstood("message", answer).reply


def replies_to(answers: Mapping[Any, object], named: Sequence[str], taken: Reply, asked: Hooks, *, lmtp: bool) -> Reply:
    """The same where it has an answer for each of the recipients that the client has `named`, in order, one perhaps twice."""
    if missing := [one for one in named if one not in answers]:
        log.error("a hook has no answer for a recipient", extra={"fields": {"to": missing}})
    found = tuple(reply_to(answers.get(one, hooks.FAILED), taken, asked) for one in named)
    worst = max(found, key=lambda reply: reply.code)
    if lmtp:
        return RepliesToEach(worst.code, worst.text, worst.enhanced, found)
    if len(set(found)) == 1:
        return worst
    # SMTP has one reply for all: a 250 would lose mail, a 550 return what somebody has.
    log.error("a hook answers for each recipient, which only LMTP can say", extra={"fields": {"to": list(named)}})
    return hooks.FAILED.reply
