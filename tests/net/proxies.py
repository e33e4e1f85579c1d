"""Proxies on loopback, for tests: SOCKS5 and HTTP CONNECT, which do as little as they have to."""

from __future__ import annotations

import base64
import select
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field

USER, PASSWORD = "ann", "s3cret"


@dataclass
class ProxyServer:
    """`asked` is what it was asked to connect to. What is to be odd about it is set before it is used."""

    port: int
    asked: list[tuple[str, int]] = field(default_factory=list)
    demands_password: bool = False
    refuses: bool = False
    is_silent: bool = False
    hangs_up: bool = False
    joins_greeting: bool = False  # the last of its answer and what the destination says first, in one segment

    def serve(self, client: socket.socket) -> None:
        first = client.recv(1, socket.MSG_PEEK)
        if self.is_silent:
            client.recv(1000)
            client.recv(1000)
        elif not self.hangs_up and first:
            (self._socks if first == b"\x05" else self._connect)(client)

    def _socks(self, client: socket.socket) -> None:
        methods = client.recv(2 + 255)[2:]
        method = 2 if self.demands_password else 0
        if method not in methods:
            client.sendall(b"\x05\xff")
            return
        client.sendall(bytes([5, method]))
        if method:
            said = client.recv(600)
            good = said == bytes([1, len(USER)]) + USER.encode() + bytes([len(PASSWORD)]) + PASSWORD.encode()
            client.sendall(b"\x01\x00" if good else b"\x01\x01")
            if not good:
                return
        request = client.recv(600)
        if request[3] == 3:
            name, rest = request[5 : 5 + request[4]], request[5 + request[4] :]
            host = name.decode()
        else:
            host, rest = socket.inet_ntop(socket.AF_INET, request[4:8]), request[8:]
        self.asked.append((host, int.from_bytes(rest[:2], "big")))
        if self.refuses:
            client.sendall(b"\x05\x05\x00\x01" + bytes(6))
            return
        with socket.create_connection(self.asked[-1]) as destination:
            # A bound address may be a name, and an answer may come in pieces.
            answer = b"\x05\x00\x00\x03\x05proxy\x00\x00"
            for octet in answer[:-1]:
                client.sendall(bytes([octet]))
            client.sendall(answer[-1:] + (destination.recv(1000) if self.joins_greeting else b""))
            _carry(client, destination)

    def _connect(self, client: socket.socket) -> None:
        request = b""
        while not request.endswith(b"\r\n\r\n"):
            request += client.recv(1000)
        host, _, port = request.split()[1].decode().rpartition(":")
        self.asked.append((host, int(port)))
        expected = b"Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode())
        if self.demands_password and expected not in request:
            client.sendall(b"HTTP/1.1 407 Proxy Authentication\x07 Required\r\n\r\n")
        elif self.refuses:
            client.sendall(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 4\r\n\r\nsad\n")
        else:
            with socket.create_connection((host.strip("[]"), int(port))) as destination:
                answer = b"HTTP/1.1 200 Connection established\r\nVia: us\r\n\r\n"
                if self.joins_greeting:
                    answer += destination.recv(1000)
                client.sendall(answer[:30])
                client.sendall(answer[30:])
                _carry(client, destination)


def _carry(one: socket.socket, other: socket.socket) -> None:
    while True:
        for ready in select.select([one, other], [], [])[0]:
            octets = ready.recv(65536)
            if not octets:
                return
            (other if ready is one else one).sendall(octets)


@contextmanager
def proxy_server() -> Iterator[ProxyServer]:
    """A proxy that serves what connects, each connection in a thread of its own."""
    with socket.create_server(("127.0.0.1", 0)) as listening, ExitStack() as threads:
        server = ProxyServer(listening.getsockname()[1])
        open_: list[socket.socket] = []

        def serve(client: socket.socket) -> None:
            with suppress(OSError), client:
                server.serve(client)

        def accept() -> None:
            with suppress(OSError):
                while True:
                    client = listening.accept()[0]
                    open_.append(client)
                    thread = threading.Thread(target=serve, args=(client,))
                    thread.start()
                    threads.callback(thread.join)

        accepting = threading.Thread(target=accept)
        accepting.start()
        try:
            yield server
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            accepting.join()
            for client in open_:
                with suppress(OSError):
                    client.shutdown(socket.SHUT_RDWR)
