"""Dovecot's protocol, against a scripted Dovecot. The real one is in tests/interop."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from waymail.server.backends.contract import BackendUnavailable
from waymail.server.backends.dovecot import DovecotBackend, escaped, unescaped
from waymail.wire.sasl import Challenge, Failure, Success

GREETING = "VERSION\t1\t2\nMECH\tPLAIN\tplaintext\nMECH\tSCRAM-SHA-256\nMECH\tGSSAPI\nSPID\t1\nCUID\t2\nCOOKIE\tabc\nDONE\n"
Script = Callable[[list[str]], str | None]


class Dovecot:
    """Answers each line by a script; None closes the connection."""

    def __init__(self, script: Script, greeting: str) -> None:
        self.lines: list[str] = []
        self._script = script
        self._greeting = greeting
        self.ended = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(self._greeting.encode())
        while line := (await reader.readline()).decode().rstrip("\n"):
            self.lines.append(line)
            words = line.split("\t")
            if words[0] in ("VERSION", "CPID"):
                continue
            answer = self._script(words)
            if answer is None:
                break
            writer.write(answer.encode())
        writer.close()
        self.ended.set()


@asynccontextmanager
async def dovecot(path: Path, script: Script, greeting: str = GREETING) -> AsyncIterator[tuple[DovecotBackend, Dovecot]]:
    made = Dovecot(script, greeting)
    server = await asyncio.start_unix_server(made.serve, path / "auth")
    backend = DovecotBackend(str(path / "auth"))
    async with server:
        yield backend, made


def login(words: list[str]) -> str:
    response = base64.b64decode(words[-1].removeprefix("resp="))
    if response == b"\0ann\0right":
        return f"OK\t{words[1]}\tuser=ann@EXAMPLE.org\taddresses=ann@example.org, *@lists.example.org\n"
    return f"FAIL\t{words[1]}\tuser=ann\treason=no\001tway\n"


async def test_a_password_is_passed_on_with_what_is_known_of_the_connection(tmp_path: Path) -> None:
    async with dovecot(tmp_path, login) as (users, server):
        exchange = await users.exchange("PLAIN", {"address": "192.0.2.1", "secure": "yes"})
        assert await exchange.step(b"\0ann\0right") == Success("ann@example.org")
        assert server.lines[0] == "VERSION\t1\t2"
        assert server.lines[2].split("\t")[2:-1] == ["PLAIN", "service=smtp", "secured", "rip=192.0.2.1"]
        assert users.may_send_as("ann@example.org", "any@lists.example.org")
        assert not users.may_send_as("ann@example.org", "ann@elsewhere.example")
        await asyncio.wait_for(server.ended.wait(), 5)  # the connection goes with the exchange


async def test_a_refusal_is_a_failure_with_its_cause(tmp_path: Path) -> None:
    async with dovecot(tmp_path, login) as (users, _):
        step = await (await users.exchange("PLAIN", {})).step(b"\0ann\0wrong")
        assert step == Failure("Dovecot refused ann: no\tway")
        assert await users.verify("ann", "right") == "ann@example.org"
        assert await users.verify("ann", "wrong") is None


async def test_a_mechanism_of_several_steps_goes_through_whole(tmp_path: Path) -> None:
    def script(words: list[str]) -> str:
        if words[0] == "AUTH":
            assert not words[-1].startswith("resp=")
            return "MECH\tLATE\nCONT\t%s\t%s\n" % (words[1], base64.b64encode(b"first").decode())  # noqa: UP031
        if base64.b64decode(words[2]) == b"mine":
            return f"CONT\t{words[1]}\t\n"
        return f"OK\t{words[1]}\tuser=ann\n"

    async with dovecot(tmp_path, script) as (users, _):
        exchange = await users.exchange("SCRAM-SHA-256", {})
        assert await exchange.step(None) == Challenge(b"first")
        assert await exchange.step(b"mine") == Challenge(b"")
        assert await exchange.step(b"") == Success("ann")


async def test_what_dovecot_offers_is_offered_as_far_as_it_is_known_here(tmp_path: Path) -> None:
    async with dovecot(tmp_path, login) as (users, _):
        assert set(users.mechanisms) == {"PLAIN", "LOGIN"}
        await users.start()
        assert set(users.mechanisms) == {"PLAIN", "SCRAM-SHA-256"}


@pytest.mark.parametrize("answer", ["FAIL\t{id}\tuser=ann\ttemp\n", "FAIL\t{id}\tcode=temp_fail\n", "CONT\t{id}\t***\n", None])
async def test_trouble_of_dovecot_is_no_wrong_password(tmp_path: Path, answer: str | None) -> None:
    async with dovecot(tmp_path, lambda words: answer and answer.format(id=words[1])) as (users, _):
        with pytest.raises(BackendUnavailable):
            await (await users.exchange("PLAIN", {})).step(b"\0ann\0right")


@pytest.mark.parametrize("greeting", ["VERSION\t2\t0\nDONE\n", "220 mail.example.org ESMTP\n" * 200, "x" * 100_000, "DONE"])
async def test_what_is_no_dovecot_is_told(tmp_path: Path, greeting: str) -> None:
    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(greeting.encode())
        writer.close()

    async with await asyncio.start_unix_server(serve, tmp_path / "auth"):
        with pytest.raises(BackendUnavailable):
            await DovecotBackend(str(tmp_path / "auth")).exchange("PLAIN", {})


async def test_a_dovecot_that_is_away_is_told_and_does_not_keep_the_server_from_starting(tmp_path: Path) -> None:
    users = DovecotBackend(str(tmp_path / "auth"))
    await users.start()
    with pytest.raises(BackendUnavailable, match="No such file"):
        await users.verify("ann", "right")


async def test_an_ok_without_a_user_lets_nobody_in(tmp_path: Path) -> None:
    async with dovecot(tmp_path, lambda words: f"OK\t{words[1]}\n") as (users, _):
        assert isinstance(await (await users.exchange("PLAIN", {})).step(b"\0ann\0right"), Failure)


@pytest.mark.parametrize("text", ["plain", "tab\tand\nline\rend", "\001t", "nul\0", ""])
def test_escaping_goes_there_and_back_and_leaves_no_tab(text: str) -> None:
    assert unescaped(escaped(text)) == text
    assert not set("\t\n\r\0") & set(escaped(text))
