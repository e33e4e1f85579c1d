"""Whole servers, built from the text of a configuration as `waymail serve` builds them, and conversations with them.

A transcript has a line for each thing that happens, in order:

    C: MAIL FROM:<x@client.example>     the client says; lines that follow each other leave in one segment
    S: 250 2.1.0                        the server replies; the text is a regular expression for the reply's beginning, in which
                                        a line break stands for the next line of a longer reply
    S: closed                           the server closes the connection
    TLS                                 the handshake
"""

from __future__ import annotations

import asyncio
import logging
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from string import Template
from typing import Any, TypeVar

import pytest
import uvloop

from waymail.app.config.load import parse
from waymail.app.running import operate
from waymail.app.wiring import Machine, build
from waymail.net.streams import parse_address
from waymail.server.users import add_user
from waymail.store.contract import Story
from waymail.testing.dns import DnsServer
from waymail.testing.peer import Peer
from waymail.testing.zone import Zone

T = TypeVar("T")

SOON = 10.0  # seconds within which what must happen happens


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The loop that `waymail serve` runs on."""
    return {"uvloop": uvloop.new_event_loop}


class Listening(logging.Handler):
    """Reads off the log, as an operator would, which ports were taken where 0 was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.getMessage() == "listening":
            self.addresses.append(record.fields["address"])  # type: ignore[attr-defined]


class Conversation:
    """One connection to a listener."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, context: ssl.SSLContext | None) -> None:
        self._reader = reader
        self._writer = writer
        self._context = context

    async def follow(self, transcript: str) -> None:
        """Say and expect what the transcript says."""
        saying: list[str] = []
        for number, line in enumerate(transcript.strip().splitlines(), 1):
            who, _, text = line.strip().partition(":")
            text = text.removeprefix(" ")
            if who == "C":
                saying.append(text)
                continue
            self._writer.write("".join(f"{one}\r\n" for one in saying).encode())
            saying = []
            if who == "S":
                said = await self._reply()
                wanted = text.replace("closed", "$")
                assert re.match(wanted, said), f"line {number}: {line.strip()!r} is wanted, but it said {said!r}"
            elif who == "TLS":
                assert self._context is not None
                await self._writer.start_tls(self._context, server_hostname="localhost")
            else:
                raise ValueError(f"line {number}: {line!r} is neither C: nor S: nor TLS")
        assert not saying, "a transcript ends with what the server says"

    async def _reply(self) -> str:
        lines: list[str] = []
        async with asyncio.timeout(SOON):
            while not lines or lines[-1][3:4] == "-":
                line = (await self._reader.readline()).decode().removesuffix("\r\n")
                if not line:
                    break
                lines.append(line)
        return "\n".join(f"{line[:3]} {line[4:]}" for line in lines)


class Running:
    """A server, and what became of the mail it was given."""

    def __init__(self, machine: Machine, addresses: Sequence[str], directory: Path) -> None:
        self.machine = machine
        self.addresses = addresses
        self._directory = directory
        self._writers: list[asyncio.StreamWriter] = []

    async def talk(self, transcript: str, listener: int = 0) -> None:
        """Hold a conversation with a listener, and close the connection."""
        reader, writer = await asyncio.open_connection(*parse_address(self.addresses[listener]))
        certificate = self._directory / "data" / "tls" / "cert.pem"
        context = ssl.create_default_context(cafile=str(certificate)) if certificate.exists() else None
        try:
            await Conversation(reader, writer, context).follow(transcript)
        finally:
            writer.transport.abort()

    async def mail(self, path: str, number: int = 1) -> list[str]:
        """The messages in a Maildir below mail/, once there are `number` of them."""

        async def look() -> list[str] | None:
            files = sorted((self._directory / "mail" / path / "new").glob("*"))
            return [file.read_text() for file in files] if len(files) >= number else None

        return await eventually(look, f"{number} messages in {path}")

    def mailboxes(self) -> set[str]:
        """The Maildirs that hold mail."""
        return {str(file.relative_to(self._directory / "mail").parents[1]) for file in self._directory.glob("mail/**/new/*")}

    async def story(self, recipient: str, kind: str = "attempt", number: int = 1) -> Story:
        """The newest message to the recipient that is no notice, once its trace holds `number` events of the kind."""

        async def look() -> Story | None:
            found = [one for one in await self.machine.store.find(recipient) if one.envelope.origin.protocol != "notice"]
            story = await self.machine.store.get(found[0].envelope.id) if found else None
            return story if story and [event.kind for event in story.events].count(kind) >= number else None

        return await eventually(look, f"{number} {kind} in the trace of {recipient}")

    async def results(self, recipient: str, number: int = 1) -> list[Mapping[str, Any]]:
        """The results of the first `number` attempts at the newest message to the recipient."""
        story = await self.story(recipient, number=number)
        return [result for event in story.events if event.kind == "attempt" for result in event.detail["results"]]


async def eventually(look: Callable[[], Awaitable[T | None]], what: str) -> T:
    """What `look` finds, once it does: nobody tells when a mailbox has new mail."""
    async with asyncio.timeout(SOON):
        while True:
            found = await look()
            if found is not None:
                return found
            await asyncio.sleep(0.01)
    raise AssertionError(f"there never was {what}")


Start = Callable[..., Awaitable[Running]]


@pytest.fixture(params=["memory", "sqlite"])
async def start(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Start]:
    """Starts the server that a configuration describes; it is stopped in the end. In the text, $store is a kind of store, each
    in turn; $peer the peer's address, $dns that of a server which serves the zone. `users` are names and passwords; each may
    send as "name@example.org"."""
    log = logging.getLogger("waymail")
    listening, level = Listening(), log.level
    log.addHandler(listening)
    log.setLevel(logging.INFO)
    stop = asyncio.Event()
    async with AsyncExitStack() as stack:

        async def run(
            config: str,
            *,
            zone: Mapping[str, Any] | None = None,
            peer: Peer | None = None,
            users: Mapping[str, str] | None = None,
        ) -> Running:
            for name, password in (users or {}).items():
                add_user(tmp_path / "users.toml", name, password, [f"{name}@example.org"])
            dns = await stack.enter_async_context(DnsServer(Zone(zone or {})))
            served = await stack.enter_async_context(peer) if peer else None
            text = Template(config).substitute(store=request.param, dns=dns.address, peer=served.address if served else "")
            machine = await build(parse(text, tmp_path / "waymail.toml"))
            ready = asyncio.Event()
            operating = asyncio.create_task(operate(machine, stop, ready.set))

            async def end() -> None:
                stop.set()
                async with asyncio.timeout(SOON):
                    await operating

            stack.push_async_callback(end)
            async with asyncio.timeout(SOON):
                await ready.wait()
            return Running(machine, listening.addresses, tmp_path)

        yield run
    log.removeHandler(listening)
    log.setLevel(level)
