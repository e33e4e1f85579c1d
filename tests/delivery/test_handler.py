"""Delivery to Python: what a handler gets, what it may answer, and what it cannot break."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from waymail.delivery.handler import Handler, HandlerTransport, HandlerUnusable, IncomingMail, Reject, Retry, find, load
from waymail.mail.envelope import Body, Envelope, Recipient
from waymail.mail.outcome import Deferred, Delivered, Failed, Outcome
from waymail.wire.replies import Reply

MESSAGE = b"Subject: =?utf-8?q?gr=C3=BC=C3=9Fe?=\r\n\r\nhello\r\n"
NO = Failed(Reply(550, "no", "5.1.1"))


async def deliver(handler: Handler, *addresses: str, timeout: float = 10.0, concurrency: int = 4) -> dict[str, Outcome]:
    message = Envelope("0123456789abc", "ann@there.example", tuple(map(Recipient, addresses or ("a@x", "b@x"))), 0.0)
    transport = HandlerTransport(handler, timeout=timeout, concurrency=concurrency)
    return await transport.deliver(message, Body(MESSAGE, len(MESSAGE)), message.recipients)


async def outcome_of(handler: Handler, **options: float) -> Outcome:
    outcomes = await deliver(handler, "a@x", **options)  # type: ignore[arg-type]
    return outcomes["a@x"]


# --- what it gets, and what it answers ---


async def test_an_asynchronous_function_is_called_once_for_all_recipients_and_none_is_delivered() -> None:
    seen: list[IncomingMail] = []

    async def handle(mail: IncomingMail) -> None:
        seen.append(mail)

    outcomes = await deliver(handle)
    assert all(isinstance(outcome, Delivered) and outcome.final for outcome in outcomes.values())
    [mail] = seen
    assert (mail.id, mail.sender, mail.recipients, mail.size) == (
        "0123456789abc",
        "ann@there.example",
        ("a@x", "b@x"),
        len(MESSAGE),
    )
    assert (mail.raw(), b"".join(mail.chunks())) == (MESSAGE, MESSAGE)
    assert mail.email()["Subject"] == "grüße"
    assert mail.email() is mail.email()
    assert mail.view().text == "hello\n"


async def test_a_plain_function_runs_in_a_thread_and_may_wait() -> None:
    threads: list[threading.Thread] = []

    def handle(mail: IncomingMail) -> None:
        threads.append(threading.current_thread())

    assert isinstance(await outcome_of(handle), Delivered)
    assert threads[0] is not threading.current_thread()
    assert threads[0].daemon, "one that never returns must not keep the server from ending"


async def test_each_recipient_may_have_an_outcome_of_his_own() -> None:
    async def handle(mail: IncomingMail) -> dict[str, Outcome]:
        return {"a@x": NO}

    outcomes = await deliver(handle)
    assert outcomes["a@x"] == NO
    assert isinstance(outcomes["b@x"], Deferred)


async def test_one_outcome_is_for_all() -> None:
    assert await deliver(lambda mail: NO) == {"a@x": NO, "b@x": NO}


async def test_reject_fails_and_retry_defers_with_their_texts() -> None:
    async def reject(mail: IncomingMail) -> None:
        raise Reject("members only", enhanced="5.7.2")

    def retry(mail: IncomingMail) -> None:
        raise Retry("come back", code=452, enhanced="4.3.1")

    assert await outcome_of(reject) == Failed(Reply(550, "members only", "5.7.2"))
    assert await outcome_of(retry) == Deferred(Reply(452, "come back", "4.3.1"))


def test_codes_that_say_the_opposite_are_refused_where_they_are_written() -> None:
    for wrong in (lambda: Reject("x", enhanced="4.0.0"), lambda: Reject("x", code=450), lambda: Retry("x", enhanced="5.0.0")):
        with pytest.raises(ValueError, match="begin with"):
            wrong()


# --- what it cannot break ---


def raising(error: BaseException) -> Callable[[IncomingMail], Any]:
    def handle(mail: IncomingMail) -> None:
        raise error

    return handle


def raising_later(error: BaseException) -> Callable[[IncomingMail], Any]:
    async def handle(mail: IncomingMail) -> None:
        await asyncio.sleep(0)
        raise error

    return handle


class Beyond(BaseException):
    """What some libraries end a call with: gevent's Timeout is one."""


@pytest.mark.parametrize("make", [raising, raising_later])
@pytest.mark.parametrize(
    "error", [RuntimeError("secret"), SystemExit(1), TimeoutError("secret"), asyncio.CancelledError(), Beyond()]
)
async def test_any_other_exception_defers_is_logged_and_tells_the_sender_nothing(
    make: Callable[[BaseException], Handler], error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        outcome = await outcome_of(make(error))
    assert isinstance(outcome, Deferred)
    assert not outcome.uncertain
    assert "secret" not in str(outcome.reply)
    assert type(error).__name__ in outcome.cause
    assert [record.getMessage() for record in caplog.records] == ["a handler failed"]


@pytest.mark.parametrize("nonsense", [True, "ok", 250, {"a@x": "ok"}, Failed(cast("Any", "no such user"))])
async def test_what_is_no_outcome_defers_and_says_so(nonsense: Any, caplog: pytest.LogCaptureFixture) -> None:
    outcome = await outcome_of(lambda mail: nonsense)
    assert isinstance(outcome, Deferred)
    assert "no outcome" in outcome.cause


async def test_one_that_takes_too_long_is_uncertain() -> None:
    async def sleep(mail: IncomingMail) -> None:
        await asyncio.sleep(60)

    release = threading.Event()

    def block(mail: IncomingMail) -> None:
        release.wait(20)

    for handler in (sleep, block):
        outcome = await outcome_of(handler, timeout=0.1)
        assert isinstance(outcome, Deferred)
        assert outcome.uncertain
    release.set()


async def test_a_thread_that_hangs_keeps_its_slot_and_others_time_out_rather_than_pile_up() -> None:
    release = threading.Event()
    started: list[int] = []

    def block(mail: IncomingMail) -> None:
        started.append(1)
        release.wait(20)

    transport = HandlerTransport(block, timeout=0.1, concurrency=1)
    message = Envelope("0123456789abc", "", (Recipient("a@x"),), 0.0)
    for _ in range(3):
        await transport.deliver(message, Body(MESSAGE, len(MESSAGE)), message.recipients)
    assert len(started) == 1
    release.set()
    for _ in range(200):
        await asyncio.sleep(0.01)
        if isinstance((await transport.deliver(message, Body(MESSAGE, len(MESSAGE)), message.recipients))["a@x"], Delivered):
            break
    assert len(started) > 1


async def test_being_cancelled_from_outside_is_no_outcome() -> None:
    started = asyncio.Event()

    async def handle(mail: IncomingMail) -> None:
        started.set()
        await asyncio.sleep(60)

    task = asyncio.ensure_future(deliver(handle))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


# --- finding it ---


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Writes a module, and gives its name."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(text: str) -> str:
        name = f"handlers_{len(list(tmp_path.iterdir()))}_{abs(hash(tmp_path))}"
        (tmp_path / f"{name}.py").write_text(text)
        monkeypatch.delitem(sys.modules, name, raising=False)
        return name

    return write


async def test_a_class_is_made_once_and_its_method_called(module: Callable[[str], str]) -> None:
    text = "class Counter:\n    calls = 0\n    async def handle(self, mail):\n        self.calls += 1\n"
    handler = load(f"{module(text)}:Counter")
    for _ in range(2):
        assert isinstance(await outcome_of(handler), Delivered)
    assert handler.__self__.calls == 2  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("text", "name", "why"),
    [
        ("x = 1", "x", "neither a function nor a class"),
        ("x = 1", "y", "has no y"),
        ("class X: pass", "X", "without a method handle"),
        ("import nothing_like_this", "x", "cannot be imported"),
        ("1/0", "x", "cannot be imported: ZeroDivisionError"),
        ("raise SystemExit(3)", "x", "cannot be imported: SystemExit"),
    ],
)
def test_what_cannot_be_a_handler_says_why(module: Callable[[str], str], text: str, name: str, why: str) -> None:
    with pytest.raises(HandlerUnusable, match=why):
        find(f"{module(text)}:{name}")


def test_a_class_that_cannot_be_made_says_why(module: Callable[[str], str]) -> None:
    name = module(
        "class X:\n    def __init__(self):\n        raise ValueError('no database')\n    def handle(self, mail): pass\n"
    )
    find(f"{name}:X")
    with pytest.raises(HandlerUnusable, match="no database"):
        load(f"{name}:X")


def test_a_module_that_is_not_there_names_the_place_to_look() -> None:
    with pytest.raises(HandlerUnusable, match="PYTHONPATH"):
        find("nothing.like.this:handle")
