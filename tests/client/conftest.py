from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import trustme
import uvloop

from waymail.client.asynchronous import AsyncIo
from waymail.client.connection import Connection
from waymail.client.session import Contexts, open_session
from waymail.client.target import Host, Tls
from waymail.client.transaction import Timeouts
from waymail.mail.envelope import Body
from waymail.testing.peer import Peer

QUICK = Timeouts(connect=5, tls=5, greeting=5, command=5, data=5, block=5, final=5, quit=1)


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Everything here runs on both loops: they differ in how they report trouble."""
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="session")
def server_tls(authority: trustme.CA) -> ssl.SSLContext:
    """A server's context, with a certificate for "mx.example" and "localhost"."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("mx.example", "localhost").configure_cert(context)
    return context


@pytest.fixture(scope="session")
def trusting(authority: trustme.CA) -> ssl.SSLContext:
    """A client's context that trusts the authority alone."""
    context = ssl.create_default_context()
    context.hostname_checks_common_name = False
    authority.configure_trust(context)
    return context


@pytest.fixture
async def connect(trusting: ssl.SSLContext) -> AsyncIterator[Callable[..., object]]:
    """Opens a session with a peer, as the host "mx.example", and closes it in the end."""
    opened: list[Connection] = []

    async def open_(
        peer: Peer,
        *,
        tls: Tls = Tls.OFF,
        name: str = "mx.example",
        timeouts: Timeouts = QUICK,
        context: ssl.SSLContext | None = None,
        **options: object,
    ) -> Connection:
        contexts = Contexts(context or trusting)
        connection = await open_session(
            AsyncIo(),
            Host(name, peer.port),
            peer.host,
            tls=tls,
            contexts=contexts,
            hello_name="client.example",
            timeouts=timeouts,
            **options,  # type: ignore[arg-type]
        )
        opened.append(connection)
        return connection

    yield open_
    for connection in opened:
        connection.abort()


async def eventually(holds: Callable[[], bool]) -> None:
    """Wait for what the loop is about to notice. Fails after 5 seconds."""
    async with asyncio.timeout(5):
        while not holds():  # noqa: ASYNC110 - there is no event to wait for: nothing tells that a connection became unusable
            await asyncio.sleep(0.001)


@pytest.fixture(name="eventually")
def give_eventually() -> Callable[[Callable[[], bool]], Awaitable[None]]:
    return eventually


@pytest.fixture
def body() -> Body:
    content = b"Subject: x\r\n\r\nhello\r\n.dot\r\n"
    return Body(content, len(content))
