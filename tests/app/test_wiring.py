"""How the machine is put together, and how it says that it cannot start."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import os
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from waymail.app.config import schema
from waymail.app.config.load import parse
from waymail.app.config.schema import Config
from waymail.app.config.users import AuthLimits
from waymail.app.running import first_cause, on_unraisable, operate
from waymail.app.wiring import build, mailboxes, server_identity, server_limits
from waymail.delivery.maildir import MaildirTransport
from waymail.delivery.routes import Mailboxes
from waymail.mail.envelope import Body, Envelope, QueueIds, Recipient
from waymail.server.limits import Limits
from waymail.server.reception import Client
from waymail.store.contract import NewMessage, State
from waymail.store.memory import MemoryStore
from waymail.store.read import SqliteReader
from waymail.store.sqlite import SqliteStore

BASE = """
hostname = "mail.example.org"
[[listener]]
kind = "mx"
address = "127.0.0.1:0"
tls = "off"
"""


def config(text: str, folder: Path) -> Config:
    return parse(text, folder / "waymail.toml")


# --- limits, mailboxes, TLS ---

# Those of the guard are in test_wiring_users.
LIMITS = [name for name in schema.Limits.model_fields if name not in AuthLimits.model_fields]


def test_every_limit_of_the_configuration_is_one_of_the_server_with_the_same_default(tmp_path: Path) -> None:
    of_server = {field.name: field.default for field in dataclasses.fields(Limits)}
    of_file = config(BASE, tmp_path).limits
    assert set(LIMITS) <= set(of_server)
    assert {name: getattr(of_file, name) for name in LIMITS}.items() <= of_server.items()
    assert server_limits(config(BASE, tmp_path)) == Limits()


def test_every_limit_that_is_configured_reaches_the_server(tmp_path: Path) -> None:
    values = {
        name: f'"{7 + at}m"' if isinstance(getattr(Limits(), name), float) else str(70_000 + at) for at, name in enumerate(LIMITS)
    }
    values["message_size"] = '"71MB"'
    made = server_limits(config(BASE + "[limits]\n" + "".join(f"{k} = {v}\n" for k, v in values.items()), tmp_path))
    same = [name for name in LIMITS if getattr(made, name) == getattr(Limits(), name)]
    assert same == []
    assert made.message_size == 71_000_000


def test_every_maildir_that_is_named_has_a_transport_of_its_own(tmp_path: Path) -> None:
    text = (
        BASE
        + """
        [domains."a.example"]
        [domains."b.example"]
        deliver = "maildir:b/{local}"
        [domains."relayed.example"]
        deliver = "smtp://127.0.0.1:2500"
        [routes]
        "c.example" = "maildir:c/{domain}/{local}"
        "*.d.example" = "maildir:b/{local}"
        "e.example" = "mx"
        "*" = "maildir:all"
    """
    )
    parsed = config(text, tmp_path)
    found = mailboxes(parsed)
    templates = {str(tmp_path / path) for path in ("mail/{domain}/{local}", "b/{local}", "c/{domain}/{local}", "all")}
    assert {target.template for target in found} == templates
    for target in [*(one.deliver for one in parsed.domains.values()), *parsed.routes.values()]:
        if isinstance(target, Mailboxes):
            assert isinstance(found[target], MaildirTransport)


def test_without_a_certificate_there_is_no_tls_and_a_self_signed_one_is_made_where_it_is_wanted(tmp_path: Path) -> None:
    assert server_identity(config(BASE, tmp_path)) is None
    assert not (tmp_path / "data").exists()
    identity = server_identity(config(BASE + "[tls]\nself_signed = true\n", tmp_path))
    assert identity is not None
    assert identity.context() is identity.context()
    assert (tmp_path / "data" / "tls" / "cert.pem").exists()


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


async def test_each_listener_offers_what_its_kind_and_its_tls_allow(tmp_path: Path) -> None:
    text = """
        hostname = "mail.example.org"
        queue.store = "memory"
        tls.self_signed = true
        listener = [
            { kind = "mx", address = "127.0.0.1:0", tls = "off" },
            { kind = "mx", address = "127.0.0.1:0", tls = "starttls" },
            { kind = "submission", address = "127.0.0.1:0", tls = "implicit" },
        ]
    """
    machine = await build(config(text, tmp_path))
    made = [(one, one.reception.offer(one.offer, Client("192.0.2.1"))) for _, one in machine.listeners]
    offers = [(offer.starttls, one.implicit_tls, bool(offer.auth)) for one, offer in made]
    assert offers == [(False, False, False), (True, False, False), (False, True, True)]
    assert {one.offer.hostname for _, one in machine.listeners} == {"mail.example.org"}
    assert isinstance(machine.store, MemoryStore)


# --- running ---


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
    assert said == ["listening", "stopping", "stopped"]
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
