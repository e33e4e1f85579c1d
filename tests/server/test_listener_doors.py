"""What stands before a session, on real sockets and under both event loops: proxies, Unix sockets, clients' certificates, and
room for those who come after a flood."""

from __future__ import annotations

import ssl
import struct
import time
from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from tests.net.certificates import AUTHORITY, write_pair
from tests.server.real_sockets import Client, Server, code
from tests.server.test_listener import LOOPS, MAIL, RCPT

from waymail.net.identity import ServerIdentity
from waymail.net.proxy import SIGNATURE
from waymail.server import listener as module
from waymail.server.reception import Networks
from waymail.server.users import add_user

LOOPBACK = Networks([ip_network("127.0.0.1/32")])
HEADER = b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 25\r\n"
HEADER_2 = SIGNATURE + struct.pack(">BBH4B4BHH", 0x21, 0x11, 12, 192, 0, 2, 8, 198, 51, 100, 1, 4711, 25)
LOCAL = SIGNATURE + b"\x20\x00\0\0"


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
    directory = tmp_path_factory.mktemp("tls")
    AUTHORITY.cert_pem.write_to_path(directory / "ca.pem")
    return ServerIdentity(*write_pair(directory / "server"), client_ca=directory / "ca.pem", asks=("off", "request", "require"))


def through(server: Server, address: str, header: bytes, context: ssl.SSLContext | None = None, **options: Any) -> Client:
    """A client that a proxy connects."""
    client = server.connect(address, **options)
    client.socket.sendall(header)
    if context is not None:
        client.handshake(context)
    return client


def sent_from(server: Server, client: Client) -> str:
    """The address that the trace of a message from this client names."""
    assert code(client.reply()) == "220"
    assert client.say("EHLO client.example", MAIL, RCPT, "DATA")[-1] == "354"
    client.send("Subject: x", "", "text", ".")
    assert code(client.reply()) == "250 2.0.0"
    return server.place.queue.envelopes[-1].origin.address


# --- proxies ---


@pytest.mark.parametrize("implicit", [False, True], ids=["clear", "tls"])
def test_a_proxy_says_who_the_client_is_in_clear_and_before_tls(server: Server, identity: ServerIdentity, implicit: bool) -> None:
    address = server.listen(identity.context, kind="mx", implicit=implicit, proxies=LOOPBACK)[1]
    context = server.trust if implicit else None
    assert sent_from(server, through(server, address, HEADER, context)) == "192.0.2.7"
    assert sent_from(server, through(server, address, HEADER_2, context)) == "192.0.2.8"
    assert sent_from(server, through(server, address, LOCAL, context)) == "127.0.0.1", "a health check"
    assert b"192.0.2.8" in server.place.queue.content(1)


def test_after_starttls_the_client_is_still_the_one_that_the_proxy_named(server: Server, identity: ServerIdentity) -> None:
    client = through(server, server.listen(identity.context, kind="mx", proxies=LOOPBACK)[1], HEADER)
    assert code(client.reply()) == "220"
    assert client.say("EHLO client.example", "STARTTLS")[-1] == "220 2.0.0"
    client.handshake(server.trust)
    assert client.say("EHLO client.example", MAIL, RCPT, "DATA")[-1] == "354"
    client.send("Subject: x", "", "text", ".")
    assert code(client.reply()) == "250 2.0.0"
    assert server.place.queue.envelopes[0].origin.address == "192.0.2.7"


def test_what_comes_in_the_segment_of_the_header_belongs_to_the_session(server: Server) -> None:
    address = server.listen(kind="mx", proxies=LOOPBACK)[1]
    for header in (HEADER, HEADER_2):
        client = through(server, address, header + b"NOOP\r\nNOO")
        assert [code(client.reply()) for _ in range(2)] == ["220", "250 2.0.0"]
        client.socket.sendall(b"P\r\n")
        assert code(client.reply()) == "250 2.0.0"


def test_a_header_may_come_octet_by_octet(server: Server) -> None:
    address = server.listen(kind="mx", proxies=LOOPBACK)[1]
    client = server.connect(address)
    for octet in HEADER_2:
        client.socket.sendall(bytes([octet]))
        time.sleep(0.001)
    assert sent_from(server, client) == "192.0.2.8"


@pytest.mark.parametrize("said", [b"EHLO client.example\r\n", b"PROXY TCP4 1.2.3.4\r\n", b"\x16\x03\x01\x00", b"PROXY TCP4 1"])
def test_a_proxy_without_a_good_header_is_cut_off_in_time(server: Server, said: bytes) -> None:
    address = server.listen(kind="mx", proxies=LOOPBACK, handshake_timeout=0.2)[1]
    started = time.monotonic()
    client = server.connect(address)
    client.socket.sendall(said)
    assert client.receive() == b""
    assert time.monotonic() - started < 1


def test_a_header_of_anybody_else_is_only_a_wrong_command(server: Server) -> None:
    address = server.listen(kind="mx", proxies=LOOPBACK)[1]
    client = server.greeted(address, source="127.0.0.2")
    client.socket.sendall(HEADER)
    assert code(client.reply()) == "500 5.5.2"
    assert client.say("EHLO client.example", MAIL, RCPT, "DATA")[-1] == "354"
    client.send("Subject: x", "", "text", ".")
    client.reply()
    assert server.place.queue.envelopes[0].origin.address == "127.0.0.2"


def test_the_bounds_count_the_client_and_not_its_proxy(server: Server, identity: ServerIdentity) -> None:
    address = server.listen(kind="mx", proxies=LOOPBACK, sessions_per_client=1)[1]
    clients = [through(server, address, header) for header in (HEADER, HEADER_2, HEADER)]
    assert [code(client.reply()) for client in clients] == ["220", "220", "421 4.7.0"]
    assert clients[2].reply() == []
    secure = server.listen(identity.context, kind="mx", implicit=True, proxies=LOOPBACK, sessions_per_client=1)[1]
    assert code(through(server, secure, HEADER, server.trust).reply()) == "220"
    assert code(through(server, secure, HEADER_2, server.trust).reply()) == "220"
    assert through(server, secure, HEADER).receive() == b""


def test_stopping_waits_for_no_header(server: Server) -> None:
    listener, address = server.listen(kind="mx", proxies=LOOPBACK)
    silent = server.connect(address)
    assert server.stop(listener, grace=0.1) < 2
    assert silent.receive() == b""


# --- Unix sockets ---


def test_a_message_comes_in_through_a_unix_socket_and_has_no_address(server: Server, tmp_path: Path) -> None:
    listener, address = server.listen(kind="mx", address=f"unix:{tmp_path / 's'}", sessions_per_client=1)
    assert address == f"unix:{tmp_path / 's'}"
    other = server.greeted(address)
    assert sent_from(server, server.connect(address)) == "", "and those of one machine are not one client"
    assert b"[" not in server.place.queue.content().partition(b"\r\n")[0]
    other.close()
    server.stop(listener, 0)
    assert not (tmp_path / "s").exists()


def test_starttls_goes_through_a_unix_socket(server: Server, identity: ServerIdentity, tmp_path: Path) -> None:
    client = server.greeted(server.listen(identity.context, kind="mx", address=f"unix:{tmp_path / 's'}")[1])
    assert client.say("EHLO client.example", "STARTTLS")[-1] == "220 2.0.0"
    client.handshake(server.trust)
    assert client.say("EHLO client.example") == ["250"]


# --- clients' certificates ---


@pytest.mark.parametrize("implicit", [False, True], ids=["starttls", "implicit"])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_certificate_is_asked_for_and_known(
    server: Server, identity: ServerIdentity, tmp_path: Path, implicit: bool, version: ssl.TLSVersion
) -> None:
    ann = ssl.create_default_context()
    AUTHORITY.configure_trust(ann)
    ann.maximum_version = version
    ann.load_cert_chain(*write_pair(tmp_path, "ann@example.org"))

    def said(context: ssl.SSLContext, address: str) -> str:
        """How the trace describes a session; "" where it does not come about."""
        try:
            client = server.connect(address, context if implicit else None)
            if not implicit:
                client.reply()
                client.say("EHLO client.example", "STARTTLS")
                client.handshake(context)
            elif not client.reply():
                return ""
            client.send("EHLO client.example", MAIL, RCPT, "DATA")
            if [code(client.reply()) for _ in range(4)][-1] != "354":
                return ""
        except OSError:
            return ""
        client.send("Subject: x", "", "text", ".")
        client.reply()
        return server.place.queue.envelopes[-1].origin.tls

    request = server.listen(lambda: identity.context("request"), kind="mx", implicit=implicit)[1]
    require = server.listen(lambda: identity.context("require"), kind="mx", implicit=implicit)[1]
    assert " client " in said(ann, request)
    assert " client " in said(ann, require)
    assert said(server.trust, request).startswith("TLSv1.3 ")
    assert said(server.trust, require) == ""


def test_a_session_is_resumed_over_the_wire(server: Server, identity: ServerIdentity) -> None:
    address = server.listen(identity.context, kind="mx", implicit=True)[1]
    first = server.greeted(address, server.trust)
    assert isinstance(first.socket, ssl.SSLSocket)
    again = server.connect(address)
    again.socket = server.trust.wrap_socket(again.socket, server_hostname="mail.example.org", session=first.socket.session)
    assert again.socket.session_reused
    sent_from(server, again)
    assert server.place.queue.envelopes[0].origin.tls.endswith(" resumed")


# --- floods ---


def test_a_flood_from_one_address_leaves_room_for_others(server: Server) -> None:
    """Connections that never say a word, as many as the server takes, and more."""
    address = server.listen(kind="mx", sessions=200, crowded_timeout=60.0)[1]
    flood = [server.connect(address) for _ in range(300)]
    codes = [code(client.reply()) for client in flood]
    assert codes.count("220") == 180
    assert set(codes) == {"220", "421 4.3.2"}
    other = server.greeted(address, source="127.0.0.2")
    assert other.say("EHLO client.example", MAIL, RCPT) == ["250", "250 2.1.0", "250 2.1.5"]


def test_where_sessions_are_scarce_the_silent_ones_are_ended_early_and_those_at_work_are_not(server: Server) -> None:
    limits: dict[str, Any] = {"sessions": 20, "crowded_timeout": 0.6}
    address = server.listen(kind="mx", **limits)[1]
    worker = server.greeted(address, source="127.0.0.2")
    worker.say("EHLO client.example", MAIL)
    half = server.greeted(address)
    half.say("EHLO client.example", MAIL)  # and no more: in the middle of a message, but of one with many sessions
    silent = [server.greeted(address) for _ in range(16)]
    until = time.monotonic() + 0.6 + 3 * module.SWEEP
    for client in (*silent, half):
        assert code(client.reply()) == "421 4.4.2"
    assert time.monotonic() < until
    assert worker.say(RCPT, "QUIT") == ["250 2.1.5", "221 2.0.0"]


def test_where_there_is_room_nobody_is_hurried(server: Server) -> None:
    address = server.listen(kind="mx", sessions=20, crowded_timeout=0.1)[1]
    client = server.greeted(address)
    time.sleep(2.5 * module.SWEEP)
    assert client.say("NOOP") == ["250 2.0.0"]


def test_too_many_connections_in_a_minute_get_421(server: Server) -> None:
    address = server.listen(kind="mx", connections_per_minute=2)[1]
    for _ in range(2):
        server.greeted(address).close()
    assert code(server.connect(address).reply()) == "421 4.7.0"
    server.greeted(address, source="127.0.0.2")
