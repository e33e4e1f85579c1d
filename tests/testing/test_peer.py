"""The scripted peer, looked at by the standard library's client."""

from __future__ import annotations

import asyncio
import smtplib
from collections.abc import Callable
from typing import TypeVar

import pytest

from waymail.testing.peer import DROP, END, HANG, Peer

T = TypeVar("T")


async def use(peer: Peer, what: Callable[[smtplib.SMTP], T], timeout: float = 5) -> T:
    def run() -> T:
        with smtplib.SMTP(peer.host, peer.port, local_hostname="client.example", timeout=timeout) as client:
            return what(client)

    return await asyncio.to_thread(run)


def send(client: smtplib.SMTP) -> object:
    return client.sendmail("ann@example.com", ["bob@example.org", "carl@example.org"], b"Subject: x\r\n\r\n.\r\n..y\r\n")


async def test_without_rules_it_takes_every_message_octet_for_octet() -> None:
    async with Peer() as peer:
        assert await use(peer, send) == {}
        assert peer.messages[0].content == b"Subject: x\r\n\r\n.\r\n..y\r\n"
        assert len(peer.messages[0].rcpt) == 2
        assert peer.commands[0] == b"ehlo client.example"
        assert peer.connections == 1


async def test_the_first_rule_that_matches_decides() -> None:
    async with Peer([("rcpt to:<bob", b"550 5.1.1 no\r\n"), ("RCPT", b"250 fine\r\n")]) as peer:
        assert await use(peer, send) == {"bob@example.org": (550, b"5.1.1 no")}


async def test_a_callable_may_answer_differently_each_time_and_leave_the_usual_answer() -> None:
    answers = iter([b"450 later\r\n", None])
    async with Peer([("RCPT", lambda _: next(answers))]) as peer:
        assert await use(peer, send) == {"bob@example.org": (450, b"later")}


@pytest.mark.parametrize("moment", ["DATA", END.decode()])
async def test_it_can_drop_the_connection(moment: str) -> None:
    async with Peer([(moment, DROP)]) as peer:
        with pytest.raises((smtplib.SMTPServerDisconnected, ConnectionError)):
            await use(peer, send)
        assert peer.messages == []


async def test_a_sequence_is_one_answer_after_the_other() -> None:
    async with Peer([("DATA", [b"354 go", b" on\r\n", DROP])]) as peer:
        with pytest.raises((smtplib.SMTPServerDisconnected, ConnectionError)):
            await use(peer, send)


async def test_it_can_be_silent() -> None:
    async with Peer([("MAIL", HANG)]) as peer:
        with pytest.raises(smtplib.SMTPServerDisconnected, match="timed out"):
            await use(peer, send, timeout=0.1)


async def test_after_421_it_closes() -> None:
    async with Peer([("MAIL", b"421 bye\r\n")]) as peer:
        with pytest.raises(smtplib.SMTPSenderRefused):
            await use(peer, send)


async def test_a_refused_message_is_not_among_the_messages() -> None:
    async with Peer([(END.decode(), b"554 no\r\n")]) as peer:
        with pytest.raises(smtplib.SMTPDataError):
            await use(peer, send)
        assert peer.messages == []
