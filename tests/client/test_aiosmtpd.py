"""Against a server that somebody else wrote: aiosmtpd, which knows no PIPELINING, with its own STARTTLS and AUTH."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiosmtpd.smtp import SMTP, AuthResult, Envelope

import waymail


class Box:
    """Takes messages; refuses whoever is called nobody."""

    def __init__(self) -> None:
        self.envelopes: list[Envelope] = []
        self.sessions: set[int] = set()

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:  # noqa: N802 - its name
        if address.startswith("nobody"):
            return "550 5.1.1 nobody of that name"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802 - its name
        self.envelopes.append(envelope)
        self.sessions.add(id(session))
        return "250 2.0.0 taken"


def authenticate(server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> Any:
    return AuthResult(success=(data.login, data.password) == (b"ann", b"secret"), handled=False)


@pytest.fixture
def box() -> Box:
    return Box()


@pytest.fixture
async def port(box: Box, server_tls: ssl.SSLContext) -> AsyncIterator[int]:
    def smtp() -> SMTP:
        return SMTP(box, tls_context=server_tls, authenticator=authenticate, hostname="localhost", enable_SMTPUTF8=True)

    server = await asyncio.get_running_loop().create_server(smtp, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()


MESSAGE = b"From: ann@example.com\r\nTo: bob@example.org, nobody@example.org\r\n\r\n.hello\r\ngr\xc3\xbc\xc3\x9fe\r\n"


@pytest.mark.filterwarnings("ignore::UserWarning")
async def test_messages_go_over_starttls_with_a_password(box: Box, port: int, trusting: ssl.SSLContext) -> None:
    async with waymail.Client(f"smtp://ann:secret@localhost:{port}", tls_context=trusting) as client:
        for _ in range(3):
            result = await client.send(MESSAGE)
            assert result.accepted == ("bob@example.org",)
            assert result.refused["nobody@example.org"].code == 550
    assert [bytes(envelope.original_content or b"") for envelope in box.envelopes] == [MESSAGE] * 3
    assert len(box.sessions) == 1


@pytest.mark.filterwarnings("ignore::UserWarning")
async def test_a_wrong_password_is_refused(port: int, trusting: ssl.SSLContext) -> None:
    with pytest.raises(waymail.AuthenticationFailed) as caught:
        await waymail.send(MESSAGE, f"smtp://ann:wrong@localhost:{port}", tls_context=trusting)
    assert caught.value.reply is not None
    assert caught.value.reply.code == 535
