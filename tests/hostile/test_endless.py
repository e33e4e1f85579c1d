"""What has no end, or is too large: it is cut off, costs a bounded amount of memory, and others are served meanwhile."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Iterator

import pytest
from tests.hostile.lenient import LenientReceiver
from tests.hostile.target import PASSWORD, TRUSTED, Target
from tests.server.real_sockets import Client, code

MEGABYTE = 1_000_000
ROOM = 30.0  # megabytes that an attack may cost
PLAIN = base64.b64encode(f"\0ann\0{PASSWORD}".encode()).decode()


@pytest.fixture(autouse=True)
def nothing_grows(target: Target) -> Iterator[None]:
    target.serves()
    before = target.memory
    yield
    target.serves()
    assert target.memory - before < ROOM


def codes(client: Client) -> list[str]:
    """Of all replies until it closes."""
    return [code(reply) for reply in iter(client.reply, [])]


def pour(client: Client, octets: bytes, times: int) -> None:
    """Send as long as the other side takes it."""
    try:
        for _ in range(times):
            client.socket.sendall(octets)
    except OSError:
        return


def transaction(target: Target, source: str, parameters: str = "") -> Client:
    client = target.greeted(source=source)
    assert client.say(f"MAIL FROM:<x@client.example>{parameters}", "RCPT TO:<ann@example.org>") == ["250 2.1.0", "250 2.1.5"]
    return client


def test_a_line_of_a_hundred_megabytes_is_one_refused_command(target: Target) -> None:
    client = target.greeted(source="127.0.0.20")
    pour(client, b"x" * MEGABYTE, 100)
    client.send("")
    assert code(client.reply()) == "500 5.5.2"
    assert client.say("NOOP") == ["250 2.0.0"]
    client.close()


def header(kind: str) -> bytes:
    match kind:
        case "without end":
            return b"X-Field: value\r\n" * 40_000
        case "a hundred thousand fields":
            return b"X: y\r\n" * 100_000 + b"\r\n\r\nHello"
        case "one line":
            return b"X: " + b"y" * 900_000 + b"\r\n\r\nHello"
        case "folded":
            return b"X: y\r\n" + b" y\r\n" * 200_000 + b"\r\nHello"
        case "received":
            return b"Received: x\r\n" * 15_000 + b"\r\nHello"
        case _:
            return b"X" * 900_000


@pytest.mark.parametrize("kind", ["without end", "a hundred thousand fields", "one line", "folded", "received", "no line"])
def test_an_endless_header_section_is_refused(target: Target, kind: str) -> None:
    client = transaction(target, "127.0.0.21")
    client.say("DATA")
    client.socket.sendall(header(kind) + b"\r\n.\r\n")
    assert code(client.reply()) in ("552 5.3.4", "554 5.4.6")
    target.logged("a message was refused", "peer=127.0.0.21")
    client.close()


def test_a_message_without_end_is_thrown_away_while_it_comes(target: Target) -> None:
    client = transaction(target, "127.0.0.22")
    client.say("DATA")
    pour(client, b"endless" * 20_000 + b"\r\n", 300)  # 42 MB
    assert target.memory < 250
    client.socket.sendall(b"\r\n.\r\n")
    assert code(client.reply()) == "552 5.3.4"
    assert target.bodies == []
    client.close()


@pytest.mark.parametrize(
    ("line", "reply"),
    [
        ("NOOP", "250 2.0.0"),
        ("RSET", "250 2.0.0"),
        ("VRFY ann", "252 2.5.2"),
        ("HELP", "214 2.0.0"),
        ("EHLO x", "250"),
        ("HELO x", "250"),
    ],
)
def test_commands_that_carry_no_mail_end_in_421(target: Target, line: str, reply: str) -> None:
    client = target.greeted(source="127.0.0.23")
    client.send(*[line] * 60)
    said = codes(client)
    assert said[-1] == "421 4.7.0"
    assert set(said[:-1]) == {reply}
    assert len(said) <= 51
    target.logged("a session was ended", "peer=127.0.0.23", "carry no mail")
    client.close()


@pytest.mark.parametrize(
    "line", ["RCPT TO:<user-%d@example.org>", "RCPT TO:<user-%d@foreign.example>", "VRFY", "XYZZY", "\x01\x02"]
)
def test_harvesting_and_nonsense_end_in_421(target: Target, line: str) -> None:
    client = target.greeted(source="127.0.0.24")
    client.say("MAIL FROM:<x@client.example>")
    client.send(*[line.replace("%d", str(number)) for number in range(100)])
    said = codes(client)
    assert said[-1] == "421 4.7.0"
    assert len(said) == 11
    target.logged("a session was ended", "peer=127.0.0.24", "too many refused commands")
    client.close()


def test_an_exchange_that_is_cancelled_again_and_again_ends_in_421(target: Target) -> None:
    client = target.greeted("submission_tls", "127.0.0.26")
    client.send(*["AUTH LOGIN", "*"] * 30)
    said = codes(client)
    assert said[-1] == "421 4.7.0"
    assert len(said) <= 23
    client.close()


def test_a_response_of_megabytes_is_refused(target: Target) -> None:
    client = target.greeted("submission_tls", "127.0.0.27")
    assert client.say("AUTH LOGIN") == ["334"]
    pour(client, b"QUJD" * 250_000, 5)
    client.send("")
    assert code(client.reply()) == "500 5.5.6"
    client.close()


@pytest.mark.parametrize("size", ["9223372036854775807", "9223372036854775808", "9999999999999999999", "4294967296"])
def test_a_chunk_of_nearly_endless_size_is_not_waited_for_in_memory(target: Target, size: str) -> None:
    client = transaction(target, "127.0.0.28")
    client.send(f"BDAT {size}")
    pour(client, b"x" * MEGABYTE, 20)
    assert target.memory < 250
    client.close()


@pytest.mark.parametrize("chunk", ["BDAT 0\r\n", "BDAT 1\r\nx"])
def test_empty_and_tiny_chunks_end_in_421(target: Target, chunk: str) -> None:
    client = transaction(target, "127.0.0.29")
    pour(client, chunk.encode() * 1000, 1)
    said = codes(client)
    assert said[-1] == "421 4.7.0"
    assert len(said) <= 51
    client.close()


def test_a_message_in_segments_of_one_octet_is_a_message(target: Target) -> None:
    client = transaction(target, "127.0.0.30")
    client.say("DATA")
    for octet in b"Subject: slow\r\n\r\n" + b"ab\r\n" * 500 + b".\r\n":
        client.socket.sendall(bytes([octet]))
    assert code(client.reply()) == "250 2.0.0"
    client.close()


def nested(depth: int) -> bytes:
    parts = [b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (number, number) for number in range(depth)]
    return b"Subject: nested\r\nMIME-Version: 1.0\r\n" + b"".join(parts) + b"\r\n\xc3\xa4\r\n"


BOMBS: dict[str, Callable[[], bytes]] = {
    "nested multiparts": lambda: nested(14_000),
    "nested messages": lambda: (
        b"Subject: nested\r\nMIME-Version: 1.0\r\n" + b"Content-Type: message/rfc822\r\n\r\n" * 25_000 + b"\xc3\xa4"
    ),
    "parts": lambda: (
        b"Subject: parts\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
        + b"--b\r\n\r\n\xc3\xa4\r\n" * 60_000
    ),
    "parentheses": lambda: b"Subject: x\r\nContent-Type: " + b"(" * 100_000 + b"\r\n\r\n\xc3\xa4",
    "parameters": lambda: b"Subject: x\r\nContent-Type: multipart/mixed" + b"; a=b" * 20_000 + b"\r\n\r\n\xc3\xa4",
    "encoded words": lambda: b"Subject: " + b"=?utf-8?Q?" * 20_000 + b"\r\n\r\n\xc3\xa4",
    "quoted pairs": lambda: b'Subject: x\r\nContent-Type: text/plain; charset="' + b"\\" * 200_000 + b"\r\n\r\n\xc3\xa4",
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_in_a_message_that_is_converted_stops_nobody(target: Target, plain: LenientReceiver, name: str) -> None:
    """It goes to a host without 8BITMIME, and back to the sender where it cannot; RFC 2047 is read for the notice."""
    client = target.greeted(source=TRUSTED)
    client.say(
        "MAIL FROM:<bomber@plain.example> BODY=8BITMIME", "RCPT TO:<bob@plain.example>", "RCPT TO:<refused@plain.example>", "DATA"
    )
    client.socket.sendall(BOMBS[name]() + b"\r\n.\r\n")
    said = code(client.reply())
    assert said in ("250 2.0.0", "552 5.3.4")
    started = time.monotonic()
    target.serves()
    assert time.monotonic() - started < 1.0
    client.close()


FROM = {
    "parentheses": "(" * 200_000,
    "nested parentheses": "(" * 500 + ")" * 500,
    "at signs": "@" * 250_000,
    "angle brackets": "<" * 250_000,
    "quotes": '"' * 200_001,
    "routes": "<" + "@a," * 60_000 + ":a@b>",
    "encoded words": "=?utf-8?B?" * 20_000,
    "addresses": ", ".join(f"a{number}@b.example" for number in range(12_000)),
}


@pytest.mark.parametrize("name", FROM)
def test_a_bomb_in_from_at_submission_is_refused_at_once(target: Target, name: str) -> None:
    client = target.greeted("submission_tls", "127.0.0.31")
    assert client.say(f"AUTH PLAIN {PLAIN}") == ["235 2.7.0"]
    assert client.say("MAIL FROM:<ann@example.org>", "RCPT TO:<bob@example.org>", "DATA")[2] == "354"
    started = time.monotonic()
    client.send(f"From: {FROM[name]}", "", "Hello", ".")
    assert code(client.reply())[:3] in ("550", "554", "552")
    assert time.monotonic() - started < 1.0
    client.close()


def test_commands_far_ahead_of_the_replies_are_not_kept(target: Target) -> None:
    client = target.greeted("submission_tls", "127.0.0.32")
    wrong = base64.b64encode(b"\0nobody\0guess").decode()
    client.send(f"AUTH PLAIN {wrong}")  # which takes two seconds to answer
    client.socket.settimeout(0.5)
    pour(client, b"NOOP\r\n" * 100_000, 40)
    assert target.memory < 250
    client.close()
