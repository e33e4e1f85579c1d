"""LMTP, seen from the server (RFC 2033)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from waymail.testing.shell import OK, Shell
from waymail.wire import EndOfData, Hello, Offer, Reply, ServerConnection, State, WireLimits
from waymail.wire.errors import CommandOrder
from waymail.wire.extensions import EVERYWHERE
from waymail.wire.replies import RepliesToEach, encode

LHLO = b"LHLO client.example\r\n"
MAIL = b"MAIL FROM:<a@example.org>\r\n"
RCPT = b"RCPT TO:<b@example.org>\r\n"
REFUSED = b"RCPT TO:<no@example.org>\r\n"
OFFER = Offer("mail.example", lmtp=True, extensions=EVERYWHERE, limits=WireLimits(message_size=100))


def test_lhlo_is_answered_as_ehlo_is() -> None:
    shell = Shell(OFFER)
    assert shell.say(LHLO) == ["250"]
    assert (shell.core.hello, shell.core.state) == (Hello("client.example", lmtp=True), State.READY)
    assert b"PIPELINING" in shell.sent
    assert b"CHUNKING" in shell.sent


@pytest.mark.parametrize("hello", [b"EHLO x\r\n", b"HELO x\r\n"])
def test_ehlo_and_helo_are_refused_with_500_in_lmtp(hello: bytes) -> None:
    assert Shell(OFFER).say(hello, MAIL) == ["500 5.5.1", "503 5.5.1"]


def test_lhlo_is_refused_with_500_in_smtp() -> None:
    assert Shell(replace(OFFER, lmtp=False)).say(LHLO, MAIL) == ["500 5.5.1", "503 5.5.1"]


@pytest.mark.parametrize("content", [b"DATA\r\nx\r\n.\r\n", b"BDAT 3 LAST\r\nx\r\n", b"BDAT 0\r\nBDAT 1\r\nxBDAT 0 LAST\r\n"])
@pytest.mark.parametrize(("recipients", "accepted"), [(RCPT, 1), (RCPT + REFUSED + RCPT, 2), (REFUSED + RCPT * 3, 3)])
def test_after_the_content_there_is_one_reply_for_each_accepted_recipient(
    content: bytes, recipients: bytes, accepted: int
) -> None:
    shell = Shell(OFFER)
    shell.say(LHLO, MAIL, recipients)
    *before, last = content.splitlines(keepends=True) if content.startswith(b"DATA") else [content]
    replies = shell.say(*before, last)
    intermediate = {b"DATA": 1, b"BDAT": content.count(b"BDAT") - 1}[content[:4]]
    assert replies[intermediate:] == ["250 2.0.0"] * accepted
    assert shell.say(b"NOOP\r\n", MAIL) == ["250 2.0.0", "250 2.0.0"]


@pytest.mark.parametrize(("content", "code"), [(b"a\nb\r\n", "550 5.6.11"), (b"x" * 101 + b"\r\n", "552 5.3.4")])
def test_refused_content_is_refused_for_each_recipient(content: bytes, code: str) -> None:
    shell = Shell(OFFER)
    shell.say(LHLO, MAIL, RCPT, REFUSED, RCPT, b"DATA\r\n")
    assert shell.say(content + b".\r\n") == [code, code]


def with_content_for_two() -> ServerConnection:
    core = ServerConnection(OFFER)
    for line in (LHLO, MAIL, RCPT, RCPT):
        core.receive(line)
        core.send(OK)
    core.receive(b"DATA\r\n")
    core.send(Reply(354, "go on"))
    core.receive(b"x\r\n.\r\n")
    return core


def test_each_recipient_may_have_a_reply_of_its_own() -> None:
    core = with_content_for_two()
    full = Reply(552, "voll: \u00fcber", "5.2.2")
    assert core.send(RepliesToEach(552, "full", "5.2.2", (OK, full))) == encode(OK) + b"552 5.2.2 voll: ?ber\r\n"
    assert core.state is State.READY


def test_there_must_be_as_many_replies_as_recipients() -> None:
    with pytest.raises(CommandOrder, match="1 replies for 2 recipients"):
        with_content_for_two().send(RepliesToEach(250, "OK", "2.0.0", (OK,)))


def test_over_smtp_such_a_reply_is_one_reply() -> None:
    core = ServerConnection(replace(OFFER, lmtp=False))
    core.receive(b"EHLO x\r\n")
    assert core.send(RepliesToEach(250, "OK", "2.0.0", (OK, OK))) == b"250 2.0.0 OK\r\n"


def test_data_without_a_recipient_has_one_reply() -> None:
    assert Shell(OFFER).say(LHLO, MAIL, REFUSED, b"DATA\r\n") == ["250", "250 2.0.0", "550 5.7.1", "554 5.5.1"]
    assert Shell(OFFER).say(LHLO, MAIL, b"DATA\r\n")[-1] == "503 5.5.1"


def test_a_chunk_that_is_not_the_last_has_one_reply_and_so_has_one_out_of_order() -> None:
    shell = Shell(OFFER)
    assert shell.say(LHLO, MAIL, RCPT, RCPT, b"BDAT 1\r\n\nBDAT 1 LAST\r\nx")[4:] == ["550 5.6.11", "503 5.5.1"]


def test_recipients_of_the_transaction_before_do_not_count() -> None:
    shell = Shell(OFFER)
    shell.say(LHLO, MAIL, RCPT, RCPT, b"RSET\r\n", MAIL, RCPT)
    assert shell.say(b"DATA\r\n", b".\r\n") == ["354", "250 2.0.0"]


def test_421_behind_the_content_is_said_once_and_closes() -> None:
    shell = Shell(OFFER)
    shell.say(LHLO, MAIL, RCPT, RCPT, b"DATA\r\n")
    assert shell.core.receive(b".\r\n") == [EndOfData(0)]
    assert shell.core.send(Reply(421, "closing", "4.3.2")) == b"421 4.3.2 closing\r\n"
    assert shell.core.state is State.CLOSED
