"""A connection that ends at any moment, hard or politely: nothing is left of it."""

from __future__ import annotations

import base64
import socket
import struct
from collections.abc import Iterator

import pytest
from tests.hostile.target import PASSWORD, Target
from tests.server.real_sockets import Client, code

PLAIN = base64.b64encode(f"\0ann\0{PASSWORD}".encode()).decode()
BIG = "x" * 70_000  # more than is kept in memory
# A session with all that can happen in it.
STEPS = [
    "EHLO x",
    "MAIL FROM:<ann@example.org>",
    "RCPT TO:<bob@example.org>",
    "DATA",
    f"Subject: x\r\n\r\n{BIG}",
    "half a line",
]
CHUNKS = [
    "EHLO x",
    "MAIL FROM:<ann@example.org>",
    "RCPT TO:<bob@example.org>",
    f"BDAT {len(BIG) + 2}\r\n{BIG}",
    "BDAT 100\r\nhalf",
]
EXCHANGE = ["EHLO x", "AUTH LOGIN", base64.b64encode(b"ann").decode(), "AUTH PLAIN AGFubgB4"]


@pytest.fixture(autouse=True)
def nothing_is_left(target: Target) -> Iterator[None]:
    target.serves()
    descriptors, memory = target.descriptors, target.memory
    yield
    target.settles(descriptors)
    assert target.memory - memory < 30
    target.serves()


def end(client: Client, how: str) -> None:
    if how == "RST":
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    elif how == "FIN and no more reading":
        client.socket.shutdown(socket.SHUT_WR)
    client.close()


@pytest.mark.parametrize("how", ["RST", "FIN", "FIN and no more reading"])
@pytest.mark.parametrize(
    ("listener", "steps"),
    [
        ("mx", STEPS),
        ("mx_tls", STEPS),
        ("mx", CHUNKS),
        ("mx_tls", CHUNKS),
        ("submission_tls", EXCHANGE),
        ("submission_tls", ["EHLO x", f"AUTH PLAIN {PLAIN}", *STEPS[1:]]),
    ],
    ids=["data", "data in TLS", "chunks", "chunks in TLS", "an exchange", "submission"],
)
@pytest.mark.parametrize("waits", [True, False])
def test_a_connection_that_ends_at_any_step_leaves_nothing(
    target: Target, how: str, listener: str, steps: list[str], waits: bool
) -> None:
    """`waits`: for the replies before it ends."""
    for number in range(len(steps) + 1):
        client = target.connect(listener, "127.0.0.50")
        client.reply()
        for step in steps[:number]:
            client.send(step)
            if (waits or step is not steps[number - 1]) and not step.startswith(("Subject", "half")) and "half" not in step:
                client.reply()
        end(client, how)


@pytest.mark.parametrize("how", ["RST", "FIN"])
@pytest.mark.parametrize("moment", ["before the greeting", "in STARTTLS", "in the handshake", "behind the final dot"])
def test_a_connection_that_ends_between_two_states_leaves_nothing(target: Target, how: str, moment: str) -> None:
    for _ in range(20):
        client = Client(target.address("mx"), source="127.0.0.51")
        if moment != "before the greeting":
            client.reply()
            if moment == "behind the final dot":
                client.send("EHLO x", "MAIL FROM:<x@client.example>", "RCPT TO:<ann@example.org>", "DATA")
                for _ in range(4):
                    client.reply()
                client.send("Subject: was it taken?", ".")
            else:
                client.send("EHLO x", "STARTTLS")
                client.reply()
                if moment == "in the handshake":
                    assert code(client.reply()) == "220 2.0.0"
                    client.socket.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
        end(client, how)


def test_quit_without_waiting_leaves_nothing(target: Target) -> None:
    for listener in ("mx", "mx_tls"):
        for _ in range(50):
            client = target.connect(listener, "127.0.0.52")
            client.send("EHLO x", "QUIT")
            end(client, "RST")
