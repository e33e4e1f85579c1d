from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import trustme

from waymail.client.attempt import Result, Stage
from waymail.client.errors import AuthenticationFailed, ConnectionFailed, Disconnected, SMTPError, TlsError, UncertainDelivery
from waymail.client.session import Contexts
from waymail.client.target import Credentials, Host, NextHop, Tls
from waymail.delivery.smtp import SmtpTransport, outcome_of
from waymail.mail.envelope import Body, Envelope, Options, Recipient
from waymail.mail.outcome import Deferred, Delivered, Failed, Outcome, Peer
from waymail.testing.peer import DROP, END, GREETING, Answer
from waymail.testing.peer import Peer as Server
from waymail.wire.replies import Reply

BOB, CARL = Recipient("bob@example.org"), Recipient("carl@example.org")
CONTENT = b"Received: by here\r\nSubject: x\r\n\r\nhello\r\n"
BODY = Body(CONTENT, len(CONTENT))
ENVELOPE = Envelope("0123456789abc", "ann@example.com", (BOB, CARL), 0.0)
WHO = Peer("mx.example", "192.0.2.1", "TLSv1.3 x verified")


@pytest.fixture
async def transport() -> AsyncIterator[SmtpTransport]:
    transport = SmtpTransport(hello_name="mail.example.com")
    yield transport
    await transport.close()


def hop(server: Server, tls: Tls = Tls.OPPORTUNISTIC, credentials: Credentials | None = None) -> NextHop:
    return NextHop("example.org", (Host("mx.example", server.port, (server.host,)),), tls, credentials)


async def deliver(transport: SmtpTransport, next_hop: NextHop) -> list[Outcome]:
    outcomes = await transport.deliver(next_hop, ENVELOPE, BODY, (BOB, CARL))
    assert set(outcomes) == {BOB.address, CARL.address}
    return [outcomes[BOB.address], outcomes[CARL.address]]


async def test_a_message_is_delivered_and_the_outcome_names_who_took_it(transport: SmtpTransport) -> None:
    async with Server() as server:
        bob, carl = await deliver(transport, hop(server))
        assert bob == carl == Delivered(Reply(250, "taken as 1", "2.0.0"), Peer("mx.example", "127.0.0.1"))
        assert server.messages[0].content == CONTENT
        assert server.commands[0] == b"EHLO mail.example.com"


async def test_the_outcome_says_whether_the_next_host_takes_over_what_was_asked(transport: SmtpTransport) -> None:
    for extensions, dsn, deliver_by in (((), False, False), (("DSN",), True, False), (("DSN", "DELIVERBY 60"), True, True)):
        async with Server(extensions=extensions) as server:
            outcome = (await deliver(transport, hop(server)))[0]
            assert isinstance(outcome, Delivered)
            assert (outcome.final, outcome.dsn, outcome.deliver_by) == (False, dsn, deliver_by)


async def test_delivery_by_lmtp_is_final_and_has_an_outcome_for_each_recipient(transport: SmtpTransport) -> None:
    async with Server([(f"{END.decode()} RCPT TO:<carl", b"452 4.2.2 full\r\n")], lmtp=True) as server:
        bob, carl = await deliver(transport, replace(hop(server), lmtp=True))
        assert isinstance(bob, Delivered)
        assert bob.final
        assert isinstance(carl, Deferred)
        assert not carl.destination_down


async def test_a_relay_hands_on_what_was_asked_but_not_the_holding_which_is_over(transport: SmtpTransport) -> None:
    asked = Options(ret="HDRS", hold="for;60", hold_until=1.0)
    envelope = replace(ENVELOPE, options=asked, recipients=(Recipient(BOB.address, "boss@example.org", "NEVER"),))
    async with Server(extensions=("DSN", "FUTURERELEASE 100 2030-01-01T00:00:00Z")) as server:
        outcomes = await transport.deliver(hop(server), envelope, BODY, envelope.recipients)
        assert isinstance(outcomes[BOB.address], Delivered)
        assert server.messages[0].mail == b"MAIL FROM:<ann@example.com> RET=HDRS"
        assert server.messages[0].rcpt == [b"RCPT TO:<bob@example.org> NOTIFY=NEVER ORCPT=rfc822;boss@example.org"]
    async with Server() as server:
        outcomes = await transport.deliver(hop(server), envelope, BODY, envelope.recipients)
        assert isinstance(outcomes[BOB.address], Delivered)


async def test_each_recipient_has_an_outcome_of_its_own(transport: SmtpTransport) -> None:
    async with Server([("RCPT TO:<bob", b"550 5.1.1 no bob\r\n")]) as server:
        bob, carl = await deliver(transport, hop(server))
        assert bob == Failed(Reply(550, "no bob", "5.1.1"), Peer("mx.example", "127.0.0.1"))
        assert isinstance(carl, Delivered)


@pytest.mark.parametrize(
    ("moment", "answer", "kind"),
    [
        ("MAIL", b"550 5.7.1 not you\r\n", Failed),
        ("MAIL", b"450 4.7.1 not yet\r\n", Deferred),
        ("RCPT", b"556 5.1.10 no mail here\r\n", Failed),
        ("RCPT", b"552 too many\r\n", Deferred),
        ("RCPT", b"351 what\r\n", Deferred),
        ("DATA", b"554 5.5.0 no\r\n", Failed),
        (END.decode(), b"554 5.7.1 spam\r\n", Failed),
        (END.decode(), b"452 4.3.1 disk full\r\n", Deferred),
    ],
)
async def test_what_the_other_side_says_of_the_message_decides_by_its_first_digit(
    transport: SmtpTransport, moment: str, answer: bytes, kind: type[Outcome]
) -> None:
    async with Server([(moment, answer)]) as server:
        for outcome in await deliver(transport, hop(server)):
            assert type(outcome) is kind
            assert outcome.reply.code == int(answer[:3])
            assert not getattr(outcome, "destination_down", False)


async def test_a_lost_reply_to_the_final_dot_is_uncertain(transport: SmtpTransport) -> None:
    async with Server([(END.decode(), DROP)]) as server:
        for outcome in await deliver(transport, hop(server)):
            assert isinstance(outcome, Deferred)
            assert outcome.uncertain
            assert outcome.reply.enhanced == "4.4.2"


@pytest.mark.parametrize(
    ("moment", "answer", "status", "is_down"),
    [
        (GREETING.decode(), b"421 4.7.0 too busy\r\n", "4.7.0", True),
        (GREETING.decode(), DROP, "4.4.1", True),
        ("MAIL", b"421 4.3.2 shutting down\r\n", "4.3.2", True),
        ("RCPT", DROP, "4.4.2", False),
        (END.decode(), b"421 4.3.2 shutting down\r\n", "4.3.2", False),
    ],
)
async def test_trouble_with_the_destination_is_told_from_trouble_that_a_message_makes(
    transport: SmtpTransport, moment: str, answer: Answer, status: str, is_down: bool
) -> None:
    async with Server([(moment, answer)]) as server:
        for outcome in await deliver(transport, hop(server)):
            assert isinstance(outcome, Deferred)
            assert outcome.destination_down is is_down
            assert not outcome.uncertain
            assert outcome.reply.status == status
            assert outcome.reply.is_transient


@pytest.mark.parametrize("greeting", [b"521 no mail here, ever\r\n", b"554 not you\r\n"])
async def test_a_greeting_that_refuses_for_good_fails_the_message(transport: SmtpTransport, greeting: bytes) -> None:
    async with Server([(GREETING.decode(), greeting)]) as server:
        for outcome in await deliver(transport, hop(server)):
            assert isinstance(outcome, Failed)
            assert outcome.reply.code == int(greeting[:3])


async def test_nobody_at_the_other_end_defers_and_the_cause_stays_private(transport: SmtpTransport) -> None:
    async with Server() as server:
        next_hop = hop(server)
        await server.stop()
        for outcome in await deliver(transport, next_hop):
            assert isinstance(outcome, Deferred)
            assert outcome.reply == Reply(451, f"no connection to mx.example:{server.port}: refused", "4.4.1")
            assert outcome.destination_down
            assert "127.0.0.1" in outcome.cause


async def test_tls_that_is_demanded_and_not_to_be_had_defers(transport: SmtpTransport) -> None:
    async with Server() as server:
        for outcome in await deliver(transport, hop(server, Tls.REQUIRED)):
            assert isinstance(outcome, Deferred)
            assert outcome.reply.enhanced == "4.7.5"
        assert not server.messages


async def test_opportunistic_tls_is_used_and_told() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("mx.example").configure_cert(context)
    transport = SmtpTransport(hello_name="mail.example.com", contexts=Contexts())
    async with Server(tls=context) as server:
        for outcome in await deliver(transport, hop(server)):
            assert isinstance(outcome, Delivered)
            assert outcome.peer is not None
            assert outcome.peer.tls.startswith("TLSv1.3 ")
            assert outcome.peer.tls.endswith(" unverified")
        await transport.close()


async def test_8_bit_content_fails_where_the_next_host_cannot_take_it(transport: SmtpTransport) -> None:
    content = "DKIM-Signature: v=1\r\nSubject: x\r\n\r\ngrüße\r\n".encode()
    async with Server(extensions=("PIPELINING",)) as server:
        outcomes = await transport.deliver(hop(server), ENVELOPE, Body(content, len(content)), (BOB,))
        outcome = outcomes[BOB.address]
        assert isinstance(outcome, Failed)
        assert outcome.reply.enhanced == "5.6.3"
        assert not server.messages


async def test_connections_are_kept_for_the_next_message_and_closed_in_the_end(transport: SmtpTransport) -> None:
    async with Server() as server:
        for _ in range(3):
            await deliver(transport, hop(server))
        await transport.close()
        assert server.connections == 1
        assert server.commands[-1] == b"QUIT"


async def test_what_was_not_delivered_has_what_was_said_and_what_was_delivered_has_not(transport: SmtpTransport) -> None:
    async with Server([("RCPT TO:<bob", b"550 5.1.1 no bob\r\n")]) as server:
        bob, carl = await deliver(transport, hop(server))
        assert isinstance(bob, Failed)
        at = bob.dialogue.index("> RCPT TO:<bob@example.org>")
        assert bob.dialogue[at + 1 : at + 3] == ("< 550 5.1.1 no bob", "> RCPT TO:<carl@example.org>")
        assert isinstance(carl, Delivered)
    deferred, other = await deliver(transport, NextHop("gone", hop(server).hosts))
    assert isinstance(deferred, Deferred)
    assert isinstance(other, Deferred)
    assert deferred.dialogue == (f"* mx.example: connect to 127.0.0.1:{server.port}: Connection refused",)
    assert other.dialogue is deferred.dialogue


@pytest.mark.parametrize(
    ("trouble", "status"),
    [
        (ConnectionFailed("refused"), "4.4.1"),
        (ConnectionFailed("no such thing here", why="refused"), "4.4.1"),
        (TlsError("certificate", Reply(554, "no")), "4.7.5"),
        (AuthenticationFailed("no", Reply(535, "no", "5.7.8")), "4.7.0"),
        (Disconnected("lost"), "4.4.2"),
        (Disconnected("bye", Reply(421, "bye", "4.3.2")), "4.3.2"),
        (UncertainDelivery("lost"), "4.4.2"),
    ],
)
def test_trouble_that_may_pass_defers_whatever_code_came_with_it(trouble: SMTPError, status: str) -> None:
    outcome = outcome_of(Result(Stage.SESSION, trouble.reply, trouble, WHO))
    assert isinstance(outcome, Deferred)
    assert outcome.reply.status == status
    assert outcome.reply.is_transient
    assert outcome.destination_down
    assert outcome.cause == str(trouble)
    assert outcome.peer == WHO
    assert outcome.uncertain == isinstance(trouble, UncertainDelivery)
