"""The servers of test_bad_servers and test_handshakes against `waymail.sync`: a blocking socket waits no longer, either."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Sequence

import pytest
import trustme
from tests.hostile.test_bad_servers import MESSAGE, MOMENTS, NO_REPLIES, PATIENCE, SCRIPTS, Dripping
from tests.hostile.test_handshakes import STRIPPED

import waymail
import waymail.sync
from waymail.testing.peer import DROP, END, HANG, Peer, Rule

SECONDS = 0.2  # for a message as a whole


async def told(peer: Peer, query: str = "?tls=off", user: str = "", **settings: object) -> waymail.SMTPError:
    """What a program is told, within the time. Nothing was accepted then."""
    url = f"smtp://{user}{peer.address}{query}"
    started = time.monotonic()
    with pytest.raises(waymail.SMTPError) as raised:
        await asyncio.to_thread(waymail.sync.send, MESSAGE, url, **{"timeout": SECONDS, **settings})  # type: ignore[arg-type]
    assert time.monotonic() - started < PATIENCE
    assert 0 < len(str(raised.value)) < 20_000
    return raised.value


async def at_once(*scripts: Sequence[Rule]) -> list[waymail.SMTPError]:
    """What is told of several servers, which are asked at the same time."""

    async def one(rules: Sequence[Rule]) -> waymail.SMTPError:
        async with Peer(rules) as peer:
            return await told(peer)

    return list(await asyncio.gather(*map(one, scripts)))


@pytest.mark.parametrize("name", NO_REPLIES)
async def test_what_is_no_reply_is_a_typed_error_at_every_moment(name: str) -> None:
    await at_once(*([(moment, NO_REPLIES[name])] for moment in MOMENTS))


async def test_silence_and_a_lost_connection_are_typed_errors_at_every_moment() -> None:
    for fault in (HANG, DROP):
        errors = await at_once(*([(moment, fault)] for moment in MOMENTS))
        assert [isinstance(error, waymail.UncertainDelivery) for error in errors] == [
            moment == END.decode() for moment in MOMENTS
        ]


async def test_a_reply_of_an_octet_now_and_then_is_not_waited_for() -> None:
    """Each octet comes in time, the reply never does."""
    for moment in ("EHLO", "RCPT"):
        server = await asyncio.start_server(Dripping(moment).serve, "127.0.0.1", 0)
        peer = Peer()
        peer.port = server.sockets[0].getsockname()[1]
        started = time.monotonic()
        await told(peer)
        assert time.monotonic() - started < SECONDS * 4
        server.close()


async def test_a_server_that_is_out_of_step_has_not_taken_the_message() -> None:
    await at_once(*SCRIPTS.values())


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def serving(authority: trustme.CA, name: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


@pytest.fixture
def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@pytest.mark.parametrize("name", STRIPPED)
async def test_a_stripped_starttls_gives_nothing_away(authority: trustme.CA, trusting: ssl.SSLContext, name: str) -> None:
    offered = ("AUTH PLAIN LOGIN",) if name == "no STARTTLS" else ("STARTTLS", "AUTH PLAIN LOGIN")
    context = serving(authority, "127.0.0.1") if "220" in name else None
    async with Peer(STRIPPED[name], extensions=offered, tls=context) as peer:
        error = await told(peer, "", "ann:secret@", tls_context=trusting, timeout=2)
        assert isinstance(error, waymail.TlsError)
        assert {line[:4].upper() for line in peer.commands} <= {b"EHLO", b"STAR", b"QUIT"}


@pytest.mark.parametrize("implicit", [False, True])
async def test_a_certificate_for_another_name_or_a_silent_handshake_gets_no_password(
    authority: trustme.CA, trusting: ssl.SSLContext, implicit: bool
) -> None:
    scheme = "smtps" if implicit else "smtp"
    async with Peer(tls=serving(authority, "other.example"), implicit_tls=implicit, extensions=("AUTH PLAIN",)) as peer:
        with pytest.raises(waymail.TlsError, match="certificate"):
            await asyncio.to_thread(
                waymail.sync.send, MESSAGE, f"{scheme}://ann:secret@{peer.address}", tls_context=trusting, timeout=2
            )
        assert not [line for line in peer.commands if line.startswith((b"AUTH", b"MAIL"))]
    silent = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    peer = Peer()
    peer.port = silent.sockets[0].getsockname()[1]
    started = time.monotonic()
    with pytest.raises(waymail.SMTPError):
        await asyncio.to_thread(waymail.sync.send, MESSAGE, f"{scheme}://{peer.address}", timeout=SECONDS)
    assert time.monotonic() - started < PATIENCE
    silent.close()
