from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import Sequence
from dataclasses import replace

import pytest

from waymail.client.asynchronous import AsyncIo
from waymail.client.attempt import Attempts
from waymail.client.session import Contexts
from waymail.client.target import Credentials, Host, NextHop, Tls
from waymail.client.transaction import Message, Timeouts, Transaction
from waymail.client.transcript import LONGEST_LINE, MOST_LINES, Transcript, session_lines
from waymail.mail.envelope import Body
from waymail.mail.outcome import Peer as Who
from waymail.testing.peer import DROP, END, GREETING, HANG, Peer
from waymail.wire.client import Response
from waymail.wire.commands import Auth, AuthResponse, Noop, Rcpt
from waymail.wire.replies import Reply

SENDER, BOB, CARL = "ann@example.com", "bob@example.org", "carl@example.org"
WHO = Who("mx.example")


async def said(
    *peers: Peer,
    body: Body,
    to: Sequence[str] = (BOB,),
    tls: Tls = Tls.OFF,
    credentials: Credentials | None = None,
    context: ssl.SSLContext | None = None,
    timeouts: Timeouts = Timeouts(connect=5, quit=1),  # noqa: B008 - frozen
    times: int = 1,
    lmtp: bool = False,
    name: str = "",
) -> tuple[str, ...]:
    """The lines of an attempt, the last of so many that share the connections."""
    hosts = tuple(Host(name or f"mx{at}.example", peer.port, (peer.host,)) for at, peer in enumerate(peers))
    attempts = Attempts(AsyncIo(), hello_name="client.example", contexts=Contexts(context, context), timeouts=timeouts)
    transcript = Transcript()
    try:
        for _ in range(times):
            transcript = Transcript()
            next_hop = NextHop("example", hosts, tls, credentials, lmtp)
            await attempts.make(next_hop, Message(SENDER, body), to, transcript=transcript)
    finally:
        await attempts.close()
    return transcript.lines()


async def test_each_command_stands_with_its_reply(body: Body) -> None:
    async with Peer([("RCPT TO:<bob", b"550-5.1.1 no bob\r\n550 5.1.1 not here\r\n")], extensions=("PIPELINING",)) as peer:
        assert await said(peer, body=body) == (
            "* connected to mx0.example [127.0.0.1]",
            "< 220 peer.example ESMTP",
            "> EHLO client.example",
            "< 250-peer.example",
            "< 250 PIPELINING",
            "> MAIL FROM:<ann@example.com>",
            "< 250 2.0.0 fine",
            "> RCPT TO:<bob@example.org>",
            "< 550-5.1.1 no bob",
            "< 550 5.1.1 not here",
            "> DATA",
            "< 554 5.5.1 no valid recipients",
        )


async def test_content_is_named_and_not_shown(body: Body) -> None:
    async with Peer([(END.decode(), b"554 5.7.1 spam\r\n")]) as peer:
        lines = await said(peer, body=body)
        assert lines[-2:] == ("> (the content)", "< 554 5.7.1 spam")
        assert not any("hello" in line for line in lines)


async def test_lmtp_names_the_recipient_of_each_reply(body: Body) -> None:
    async with Peer([(f"{END.decode()} RCPT TO:<carl", b"452 4.2.2 full\r\n")], lmtp=True) as peer:
        lines = await said(peer, body=body, to=(BOB, CARL), lmtp=True)
        assert lines[2] == "> LHLO client.example"
        assert lines[-2:] == ("> (the content, for carl@example.org)", "< 452 4.2.2 full")


async def test_only_this_transaction_and_the_opening_are_shown_of_a_connection_that_is_kept(body: Body) -> None:
    counted = iter([None, None, b"450 4.2.1 busy\r\n"])
    async with Peer([("RCPT", lambda line: next(counted))]) as peer:
        lines = await said(peer, body=body, times=3)
        assert "* the connection is kept for several messages; this is number 3" in lines
        assert sum(line.startswith("> EHLO") for line in lines) == 1
        assert sum(line.startswith("> MAIL") for line in lines) == 1
        assert "< 450 4.2.1 busy" in lines


async def test_every_host_that_was_tried_says_why_it_failed(body: Body) -> None:
    gone = Peer()
    async with gone:
        pass
    async with Peer([(GREETING.decode(), b"421 4.3.2 too busy\r\n")]) as busy, Peer([("EHLO", DROP)]) as dropping:
        lines = await said(gone, busy, dropping, body=body)
    assert lines[0] == f"* mx0.example: connect to 127.0.0.1:{gone.port}: Connection refused"
    assert "< 421 4.3.2 too busy" in lines
    assert lines[-2] == "> EHLO client.example"
    assert lines[-1].startswith("* mx2.example: ")


async def test_a_failed_handshake_and_the_attempt_in_clear_are_told(body: Body, server_tls: ssl.SSLContext) -> None:
    trusts_nobody = ssl.create_default_context()
    async with Peer([("RCPT", b"450 4.2.1 busy\r\n")], tls=server_tls) as peer:
        lines = await said(peer, body=body, tls=Tls.OPPORTUNISTIC, context=trusts_nobody)
    at = next(number for number, line in enumerate(lines) if "certificate not accepted" in line)
    assert lines[at + 1] == "* TLS was not demanded: once more, in clear"
    assert "< 450 4.2.1 busy" in lines[at:]


async def test_the_session_says_how_safe_it_is(body: Body, server_tls: ssl.SSLContext, trusting: ssl.SSLContext) -> None:
    async with Peer([("RCPT", b"450 4.2.1 busy\r\n")], tls=server_tls) as peer:
        lines = await said(peer, body=body, tls=Tls.REQUIRED, context=trusting, name="mx.example")
    assert lines[lines.index("> STARTTLS") + 2].startswith("* TLSv1.3 ")


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "SCRAM-SHA-256"])
async def test_no_secret_is_shown_even_where_the_server_says_it_again(
    mechanism: str, body: Body, server_tls: ssl.SSLContext, trusting: ssl.SSLContext
) -> None:
    refused = {"PLAIN": base64.b64encode(b"\0ann\0secret"), "LOGIN": base64.b64encode(b"ann"), "SCRAM-SHA-256": b"nothing"}
    rules = [
        ("AUTH LOGIN", b"334 VXNlcm5hbWU6\r\n"),
        ("(?!STARTTLS)[A-Za-z0-9+/=]{4,}$|AUTH", b"535 5.7.8 wrong: %s\r\n" % refused[mechanism]),
    ]
    async with Peer(rules, extensions=(f"AUTH {mechanism}",), tls=server_tls) as peer:
        credentials = Credentials("ann", "secret")
        lines = await said(peer, body=body, tls=Tls.REQUIRED, credentials=credentials, context=trusting, name="mx.example")
        sent = [line.decode() for line in peer.commands[3:-1]]
    shown = " ".join(lines)
    assert f"> AUTH {mechanism}" in shown
    assert "< 535 5.7.8 wrong: " in shown
    assert refused[mechanism].decode() not in shown.replace("wrong: nothing", "")
    for line in sent:
        assert line.removeprefix(f"AUTH {mechanism}").strip() not in shown or line == f"AUTH {mechanism}"


async def test_a_reply_that_did_not_come_leaves_its_command_and_the_reason(body: Body) -> None:
    async with Peer([("MAIL", HANG)]) as peer:
        lines = await said(peer, body=body, timeouts=Timeouts(command=0.05, quit=1))
    at = lines.index("> MAIL FROM:<ann@example.com> SIZE=27")
    assert lines[at:] == (
        "> MAIL FROM:<ann@example.com> SIZE=27",
        "> RCPT TO:<bob@example.org>",
        "> DATA",
        "* mx0.example: no answer in time",
    )


async def test_a_message_that_is_not_sent_to_a_host_says_why(body: Body) -> None:
    async with Peer(extensions=("SIZE 5",)) as peer:
        lines = await said(peer, body=body)
    assert lines[-1].startswith("* not sent to this host: 552 5.3.4 ")


async def test_a_recipient_that_cannot_be_named_to_a_host_says_why(body: Body) -> None:
    async with Peer([("RCPT", b"450 4.2.1 busy\r\n")]) as peer:
        lines = await said(peer, body=body, to=("grün@example.org", BOB))
    assert "> RCPT TO:<bob@example.org>" in lines
    assert [line for line in lines if line.startswith("* not sent to this host: 55")]


async def test_hosts_for_which_no_time_is_left_are_named_as_such(body: Body) -> None:
    async with Peer([(GREETING.decode(), HANG)]) as first, Peer() as second:
        lines = await said(first, second, body=body, timeouts=replace(Timeouts(quit=1), opening=0.1))
        assert second.connections == 0
    assert lines[-1] == "* no time is left for the other hosts and addresses"


def test_there_is_an_end_to_it() -> None:
    transcript = Transcript()
    for number in range(100):
        transcript.add(f"{number} \x1b[2J\r\n" + "x" * 1000 * (number % 2))
    lines = transcript.lines()
    assert len(lines) == MOST_LINES
    assert lines[0] == "* 61 lines before these are left out"
    assert lines[-2] == "* 98 \\x1b[2J\\x0d\\x0a"
    assert all(line.isprintable() and len(line) <= LONGEST_LINE for line in lines)


def test_recipients_that_were_accepted_are_counted_and_refused_ones_shown() -> None:
    good, bad = Reply(250, "fine"), Reply(550, "no", "5.1.1")
    heard = [Response(Rcpt(f"user{at}@example.org"), bad if at == 50 else good) for at in range(100)]
    transcript = Transcript()
    transcript.add(Transaction([], WHO, heard=heard))
    assert transcript.lines() == (
        "* connected to mx.example",
        "> RCPT TO:<user0@example.org>",
        "< 250 fine",
        "> RCPT TO:<user1@example.org>",
        "< 250 fine",
        "> RCPT TO:<user2@example.org>",
        "< 250 fine",
        "* 47 more recipients were accepted",
        "> RCPT TO:<user50@example.org>",
        "< 550 5.1.1 no",
        "> RCPT TO:<user51@example.org>",
        "< 250 fine",
        "> RCPT TO:<user52@example.org>",
        "< 250 fine",
        "> RCPT TO:<user53@example.org>",
        "< 250 fine",
        "* 46 more recipients were accepted",
    )


async def test_of_several_transactions_those_that_went_well_are_one_line(body: Body) -> None:
    to = [f"user{at}@example.org" for at in range(250)]
    async with Peer([("RCPT TO:<user30@", b"550 5.1.1 no\r\n")], extensions=("PIPELINING", "LIMITS RCPTMAX=100")) as peer:
        lines = await said(peer, body=body, to=to)
    assert sum(line.startswith("> EHLO") for line in lines) == 1
    assert lines[lines.index("> RCPT TO:<user30@example.org>") + 1] == "< 550 5.1.1 no"
    assert lines[-2:] == ("* all went well for 100 recipients", "* all went well for 50 recipients")


def test_challenges_and_responses_are_not_shown() -> None:
    heard = [
        Response(Auth("CRAM-MD5"), Reply(334, "Y2hhbGxlbmdl")),
        Response(AuthResponse(b"ann digest"), Reply(235, "welcome", "2.7.0")),
        Response(Noop(), Reply(250, "ok")),
    ]
    assert list(session_lines(WHO, heard))[1:] == [
        "> AUTH CRAM-MD5", "< 334 ***", "> ***", "< 235 2.7.0 welcome", "> NOOP", "< 250 ok",
    ]  # fmt: skip


async def test_a_host_that_greets_slowly_does_not_hold_an_attempt_longer_than_the_opening_may_take(body: Body) -> None:
    async with Peer([(GREETING.decode(), HANG)]) as one, Peer([("EHLO", HANG)]) as other:
        loop = asyncio.get_running_loop()
        before = loop.time()
        await said(one, other, body=body, timeouts=replace(Timeouts(quit=0.1), greeting=0.2, opening=0.3))
        assert loop.time() - before < 2
