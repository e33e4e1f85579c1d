"""What looks like the end of data to somebody is none here (tests/suites/smtp/end-of-data.json)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from waymail.wire import BareLineEnd, Data, DataChunk, EndOfData, Mail, Offer, Reply, ServerConnection, State, stuff

SUITE = Path(__file__).resolve().parents[1] / "suites/smtp/end-of-data.json"
VECTORS = json.loads(SUITE.read_text())
BEFORE = b"EHLO client.example\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n"
SMUGGLED = b"MAIL FROM:<evil@example.org>\r\nRCPT TO:<victim@example.org>\r\nDATA\r\nsmuggled\r\n"
OK = Reply(250, "OK", "2.0.0")
START_MAIL_INPUT = Reply(354, "go on")


def content_of(vector: dict[str, str]) -> bytes:
    return b"Subject: first\r\n\r\nbody" + bytes.fromhex(vector["hex"]) + SMUGGLED


def session(chunks: list[bytes], server: ServerConnection | None = None) -> tuple[int, list[tuple[bytes, EndOfData]]]:
    """How many transactions began, and the messages that came, each with its end."""
    server = server or ServerConnection(Offer("mail.example"))
    transactions = 0
    messages: list[tuple[bytes, EndOfData]] = []
    content = b""
    for data in chunks:
        while events := server.receive(data):
            data = b""
            for event in events:
                match event:
                    case DataChunk(some):
                        content += some
                        continue
                    case EndOfData():
                        messages.append((content, event))
                        content = b""
                    case Mail():
                        transactions += 1
                server.send(START_MAIL_INPUT if isinstance(event, Data) else OK)
    return transactions, messages


def test_the_suite_has_its_19_vectors() -> None:
    assert len(VECTORS) == 19


@pytest.mark.parametrize("vector", VECTORS, ids=[vector["name"] for vector in VECTORS])
def test_a_false_end_of_data_never_begins_a_second_transaction_at_any_split(vector: dict[str, str]) -> None:
    content = content_of(vector)
    stream = content + b".\r\n"
    bare = content.replace(b"\r\n", b"")
    is_bare = b"\r" in bare or b"\n" in bare
    for place in range(len(stream) + 1):
        transactions, messages = session([BEFORE, stream[:place], stream[place:]])
        received, end = messages[0]
        if is_bare:
            assert end.refusal is not None
            assert (end.refusal.code, end.refusal.enhanced) == (550, "5.6.11")
        else:
            assert end.refusal is None
            assert received == content.replace(b"\r\n.", b"\r\n")  # a stuffing dot is all that may go
        assert (transactions, len(messages)) == (1, 1)


def test_after_an_end_behind_a_bare_cr_nothing_more_is_read_at_any_split() -> None:
    """CR CRLF "." CRLF is an end to us and may be none to the program before us: what follows could be smuggled."""
    stream = b"body\r\r\n.\r\n" + SMUGGLED + b".\r\n"
    for place in range(len(stream) + 1):
        server = ServerConnection(Offer("mail.example"))
        transactions, messages = session([BEFORE, stream[:place], stream[place:]], server)
        assert (transactions, len(messages), server.state) == (1, 1, State.CLOSED)


@pytest.mark.parametrize("vector", VECTORS, ids=[vector["name"] for vector in VECTORS])
def test_a_false_end_of_data_is_never_sent_by_us(vector: dict[str, str]) -> None:
    content = content_of(vector)
    try:
        sent = b"".join(stuff([content]))
    except BareLineEnd:
        return
    transactions, messages = session([BEFORE, sent])
    assert (transactions, [received for received, _ in messages]) == (1, [content])


def test_after_the_true_end_the_next_transaction_begins() -> None:
    """The other side of the coin: were every end missed, the tests above would pass too."""
    transactions, messages = session([BEFORE, b"one\r\n.\r\n" + SMUGGLED + b".\r\n"])
    assert transactions == 2
    assert [received for received, _ in messages] == [b"one\r\n", b"smuggled\r\n"]
