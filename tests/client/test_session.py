"""Greeting, EHLO and STARTTLS: what is asked of TLS decides, never what the server says."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable

import pytest
import trustme

from waymail.client.asynchronous import AsyncIo
from waymail.client.connection import Connection
from waymail.client.errors import ConnectionFailed, SMTPError, TlsError
from waymail.client.session import Contexts, open_session
from waymail.client.target import Credentials, Host, Tls
from waymail.client.transaction import Timeouts
from waymail.testing.peer import DROP, GREETING, HANG, Answer, Peer, Rule

Connect = Callable[..., Awaitable[Connection]]
ANN = Credentials("ann", "secret word")


# --- greeting and EHLO


async def test_we_name_ourselves_by_our_address_where_we_have_no_name() -> None:
    async with Peer() as peer:
        connection = await open_session(AsyncIo(), Host("mx.example", peer.port), peer.host, tls=Tls.OFF)
        assert peer.commands == [b"EHLO [127.0.0.1]"]
        await connection.quit()


@pytest.mark.parametrize("refusal", [b"500 what?\r\n", b"502 no\r\n"])
async def test_ehlo_refused_as_unknown_is_followed_by_helo_once(connect: Connect, refusal: bytes) -> None:
    async with Peer([("EHLO", refusal)]) as peer:
        connection = await connect(peer)
        assert peer.commands == [b"EHLO client.example", b"HELO client.example"]
        assert dict(connection.core.extensions) == {}


async def test_helo_refused_as_well_is_the_end(connect: Connect) -> None:
    async with Peer([("EHLO|HELO", b"502 no\r\n")]) as peer:
        with pytest.raises(ConnectionFailed) as caught:
            await connect(peer)
        assert caught.value.reply is not None
        assert caught.value.reply.code == 502
        assert peer.commands[:2] == [b"EHLO client.example", b"HELO client.example"]


@pytest.mark.parametrize("refusal", [b"550 5.7.1 not you\r\n", b"451 4.3.0 later\r\n"])
async def test_ehlo_refused_otherwise_is_not_followed_by_helo(connect: Connect, refusal: bytes) -> None:
    async with Peer([("EHLO", refusal)]) as peer:
        with pytest.raises(ConnectionFailed) as caught:
            await connect(peer)
        assert caught.value.is_temporary == refusal.startswith(b"4")
        assert b"HELO client.example" not in peer.commands


@pytest.mark.parametrize("greeting", [b"554 no mail here\r\n", b"521 never\r\n", b"421 full\r\n", b"450 later\r\n"])
async def test_a_greeting_that_refuses_is_the_error_s_reply(connect: Connect, greeting: bytes) -> None:
    async with Peer([(GREETING.decode(), greeting)]) as peer:
        with pytest.raises(ConnectionFailed) as caught:
            await connect(peer)
        assert caught.value.reply is not None
        assert caught.value.reply.code == int(greeting[:3])
        assert caught.value.peer is not None
        assert caught.value.peer.address == "127.0.0.1"


@pytest.mark.parametrize("greeting", [b"HTTP/1.1 400 Bad Request\r\n", b"* OK IMAP4 ready\r\n", DROP, HANG])
async def test_a_server_of_another_kind_is_a_connection_that_failed(connect: Connect, greeting: Answer) -> None:
    async with Peer([(GREETING.decode(), greeting)]) as peer:
        with pytest.raises(ConnectionFailed):
            await connect(peer, timeouts=Timeouts(greeting=0.2))


async def test_no_server_is_a_connection_that_failed(connect: Connect) -> None:
    async with Peer() as peer:
        await peer.stop()
        with pytest.raises(ConnectionFailed):
            await connect(peer)


# --- TLS


async def test_starttls_is_used_and_everything_learnt_before_it_forgotten(connect: Connect, server_tls: ssl.SSLContext) -> None:
    hellos = iter([b"250-peer.example\r\n250-STARTTLS\r\n250-SIZE 7\r\n250 PIPELINING\r\n"])
    async with Peer([("EHLO", lambda _: next(hellos, None))], extensions=("8BITMIME",), tls=server_tls) as peer:
        connection = await connect(peer, tls=Tls.REQUIRED)
        assert peer.commands == [b"EHLO client.example", b"STARTTLS", b"EHLO client.example"]
        assert set(connection.core.extensions) == {"8BITMIME"}
        assert connection.peer.tls.startswith("TLSv1.3 ")
        assert connection.peer.tls.endswith(" verified")
        assert connection.is_confidential


async def test_implicit_tls_speaks_tls_from_the_first_octet(connect: Connect, server_tls: ssl.SSLContext) -> None:
    async with Peer(tls=server_tls, implicit_tls=True) as peer:
        connection = await connect(peer, tls=Tls.IMPLICIT)
        assert peer.commands == [b"EHLO client.example"]
        assert connection.peer.tls.endswith(" verified")


@pytest.mark.parametrize(
    "rules",
    [
        [],  # STARTTLS is not offered
        [("EHLO", b"502 no\r\n")],  # HELO knows no extensions
        [(GREETING.decode(), b"250 already secure\r\n")],
        [("EHLO", b"250-peer.example\r\n250 STARTTLS\r\n"), ("STARTTLS", b"454 4.7.0 not now\r\n")],
        [("EHLO", b"250-peer.example\r\n250 STARTTLS\r\n"), ("STARTTLS", b"554 5.7.0 never\r\n")],
        [("EHLO", b"250-peer.example\r\n250 STARTTLS\r\n"), ("STARTTLS", b"250 fine\r\n")],
        [("EHLO", b"250-peer.example\r\n250 STARTTLS\r\n"), ("STARTTLS", b"421 bye\r\n")],
        [("EHLO", b"250-peer.example\r\n250 STARTTLS\r\n"), ("STARTTLS", DROP)],
        [("EHLO", b"250-peer.example\r\n250 STARTTLS\r\n"), ("STARTTLS", [b"220 go on\r\n", DROP])],
        [("EHLO", b"250-peer.example\r\n250 STARTTLS\r\n"), ("STARTTLS", b"454 no\r\n235 you are in\r\n250 ok\r\n354 go on\r\n")],
    ],
    ids=["absent", "helo", "250 greeting", "454", "554", "250", "421", "drop", "drop after 220", "pipelined 454"],
)
async def test_tls_that_is_demanded_is_never_done_without(connect: Connect, rules: list[Rule]) -> None:
    async with Peer(rules, extensions=("AUTH PLAIN",)) as peer:
        with pytest.raises(TlsError) as caught:
            await connect(peer, tls=Tls.REQUIRED, credentials=ANN)
        assert caught.value.is_temporary
        assert {line.split()[0] for line in peer.commands} <= {b"EHLO", b"HELO", b"STARTTLS", b"QUIT"}


@pytest.mark.parametrize("behind", [b"250-peer.example\r\n250 AUTH PLAIN\r\n", b"2", b"250-", b"250-x\r\n"])
@pytest.mark.parametrize("in_one_segment", [True, False])
async def test_replies_injected_behind_the_answer_to_starttls_are_never_read(
    connect: Connect, server_tls: ssl.SSLContext, behind: bytes, in_one_segment: bool
) -> None:
    answer: Answer = b"220 go on\r\n" + behind if in_one_segment else [b"220 go on\r\n", behind]
    async with Peer([("STARTTLS", answer)], tls=server_tls) as peer:
        with pytest.raises(TlsError):
            await connect(peer, tls=Tls.REQUIRED)
        assert peer.commands.count(b"EHLO client.example") == 1


async def test_a_certificate_of_an_unknown_authority_is_refused(connect: Connect, server_tls: ssl.SSLContext) -> None:
    async with Peer(tls=server_tls) as peer:
        with pytest.raises(TlsError, match="certificate"):
            await connect(peer, tls=Tls.REQUIRED, context=ssl.create_default_context())


async def test_a_certificate_for_another_name_is_refused(connect: Connect, server_tls: ssl.SSLContext) -> None:
    for demand, implicit in ((Tls.REQUIRED, False), (Tls.IMPLICIT, True)):
        async with Peer(tls=server_tls, implicit_tls=implicit) as peer:
            with pytest.raises(TlsError):
                await connect(peer, tls=demand, name="other.example")


@pytest.mark.parametrize(
    ("certificate", "common_name", "host", "good"),
    [
        ("*.example.org", None, "mx.example.org", True),
        ("*.example.org", None, "a.mx.example.org", False),
        ("other.example", "mx.example", "mx.example", False),
    ],
    ids=["wildcard", "wildcard of one label", "common name"],
)
async def test_the_name_is_looked_for_in_san_alone_and_a_wildcard_is_one_label(
    connect: Connect, authority: trustme.CA, certificate: str, common_name: str | None, host: str, good: bool
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(certificate, common_name=common_name).configure_cert(context)
    async with Peer(tls=context) as peer:
        if good:
            assert (await connect(peer, tls=Tls.REQUIRED, name=host)).is_confidential
        else:
            with pytest.raises(TlsError):
                await connect(peer, tls=Tls.REQUIRED, name=host)


async def test_opportunistic_tls_takes_any_certificate_and_says_so(server_tls: ssl.SSLContext) -> None:
    async with Peer(tls=server_tls) as peer:
        connection = await open_session(AsyncIo(), Host("other.example", peer.port), peer.host, tls=Tls.OPPORTUNISTIC)
        assert connection.peer.tls.endswith(" unverified")
        assert not connection.is_confidential
        await connection.quit()


async def test_opportunistic_tls_does_without_where_it_is_not_offered(connect: Connect) -> None:
    async with Peer() as peer:
        connection = await connect(peer, tls=Tls.OPPORTUNISTIC)
        assert connection.peer.tls == ""
        assert peer.commands == [b"EHLO client.example"]


async def test_tls_off_is_cleartext_even_where_starttls_is_offered(connect: Connect, server_tls: ssl.SSLContext) -> None:
    async with Peer(tls=server_tls) as peer:
        await connect(peer, tls=Tls.OFF)
        assert peer.commands == [b"EHLO client.example"]


async def test_a_handshake_that_does_not_end_is_given_up(connect: Connect) -> None:
    rules: list[Rule] = [("EHLO", b"250-peer.example\r\n250 STARTTLS\r\n"), ("STARTTLS", [b"220 go on\r\n", HANG])]
    async with Peer(rules) as peer:
        with pytest.raises(TlsError):
            await connect(peer, tls=Tls.REQUIRED, timeouts=Timeouts(tls=0.2))


async def test_every_failure_is_one_base_and_leaves_nothing_open(connect: Connect, server_tls: ssl.SSLContext) -> None:
    async with Peer(tls=server_tls) as peer:
        with pytest.raises(SMTPError):
            await connect(peer, tls=Tls.REQUIRED, name="other.example")
        with pytest.raises(SMTPError):
            await connect(peer, credentials=ANN)
        assert peer.commands[-1] == b"QUIT"


async def test_contexts_are_made_where_none_are_given() -> None:
    assert Contexts().of(Tls.REQUIRED).verify_mode is ssl.CERT_REQUIRED
    assert Contexts().of(Tls.OPPORTUNISTIC).verify_mode is ssl.CERT_NONE
