"""Each case runs over asyncio, over uvloop and over blocking sockets."""

from __future__ import annotations

import asyncio
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, cast

import pytest
import uvloop
from tests.net.accepting import accepting
from tests.net.certificates import AUTHORITY
from tests.net.proxies import PASSWORD, USER, ProxyServer, proxy_server

from waymail.net import proxied
from waymail.net.network import Network
from waymail.net.streams import ConnectFailed, TlsFailed

GREETING = b"220 mail.example.org ESMTP\r\n"
Reach = Callable[..., bytes]


def greet(connection: socket.socket) -> None:
    connection.sendall(GREETING)
    connection.recv(100)


def greet_over_tls(connection: socket.socket) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    AUTHORITY.issue_cert("localhost").configure_cert(context)
    with context.wrap_socket(connection, server_side=True) as secure:
        greet(secure)


class Greeted(asyncio.Protocol):
    def __init__(self) -> None:
        self.received: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        if not self.received.done():
            self.received.set_result(data)


def over_a_loop(run: Callable[[Coroutine[Any, Any, bytes]], bytes]) -> Reach:
    def reach(network: Network, host: str, port: int, **options: Any) -> bytes:
        async def reached() -> bytes:
            transport, protocol = await network.connect(Greeted, host, port, **{"timeout": 5} | options)
            try:
                return await asyncio.wait_for(protocol.received, 5)
            finally:
                transport.abort()

        return run(reached())

    return reach


def over_a_socket(network: Network, host: str, port: int, **options: Any) -> bytes:
    with network.connect_blocking(host, port, **{"timeout": 5} | options) as sock:
        return sock.recv(100)


@pytest.fixture(params=[over_a_loop(asyncio.run), over_a_loop(uvloop.run), over_a_socket], ids=["asyncio", "uvloop", "blocking"])
def reach(request: pytest.FixtureRequest) -> Reach:
    return cast(Reach, request.param)


@pytest.fixture
def proxy() -> Iterator[ProxyServer]:
    with proxy_server() as server:
        yield server


@pytest.mark.parametrize(("scheme", "name"), [("socks5", "127.0.0.1"), ("socks5h", "localhost"), ("http", "localhost")])
@pytest.mark.parametrize("joined", [False, True], ids=["apart", "joined"])
def test_the_greeting_comes_through_the_proxy(reach: Reach, proxy: ProxyServer, scheme: str, name: str, joined: bool) -> None:
    proxy.joins_greeting = joined
    with accepting(greet) as port:
        assert reach(Network(proxy=f"{scheme}://127.0.0.1:{proxy.port}"), "localhost", port) == GREETING
    assert proxy.asked == [(name, port)]


@pytest.mark.parametrize("scheme", ["socks5h", "http"])
def test_tls_goes_through_the_proxy_to_the_host_that_was_meant(reach: Reach, proxy: ProxyServer, scheme: str) -> None:
    context = ssl.create_default_context()
    AUTHORITY.configure_trust(context)
    network = Network(proxy=f"{scheme}://127.0.0.1:{proxy.port}")
    with accepting(greet_over_tls) as port:
        assert reach(network, "localhost", port, tls=context) == GREETING
    with accepting(greet_over_tls) as port, pytest.raises(TlsFailed, match=r"certificate not accepted.*other\.example"):
        reach(network, "localhost", port, tls=context, server_hostname="other.example")


@pytest.mark.parametrize("scheme", ["socks5", "http"])
def test_user_and_password_are_given_to_the_proxy_and_shown_to_nobody(reach: Reach, proxy: ProxyServer, scheme: str) -> None:
    proxy.demands_password = True
    with accepting(greet) as port:
        url = f"{scheme}://{USER}:{PASSWORD}@127.0.0.1:{proxy.port}"
        assert reach(Network(proxy=url), "127.0.0.1", port) == GREETING
        wrong = Network(proxy=f"{scheme}://{USER}:wr0ng@127.0.0.1:{proxy.port}")
        with pytest.raises(ConnectFailed) as caught:
            reach(wrong, "127.0.0.1", port)
    assert f"connect to 127.0.0.1:{port} through the proxy 127.0.0.1:{proxy.port}: " in caught.value.text
    assert caught.value.text.isprintable()
    assert "wr0ng" not in caught.value.text + repr(wrong)


@pytest.mark.parametrize(("scheme", "words"), [("socks5", "Connection refused by destination host"), ("http", "502 Bad Gateway")])
def test_what_the_proxy_gives_as_its_reason_is_told(reach: Reach, proxy: ProxyServer, scheme: str, words: str) -> None:
    proxy.refuses = True
    with pytest.raises(ConnectFailed, match=words):
        reach(Network(proxy=f"{scheme}://127.0.0.1:{proxy.port}"), "127.0.0.1", 25)


@pytest.mark.parametrize("scheme", ["socks5", "http"])
def test_a_proxy_that_says_nothing_is_given_up_in_time(reach: Reach, proxy: ProxyServer, scheme: str) -> None:
    proxy.is_silent = True
    with pytest.raises(ConnectFailed, match=r"no connection within 0\.05 s") as caught:
        reach(Network(proxy=f"{scheme}://127.0.0.1:{proxy.port}"), "127.0.0.1", 25, timeout=0.05)
    assert caught.value.why == "timed out"


@pytest.mark.parametrize("scheme", ["socks5", "http"])
def test_a_proxy_that_hangs_up_is_a_failed_connection(reach: Reach, proxy: ProxyServer, scheme: str) -> None:
    proxy.hangs_up = True
    with pytest.raises(ConnectFailed, match="through the proxy"):
        reach(Network(proxy=f"{scheme}://127.0.0.1:{proxy.port}"), "127.0.0.1", 25)


def test_a_proxy_that_is_not_there_is_named(reach: Reach) -> None:
    with proxy_server() as gone:
        pass
    with pytest.raises(ConnectFailed, match=rf"proxy cannot be reached: connect to 127\.0\.0\.1:{gone.port}: Connection refused"):
        reach(Network(proxy=f"socks5://127.0.0.1:{gone.port}"), "127.0.0.1", 25)


@pytest.mark.parametrize("host", ["two words", "a\r\nX: y", "x" * 300])
@pytest.mark.parametrize("scheme", ["socks5h", "http"])
def test_a_host_that_is_no_name_is_not_put_into_a_request(reach: Reach, proxy: ProxyServer, scheme: str, host: str) -> None:
    with pytest.raises(ConnectFailed):
        reach(Network(proxy=f"{scheme}://127.0.0.1:{proxy.port}"), host, 25)
    assert proxy.asked == []


@pytest.mark.parametrize(
    "url",
    [
        "ftp://127.0.0.1", "socks5://", "socks5://127.0.0.1:99999", "http://127.0.0.1/path", "127.0.0.1:1080", "socks4://127.0.0.1",
        "socks5://ann@127.0.0.1", "http://a%3Ab:secret@127.0.0.1", "socks5://ann:s%C3%A9cret@127.0.0.1", "http://ann:s%0Ac@127.0.0.1",
    ],
)  # fmt: skip
def test_a_proxy_that_cannot_be_meant_is_refused_without_showing_its_password(url: str) -> None:
    with pytest.raises(ValueError, match="prox") as caught:
        proxied.parse(url)
    assert "cret" not in str(caught.value)


def test_the_usual_ports_are_assumed() -> None:
    assert [proxied.parse(f"{scheme}://[::1]").address for scheme in ("socks5", "socks5h", "http")] == [
        "[::1]:1080", "[::1]:1080", "[::1]:8080",
    ]  # fmt: skip


def test_a_missing_package_is_named_with_its_fix_before_anything_is_sent() -> None:
    program = "import sys; sys.modules['python_socks'] = None; from waymail import Network; Network(proxy='http://127.0.0.1')"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert 'ValueError: a proxy needs the package python-socks: pip install "waymail[proxy]"' in ended.stderr
