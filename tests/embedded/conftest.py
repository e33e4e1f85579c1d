"""Programs that take mail, and clients that share nothing with them but the machine."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from tests.server.real_sockets import Client

import waymail
import waymail.sync

Serve = Callable[..., waymail.sync.Server]
Connect = Callable[[waymail.sync.Server], Client]


class Inbox:
    """Keeps what it is given, as octets; `answer` is what it says to each message."""

    def __init__(self, answer: object = None) -> None:
        self.mails: list[waymail.IncomingMail] = []
        self.contents: list[bytes] = []
        self.answer = answer

    async def message(self, mail: waymail.IncomingMail) -> Any:
        self.mails.append(mail)
        self.contents.append(mail.content())
        return self.answer


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts servers that run in threads, until the test is over."""
    with ExitStack() as running:
        yield lambda program, *args, **settings: running.enter_context(waymail.sync.Server(program, *args, **settings))


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Makes clients that have read the greeting and said EHLO, or LHLO."""
    with ExitStack() as clients:

        def connected(server: waymail.sync.Server) -> Client:
            client = Client(server.address)
            clients.callback(client.close)
            client.reply()
            client.send("LHLO c.example.org" if server.url.startswith("lmtp") else "EHLO c.example.org")
            client.reply()
            return client

        yield connected


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "waymail.server")
