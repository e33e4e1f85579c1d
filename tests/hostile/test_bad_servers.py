"""Servers that try to keep our client for ever, to fill its memory, or to make it say what it should not.

Always the same promise: a typed error, or an outcome for every recipient, within the time; and nothing went out that should not.
"""

from __future__ import annotations

import asyncio
import base64
import random
import resource
import time
from collections.abc import Callable

import pytest
import uvloop

import waymail
from waymail.client import mx
from waymail.client.errors import SMTPError
from waymail.client.target import Host, NextHop, Tls
from waymail.client.transaction import Timeouts
from waymail.delivery.smtp import SmtpTransport
from waymail.mail.envelope import Body, Envelope, Recipient
from waymail.mail.outcome import Deferred, Delivered, Failed, Outcome
from waymail.net.drive import drive
from waymail.testing.peer import DROP, END, GREETING, HANG, Peer, Rule
from waymail.testing.zone import Zone

SECONDS = 0.15  # that each step may take
QUICK = Timeouts(connect=1, tls=SECONDS, greeting=SECONDS, command=SECONDS, data=SECONDS, block=SECONDS, final=SECONDS, quit=0.1)
PATIENCE = 3.0  # seconds, above what all steps of any script here may take together
MESSAGE = b"From: ann@example.org\r\nTo: bob@example.net\r\nSubject: x\r\n\r\nHello\r\n"
ENVELOPE = Envelope("0" * 13, "ann@example.org", (Recipient("bob@example.net"), Recipient("carol@example.net")), 0.0)


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"uvloop": uvloop.new_event_loop}


async def relay(*peers: Peer, tls: Tls = Tls.OFF) -> dict[str, Outcome]:
    """What the relay makes of these hosts, within the time."""
    hosts = tuple(Host("127.0.0.1", peer.port, ("127.0.0.1",)) for peer in peers)
    transport = SmtpTransport(hello_name="mail.example.org", timeouts=QUICK)
    try:
        async with asyncio.timeout(PATIENCE):
            return await transport.deliver(NextHop("x", hosts, tls), ENVELOPE, Body(MESSAGE, len(MESSAGE)), ENVELOPE.recipients)
    finally:
        await transport.close()


async def program(peer: Peer) -> str:
    """What a program is told, "" for success."""
    try:
        async with asyncio.timeout(PATIENCE):
            await waymail.send(MESSAGE, f"smtp://{peer.address}?tls=off", timeout=SECONDS * 2)
    except SMTPError as error:
        return str(error)
    return ""


HUGE = b"x" * 3_000_000
LINES = b"250-more\r\n" * 100_000
NO_REPLIES: dict[str, bytes] = {
    "000": b"000 what\r\n",
    "999": b"999 what\r\n",
    "199": b"199 what\r\n",
    "a hyphen": b"-\r\n",
    "no code": b"hello\r\n",
    "two digits": b"25 OK\r\n",
    "four digits": b"2500 OK\r\n",
    "letters": b"2x0 OK\r\n",
    "other digits": "٢٥٠ OK\r\n".encode(),
    "nul": b"\0\0\0\r\n",
    "eight bit": b"\xff\xfe\r\n",
    "nul in front": b"\x00250 OK\r\n",
    "an empty line": b"\r\n",
    "empty lines": b"\r\n" * 10_000,
    "lines without end": LINES,
    "a line without end": b"250 " + HUGE,
    "a continued line without end": b"250-" + HUGE,
    "codes that change": b"250-a\r\n550 b\r\n",
    "http": b"HTTP/1.1 400 Bad Request\r\nServer: x\r\n\r\n<html>",
    "tls": b"\x15\x03\x03\x00\x02\x02\x16",
}
MOMENTS = [GREETING.decode(), "EHLO", "MAIL", "RCPT", "DATA", END.decode()]


@pytest.mark.parametrize("name", NO_REPLIES)
async def test_what_is_no_reply_is_an_outcome_at_every_moment(name: str) -> None:
    async with asyncio.TaskGroup() as group:
        for moment in MOMENTS:
            group.create_task(no_reply(moment, NO_REPLIES[name]))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 1_000_000  # kilobytes


async def no_reply(moment: str, octets: bytes) -> None:
    async with Peer([(moment, octets)]) as peer:
        outcomes = await relay(peer)
        assert all(isinstance(one, Deferred) for one in outcomes.values()), (moment, outcomes)
        assert set(outcomes) == {"bob@example.net", "carol@example.net"}
        assert 0 < len(await program(peer)) < 20_000


@pytest.mark.parametrize("moment", MOMENTS)
async def test_a_reply_of_an_octet_now_and_then_is_not_waited_for(moment: str) -> None:
    """Each octet comes in time, the reply never does."""
    server = await asyncio.start_server(Dripping(moment).serve, "127.0.0.1", 0)
    peer = Peer()
    peer.port = server.sockets[0].getsockname()[1]
    started = time.monotonic()
    outcomes = await relay(peer)
    assert time.monotonic() - started < SECONDS * 4
    assert all(isinstance(one, Deferred) for one in outcomes.values())
    server.close()


class Dripping:
    """A server that answers as it should until `moment`, and then says an octet of a reply every 50 ms."""

    def __init__(self, moment: str) -> None:
        self._moment = moment.encode()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        said = [b"220 x\r\n", b"250-x\r\n250 SIZE\r\n", b"250 OK\r\n", b"250 OK\r\n", b"250 OK\r\n", b"354 go on\r\n"]
        verbs = [GREETING, b"EHLO", b"MAIL", b"RCPT", b"RCPT", b"DATA"]
        try:
            for verb, reply in zip(verbs, said, strict=True):
                if verb != GREETING:
                    await reader.readline()
                if verb == self._moment:
                    break
                writer.write(reply)
            else:
                await reader.readuntil(b"\r\n.\r\n")
            for octet in b"250-" + b"x" * 200:
                writer.write(bytes([octet]))
                await asyncio.sleep(0.05)
        except (OSError, asyncio.IncompleteReadError):
            pass
        writer.transport.abort()


@pytest.mark.parametrize("moment", MOMENTS)
async def test_silence_is_deferred_at_every_moment(moment: str) -> None:
    async with Peer([(moment, HANG)]) as peer:
        outcomes = await relay(peer)
        assert all(isinstance(one, Deferred) for one in outcomes.values())
        assert all(one.uncertain == (moment == END.decode()) for one in outcomes.values() if isinstance(one, Deferred))


SCRIPTS: dict[str, list[Rule]] = {
    "354 to everything": [(verb, b"354 go on\r\n") for verb in ("EHLO", "HELO", "MAIL", "RCPT", "RSET", END.decode())],
    "334 to everything": [(verb, b"334 dGVsbCBtZQ==\r\n") for verb in ("EHLO", "HELO", "MAIL", "RCPT", "DATA")],
    "250 to DATA": [("DATA", b"250 taken already\r\n")],
    "replies before commands": [(GREETING.decode(), b"220 x\r\n250 x\r\n250 OK\r\n250 OK\r\n250 OK\r\n354 go\r\n250 taken\r\n")],
    "replies ahead of MAIL": [("EHLO", b"250 x\r\n250 OK\r\n250 OK\r\n354 go\r\n250 taken\r\n")],
    "two replies to DATA": [("DATA", b"354 go on\r\n250 taken\r\n")],
    "421 to everything": [(verb, b"421 4.3.2 no\r\n") for verb in (GREETING.decode(), "EHLO", "MAIL")],
    "220 and again 220": [(GREETING.decode(), b"220 x\r\n220 x\r\n")],
    "a greeting in the middle": [("MAIL", b"220 x ESMTP\r\n354 go\r\n")],
}


@pytest.mark.parametrize("name", SCRIPTS)
async def test_a_server_that_is_out_of_step_has_not_taken_the_message(name: str) -> None:
    async with Peer(SCRIPTS[name]) as peer:
        outcomes = await relay(peer)
        assert not [one for one in outcomes.values() if isinstance(one, Delivered)], outcomes
        assert await program(peer)


EHLO: dict[str, bytes] = {
    "gigabytes": b"".join(b"250-X%d %s\r\n" % (number, b"y" * 400) for number in range(20_000)) + b"250 END\r\n",
    "a thousand keywords": b"".join(b"250-X%d\r\n" % number for number in range(1000)) + b"250 END\r\n",
    "rcptmax 0": b"250-x\r\n250 LIMITS RCPTMAX=0\r\n",
    "rcptmax -1": b"250-x\r\n250 LIMITS RCPTMAX=-1 MAILMAX=-5\r\n",
    "rcptmax huge": b"250-x\r\n250 LIMITS RCPTMAX=" + b"9" * 300 + b" RCPTDOMAINMAX=0\r\n",
    "size huge": b"250-x\r\n250 SIZE " + b"9" * 400 + b"\r\n",
    "size of other digits": "250-x\r\n250 SIZE ٩٩\r\n".encode(),
    "size -1": b"250-x\r\n250 SIZE -1\r\n",
    "deliverby": b"250-x\r\n250-DELIVERBY " + b"9" * 300 + b"\r\n250 FUTURERELEASE x y z\r\n",
    "eight bit": b"250-\xff\xfe\xfd\r\n250-\x00\x01\r\n250 SIZE\r\n",
    "empty keywords": b"250-\r\n250-\r\n250 \r\n",
    "auth without end": b"250-x\r\n250 AUTH" + b" PLAIN" * 500 + b"\r\n",
}


@pytest.mark.parametrize("name", EHLO)
async def test_an_offer_out_of_all_measure_is_lived_with(name: str) -> None:
    """It is delivered, or not, but to nobody twice and without an error of ours."""
    async with Peer([("EHLO", EHLO[name])]) as peer:
        outcomes = await relay(peer)
        assert set(outcomes) == {"bob@example.net", "carol@example.net"}
        assert all(isinstance(one, Delivered | Deferred | Failed) for one in outcomes.values())
        asked = [line for line in peer.commands if line.startswith(b"RCPT")]
        assert len(asked) == len(set(asked))


@pytest.mark.parametrize("verb", ["EHLO", "MAIL", "RCPT", "DATA", END.decode()])
async def test_a_server_that_closes_after_a_verb_is_deferred(verb: str) -> None:
    async with Peer([(verb, DROP)]) as peer:
        outcomes = await relay(peer)
        assert all(isinstance(one, Deferred) for one in outcomes.values())


async def test_what_was_offered_and_is_then_refused_is_an_outcome() -> None:
    rules = [("BDAT", b"502 5.5.1 what?\r\n"), ("MAIL.*SMTPUTF8", b"555 5.5.4 what?\r\n")]
    async with Peer(rules, extensions=("PIPELINING", "CHUNKING", "BINARYMIME", "8BITMIME", "SMTPUTF8")) as peer:
        assert set(await relay(peer)) == {"bob@example.net", "carol@example.net"}
        async with asyncio.timeout(PATIENCE):
            with pytest.raises(SMTPError):
                await waymail.send(
                    MESSAGE, f"smtp://{peer.address}?tls=off", sender="ä@example.org", recipients=["bob@example.net"], timeout=2
                )


async def test_challenges_without_end_are_given_up() -> None:
    challenge = b"334 " + b"QUJD" * 500 + b"\r\n"
    rules = [("AUTH", challenge), ("[A-Za-z0-9+/=]*$", challenge)]
    for offered in ("AUTH SCRAM-SHA-256", "AUTH CRAM-MD5", "AUTH OAUTHBEARER"):
        async with Peer(rules, extensions=(offered,)) as peer:
            async with asyncio.timeout(PATIENCE):
                with pytest.raises(SMTPError):
                    await waymail.send(MESSAGE, f"smtp://ann:secret@{peer.address}?tls=off", timeout=2)


@pytest.mark.parametrize("count", [b"i=2147483647", b"i=99999999999999999999", b"i=0", b"i=-1"])
async def test_a_scram_that_asks_for_endless_hashing_is_refused(count: bytes) -> None:
    def challenge(line: bytes) -> bytes:
        first = base64.b64decode(line.split()[-1]).decode()
        nonce = first.rpartition("r=")[2]
        said = f"r={nonce}server,s=c2FsdA==,".encode() + count
        return b"334 " + base64.b64encode(said) + b"\r\n"

    async with Peer([("AUTH SCRAM", challenge)], extensions=("AUTH SCRAM-SHA-256",)) as peer:
        started = time.monotonic()
        with pytest.raises(SMTPError):
            await waymail.send(MESSAGE, f"smtp://ann:secret@{peer.address}?tls=off", timeout=5)
        assert time.monotonic() - started < 2.0


async def test_many_hostile_hosts_cost_a_bounded_number_of_attempts() -> None:
    peers = [Peer([(GREETING.decode(), b"421 4.3.2 no\r\n")]) for _ in range(8)]
    async with asyncio.TaskGroup() as group:
        for peer in peers:
            group.create_task(peer.__aenter__())
    try:
        outcomes = await relay(*peers)
        assert all(isinstance(one, Deferred) for one in outcomes.values())
        assert sum(peer.connections for peer in peers) == 5
    finally:
        for peer in peers:
            await peer.stop()


@pytest.mark.parametrize("address", ["127.0.0.1", "127.9.9.9", "0.0.0.0", "::1", "::", "::ffff:127.0.0.1", "192.0.2.25"])  # noqa: S104
@pytest.mark.parametrize("host", ["mx.evil.example", "mail.example.org", "evil.example", "localhost"])
async def test_an_mx_that_points_to_ourselves_is_a_loop(host: str, address: str) -> None:
    kind = "AAAA" if ":" in address else "A"
    zone = Zone({"evil.example": {"MX": [(10, host)]}, host: {"MX": [(10, host)], kind: [address]}})
    lookups = mx.next_hop("evil.example", own_names={"mail.example.org"}, own_addresses=["192.0.2.25"], rng=random.Random(1))
    found = await drive(lookups, zone, deadline=1)
    assert isinstance(found, Failed)
    assert found.reply.enhanced == "5.4.6"
