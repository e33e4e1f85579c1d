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
import re
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any, get_args

from waymail.delivery.handler import Reject, Retry
from waymail.mail.outcome import Deferred, Delivered, Failed
from waymail.server import hooks
from waymail.server.hooks import Hook, Hooks
from waymail.server.policy import Accept, Discard, Policy, Refuse
from waymail.wire.replies import RepliesToEach, Reply

log = logging.getLogger("waymail.server")

Function = Callable[[Any], Any]

# A handler of aiosmtpd's: nobody would call these, and what they refuse would be taken.
_AIOSMTPD = re.compile(r"handle_[A-Z]\w*|handle_exception|auth_[A-Z]\w*|authenticator")
_INSTEAD = {
    "handle_MAIL": "write mail(self, mail)",
    "handle_RCPT": "write rcpt(self, rcpt)",
    "handle_DATA": "write message(self, mail)",
    "handle_PROXY": "write connect(self, client)",
    "handle_HELO": "write mail(self, mail), which has mail.client.helo",
    "handle_EHLO": "write mail(self, mail), which has mail.client.helo",
    "handle_exception": "leave it out, the log has what a hook raises",
}
# What differs from the name of a hook by a letter, and is a word of its own.
_WORDS = frozenset({"bail", "email", "fail", "mailq", "main", "tail"})


def hooks_of(program: object) -> dict[Hook, Function]:
    """The hooks that `program` has. Raises TypeError where it can take no mail, or has a hook that would never be called; the
    text says what is missing."""
    if isinstance(program, type):
        raise TypeError(f"give an instance: {program.__name__}()")
    names: tuple[Hook, ...] = get_args(Hook)
    if isinstance(program, Policy):
        found = hooks.overridden(program)
    else:
        found = {name: function for name in names if callable(function := getattr(program, name, None))}
        if "message" not in found and callable(function := getattr(program, "handle", None) or program):
            found["message"] = function
    check_names(program, found)
    if "message" not in found:
        raise TypeError(f"{program!r:.100} takes no mail: it has no method message(self, mail), and is no function of a mail")
    return {name: _refusing(function) for name, function in found.items()}


def check_names(program: object, found: Collection[str]) -> None:
    """Raises TypeError where `program`, which has the hooks `found`, means others that nobody would call: those of aiosmtpd, or
    one with a slip in its name."""
    names = [name for name in dir(program) if not name.startswith("_")]
    if foreign := [f"{name} ({_instead(name)})" for name in names if _AIOSMTPD.fullmatch(name)]:
        raise TypeError(f"{program!r:.100} has what is aiosmtpd's, and nobody would call: {', '.join(foreign)}")
    for name in names:
        meant = next((hook for hook in get_args(Hook) if hook not in found and _is_slip(name, hook)), None)
        function = getattr(program, name, None) if meant else None
        if callable(function) and not isinstance(function, type):
            raise TypeError(f"{program!r:.100} has a method {name}, which nobody would call: did you mean {meant}?")


def _instead(name: str) -> str:
    if name.startswith("auth"):
        return "give the server users=, such as def users(name, password): return True"
    return _INSTEAD.get(name, "leave it out, there is no hook for it")


def _is_slip(name: str, hook: str) -> bool:
    """Whether it is the hook's name but for one letter that is changed, missing or added, for two that are swapped, or for
    capitals. A plural is a name of its own."""
    if name in (hook, f"{hook}s") or name in _WORDS:
        return False
    name = name.lower()
    ends = min(len(name), len(hook))
    same = next((at for at in range(ends) if name[at] != hook[at]), ends)
    there, wanted = name[same:], hook[same:]
    return there[1:] == wanted[1:] or there == wanted[1:] or there[1:] == wanted or there == wanted[1::-1] + wanted[2:]


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


class Asking(Hooks):
    """The hooks of a program. Where one answers what is no answer, the log says what would be."""

    def misunderstood(self, hook: Hook, answer: object) -> Refuse:
        """As `Hooks` has it; there is no history to be told."""
        others = "waymail.discard(), waymail.accept()" if hook == "message" else "waymail.accept()"
        error = f"it answered {answer!r:.100}: answer with {hooks.REFUSALS}, {others} or None"
        log.error("a hook of the policy failed", extra={"fields": {"hook": hook, "error": error}})
        return hooks.FAILED


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
