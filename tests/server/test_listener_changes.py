"""A listener that is changed, drained, or gives its sockets to another one while sessions are open."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trustme
import uvloop
from tests.server.real_sockets import Client, Server, code

from waymail.server.directory import Directory, LocalDomain
from waymail.server.inbound import Inbound, Trust
from waymail.server.limits import Limits
from waymail.server.listener import Listener
from waymail.server.users import add_user

AUTHORITY = trustme.CA()
LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.SelectorEventLoop,
    "uvloop": uvloop.new_event_loop,
}
MAIL, RCPT, NEW = "MAIL FROM:<ann@example.org>", "RCPT TO:<bob@example.org>", "RCPT TO:<x@new.example>"


@pytest.fixture(params=list(LOOPS))
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    add_user(tmp_path / "users.toml", "ann", "secret", ["ann@example.org"])
    trust = ssl.create_default_context()
    AUTHORITY.configure_trust(trust)
    made = Server(LOOPS[request.param], tmp_path / "users.toml", trust)
    try:
        yield made
    finally:
        made.close()
    assert made.problems == []


@pytest.fixture(scope="module")
def context() -> Callable[[], ssl.SSLContext]:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    AUTHORITY.issue_cert("mail.example.org", "127.0.0.1").configure_cert(made)
    return lambda: made


def reconfigure(server: Server, listener: Listener, limits: Limits, hostname: str = "new.example.org") -> None:
    reception = Inbound(Directory(hostname, {"new.example": LocalDomain(frozenset({"x"}))}), Trust())

    async def change() -> None:
        listener.reconfigure(reception, server.authenticator, hostname=hostname, limits=limits, exempt=())

    server.do(change())


def ends(client: Client) -> bool:
    """Whether the server has closed."""
    return client.receive() == b""


async def handed(server: Server, old: Listener, new: Listener) -> None:
    server._running[new] = asyncio.create_task(new.run())
    await asyncio.sleep(0)
    bound = old.hand_over()
    assert bound is not None
    await new.serve(bound)


def successor(server: Server, old: Listener, context: Callable[[], ssl.SSLContext] | None = None) -> Listener:
    """A listener that takes over what another one listens to."""

    async def make() -> Listener:
        made = Listener(
            old.reception,
            server.place.intake,
            server.authenticator,
            hostname="second.example.org",
            limits=Limits(),
            tls_context=context,
            implicit_tls=context is not None,
        )
        await handed(server, old, made)
        return made

    return server.do(make())


def test_an_open_session_goes_by_the_new_rules_from_its_next_command_and_is_not_ended(server: Server) -> None:
    listener, address = server.listen(kind="mx")
    client = server.greeted(address)
    assert client.say("EHLO client.example", MAIL, NEW) == ["250", "250 2.1.0", "550 5.7.1"]
    reconfigure(server, listener, Limits())
    assert client.say(NEW, RCPT, "DATA") == ["250 2.1.5", "550 5.7.1", "354"]
    client.send("Subject: x", "", "text", ".")
    assert code(client.reply()) == "250 2.0.0"


def test_a_message_in_the_middle_of_its_content_is_taken(server: Server) -> None:
    listener, address = server.listen(kind="mx")
    client = server.greeted(address)
    assert client.say("EHLO client.example", MAIL, RCPT, "DATA")[-1] == "354"
    client.send("Subject: x", "", "half")
    reconfigure(server, listener, Limits(message_size=65_536))
    client.send("the rest", ".")
    assert code(client.reply()) == "250 2.0.0"
    assert server.place.queue.content().endswith(b"half\r\nthe rest\r\n")


def test_what_is_offered_changes_with_the_next_session(server: Server) -> None:
    listener, address = server.listen(kind="mx")
    old = server.greeted(address)
    reconfigure(server, listener, Limits(message_size=70_000))
    new = server.connect(address)
    assert new.reply()[0].startswith("220 new.example.org ")
    new.send("EHLO client.example")
    assert "250-SIZE 70000" in new.reply()
    old.send("EHLO client.example")
    assert "250-SIZE 50000000" in old.reply()


@pytest.mark.parametrize("bound", ["sessions", "sessions_per_client", "sessions_per_network"])
def test_bounds_on_sessions_count_those_that_are_open_already(server: Server, bound: str) -> None:
    listener, address = server.listen(kind="mx")
    first = server.greeted(address)
    reconfigure(server, listener, Limits(**{bound: 2}))
    server.greeted(address)
    assert server.connect(address).reply()[0].startswith("421 ")
    first.close()
    for _ in range(100):
        client = server.connect(address)
        if code(client.reply()) == "220":
            break
        client.close()
    else:
        pytest.fail("what was counted before is not counted off")


def test_a_drained_listener_takes_nobody_and_ends_after_its_last_session(server: Server) -> None:
    listener, address = server.listen(kind="mx")
    client = server.greeted(address)

    async def drain() -> None:
        listener.drain()

    server.do(drain())
    with pytest.raises(ConnectionRefusedError):
        server.connect(address)
    assert client.say("EHLO client.example", MAIL, RCPT, "DATA")[-1] == "354"
    client.send("Subject: x", "", "text", ".")
    assert code(client.reply()) == "250 2.0.0"
    assert client.say("QUIT") == ["221 2.0.0"]
    assert ends(client)

    async def ended() -> None:
        await asyncio.wait_for(server._running.pop(listener), 5)

    server.do(ended())


@pytest.mark.parametrize("is_unix", [False, True], ids=["tcp", "unix"])
def test_sockets_go_to_another_listener_and_nobody_is_refused_or_cut_off(server: Server, tmp_path: Path, is_unix: bool) -> None:
    old, address = server.listen(kind="mx", address=f"unix:{tmp_path / 's'}" if is_unix else "127.0.0.1:0")
    client = server.greeted(address)
    new = successor(server, old)
    other = server.connect(address)
    assert other.reply()[0].startswith("220 second.example.org ")
    assert client.say("EHLO client.example", MAIL, RCPT, "DATA")[-1] == "354"
    client.send("Subject: x", "", "text", ".")
    assert code(client.reply()) == "250 2.0.0"
    assert server.stop(new, grace=0) < 3
    if is_unix:
        assert not (tmp_path / "s").exists()


def test_a_port_changes_to_tls_from_the_first_octet_and_back(server: Server, context: Callable[[], ssl.SSLContext]) -> None:
    old, address = server.listen(kind="mx")
    clear = server.greeted(address)
    secure = successor(server, old, context)
    inside = server.greeted(address, server.trust)
    handshaking = server.connect(address)
    successor(server, secure)
    assert server.greeted(address).say("NOOP") == ["250 2.0.0"]
    assert [one.say("NOOP") for one in (clear, inside)] == [["250 2.0.0"], ["250 2.0.0"]]
    handshaking.handshake(server.trust)
    assert code(handshaking.reply()) == "220", "who was in the door gets in"
