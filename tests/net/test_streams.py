from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, cast

import pytest
import trustme
import uvloop

from waymail.net import streams, tls
from waymail.net.streams import AddressProblem, ConnectFailed, ListenFailed, TlsFailed, parse_address


class Collector(asyncio.Protocol):
    """Keeps what comes in."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.connected: asyncio.Future[asyncio.Transport] = loop.create_future()
        self.lost: asyncio.Future[None] = loop.create_future()
        self.received = b""
        self._arrived = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if not self.connected.done():
            self.connected.set_result(cast(asyncio.Transport, transport))  # uvloop's own are not its subclasses

    def data_received(self, data: bytes) -> None:
        self.received += data
        self._arrived.set()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.lost.done():
            self.lost.set_result(None)

    async def wait_for(self, octets: bytes) -> None:
        async with asyncio.timeout(5):
            while octets not in self.received:
                self._arrived.clear()
                await self._arrived.wait()


class Accepting:
    """Listens on loopback and hands out the protocols of its connections."""

    def __init__(self, **options: Any) -> None:
        self.options = options
        self.accepted: asyncio.Queue[Collector] = asyncio.Queue()

    def _make(self) -> Collector:
        collector = Collector()
        self.accepted.put_nowait(collector)
        return collector

    async def __aenter__(self) -> Accepting:
        self.listener = await streams.listen(self._make, "127.0.0.1:0", **self.options)
        self.port = self.listener.port
        return self

    async def __aexit__(self, *_: object) -> None:
        self.listener.close()
        while not self.accepted.empty():
            accepted = self.accepted.get_nowait()
            if accepted.connected.done():
                accepted.connected.result().abort()


class Certificates:
    """A certification authority of our own, and a server's pair for "localhost" and 127.0.0.1."""

    def __init__(self, directory: Path) -> None:
        authority = trustme.CA()
        pair = authority.issue_cert("localhost", "127.0.0.1")
        self.certificate, self.key, ca_file = directory / "cert.pem", directory / "key.pem", directory / "ca.pem"
        pair.cert_chain_pems[0].write_to_path(self.certificate)
        pair.private_key_pem.write_to_path(self.key)
        authority.cert_pem.write_to_path(ca_file)
        self.server = tls.server(self.certificate, self.key)
        self.client = tls.verified(str(ca_file))


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


async def plain_octets_both_ways(_: Certificates) -> None:
    async with Accepting() as server:
        transport, client = await streams.connect(Collector, "127.0.0.1", server.port, timeout=5)
        accepted = await server.accepted.get()
        transport.write(b"to the server")
        await accepted.wait_for(b"to the server")
        (await accepted.connected).write(b"to the client")
        await client.wait_for(b"to the client")
        for end in (transport, accepted.connected.result()):
            assert end.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert streams.peer_address(end) == "127.0.0.1"
        transport.close()
        await asyncio.wait_for(accepted.lost, 5)


async def a_name_and_a_source(_: Certificates) -> None:
    async with Accepting() as server:
        transport, _client = await streams.connect(Collector, "localhost", server.port, timeout=5, source="127.0.0.1")
        assert transport.get_extra_info("sockname")[0] == "127.0.0.1"
        transport.close()


async def tls_from_the_first_octet(certificates: Certificates) -> None:
    async with Accepting(tls=certificates.server) as server:
        transport, client = await streams.connect(Collector, "127.0.0.1", server.port, timeout=5, tls=certificates.client)
        accepted = await server.accepted.get()
        (await accepted.connected).write(b"220 hello\r\n")
        await client.wait_for(b"220 hello\r\n")
        described = tls.describe(transport.get_extra_info("ssl_object"), verified=True)
        assert described.startswith("TLSv1.3 TLS_")
        assert described.endswith(" verified")
        transport.close()


async def tls_started_midway(certificates: Certificates) -> None:
    async with Accepting() as server:
        plain, client = await streams.connect(Collector, "127.0.0.1", server.port, timeout=5)
        accepted = await server.accepted.get()
        accepting = await accepted.connected
        async with asyncio.TaskGroup() as group:
            theirs = group.create_task(streams.start_tls(accepting, accepted, certificates.server, server_side=True, timeout=5))
            ours = group.create_task(
                streams.start_tls(plain, client, certificates.client, server_side=False, server_hostname="localhost", timeout=5)
            )
        ours.result().write(b"EHLO again\r\n")
        await accepted.wait_for(b"EHLO again\r\n")
        theirs.result().write(b"250 ok\r\n")
        await client.wait_for(b"250 ok\r\n")
        assert streams.peer_address(theirs.result()) == "127.0.0.1"
        ours.result().close()
        await asyncio.wait_for(accepted.lost, 5)


async def a_certificate_for_somebody_else(certificates: Certificates) -> None:
    async with Accepting() as server:
        plain, client = await streams.connect(Collector, "127.0.0.1", server.port, timeout=5)
        accepted = await server.accepted.get()
        accepting = await accepted.connected
        theirs = asyncio.create_task(streams.start_tls(accepting, accepted, certificates.server, server_side=True, timeout=5))
        with pytest.raises(TlsFailed, match=r"certificate not accepted: .*other\.example") as caught:
            await streams.start_tls(
                plain, client, certificates.client, server_side=False, server_hostname="other.example", timeout=5
            )
        assert caught.value.certificate
        with pytest.raises(TlsFailed) as refused:
            await theirs
        assert not refused.value.certificate


async def an_implicit_tls_host_that_is_not_trusted(certificates: Certificates) -> None:
    async with Accepting(tls=certificates.server) as server:
        with pytest.raises(TlsFailed, match="certificate not accepted"):
            await streams.connect(Collector, "127.0.0.1", server.port, timeout=5, tls=tls.verified())
        transport, _ = await streams.connect(Collector, "127.0.0.1", server.port, timeout=5, tls=tls.unverified())
        transport.abort()


async def a_peer_that_speaks_no_tls(certificates: Certificates) -> None:
    async with Accepting() as server:
        plain, client = await streams.connect(Collector, "127.0.0.1", server.port, timeout=5)
        accepted = await server.accepted.get()
        (await accepted.connected).write(b"454 4.7.0 not now\r\n")
        with pytest.raises(TlsFailed, match="TLS handshake: "):
            await streams.start_tls(plain, client, certificates.client, server_side=False, server_hostname="x", timeout=5)
        await asyncio.wait_for(accepted.lost, 5)


async def a_handshake_that_never_ends(certificates: Certificates) -> None:
    async with Accepting() as server:
        plain, client = await streams.connect(Collector, "127.0.0.1", server.port, timeout=5)
        accepted = await server.accepted.get()
        with pytest.raises(TlsFailed, match=r"not done within 0\.05 s"):
            await streams.start_tls(plain, client, certificates.client, server_side=False, server_hostname="x", timeout=0.05)
        await asyncio.wait_for(accepted.lost, 5)


async def a_connection_closed_before_the_handshake(certificates: Certificates) -> None:
    async with Accepting() as server:
        plain, client = await streams.connect(Collector, "127.0.0.1", server.port, timeout=5)
        (await (await server.accepted.get()).connected).abort()
        await asyncio.wait_for(client.lost, 5)
        with pytest.raises(TlsFailed, match="closed"):
            await streams.start_tls(plain, client, certificates.client, server_side=False, server_hostname="x", timeout=5)


async def nobody_listens(_: Certificates) -> None:
    async with Accepting() as server:
        port = server.port
    with pytest.raises(ConnectFailed) as caught:
        await streams.connect(Collector, "127.0.0.1", port, timeout=5)
    assert caught.value.text == f"connect to 127.0.0.1:{port}: Connection refused"
    assert caught.value.why == "refused"
    assert isinstance(caught.value.__cause__, OSError)


async def a_name_that_does_not_resolve(_: Certificates) -> None:
    with pytest.raises(ConnectFailed, match=r"connect to nowhere\.invalid:25: the name does not resolve") as caught:
        await streams.connect(Collector, "nowhere.invalid", 25, timeout=30)
    assert caught.value.why == "the name does not resolve"


async def a_host_that_does_not_answer(_: Certificates) -> None:
    with socket.socket() as full, socket.socket() as waiting:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting.connect(full.getsockname())  # the backlog is full with it: the kernel answers nobody else
        with pytest.raises(ConnectFailed, match=r"no connection within 0\.1 s") as caught:
            await streams.connect(Collector, "127.0.0.1", full.getsockname()[1], timeout=0.1)
        assert caught.value.why == "timed out"


CASES = [
    plain_octets_both_ways,
    a_name_and_a_source,
    tls_from_the_first_octet,
    tls_started_midway,
    a_certificate_for_somebody_else,
    an_implicit_tls_host_that_is_not_trusted,
    a_peer_that_speaks_no_tls,
    a_handshake_that_never_ends,
    a_connection_closed_before_the_handshake,
    nobody_listens,
    a_name_that_does_not_resolve,
    a_host_that_does_not_answer,
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_it_works_the_same_on_both_loops(
    run: Callable[..., None], case: Callable[[Certificates], Coroutine[Any, Any, None]], certificates: Certificates
) -> None:
    run(case(certificates))


async def test_a_unix_socket_is_connected_to_by_its_path(tmp_path: Path) -> None:
    path = str(tmp_path / "lmtp.sock")
    server = await asyncio.get_running_loop().create_unix_server(Collector, path)
    transport, _ = await streams.connect_unix(Collector, path, timeout=5)
    assert streams.peer_address(transport) == ""
    transport.close()
    server.close()


async def test_a_unix_socket_that_is_not_there_is_named(tmp_path: Path) -> None:
    path = str(tmp_path / "none.sock")
    with pytest.raises(ConnectFailed, match=f"connect to {path}: No such file or directory"):
        await streams.connect_unix(Collector, path, timeout=5)


async def test_ipv4_and_ipv6_are_listened_on_side_by_side() -> None:
    first = await streams.listen(Collector, "0.0.0.0:0")
    second = await streams.listen(Collector, f"[::]:{first.port}")
    assert second.addresses == (f"[::]:{first.port}",)
    transport, _ = await streams.connect(Collector, "::1", first.port, timeout=5)
    assert streams.peer_address(transport) == "::1"
    transport.close()
    first.close()
    second.close()


async def test_a_name_is_listened_on_at_all_its_addresses_with_one_port() -> None:
    listener = await streams.listen(Collector, "localhost:0")
    assert len({parse_address(address)[1] for address in listener.addresses}) == 1
    assert parse_address(listener.addresses[0])[1] == listener.port > 0
    listener.close()


async def test_an_address_in_use_is_named_with_what_to_do() -> None:
    async with Accepting() as server:
        with pytest.raises(ListenFailed, match=f"cannot listen on 127.0.0.1:{server.port}: another program listens there"):
            await streams.listen(Collector, f"127.0.0.1:{server.port}")


async def test_an_address_that_is_not_ours_is_named_with_what_to_do() -> None:
    with pytest.raises(ListenFailed, match=r"cannot listen on 192\.0\.2\.1:0: this machine has no such address"):
        await streams.listen(Collector, "192.0.2.1:0")


async def test_a_name_without_address_cannot_be_listened_on() -> None:
    with pytest.raises(ListenFailed, match=r"nowhere\.invalid does not resolve"):
        await streams.listen(Collector, "nowhere.invalid:0")


def test_a_privileged_port_is_named_with_what_to_do() -> None:
    failed = streams._listen_failure("0.0.0.0:25", PermissionError(13, "Permission denied"))
    assert "port 25 needs a privilege: grant CAP_NET_BIND_SERVICE" in failed.text


async def test_a_port_can_be_shared_by_those_who_ask_for_it() -> None:
    first = await streams.listen(Collector, "127.0.0.1:0", reuse_port=True)
    second = await streams.listen(Collector, first.addresses[0], reuse_port=True)
    assert second.addresses == first.addresses
    with pytest.raises(streams.ListenFailed):
        await streams.listen(Collector, first.addresses[0])
    first.close()
    second.close()


async def test_a_closed_listener_accepts_nobody_and_lets_connections_live() -> None:
    async with Accepting() as server:
        transport, _ = await streams.connect(Collector, "127.0.0.1", server.port, timeout=5)
        accepted = await server.accepted.get()
        server.listener.close()
        with pytest.raises(ConnectFailed):
            await streams.connect(Collector, "127.0.0.1", server.port, timeout=5)
        transport.write(b"still here")
        await accepted.wait_for(b"still here")
        transport.abort()


@pytest.mark.parametrize(
    ("text", "default", "expected"),
    [
        ("0.0.0.0:25", None, ("0.0.0.0", 25)),  # noqa: S104
        ("[::]:25", None, ("::", 25)),
        ("[2001:db8::1]", 25, ("2001:db8::1", 25)),
        ("2001:db8::1", 25, ("2001:db8::1", 25)),
        ("localhost", 2525, ("localhost", 2525)),
        ("mx.example.org:0", None, ("mx.example.org", 0)),
    ],
)
def test_addresses_are_read(text: str, default: int | None, expected: tuple[str, int]) -> None:
    assert parse_address(text, default) == expected
    assert parse_address(streams.format_address(*expected)) == expected


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("localhost", "the port is missing, as in localhost:25"),
        ("[::1]", r"the port is missing, as in \[::1\]:25"),
        ("::1", "is written in brackets"),
        ("[::1:25", "closing bracket"),
        ("[::1]25", "a colon and the port"),
        (":25", "the host is missing"),
        ("", "the host is missing"),
        ("localhost:smtp", "not 'smtp'"),
        ("localhost:65536", "0 to 65535"),
        ("localhost:-1", "0 to 65535"),
        ("localhost:", "0 to 65535"),
    ],
)
def test_what_is_wrong_with_an_address_is_said(text: str, problem: str) -> None:
    with pytest.raises(AddressProblem, match=problem):
        parse_address(text)


@pytest.mark.parametrize(
    ("address", "normal"),
    [("::ffff:192.0.2.1", "192.0.2.1"), ("fe80::1%eth0", "fe80::1"), ("2001:db8::1", "2001:db8::1"), ("192.0.2.1", "192.0.2.1")],
)
def test_addresses_are_normal_where_policy_sees_them(address: str, normal: str) -> None:
    assert streams.normal_address(address) == normal
