"""Receptions that take their time, on real sockets and under both event loops: who talks first, and who does not wait."""

from __future__ import annotations

import socket
import ssl
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.net.certificates import AUTHORITY, write_pair
from tests.server.real_sockets import SOON, Server, code
from tests.server.test_listener import LOOPS
from tests.server.thoughtful import Thoughtful

from waymail.net.identity import ServerIdentity
from waymail.server.listener import Listener
from waymail.server.users import add_user
from waymail.wire.replies import Reply


@pytest.fixture(scope="module")
def users_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("users") / "users.toml"
    add_user(file, "ann", "secret", ["ann@example.org"])
    return file


@pytest.fixture(params=list(LOOPS))
def server(request: pytest.FixtureRequest, users_file: Path) -> Iterator[Server]:
    trust = ssl.create_default_context()
    AUTHORITY.configure_trust(trust)
    made = Server(LOOPS[request.param], users_file, trust)
    try:
        yield made
    finally:
        made.close()
    assert made.problems == []


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory) -> ServerIdentity:
    return ServerIdentity(*write_pair(tmp_path_factory.mktemp("tls") / "server"))


def thoughtful(server: Server, listener: Listener, *slow: str) -> Thoughtful:
    """The reception that the listener goes by from now on; it takes its time for these hooks."""

    async def replace() -> Thoughtful:
        listener.reception = reception = Thoughtful(server.place)
        reception.slow = frozenset(slow)
        return reception

    return server.do(replace())


def decide(server: Server, reception: Thoughtful) -> None:
    async def opened() -> None:
        reception.gate.set()

    server.do(opened())


def until(reception: Thoughtful, what: str) -> None:
    end = time.monotonic() + SOON
    while what not in reception.seen:
        assert time.monotonic() < end, f"{what} did not come: {reception.seen}"
        time.sleep(0.005)


@pytest.mark.parametrize("implicit", [False, True], ids=["clear", "tls"])
@pytest.mark.parametrize("early", [False, True], ids=["patient", "early"])
def test_who_talks_before_the_greeting_is_told_from_who_waits(
    server: Server, identity: ServerIdentity, implicit: bool, early: bool
) -> None:
    listener, address = server.listen(identity.context, kind="mx", implicit=implicit)
    reception = thoughtful(server, listener, "connect")
    client = server.connect(address, server.trust if implicit else None)
    until(reception, "connect")
    (session,) = listener._sessions
    if early:
        client.send("EHLO client.example", "NOOP")
        end = time.monotonic() + SOON
        while not session.client.talked_early and time.monotonic() < end:
            time.sleep(0.005)
    else:
        time.sleep(0.05)
    assert session.client.talked_early == early
    decide(server, reception)
    assert code(client.reply()) == "220"
    if not early:
        client.send("EHLO client.example", "NOOP")
    assert [code(client.reply())[:3] for _ in range(2)] == ["250", "250"]
    assert client.say("QUIT") == ["221 2.0.0"]


@pytest.mark.parametrize("half", [False, True], ids=["closed", "half closed"])
def test_a_client_that_does_not_wait_for_its_greeting_leaves_nothing_behind(server: Server, half: bool) -> None:
    listener, address = server.listen(kind="mx")
    reception = thoughtful(server, listener, "connect")
    client = server.connect(address)
    until(reception, "connect")
    if half:
        client.socket.shutdown(socket.SHUT_WR)
        assert client.receive() == b"", "it is not greeted"
    else:
        client.close()
    until(reception, "called off")
    until(reception, "left")
    assert not listener._sessions


def test_a_client_whose_connection_breaks_during_a_decision_about_its_message_leaves_nothing_behind(server: Server) -> None:
    listener, address = server.listen(kind="mx")
    reception = thoughtful(server, listener, "message")
    client = server.greeted(address)
    client.say("EHLO client.example", "MAIL FROM:<x@client.example>", "RCPT TO:<ann@example.org>", "DATA")
    client.send("Subject: x", "", "text", ".")
    until(reception, "message")
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset: it will read no reply
    client.close()
    until(reception, "called off")
    assert not listener._sessions
    assert server.place.queue.deliveries == []


def test_a_client_that_has_said_all_and_goes_on_listening_is_told_what_was_decided(server: Server) -> None:
    listener, address = server.listen(kind="mx")
    reception = thoughtful(server, listener, "message")
    client = server.greeted(address)
    client.say("EHLO client.example", "MAIL FROM:<x@client.example>", "RCPT TO:<ann@example.org>", "DATA")
    client.send("Subject: x", "", "text", ".")
    until(reception, "message")
    client.socket.shutdown(socket.SHUT_WR)
    decide(server, reception)
    assert code(client.reply()) == "250 2.0.0"
    assert len(server.place.queue.deliveries) == 1


def test_a_refused_client_has_its_session_until_it_quits(server: Server) -> None:
    listener, address = server.listen(kind="mx")
    thoughtful(server, listener).greeting = Reply(554, "you are listed", "5.7.1")
    client = server.connect(address)
    assert client.reply() == ["554 5.7.1 you are listed"]
    assert client.say("EHLO client.example", "MAIL FROM:<x@client.example>", "QUIT") == ["503 5.5.1", "503 5.5.1", "221 2.0.0"]
    assert client.reply() == []
