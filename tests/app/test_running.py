"""How the machine is run and stopped, and how it says that it cannot start."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from waymail.app.config.load import load, parse
from waymail.app.config.schema import Config
from waymail.app.running import first_cause, on_unraisable, operate, patiently
from waymail.app.wiring import build, server_identity
from waymail.mail.envelope import Body, Envelope, QueueIds, Recipient
from waymail.store.contract import NewMessage, State, StoreError
from waymail.store.read import SqliteReader
from waymail.store.sqlite import SqliteStore
from waymail.testing.process import ServerProcess, free_port

BASE = """
hostname = "mail.example.org"
[[listener]]
kind = "mx"
address = "127.0.0.1:0"
tls = "off"
"""


def config(text: str, folder: Path) -> Config:
    return parse(text, folder / "waymail.toml")


async def test_operating_ends_when_it_is_told_to_and_gives_the_store_back(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    machine = await build(config(BASE, tmp_path))
    assert isinstance(machine.store, SqliteStore)
    stop, ready = asyncio.Event(), asyncio.Event()
    with caplog.at_level(logging.INFO, "waymail"):
        operating = asyncio.create_task(operate(machine, stop, ready.set))
        async with asyncio.timeout(10):
            await ready.wait()
            stop.set()
            await operating
    said = [record.getMessage() for record in caplog.records if record.name == "waymail"]
    assert said == ["listening", "started", "stopping", "stopped"]
    again = await SqliteStore.open(tmp_path / "data" / "queue", now=lambda: 0.0)
    await again.close()


async def test_a_listener_that_cannot_be_opened_ends_all_and_gives_the_store_back(tmp_path: Path) -> None:
    with taken_port() as port:
        machine = await build(config(BASE.replace(":0", f":{port}"), tmp_path))
        with pytest.raises(BaseExceptionGroup) as raised:
            async with asyncio.timeout(10):
                await operate(machine, asyncio.Event())
    assert "another program listens there" in str(first_cause(raised.value))
    again = await SqliteStore.open(tmp_path / "data" / "queue", now=lambda: 0.0)
    await again.close()


@contextmanager
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        yield taken.getsockname()[1]


def started(text: str, folder: Path) -> subprocess.Popen[str]:
    """`waymail serve` in a process of its own."""
    (folder / "waymail.toml").write_text(text)
    command = [sys.executable, "-m", "waymail", "serve", "--config", str(folder / "waymail.toml")]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Its exit status and what it said."""
    try:
        said, _ = process.communicate(timeout=20)
    finally:
        process.kill()
    return process.returncode, said


def test_a_server_that_cannot_start_says_why_and_ends_with_the_status_of_sysexits(tmp_path: Path) -> None:
    """All four at the same time: each is a process that has to start."""
    folders = [tmp_path / name for name in ("port", "users", "certificate", "store")]
    for folder in folders:
        folder.mkdir()
    port, users, certificate, store = folders
    (users / "users.toml").write_text("[users.ann]\npassword = 'never in clear'\n")
    (certificate / "cert.pem").write_text("no certificate")
    with taken_port() as number, asyncio.Runner() as loop:
        first = started(BASE.replace(":0", f":{number}"), port)
        second = started(BASE, users)
        third = started(BASE + '[tls]\ncertificate = "cert.pem"\nkey = "cert.pem"\n', certificate)
        holder = loop.run(SqliteStore.open(store / "data" / "queue", now=lambda: 0.0))
        fourth = started(BASE, store)
        results = [ended(process) for process in (first, second, third, fourth)]
        loop.run(holder.close())
    assert [status for status, _ in results] == [os.EX_UNAVAILABLE, os.EX_CONFIG, os.EX_CONFIG, os.EX_IOERR]
    for (_, said), reason in zip(results, (f"127.0.0.1:{number}", "users.toml", "cert.pem", str(os.getpid())), strict=True):
        assert reason in said
        assert "Traceback" not in said


def test_sigterm_ends_a_server_with_0(tmp_path: Path) -> None:
    process = started(BASE, tmp_path)
    assert process.stdout is not None
    try:
        while "listening" not in (line := process.stdout.readline()):
            assert line, "it ended"
        process.send_signal(signal.SIGTERM)
    except BaseException:
        process.kill()
        raise
    status, said = ended(process)
    assert status == 0
    assert "stopped" in said


async def test_a_hurry_cuts_the_grace_short_and_what_was_under_way_is_settled_as_uncertain(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections, and never says a word
        route = f'[routes]\n"*" = "smtp://127.0.0.1:{silent.getsockname()[1]}"\n'
        machine = await build(config(BASE + route, tmp_path))
        stop, hurry = asyncio.Event(), asyncio.Event()
        operating = asyncio.create_task(operate(machine, stop, hurry=hurry))
        await asyncio.sleep(0.05)
        envelope = Envelope(QueueIds(1).next(1.0), "", (Recipient("x@a.example"),), 1.8e9)
        machine.runner.offer(await machine.store.accept(NewMessage(envelope, Body(b"Subject: x\r\n\r\n", 14))))
        connection, _ = await asyncio.to_thread(silent.accept)
        stop.set()
        await asyncio.sleep(0.2)
        assert not operating.done(), "the attempt gets its time"
        hurry.set()
        await asyncio.wait_for(operating, 5)
        connection.close()
    reader = await SqliteReader.open(tmp_path / "data" / "queue")
    story = await reader.get(envelope.id)
    await reader.close()
    assert story is not None
    assert story.recipients[0].state == State.QUEUED
    assert story.events[-1].detail["results"][0]["uncertain"] is True


def test_a_host_name_in_a_handshake_that_is_not_ascii_makes_no_noise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "unraisablehook", on_unraisable)
    identity = server_identity(config(BASE + "[tls]\nself_signed = true\n", tmp_path))
    assert identity is not None
    hello, answer = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(answer, hello, server_hostname="aaaaaaaa.example")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    said, altered = hello.read(), ssl.MemoryBIO()
    assert b"aaaaaaaa" in said
    altered.write(said.replace(b"aaaaaaaa", b"\xff\n\x1b[31mX"))
    with pytest.raises(ssl.SSLError):
        identity.context().wrap_bio(altered, answer, server_side=True).do_handshake()
    assert capsys.readouterr().err == ""


NEVER_ENDS = """
import asyncio, time
from waymail.server.backends.contract import UserBackend

class Users(UserBackend):
    async def close(self):
        await asyncio.to_thread(time.sleep, 60)
"""


def test_whatever_hangs_the_process_ends_soon_after_its_deadline_and_says_so(tmp_path: Path) -> None:
    """A thread that waits for a dead disk, or for a library that never returns, cannot be cut off."""
    (tmp_path / "never_ends.py").write_text(NEVER_ENDS)
    with ServerProcess(tmp_path, 'stop_after = "1s"\nusers.python = "never_ends:Users"\n' + BASE, []) as server:
        while "started" not in server.log.read_text():
            time.sleep(0.02)
        began = time.monotonic()
        assert server.stop() == os.EX_TEMPFAIL
        assert 1 < time.monotonic() - began < 2
        assert "the stop took too long" in server.log.read_text()


async def test_what_does_not_end_in_time_is_cut_off_and_what_is_about_to_end_is_not() -> None:
    ended = []

    async def lasts(seconds: float) -> None:
        await asyncio.sleep(seconds)
        ended.append(seconds)

    short, long = (asyncio.ensure_future(lasts(seconds)) for seconds in (0.1, 60))
    async with asyncio.timeout(5):
        await patiently([short, long], 0.01, asyncio.Event())
    assert ended == [0.1]
    assert long.cancelled()
    hurry = asyncio.Event()
    hurry.set()
    async with asyncio.timeout(5):
        await patiently([another := asyncio.ensure_future(lasts(60))], 50, hurry)
    assert another.cancelled()


async def test_a_session_that_waits_for_an_answer_that_never_comes_does_not_hold_up_the_stop(tmp_path: Path) -> None:
    machine = await build(config('stop_after = "1s"\n' + BASE, tmp_path))
    stop, ready = asyncio.Event(), asyncio.Event()
    operating = asyncio.create_task(operate(machine, stop, ready.set))
    async with asyncio.timeout(10):
        await ready.wait()
        task = machine.listeners[0][1].spawn(asyncio.sleep(1000))
        began = asyncio.get_running_loop().time()
        stop.set()
        await operating
    assert asyncio.get_running_loop().time() - began < 1.5
    assert task.cancelled()


async def test_a_store_that_must_be_opened_anew_ends_the_server_with_its_reason(tmp_path: Path) -> None:
    machine = await build(config(BASE, tmp_path))
    assert isinstance(machine.store, SqliteStore)
    machine.store._checkpointer._give_up()  # stands for a sync that failed
    async with asyncio.timeout(10) as deadline:
        with pytest.raises(BaseExceptionGroup) as ended:
            await operate(machine, asyncio.Event())
    assert not deadline.expired()
    assert isinstance(first_cause(ended.value), StoreError), "serve() ends with EX_IOERR"
    assert "start the server anew" in str(first_cause(ended.value))


@pytest.mark.parametrize("after", [0.0, 0.005, 0.01, 0.02, 0.05])
async def test_a_stop_in_the_middle_of_a_reload_leaves_nothing_behind(tmp_path: Path, after: float) -> None:
    file = tmp_path / "waymail.toml"
    old, new = free_port(), free_port()
    text = 'stop_after = "3s"\n' + BASE.replace(":0", f":{old}")
    file.write_text(text)
    machine = await build(load(file))
    stop, ready, hangup = asyncio.Event(), asyncio.Event(), asyncio.Event()
    operating = asyncio.create_task(operate(machine, stop, ready.set, hangup=hangup))
    async with asyncio.timeout(10):
        await ready.wait()
        file.write_text(text.replace("127.0.0.1", "0.0.0.0") + BASE[BASE.index("[[") :].replace(":0", f":{new}"))  # noqa: S104
        hangup.set()
        await asyncio.sleep(after)
        began = asyncio.get_running_loop().time()
        stop.set()
        await operating
    assert asyncio.get_running_loop().time() - began < 1.5
    for port in (old, new):
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)
