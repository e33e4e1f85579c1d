"""Runs the hooks of a policy of the operator's: bounded in time, and whatever they do, an answer comes out.

Promises: `ask` returns a decision or None and raises nothing but the cancellation of its caller. A hook that fails is logged with
its trace, once a call.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Literal, cast, get_args

from waymail.net import foreign
from waymail.server.policy import Accept, Decision, Policy, Refuse
from waymail.wire.replies import Reply

log = logging.getLogger("waymail.server")

Hook = Literal["connect", "mail", "rcpt", "message"]

THREADS = 16  # hooks that are not asynchronous, at one time
REFUSALS = "waymail.reject(550, '5.7.1', 'text'), waymail.defer(451, '4.7.1', 'text')"  # as a hook may answer
FAILED = Refuse(Reply(451, "internal error, try again later", "4.3.0"))
_ALLOWED: dict[Hook, tuple[type, ...]] = {
    "connect": (Accept, Refuse),
    "mail": (Accept, Refuse),
    "rcpt": (Accept, Refuse),
    "message": get_args(Decision),
}


def _failed(hook: Hook, why: str) -> Refuse:
    """FAILED, as the history tells it."""
    said = " ".join(why.split()).encode(errors="replace").decode()  # somebody else's words: no line breaks, no lone surrogates
    return replace(FAILED, why=f"its hook {hook} failed: {said:.200}")


def _advice(hook: Hook) -> str:
    more = ", waymail.mark('name'), waymail.quarantine(), waymail.discard()" if hook == "message" else ""
    return f"answer with {REFUSALS}{more}, waymail.accept() or None"


class PolicyUnusable(Exception):
    """What the configuration names cannot be a policy. The text says why."""


def find(name: str) -> type[Policy]:
    """The class that "module:Class" names. Raises PolicyUnusable."""
    try:
        found = foreign.find(name)
    except foreign.NotFound as problem:
        raise PolicyUnusable(str(problem)) from problem
    if not (isinstance(found, type) and issubclass(found, Policy)):
        raise PolicyUnusable(f"{name} is no class that is derived from waymail.server.policy.Policy")
    return found


def load(name: str) -> Policy:
    """An instance, made without arguments. Raises PolicyUnusable."""
    made = find(name)
    try:
        return made()
    except Exception as error:  # it is somebody else's code
        raise PolicyUnusable(f"{name} cannot be made: {type(error).__name__}: {error}") from error


def overridden(policy: Policy) -> dict[Hook, Callable[[Any], Any]]:
    """Those hooks that a policy has."""
    names: tuple[Hook, ...] = get_args(Hook)
    return {name: getattr(policy, name) for name in names if getattr(type(policy), name) is not getattr(Policy, name)}


class Hooks:
    """A policy's hooks, or functions that stand for them. `timeout` is in seconds, for one call."""

    def __init__(self, policy: Policy | Mapping[Hook, Callable[[Any], Any]] | None, timeout: float) -> None:
        self._timeout = timeout
        self._threads = foreign.Threads(THREADS, "waymail-policy")
        self._hooks = overridden(policy) if isinstance(policy, Policy) else dict(policy or {})

    def has(self, hook: Hook) -> bool:
        """Whether there is anybody to ask."""
        return hook in self._hooks

    async def ask(self, hook: Hook, what: object) -> Decision | None:
        """What the policy says; None where it leaves that to the configuration, or has no such hook."""
        answer = await self.call(hook, what)
        if answer is None or isinstance(answer, _ALLOWED[hook]):
            return cast("Decision | None", answer)
        return self.misunderstood(hook, answer)

    def misunderstood(self, hook: Hook, answer: object) -> Refuse:
        """What becomes of an answer that is none."""
        why = f"it answered {answer!r:.100}"
        log.error("a hook of the policy failed", extra={"fields": {"hook": hook, "error": f"{why}: {_advice(hook)}"}})
        return _failed(hook, why)

    async def call(self, hook: Hook, what: object) -> Any:
        """Whatever the hook returns; FAILED where it raises or takes too long, None where there is none."""
        function = self._hooks.get(hook)
        if function is None:
            return None
        deadline = asyncio.timeout(self._timeout)
        try:
            async with deadline:
                return await self._called(function, what)
        except (KeyboardInterrupt, GeneratorExit):
            raise  # they are not the hook's, but the interpreter's
        except BaseException as error:  # it is somebody else's code, and some libraries have exceptions that are no Exception
            if isinstance(error, asyncio.CancelledError) and cast("asyncio.Task[Any]", asyncio.current_task()).cancelling():
                raise  # the client has gone
            why = f"it took longer than {self._timeout:g} s" if deadline.expired() else f"{type(error).__name__}: {error}"
            log.exception("a hook of the policy failed", extra={"fields": {"hook": hook, "error": why}})
            return _failed(hook, why)

    async def _called(self, function: Callable[[Any], Any], what: object) -> Any:
        if inspect.iscoroutinefunction(function):
            return await function(what)
        return await self._threads.call(function, what)
