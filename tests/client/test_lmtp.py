"""LMTP (RFC 2033): LHLO, and after the content a reply for each recipient."""

from __future__ import annotations

import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

import waymail
from waymail.client.asynchronous import AsyncIo
from waymail.client.attempt import Attempts, Stage
from waymail.client.connection import Connection
from waymail.client.errors import ConnectionFailed, UncertainDelivery
from waymail.client.session import Contexts
from waymail.client.target import Host, NextHop, Tls
from waymail.client.transaction import Message, Timeouts
from waymail.mail.envelope import Body, DeliverBy, Options
from waymail.testing.peer import DROP, END, GREETING, Peer

SENDER, BOB, CARL, DORA = "ann@example.com", "bob@example.org", "carl@example.org", "dora@example.org"
EXTENSIONS = [("PIPELINING", "8BITMIME"), ("PIPELINING", "CHUNKING"), ()]
FULL = (f"{END.decode()} RCPT TO:<carl", b"452 4.2.2 full\r\n")
LOST = (f"{END.decode()} RCPT TO:<carl", DROP)


def hop(peer: Peer, path: str = "", tls: Tls = Tls.OFF) -> NextHop:
    host = Host("mx.example", peer.port, () if path else (peer.host,), path)
    return NextHop("lmtp", (host,), tls, None, True)


@pytest.fixture
async def attempts(trusting: ssl.SSLContext) -> AsyncIterator[Attempts]:
    attempts = Attempts(AsyncIo(), hello_name="client.example", contexts=Contexts(trusting), timeouts=Timeouts(connect=5, quit=1))
    yield attempts
    await attempts.close()


@pytest.mark.parametrize("extensions", EXTENSIONS)
async def test_each_recipient_has_the_reply_that_was_given_for_it(
    attempts: Attempts, body: Body, extensions: tuple[str, ...]
) -> None:
    rules = [FULL, ("RCPT TO:<dora", b"550 5.1.1 no\r\n")]
    async with Peer(rules, lmtp=True, extensions=extensions) as peer:
        results = await attempts.make(hop(peer), Message(SENDER, body), [BOB, CARL, DORA])
        assert results[BOB].is_accepted
        assert results[BOB].final
        assert (results[CARL].stage, str(results[CARL].reply)) == (Stage.CONTENT, "452 4.2.2 full")
        assert (results[DORA].stage, str(results[DORA].reply)) == (Stage.RCPT, "550 5.1.1 no")
        assert peer.commands[0] == b"LHLO client.example"
        assert [message.rcpt for message in peer.messages] == [[b"RCPT TO:<bob@example.org>"]]
        assert peer.messages[0].content == body.content


@pytest.mark.parametrize("extensions", EXTENSIONS)
async def test_the_connection_serves_the_next_message(attempts: Attempts, body: Body, extensions: tuple[str, ...]) -> None:
    async with Peer(lmtp=True, extensions=extensions) as peer:
        for _ in range(3):
            results = await attempts.make(hop(peer), Message(SENDER, body), [BOB, CARL])
            assert all(result.is_accepted for result in results.values())
        assert peer.connections == 1
        assert b"RSET" not in peer.commands


@pytest.mark.parametrize("extensions", EXTENSIONS)
async def test_a_connection_lost_between_the_replies_leaves_only_the_others_open(
    attempts: Attempts, body: Body, extensions: tuple[str, ...]
) -> None:
    async with Peer([LOST], lmtp=True, extensions=extensions) as peer:
        results = await attempts.make(hop(peer), Message(SENDER, body), [BOB, CARL, DORA])
        assert results[BOB].is_accepted
        assert isinstance(results[CARL].trouble, UncertainDelivery)
        assert isinstance(results[DORA].trouble, UncertainDelivery)


@pytest.mark.parametrize("extensions", EXTENSIONS)
async def test_no_content_is_sent_where_no_recipient_stands(attempts: Attempts, body: Body, extensions: tuple[str, ...]) -> None:
    async with Peer([("RCPT", b"550 5.1.1 no\r\n")], lmtp=True, extensions=extensions) as peer:
        for _ in range(2):
            results = await attempts.make(hop(peer), Message(SENDER, body), [BOB])
            assert results[BOB].stage is Stage.RCPT
        assert peer.connections == 1
        assert not [line for line in peer.commands if line.startswith(b"BDAT")]


async def test_data_refused_is_the_reply_for_all(attempts: Attempts, body: Body) -> None:
    async with Peer([("DATA", b"451 4.3.0 later\r\n")], lmtp=True) as peer:
        results = await attempts.make(hop(peer), Message(SENDER, body), [BOB, CARL])
        assert {str(result.reply) for result in results.values()} == {"451 4.3.0 later"}


async def test_a_server_that_offers_chunking_and_does_not_know_bdat_gets_data(attempts: Attempts, body: Body) -> None:
    async with Peer([("BDAT", b"502 5.5.1 what\r\n")], lmtp=True, extensions=("PIPELINING", "CHUNKING")) as peer:
        results = await attempts.make(hop(peer), Message(SENDER, body), [BOB, CARL])
        assert all(result.is_accepted for result in results.values())


async def test_helo_is_never_said_to_an_lmtp_server(attempts: Attempts, body: Body) -> None:
    async with Peer([("LHLO", b"500 5.5.1 what\r\n")], lmtp=True) as peer:
        results = await attempts.make(hop(peer), Message(SENDER, body), [BOB])
        assert isinstance(results[BOB].trouble, ConnectionFailed)
        assert peer.commands == [b"LHLO client.example", b"QUIT"]


async def test_starttls_is_used_where_it_is_offered(attempts: Attempts, body: Body, server_tls: ssl.SSLContext) -> None:
    async with Peer(lmtp=True, tls=server_tls) as peer:
        results = await attempts.make(hop(peer, tls=Tls.OPPORTUNISTIC), Message(SENDER, body), [BOB])
        assert results[BOB].is_accepted
        assert peer.commands[:3] == [b"LHLO client.example", b"STARTTLS", b"LHLO client.example"]


async def test_a_unix_domain_socket_is_a_way_to_deliver(attempts: Attempts, body: Body, tmp_path: Path) -> None:
    path = str(tmp_path / "lmtp")
    async with Peer(lmtp=True, path=path) as peer:
        results = await attempts.make(hop(peer, path), Message(SENDER, body), [BOB])
        assert results[BOB].is_accepted
        assert peer.messages[0].content == body.content


async def test_a_server_that_offers_dsn_tells_the_sender_itself(attempts: Attempts, body: Body) -> None:
    for extensions, final in (((), True), (("DSN",), False)):
        async with Peer(lmtp=True, extensions=extensions) as peer:
            results = await attempts.make(hop(peer), Message(SENDER, body), [BOB])
            assert (results[BOB].final, results[BOB].dsn) == (final, not final)
            await attempts.close()


async def test_what_stays_on_this_machine_needs_no_tls_and_what_is_delivered_now_no_promise(
    attempts: Attempts, body: Body, tmp_path: Path
) -> None:
    tls = Options(require_tls=True)
    soon = Options(deliver_by=DeliverBy(time.time() + 60, "R"))
    late = Options(deliver_by=DeliverBy(time.time() - 60, "R"))
    path = str(tmp_path / "lmtp")
    for target, options, status in (
        (path, tls, ""),
        ("", tls, "5.7.30"),
        (path, soon, ""),
        ("", soon, ""),
        (path, late, "5.4.7"),
    ):
        async with Peer(lmtp=True, path=target) as peer:
            results = await attempts.make(hop(peer, target), Message(SENDER, body, options=options), [BOB])
            assert results[BOB].is_accepted is not bool(status)
            assert status in str(results[BOB].reply)
            await attempts.close()


async def test_a_socket_that_is_not_there_is_a_failure_for_now(attempts: Attempts, body: Body, tmp_path: Path) -> None:
    results = await attempts.make(hop(Peer(), str(tmp_path / "none")), Message(SENDER, body), [BOB])
    trouble = results[BOB].trouble
    assert isinstance(trouble, ConnectionFailed)
    assert trouble.is_temporary


async def test_the_public_client_takes_both_kinds_of_url(tmp_path: Path) -> None:
    path = str(tmp_path / "lmtp")
    for peer, url in ((Peer(lmtp=True, path=path), f"lmtp:{path}"), (Peer([FULL], lmtp=True), "")):
        async with peer:
            result = await waymail.send(
                b"Subject: x\r\n\r\nhello\r\n", url or f"lmtp://{peer.address}", sender=SENDER, recipients=[BOB, CARL]
            )
            assert BOB in result.accepted
            assert list(result.refused) == ([] if url else [CARL])


async def test_a_greeting_that_refuses_is_a_refusal(connect: Callable[..., Awaitable[Connection]]) -> None:
    async with Peer([(GREETING.decode(), b"554 5.3.2 no\r\n")], lmtp=True) as peer:
        with pytest.raises(ConnectionFailed):
            await connect(peer, lmtp=True)
