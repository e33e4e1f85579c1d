from __future__ import annotations

import asyncio
import socket
import ssl

import pytest
from tests.net.accepting import accepting
from tests.net.certificates import AUTHORITY

from waymail.net.network import Network
from waymail.net.streams import TlsFailed


def tell_who_connected(connection: socket.socket) -> None:
    connection.sendall(connection.getpeername()[0].encode())


def hello_over_tls(connection: socket.socket) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    AUTHORITY.issue_cert("mail.example.org").configure_cert(context)
    with context.wrap_socket(connection, server_side=True) as secure:
        secure.sendall(b"hello")


def test_connections_are_made_from_the_source_address() -> None:
    network = Network(source_address="127.0.0.3")
    with accepting(tell_who_connected) as port, network.connect_blocking("127.0.0.1", port, timeout=5) as sock:
        assert sock.recv(100) == b"127.0.0.3"

    async def own_address(port: int) -> str:
        transport, _ = await network.connect(asyncio.Protocol, "127.0.0.1", port, timeout=5)
        address: str = transport.get_extra_info("sockname")[0]
        transport.abort()
        return address

    with accepting(tell_who_connected) as port:
        assert asyncio.run(own_address(port)) == "127.0.0.3"


def test_a_rerouted_connection_expects_the_certificate_of_the_host_that_was_meant() -> None:
    context = ssl.create_default_context()
    AUTHORITY.configure_trust(context)
    asked = []
    with accepting(hello_over_tls) as port:

        def reroute(host: str, wanted: int) -> tuple[str, int]:
            asked.append((host, wanted))
            return "127.0.0.1", port

        with Network(reroute=reroute).connect_blocking("mail.example.org", 465, timeout=5, tls=context) as sock:
            assert sock.recv(100) == b"hello"
    assert asked == [("mail.example.org", 465)]
    with accepting(hello_over_tls) as port, pytest.raises(TlsFailed, match="certificate not accepted"):
        Network(reroute=lambda *_: ("127.0.0.1", port)).connect_blocking("other.example", 465, timeout=5, tls=context)


def test_what_is_not_rerouted_goes_where_it_was_meant_to() -> None:
    network = Network(reroute=lambda *_: None)
    with accepting(tell_who_connected) as port, network.connect_blocking("127.0.0.1", port, timeout=5) as sock:
        assert sock.recv(100) == b"127.0.0.1"


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"resolvers": "127.0.0.1:53"}, "is a sequence"),
        ({"resolvers": ["dns.example"]}, "by its IP address"),
        ({"source_address": "127.0.0.1:25"}, "without a port"),
        ({"proxy": "gopher://x"}, "a proxy is written"),
    ],
)
def test_what_cannot_be_meant_is_a_value_error(wrong: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Network(**wrong)  # type: ignore[arg-type]
