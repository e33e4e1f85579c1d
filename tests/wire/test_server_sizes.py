"""What a server has to take at least, and what it must bear (RFC 5321 §4.5.3.1, RFC 1870, RFC 6152)."""

from __future__ import annotations

import pytest

from waymail.testing.shell import Shell
from waymail.wire import EndOfData, Mail, Offer, Refused, State, WireLimits

EHLO = b"EHLO client.example\r\n"
MAIL = b"MAIL FROM:<a@example.org>\r\n"
RCPT = b"RCPT TO:<b@example.org>\r\n"
OFFER = Offer("mail.example")


def test_a_local_part_of_64_octets_and_a_path_of_256_are_taken() -> None:
    domain = ".".join(["b" * 62] * 3)
    assert (
        Shell(OFFER).say(EHLO, f"MAIL FROM:<{'a' * 64}@{domain}c>\r\n".encode(), f"RCPT TO:<{'a' * 64}@{domain}c>\r\n".encode())[
            1:
        ]
        == ["250 2.0.0"] * 2
    )


def test_a_text_line_of_1000_octets_and_much_longer_ones_are_taken() -> None:
    for size in (998, 100_000):
        shell = Shell(OFFER)
        assert shell.say(EHLO, MAIL, RCPT, b"DATA\r\n", b"x" * size + b"\r\n.\r\n")[-1] == "250 2.0.0"
        assert shell.content == b"x" * size + b"\r\n"


def test_a_message_of_64_kib_and_100_recipients_are_taken_by_default() -> None:
    shell = Shell(OFFER)
    content = b"x" * 62 + b"\r\n"
    replies = shell.say(EHLO, MAIL, *[RCPT] * 100, b"DATA\r\n", content * 1024 + b".\r\n")
    assert replies[2:] == ["250 2.0.0"] * 100 + ["354", "250 2.0.0"]
    assert shell.events[-1] == EndOfData(65_536)


def test_the_null_reverse_path_is_always_taken() -> None:
    shell = Shell(OFFER)
    assert shell.say(EHLO, b"MAIL FROM:<>\r\n", RCPT, b"DATA\r\n", b".\r\n")[1:] == ["250 2.0.0", "250 2.0.0", "354", "250 2.0.0"]
    assert shell.events[1] == Mail("")


@pytest.mark.parametrize(("size", "code"), [(b"0", "250 2.0.0"), (b"100", "250 2.0.0"), (b"101", "552 5.3.4")])
def test_a_declared_size_is_held_against_the_limit_and_zero_says_nothing(size: bytes, code: str) -> None:
    assert Shell(Offer("mail.example", limits=WireLimits(message_size=100))).say(EHLO, b"MAIL FROM:<a@b> SIZE=" + size + b"\r\n")[
        1:
    ] == [code]


@pytest.mark.parametrize("declared", [b"", b" SIZE=0", b" SIZE=1"])
def test_the_real_size_counts_whatever_was_declared(declared: bytes) -> None:
    shell = Shell(Offer("mail.example", limits=WireLimits(message_size=100)))
    assert (
        shell.say(EHLO, b"MAIL FROM:<a@b>" + declared + b"\r\n", RCPT, b"DATA\r\n", b"x" * 99 + b"\r\n.\r\n")[-1] == "552 5.3.4"
    )


@pytest.mark.parametrize("parameter", [b"", b" BODY=7BIT", b" BODY=8BITMIME"])
def test_octets_beyond_ascii_are_preserved_whatever_was_declared(parameter: bytes) -> None:
    content = bytes(octet for octet in range(256) if octet not in b"\r\n") + b"\r\n"
    shell = Shell(OFFER)
    shell.say(EHLO, b"MAIL FROM:<a@b>" + parameter + b"\r\n", RCPT, b"DATA\r\n", content + b".\r\n")
    assert shell.content == content


def test_a_command_of_ten_megabytes_is_one_refusal_and_takes_no_memory() -> None:
    shell = Shell(OFFER)
    shell.say(EHLO)
    for _ in range(160):
        assert shell.say(b"MAIL FROM:<" + b"a" * 65_525) == []
        assert shell.core.buffered <= WireLimits().command_line
    assert shell.say(b"\r\n", MAIL) == ["500 5.5.2", "250 2.0.0"]
    assert isinstance(shell.events[1], Refused)
    assert len(shell.events[1].line) < 100


@pytest.mark.parametrize("line", [b"STARTTLS\r\n", b"STARTTLS x\r\n"])
def test_starttls_in_a_transaction_is_refused_and_the_transaction_goes_on(line: bytes) -> None:
    shell = Shell(Offer("mail.example", starttls=True))
    replies = shell.say(EHLO, MAIL, RCPT, line, b"DATA\r\n")
    assert replies[3:] == ["503 5.5.1", "354"]
    assert shell.core.state is State.DATA
