"""Each test has a listening socket, and answers what connects in a thread of the test's."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme
from tests.net.accepting import accepting

from waymail.net import blocking, tls
from waymail.net.streams import ConnectFailed, TlsFailed


class Certificates:
    def __init__(self, folder: Path) -> None:
        authority = trustme.CA()
        pair = authority.issue_cert("localhost", "127.0.0.1")
        self.server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        pair.configure_cert(self.server)
        authority.cert_pem.write_to_path(folder / "ca.pem")
        self.client = tls.verified(str(folder / "ca.pem"))


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


def echo(connection: socket.socket) -> None:
    connection.sendall(connection.recv(100))


def wait_for_the_end(connection: socket.socket) -> None:
    while connection.recv(100):
        pass


def over_tls(certificates: Certificates) -> Callable[[socket.socket], None]:
    def answer(connection: socket.socket) -> None:
        with certificates.server.wrap_socket(connection, server_side=True) as secure:
            echo(secure)

    return answer


def test_a_name_is_connected_to_from_the_source_address_without_delay_of_small_writes() -> None:
    with accepting(echo) as port, blocking.connect("localhost", port, timeout=5, source="127.0.0.2") as sock:
        assert sock.getsockname()[0] == "127.0.0.2"
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert sock.gettimeout() == 5
        sock.sendall(b"hello")
        assert sock.recv(100) == b"hello"


def test_a_unix_socket_is_connected_to(tmp_path: Path) -> None:
    with accepting(echo, tmp_path / "lmtp"), blocking.connect_unix(str(tmp_path / "lmtp"), timeout=5) as sock:
        sock.sendall(b"hello")
        assert sock.recv(100) == b"hello"


def test_tls_from_the_first_octet_is_verified(certificates: Certificates) -> None:
    client = certificates.client
    with accepting(over_tls(certificates)) as port, blocking.connect("127.0.0.1", port, timeout=5, tls=client) as sock:
        assert isinstance(sock, ssl.SSLSocket)
        assert tls.describe(sock, verified=True).startswith("TLSv1.3 ")
        sock.sendall(b"hello")
        assert sock.recv(100) == b"hello"


def test_tls_is_started_midway(certificates: Certificates) -> None:
    with accepting(over_tls(certificates)) as port:
        plain = blocking.connect("127.0.0.1", port, timeout=5)
        with blocking.start_tls(plain, certificates.client, server_hostname="localhost", timeout=5) as sock:
            sock.sendall(b"hello")
            assert sock.recv(100) == b"hello"


def test_a_certificate_for_another_name_is_not_accepted_and_the_connection_closed(certificates: Certificates) -> None:
    with accepting(over_tls(certificates)) as port:
        plain = blocking.connect("127.0.0.1", port, timeout=5)
        with pytest.raises(TlsFailed, match=r"certificate not accepted: .*other\.example") as caught:
            blocking.start_tls(plain, certificates.client, server_hostname="other.example", timeout=5)
        assert caught.value.certificate
        assert plain.fileno() == -1


def test_a_handshake_that_never_ends_is_given_up_in_time(certificates: Certificates) -> None:
    with accepting(wait_for_the_end) as port:
        plain = blocking.connect("127.0.0.1", port, timeout=5)
        with pytest.raises(TlsFailed, match=r"not done within 0\.05 s"):
            blocking.start_tls(plain, certificates.client, server_hostname="localhost", timeout=0.05)


def test_a_connection_that_is_closed_in_the_handshake_is_called_so(certificates: Certificates) -> None:
    def read_a_little(connection: socket.socket) -> None:
        connection.recv(2000)

    with accepting(read_a_little) as port, pytest.raises(TlsFailed, match="the connection was closed"):
        blocking.connect("127.0.0.1", port, timeout=5, tls=certificates.client)


def test_a_port_where_nobody_listens_refuses() -> None:
    with accepting(echo) as port:
        pass
    with pytest.raises(ConnectFailed) as caught:
        blocking.connect("127.0.0.1", port, timeout=5)
    assert (caught.value.text, caught.value.why) == (f"connect to 127.0.0.1:{port}: Connection refused", "refused")


@pytest.mark.parametrize("name", ["no.such.name.invalid", "a" * 64 + ".example", "a\0b"])
def test_a_name_that_is_none_does_not_resolve(name: str) -> None:
    with pytest.raises(ConnectFailed, match="does not resolve to an address"):
        blocking.connect(name, 25, timeout=5)


def test_resolving_is_a_part_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    done = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: done.wait(20))  # a resolver that does not answer
    began = time.monotonic()
    try:
        with pytest.raises(ConnectFailed) as caught:
            blocking.connect("mail.example.org", 25, timeout=0.1)
    finally:
        done.set()
    assert time.monotonic() - began < 10
    assert (caught.value.text, caught.value.why) == ("connect to mail.example.org:25: no connection within 0.1 s", "timed out")


def test_a_program_that_ends_and_can_begin_no_thread_still_connects(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    with accepting(echo) as port:
        monkeypatch.setattr(threading.Thread, "start", start)
        blocking.connect("localhost", port, timeout=5).close()


def test_a_source_that_this_machine_has_not_is_named() -> None:
    with pytest.raises(ConnectFailed, match=r"connect to 127\.0\.0\.1:25 from 192\.0\.2\.1: Cannot assign"):
        blocking.connect("127.0.0.1", 25, timeout=5, source="192.0.2.1")


def test_a_path_that_is_too_long_for_a_socket_is_said_to_be(tmp_path: Path) -> None:
    with pytest.raises(ConnectFailed, match="107 octets at most"):
        blocking.connect_unix(str(tmp_path / ("x" * 120)), timeout=5)


def test_the_time_is_one_for_all_addresses() -> None:
    with pytest.raises(ConnectFailed, match="no connection within 0 s"):
        blocking.connect("127.0.0.1", 25, timeout=0)
