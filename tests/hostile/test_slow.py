"""Clients that take their time, in numbers: deadlines end them, and meanwhile others are served."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest
from tests.hostile.target import Target, until_closed
from tests.server.real_sockets import Client, code

LATE = 3.0  # seconds within which a deadline of one second has ended a session
NUMBER = 2_000


@pytest.fixture(autouse=True)
def nothing_is_left(impatient: Target) -> Iterator[None]:
    impatient.serves()
    descriptors, memory = impatient.descriptors, impatient.memory
    yield
    impatient.settles(descriptors)
    assert impatient.memory - memory < 60
    impatient.serves()


class Crowd:
    """Connections that say an octet now and then; those that the server closes are given up."""

    def __init__(self, target: Target, listener: str, sources: int, number: int) -> None:
        self.sockets: list[socket.socket] = []
        self.closed = 0
        for at in range(number):
            one = socket.socket()
            one.bind((f"127.0.1.{at % sources + 1}", 0))
            one.connect(("127.0.0.1", target.ports[listener]))
            one.setblocking(False)
            self.sockets.append(one)

    def drip(self) -> None:
        for one in list(self.sockets):
            try:
                while one.recv(4096):
                    pass
            except BlockingIOError:
                with suppress(OSError):
                    one.send(b"N")
                continue
            except OSError:
                pass
            one.close()
            self.sockets.remove(one)
            self.closed += 1

    def close(self) -> None:
        for one in self.sockets:
            one.close()


@pytest.mark.parametrize("kinds", [[("mx", 1), ("mx_tls", 200)], [("mx", 200)]], ids=["from one address", "from many"])
def test_thousands_of_slow_connections_keep_nobody_out(impatient: Target, kinds: list[tuple[str, int]]) -> None:
    """`kinds`: the listener, and from how many addresses."""
    crowds = [Crowd(impatient, *kind, NUMBER) for kind in kinds]
    deadline = time.monotonic() + LATE
    try:
        while crowds[0].sockets and time.monotonic() < deadline:
            for crowd in crowds:
                crowd.drip()
            impatient.serves()
            time.sleep(0.1)
        assert not crowds[0].sockets
        assert all(crowd.closed >= NUMBER - 400 for crowd in crowds)  # a handshake has a minute: those are still there
    finally:
        for crowd in crowds:
            crowd.close()
    line = impatient.logged("connections are refused", "127.0.1.")
    assert '"reply": "421' in line


def test_a_command_in_drops_gains_no_time(impatient: Target) -> None:
    drops = [b"N", b"NOOP", b"MAIL FROM:<", b"\r", b" "]
    clients = [impatient.greeted(source="127.0.0.40") for _ in drops]
    started = time.monotonic()
    said = [b""] * len(drops)
    while not all(said) and time.monotonic() - started < LATE:
        for at, client in enumerate(clients):
            if said[at]:
                continue
            client.socket.settimeout(0.05)
            with suppress(TimeoutError):
                client.socket.sendall(drops[at])
                said[at] = client.socket.recv(4096)
    assert all(one.startswith(b"421 4.4.2") for one in said), said
    impatient.logged("a session was ended", "127.0.0.40", "let its time pass")
    for client in clients:
        client.close()


def test_a_message_in_drops_has_no_more_time_than_others(impatient: Target) -> None:
    """Each part comes in time, the whole does not: in a million chunks neither."""
    clients = [impatient.greeted(source="127.0.0.41") for _ in range(2)]
    parts = [b"x" * 64, b"BDAT 64\r\n" + b"x" * 64]
    for client in clients:
        client.say("MAIL FROM:<x@client.example>", "RCPT TO:<ann@example.org>")
    clients[0].say("DATA")
    started = time.monotonic()
    ended = [0.0, 0.0]
    while not all(ended) and time.monotonic() - started < 5.0:
        for at, client in enumerate(clients):
            client.socket.settimeout(0.1)
            with suppress(TimeoutError):
                if not ended[at]:
                    client.socket.sendall(parts[at])
                    if b"421 4.4.2" in client.socket.recv(4096):
                        ended[at] = time.monotonic() - started
        time.sleep(0.05)
    assert all(1.5 < one < 4.0 for one in ended), ended
    for client in clients:
        client.close()


def test_a_client_that_never_reads_is_cut_off_and_costs_little(impatient: Target) -> None:
    impatient.serves()
    memory = impatient.memory
    clients = [Client(impatient.address("mx"), buffer=2048, source="127.0.0.42") for _ in range(10)]
    for client in clients:
        client.socket.settimeout(0.02)
        with suppress(OSError):
            for _ in range(20):
                client.socket.sendall(b"MAIL FROM:<x@client.example>\r\nRSET\r\nEHLO x\r\n" * 2000)
    impatient.serves()
    assert impatient.memory - memory < 30  # megabytes
    for client in clients:
        client.socket.settimeout(LATE)  # it raises where the session is still there
        with suppress(ConnectionError):
            while client.socket.recv(65536):
                pass
        client.close()


def test_a_client_that_reads_slowly_gets_all_its_replies(impatient: Target) -> None:
    client = Client(impatient.address("mx"), buffer=2048, source="127.0.0.43")
    client.reply()
    client.send("EHLO x", *["HELP"] * 45)
    said = []
    for _ in range(46):
        said.append(code(client.reply()))
        time.sleep(0.005)
    assert said == ["250"] + ["214 2.0.0"] * 45
    client.close()


def test_many_slow_messages_at_once_do_not_slow_an_honest_one(impatient: Target) -> None:
    clients = [impatient.greeted(source="127.0.0.44") for _ in range(100)]
    for client in clients:
        client.say("MAIL FROM:<x@client.example>", "RCPT TO:<ann@example.org>", "DATA")
        client.socket.sendall(b"Subject: slow\r\n\r\n" + b"x" * 70_000)  # a file each
    impatient.serves()
    for client in clients:
        assert b"421 4.4.2" in until_closed(client)
        client.close()
