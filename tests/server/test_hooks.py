"""The hooks of a policy: whatever they do, there is an answer in time, and nobody else waits."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from waymail.server import policy as policies
from waymail.server.hooks import FAILED, THREADS, Hooks, PolicyUnusable, find, load
from waymail.server.policy import Accept, Client, Decision, Policy, defer, discard, mark, quarantine, reject
from waymail.wire.replies import Reply

CLIENT = Client("192.0.2.1")


class Odd(Policy):
    """Does in `connect` what it was made with, and in the same way, but not asynchronously, in `mail`."""

    def __init__(self, does: Any) -> None:
        self.does = does

    async def connect(self, client: Client) -> Any:
        result = self.does(client)
        return await result if asyncio.iscoroutine(result) else result

    def mail(self, mail: Any) -> Any:
        return self.does(mail)


def raises(error: BaseException) -> Any:
    def does(_: object) -> None:
        raise error

    return does


async def test_a_hook_that_is_not_overridden_is_not_asked() -> None:
    hooks = Hooks(Odd(lambda _: Accept()), 1.0)
    assert [hooks.has(hook) for hook in ("connect", "mail", "rcpt", "message")] == [True, True, False, False]
    assert await hooks.ask("rcpt", CLIENT) is None
    assert not Hooks(None, 1.0).has("connect")


async def test_functions_may_stand_for_a_policy_and_be_asked_for_whatever_they_say() -> None:
    hooks = Hooks({"message": lambda what: {what: "anything"}, "mail": raises(ValueError("oops"))}, 1.0)
    assert (hooks.has("message"), hooks.has("rcpt")) == (True, False)
    assert await hooks.call("message", "a") == {"a": "anything"}
    assert await hooks.call("rcpt", "a") is None
    assert await hooks.call("mail", "a") == FAILED
    assert await hooks.ask("message", "a") == FAILED


@pytest.mark.parametrize("hook", ["connect", "mail"])
async def test_an_answer_is_what_the_hook_returns(hook: Any) -> None:
    assert await Hooks(Odd(lambda _: None), 1.0).ask(hook, CLIENT) is None
    answer = reject(text="no")
    assert await Hooks(Odd(lambda _: answer), 1.0).ask(hook, CLIENT) is answer


@pytest.mark.parametrize("hook", ["connect", "mail"])
@pytest.mark.parametrize("error", [ValueError("oops"), SystemExit(1), asyncio.CancelledError(), BaseException("odd")])
async def test_a_hook_that_raises_defers_and_the_log_has_its_trace(
    hook: Any, error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    assert await Hooks(Odd(raises(error)), 1.0).ask(hook, CLIENT) == FAILED
    assert FAILED.reply == Reply(451, "internal error, try again later", "4.3.0")
    [record] = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.exc_info is not None


@pytest.mark.parametrize("hook", ["connect", "mail"])
@pytest.mark.parametrize("answer", ["accept", True, Reply(550, "no"), quarantine(), discard(), mark("X-A", "b")])
async def test_what_is_no_decision_there_defers(hook: Any, answer: object, caplog: pytest.LogCaptureFixture) -> None:
    assert await Hooks(Odd(lambda _: answer), 1.0).ask(hook, CLIENT) == FAILED
    assert "a hook of the policy failed" in caplog.text


async def test_a_hook_that_takes_too_long_defers() -> None:
    ended = threading.Event()
    assert await Hooks(Odd(lambda _: asyncio.sleep(60)), 0.01).ask("connect", CLIENT) == FAILED
    assert await Hooks(Odd(lambda _: ended.wait(60)), 0.01).ask("mail", CLIENT) == FAILED
    ended.set()


async def test_hooks_that_never_return_use_up_their_threads_and_no_more() -> None:
    ended = threading.Event()
    hooks = Hooks(Odd(lambda _: ended.wait(60)), 0.2)
    before = threading.active_count()
    answers = await asyncio.gather(*(hooks.ask("mail", CLIENT) for _ in range(THREADS + 5)))
    assert set(answers) == {FAILED}
    assert threading.active_count() - before <= THREADS
    ended.set()


async def test_a_client_that_goes_away_ends_its_hook() -> None:
    begun = asyncio.Event()

    async def waits(_: object) -> None:
        begun.set()
        await asyncio.sleep(60)

    asking = asyncio.create_task(Hooks(Odd(waits), 60.0).ask("connect", CLIENT))
    await begun.wait()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking


async def test_a_plain_hook_may_answer_with_something_to_wait_for() -> None:
    async def later(_: object) -> Decision:
        return defer()

    assert await Hooks(Odd(later), 1.0).ask("mail", CLIENT) == defer()


# --- the class that the configuration names ---


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.syspath_prepend(str(tmp_path))
    known = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - known:
        del sys.modules[name]


def test_a_policy_is_found_by_its_name(modules: Path) -> None:
    text = "from waymail.server.policy import Policy\nclass Ours(Policy): pass\nclass Other: pass\nclass Bad(Policy):\n"
    (modules / "our_policy.py").write_text(f"{text}    def __init__(self): raise OSError('no file')\n")
    (modules / "broken_policy.py").write_text("1 / 0\n")
    assert isinstance(load("our_policy:Ours"), find("our_policy:Ours"))
    for name, why in (
        ("no_such_module:X", "no_such_module cannot be imported"),
        ("broken_policy:X", "broken_policy cannot be imported: ZeroDivisionError"),
        ("our_policy:Nobody", "our_policy has no Nobody"),
        ("our_policy:Other", "is no class that is derived from"),
        ("our_policy:Bad", "our_policy:Bad cannot be made: OSError: no file"),
    ):
        with pytest.raises(PolicyUnusable, match=why):
            load(name)


# --- decisions ---


def test_a_decision_that_cannot_be_is_an_error_where_it_is_made() -> None:
    for make in (
        lambda: reject(450, "4.7.1", "later"),
        lambda: reject(550, "4.7.1", "mixed"),
        lambda: defer(550, "5.7.1", "never"),
        lambda: defer(421, "4.7.0", "ends the session"),
        lambda: mark("Authentication-Results", "mail.example.org; dmarc=pass"),
        lambda: mark("No Name", "x"),
        lambda: mark("X-A: b\r\nX-C", "x"),
        lambda: mark("X-A", "a\r\nX-Injected: b"),
    ):
        with pytest.raises(ValueError, match=r"will not do|is no name|the value of a field"):
            make()
    assert policies.accept() == Accept()


@pytest.mark.parametrize(
    "given", [("no such user",), ("550", "5.1.1", "no"), (550, 5.1, "no"), (550, "5.1.1", None), (550, "5.1.1", b"no")]
)
def test_arguments_in_another_order_are_told_the_right_one(given: Any) -> None:
    with pytest.raises(TypeError, match=r'waymail\.reject\(550, "5\.1\.1", "no such user"\), or waymail\.reject\(text='):
        reject(*given)
    with pytest.raises(TypeError, match=r'waymail\.defer\(451, "4\.3\.0", "come again"\), or waymail\.defer\(text='):
        defer(*given)
