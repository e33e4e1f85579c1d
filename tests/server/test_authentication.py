"""The SASL exchange between the wire and the users. The mechanisms themselves are `tests/wire/sasl`'s affair."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from waymail.server.authentication import VERIFIERS, Authenticator, Exchange
from waymail.wire import sasl
from waymail.wire.sasl import Challenge, Failure, ScramKeys, Success

NONCE = "0123456789abcdef"
PLAIN = b"\0ann\0secret"
KEYS = ScramKeys.derive("secret", b"0123456789abcdef", 4096)


class Passwords:
    """Knows Ann. Notes in which threads it was asked, and how many at once; waits there for `gate`."""

    secret = b"s" * 32

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.threads: list[threading.Thread] = []
        self.at_once = self.most_at_once = 0
        self.fails = False
        self._lock = threading.Lock()

    def verify(self, name: str, password: str) -> str | None:
        with self._lock:
            self.threads.append(threading.current_thread())
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        assert self.gate.wait(10)
        with self._lock:
            self.at_once -= 1
        if self.fails:
            raise OSError("no memory")
        return "ann" if (name, password) == ("ann", "secret") else None

    def scram_keys(self, name: str) -> ScramKeys | None:
        return KEYS if name == "ann" else None


@pytest.fixture
def passwords() -> Passwords:
    return Passwords()


@pytest.fixture
def begin(passwords: Passwords) -> Iterator[Callable[[str], Exchange]]:
    with ExitStack() as stack:
        authenticator = Authenticator(passwords, nonce=lambda: NONCE)
        stack.callback(authenticator.close)
        stack.callback(passwords.gate.set)
        yield authenticator.begin


Begin = Callable[[str], Exchange]


async def test_a_right_password_gives_the_user_and_was_looked_at_in_another_thread(begin: Begin, passwords: Passwords) -> None:
    assert await begin("PLAIN").step(PLAIN) == Success("ann")
    assert passwords.threads != [threading.current_thread()]
    assert len(passwords.threads) == 1


async def test_without_an_initial_response_the_first_step_asks_for_it(begin: Begin) -> None:
    exchange = begin("PLAIN")
    assert await exchange.step(None) == Challenge(b"")
    assert await exchange.step(PLAIN) == Success("ann")


@pytest.mark.parametrize("initial", [b"\0ann\0wrong", b"\0nobody\0secret"])
async def test_a_wrong_password_and_an_unknown_user_fail_and_only_the_log_may_know_why(begin: Begin, initial: bytes) -> None:
    step = await begin("PLAIN").step(initial)
    assert isinstance(step, Failure)
    assert "wrong password or no such user" in step.cause
    assert "secret" not in step.cause


async def test_what_is_no_response_at_all_fails_without_a_look_at_a_password(begin: Begin, passwords: Passwords) -> None:
    assert isinstance(await begin("PLAIN").step(b"ann secret"), Failure)
    assert isinstance(await begin("PLAIN").step(b"\0\xff\0secret"), Failure)
    assert passwords.threads == []


async def test_login_asks_for_name_and_password(begin: Begin) -> None:
    exchange = begin("LOGIN")
    assert await exchange.step(None) == Challenge(b"Username:")
    assert await exchange.step(b"ann") == Challenge(b"Password:")
    assert await exchange.step(b"secret") == Success("ann")


async def test_scram_compares_no_password_and_proves_the_server_too(begin: Begin, passwords: Passwords) -> None:
    exchange, client = begin("scram-sha-256"), sasl.client_mechanism("SCRAM-SHA-256", "ann", "secret", "fedcba9876543210")
    step = await exchange.step(client.initial())
    while isinstance(step, Challenge):
        step = await exchange.step(client.step(step.data))
    assert step == Success("ann")
    client.succeeded()
    assert passwords.threads == []


async def test_scram_meets_an_unknown_user_with_a_challenge_like_any_other(begin: Begin) -> None:
    challenges = []
    for name in ("ann", "nobody"):
        client = sasl.client_mechanism("SCRAM-SHA-256", name, "wrong", "fedcba9876543210")
        exchange = begin("SCRAM-SHA-256")
        first = await exchange.step(client.initial())
        assert isinstance(first, Challenge)
        challenges.append([part[:2] for part in first.data.split(b",")])
        assert isinstance(await exchange.step(client.step(first.data)), Failure)
    assert challenges[0] == challenges[1] == [b"r=", b"s=", b"i="]


async def test_the_loop_goes_on_while_passwords_are_looked_at_and_only_a_few_are_at_a_time(
    begin: Begin, passwords: Passwords
) -> None:
    passwords.gate.clear()
    attempts = [asyncio.create_task(begin("PLAIN").step(PLAIN)) for _ in range(3 * VERIFIERS)]
    async with asyncio.timeout(5):
        while passwords.at_once < VERIFIERS:  # noqa: ASYNC110 - the threads tell nobody
            await asyncio.sleep(0.001)
    await asyncio.sleep(0.02)
    assert passwords.at_once == VERIFIERS
    assert not any(attempt.done() for attempt in attempts)
    passwords.gate.set()
    assert await asyncio.gather(*attempts) == [Success("ann")] * len(attempts)
    assert passwords.most_at_once == VERIFIERS


async def test_that_passwords_cannot_be_looked_at_is_told_to_the_session(begin: Begin, passwords: Passwords) -> None:
    passwords.fails = True
    with pytest.raises(OSError, match="no memory"):
        await begin("PLAIN").step(PLAIN)


async def test_an_unknown_mechanism_is_refused_at_once(begin: Begin) -> None:
    with pytest.raises(sasl.UnknownMechanism):
        begin("DIGEST-MD5")


async def test_closing_waits_for_nobody_and_begins_nothing_more(passwords: Passwords) -> None:
    authenticator = Authenticator(passwords, nonce=lambda: NONCE)
    passwords.gate.clear()
    under_way = [asyncio.create_task(authenticator.begin("PLAIN").step(PLAIN)) for _ in range(VERIFIERS + 1)]
    async with asyncio.timeout(5):
        while passwords.at_once < VERIFIERS:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
    authenticator.close()
    assert passwords.at_once == VERIFIERS, "still looked at"
    passwords.gate.set()
    results = await asyncio.gather(*under_way, return_exceptions=True)
    assert results[:VERIFIERS] == [Success("ann")] * VERIFIERS
    assert isinstance(results[VERIFIERS], asyncio.CancelledError)
    assert len(passwords.threads) == VERIFIERS
