"""The whole server inside of a program: `waymail.Server` with a config."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

import waymail
from waymail.app import asking
from waymail.app.config.problems import ConfigError
from waymail.app.embedding import WholeServer
from waymail.net.streams import ListenFailed
from waymail.server.policy import Decision, Recipient
from waymail.store.contract import StoreError
from waymail.store.sqlite import SqliteStore
from waymail.testing.dns import DnsServer
from waymail.testing.zone import Zone

MESSAGE = b"From: ann@example.org\r\nSubject: hi\r\n\r\nhello\r\n"


TEXT = """
hostname = "mx.example.net"
data_dir = "data"
[[listener]]
kind = "mx"
address = "127.0.0.1:0"
tls = "off"
[domains."example.net"]
deliver = "maildir:{folder}/mail/{{local}}"
recipients = ["bob", "old-bob"]
[inbound]
trusted = []
[dns]
resolvers = ["{resolver}"]
"""


def config(folder: Path, **more: Any) -> dict[str, Any]:
    return {
        "hostname": "mx.example.net",
        "data_dir": str(folder / "data"),
        "listener": [{"kind": "mx", "address": "127.0.0.1:0", "tls": "off"}],
        "domains": {"example.net": {"deliver": f"maildir:{folder}/mail/{{local}}", "recipients": ["bob", "old-bob"]}},
        "inbound": {"trusted": []},
    } | more


class Policy(waymail.Policy):
    def __init__(self) -> None:
        self.asked: list[str] = []

    async def rcpt(self, rcpt: Recipient) -> Decision | None:
        self.asked.append(rcpt.address)
        return waymail.reject(text="moved") if rcpt.address.startswith("old-") else waymail.accept()


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not is_so():  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.01)


@pytest.fixture
async def resolver() -> AsyncIterator[str]:
    """One that knows of no name."""
    async with DnsServer(Zone({})) as server:
        yield server.address


async def send(server: waymail.Server, recipient: str) -> None:
    await waymail.send(MESSAGE, server.url, sender="ann@example.org", recipients=[recipient])


def delivered(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in (folder / "mail").glob("*/new/*")]


async def test_mail_is_queued_and_delivered_in_the_program(tmp_path: Path) -> None:
    async with waymail.Server(None, config=config(tmp_path, inbound={})) as server:
        assert server.url == f"smtp://127.0.0.1:{server.port}?tls=off"
        await send(server, "bob@example.net")
        await until(lambda: bool(delivered(tmp_path)))
    assert b"\n\nhello\n" in delivered(tmp_path)[0]


async def test_the_policy_of_the_program_is_asked_also_after_a_reload(
    tmp_path: Path, resolver: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "waymail")
    policy = Policy()
    file = tmp_path / "waymail.toml"
    file.write_text(TEXT.format(folder=tmp_path, resolver=resolver))
    async with waymail.Server(policy, config=file) as server:
        with pytest.raises(waymail.AllRecipientsRefused, match="moved"):
            await send(server, "old-bob@example.net")
        file.write_text(file.read_text() + '[limits]\nmessage_size = "1MB"\n')
        async for _ in asking.ask(tmp_path / "data", "reload"):
            pass
        await until(lambda: "reloaded" in caplog.messages)
        assert "SIZE 1000000" in await asyncio.to_thread(ehlo, server.port)
        with pytest.raises(waymail.AllRecipientsRefused, match="moved"):
            await send(server, "old-bob@example.net")
    assert policy.asked == ["old-bob@example.net"] * 2


def ehlo(port: int) -> str:
    with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
        client.sendall(b"EHLO c.example.org\r\nQUIT\r\n")
        return client.makefile("rb").read().decode()


async def test_what_is_wrong_with_the_configuration_is_said_when_the_server_is_made(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match='config: listner: no such key; did you mean "listener"'):
        waymail.Server(None, config=config(tmp_path, listner=[]))
    with pytest.raises(ConfigError, match="cannot be read"):
        waymail.Server(None, config=tmp_path / "none.toml")
    with pytest.raises(TypeError, match=r"a waymail.Policy, or None"):
        waymail.Server(lambda mail: None, config=config(tmp_path))
    with pytest.raises(TypeError, match=r"did you mean message\?"):
        waymail.Server(type("Slipped", (Policy,), {"mesage": lambda self, message: None})(), config=config(tmp_path))
    with pytest.raises(ValueError, match="nobody would ask the policy"):
        waymail.Server(Policy(), config=config(tmp_path, inbound={"judge": False}))
    with pytest.raises(TypeError, match="all else is said there"):
        waymail.Server(Policy(), hostname="x", config=config(tmp_path))


async def test_a_server_that_cannot_start_says_why_and_gives_the_queue_back(tmp_path: Path) -> None:
    async with waymail.Server(None, config=config(tmp_path)) as server:
        taken = config(tmp_path / "other", listener=[{"kind": "mx", "address": server.address, "tls": "off"}])
        with pytest.raises(ListenFailed):
            await waymail.Server(None, config=taken).start()
    async with waymail.Server(None, config=config(tmp_path / "other")):
        pass


async def test_a_queue_that_breaks_ends_it_and_the_program_is_told(tmp_path: Path) -> None:
    server = waymail.Server(None, config=config(tmp_path))
    await server.start()
    whole = server._runs
    assert isinstance(whole, WholeServer)
    assert whole._machine is not None
    assert isinstance(whole._machine.store, SqliteStore)
    whole._machine.store._checkpointer._give_up()  # stands for a sync that failed
    with pytest.raises(StoreError, match="start the server anew"):
        await server.serve_forever()
    with pytest.raises(StoreError):
        await server.stop()
    await server.stop()


def test_without_its_packages_the_error_says_how_to_get_them() -> None:
    program = (
        "import sys\n"
        "sys.modules['pydantic'] = None\n"
        "import waymail\n"
        "try:\n    waymail.Server(None, config={})\n"
        "except RuntimeError as error:\n    print(error)\n"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=dict(os.environ))
    assert run.stdout == 'pydantic is missing: a server with a config needs pip install "waymail[server]"\n'
