"""What a sender asked for, and what a host offers: handed on, done without, or refused before MAIL."""

from __future__ import annotations

import ssl
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

import waymail
from waymail.client.connection import Connection
from waymail.client.errors import MessageRefused
from waymail.client.fit import refusal, spelling
from waymail.client.offer import NOTHING, offer_of
from waymail.client.target import Credentials, Tls
from waymail.client.transaction import Message
from waymail.mail.envelope import Body, DeliverBy, Options, Recipient
from waymail.testing.peer import Peer

Connect = Callable[..., Awaitable[Connection]]

SENDER, BOB, CARL = "ann@example.com", "bob@example.org", "carl@example.org"
PLAIN = ("PIPELINING", "8BITMIME")
UTF8 = (*PLAIN, "SMTPUTF8")
ASKED = Options(ret="HDRS", envid="QQ+2B1", priority=3, submitter="ann@example.com")


def international(header: str = "Grüße") -> Body:
    content = f"Subject: {header}\r\n\r\nhello\r\n".encode()
    return Body(content, len(content))


async def sent(connect: Connect, message: Message, recipients: list[str], *extensions: str) -> tuple[Any, Peer]:
    async with Peer(extensions=extensions) as peer:
        connection = await connect(peer)
        result = await connection.transaction(message, recipients)
    return result, peer


# --- DSN, AUTH, MT-PRIORITY


async def test_what_was_asked_for_is_handed_on_to_a_host_that_offers_it(connect: Connect, body: Body) -> None:
    asked = (Recipient(BOB, notify="SUCCESS,FAILURE"), Recipient(CARL, "boss@example.org"))
    message = Message(SENDER, body, options=ASKED, recipients=asked)
    _, peer = await sent(connect, message, [BOB, CARL], *PLAIN, "DSN", "MT-PRIORITY")
    assert peer.messages[0].mail == b"MAIL FROM:<ann@example.com> RET=HDRS ENVID=QQ+2B1 MT-PRIORITY=3"
    assert peer.messages[0].rcpt == [
        b"RCPT TO:<bob@example.org> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;bob@example.org",
        b"RCPT TO:<carl@example.org> ORCPT=rfc822;boss@example.org",
    ]


async def test_and_nothing_of_it_to_a_host_that_does_not(connect: Connect, body: Body) -> None:
    message = Message(SENDER, body, options=ASKED, recipients=(Recipient(BOB, notify="NEVER"),))
    _, peer = await sent(connect, message, [BOB], *PLAIN)
    assert peer.messages[0].mail == b"MAIL FROM:<ann@example.com>"
    assert peer.messages[0].rcpt == [b"RCPT TO:<bob@example.org>"]


async def test_the_submitter_is_named_to_hosts_that_know_us_alone(connect: Connect, body: Body) -> None:
    message = Message(SENDER, body, options=Options(submitter=""))
    _, peer = await sent(connect, message, [BOB], "AUTH PLAIN")
    assert peer.messages[0].mail == b"MAIL FROM:<ann@example.com>"
    async with Peer([("AUTH", b"235 2.7.0 hello\r\n")], extensions=("AUTH PLAIN",)) as peer:
        connection = await connect(peer, credentials=Credentials("ann", "x", cleartext=True))
        await connection.transaction(message, [BOB])
        assert peer.messages[0].mail == b"MAIL FROM:<ann@example.com> AUTH=<>"


# --- SMTPUTF8


@pytest.mark.parametrize(
    ("sender", "recipient", "body", "options", "reply"),
    [
        ("jörg@example.com", BOB, international("x"), Options(smtputf8=True), (550, "5.6.7")),
        (SENDER, BOB, international(), Options(smtputf8=True), (554, "5.6.9")),
    ],
    ids=["sender", "header"],
)
async def test_what_needs_smtputf8_fails_before_mail_at_a_host_without_it(
    connect: Connect, sender: str, recipient: str, body: Body, options: Options, reply: tuple[int, str]
) -> None:
    result, peer = await sent(connect, Message(sender, body, options=options), [recipient], *PLAIN)
    decisive = result.final or result.mail
    assert (decisive.code, decisive.enhanced) == reply
    assert peer.commands == [b"EHLO client.example"]


async def test_a_recipient_that_needs_smtputf8_is_refused_and_the_others_get_the_message(connect: Connect, body: Body) -> None:
    message = Message(SENDER, body, options=Options(smtputf8=True))
    result, peer = await sent(connect, message, ["jörg@example.org", BOB], *PLAIN)
    assert (result.recipients["jörg@example.org"].code, result.recipients["jörg@example.org"].enhanced) == (553, "5.6.7")
    assert peer.messages[0].rcpt == [b"RCPT TO:<bob@example.org>"]


async def test_smtputf8_that_is_not_needed_is_done_without(connect: Connect, body: Body) -> None:
    _, peer = await sent(connect, Message(SENDER, body, options=Options(smtputf8=True)), [BOB], *PLAIN)
    assert peer.messages[0].mail == b"MAIL FROM:<ann@example.com>"


async def test_a_host_with_smtputf8_gets_all_as_it_is(connect: Connect) -> None:
    body = international()
    message = Message("jörg@bücher.example", body, options=Options(smtputf8=True))
    _, peer = await sent(connect, message, ["dörte@bücher.example"], *UTF8)
    assert peer.messages[0].mail == "MAIL FROM:<jörg@bücher.example> BODY=8BITMIME SMTPUTF8".encode()
    assert peer.messages[0].rcpt == ["RCPT TO:<dörte@bücher.example>".encode()]
    assert peer.messages[0].content == body.content


async def test_a_domain_in_u_labels_goes_in_a_labels_to_a_host_without_smtputf8(connect: Connect, body: Body) -> None:
    recipients = ["info@bücher.example", "info@xn--bcher-kva.example"]
    result, peer = await sent(connect, Message("ann@bücher.example", body), recipients, *PLAIN)
    assert peer.messages[0].mail == b"MAIL FROM:<ann@xn--bcher-kva.example>"
    assert peer.messages[0].rcpt == [b"RCPT TO:<info@xn--bcher-kva.example>"]
    assert [result.recipients[one].code for one in recipients] == [250, 250]


def test_a_local_part_has_no_other_spelling() -> None:
    assert spelling("jörg@example.org", utf8=False) is None
    assert spelling("jörg@example.org", utf8=True) == "jörg@example.org"
    assert spelling("ann@bü cher.example", utf8=False) is None


# --- REQUIRETLS (RFC 8689 §4.2.1)


@pytest.mark.parametrize(
    ("tls", "offered", "reply"),
    [
        (Tls.REQUIRED, True, 250),
        (Tls.REQUIRED, False, 550),
        (Tls.OPPORTUNISTIC, True, 550),
        (Tls.OFF, True, 550),
    ],
)
async def test_requiretls_goes_over_demanded_and_verified_tls_to_hosts_that_offer_it(
    connect: Connect, body: Body, server_tls: ssl.SSLContext, tls: Tls, offered: bool, reply: int
) -> None:
    extensions = (*PLAIN, "REQUIRETLS") if offered else PLAIN
    async with Peer(extensions=extensions, tls=server_tls) as peer:
        connection = await connect(peer, tls=tls)
        result = await connection.transaction(Message(SENDER, body, options=Options(require_tls=True)), [BOB])
        assert result.final is not None
        assert result.final.code == reply
        if reply == 250:
            assert peer.messages[0].mail == b"MAIL FROM:<ann@example.com> REQUIRETLS"
        else:
            assert result.final.enhanced == "5.7.30"
            assert not [line for line in peer.commands if line.startswith(b"MAIL")]


async def test_a_notice_goes_without_requiretls_where_it_must(connect: Connect, body: Body) -> None:
    _, peer = await sent(connect, Message("", body, options=Options(require_tls=True)), [BOB], *PLAIN)
    assert peer.messages[0].mail == b"MAIL FROM:<>"


# --- DELIVERBY (RFC 2852 §4.1.4), FUTURERELEASE (RFC 4865)


@pytest.mark.parametrize(
    ("held", "by", "refused"),
    [(7000, None, ""), (7300, None, "5.3.3"), (3600, 7200, ""), (3600, 3600, "5.5.4")],
)
def test_a_message_is_held_no_longer_than_the_host_offers_nor_past_its_deadline(held: int, by: int | None, refused: str) -> None:
    options = Options(
        hold=f"for;{held}", hold_until=1000.0 + held, deliver_by=None if by is None else DeliverBy(1000.0 + by, "N")
    )
    offer = offer_of({"FUTURERELEASE": "7200 2030-01-01T00:00:00Z", "DELIVERBY": ""})
    found = refusal(options, SENDER, offer, verified=False, now=1000.0)
    assert (found.enhanced if found else "") == refused


@pytest.mark.parametrize(
    ("mode", "left", "extensions", "enhanced"),
    [
        ("R", 60, {"DELIVERBY": ""}, None),
        ("R", 60, {"DELIVERBY": "60"}, None),
        ("R", 60, {"DELIVERBY": "61"}, "5.3.3"),
        ("R", 60, {}, "5.3.3"),
        ("R", 0, {"DELIVERBY": ""}, "5.4.7"),
        ("N", 60, {}, None),
        ("N", -60, {"DELIVERBY": "61"}, None),
    ],
)
def test_a_message_that_comes_back_when_late_goes_only_where_it_can_be_in_time(
    mode: Any, left: int, extensions: dict[str, str], enhanced: str | None
) -> None:
    options = Options(deliver_by=DeliverBy(1000.0 + left, mode))
    reply = refusal(options, SENDER, offer_of(extensions), verified=False, now=1000.0)
    assert (reply.enhanced if reply else None) == enhanced


async def test_the_time_that_is_left_is_handed_on(connect: Connect, body: Body) -> None:
    options = Options(deliver_by=DeliverBy(time.time() + 3600.9, "R", True))
    _, peer = await sent(connect, Message(SENDER, body, options=options), [BOB], "DELIVERBY 10")
    assert peer.messages[0].mail in (b"MAIL FROM:<ann@example.com> BY=%d;RT" % left for left in (3600, 3599, 3598))


async def test_a_message_to_be_held_goes_only_where_it_can_be_held(connect: Connect, body: Body) -> None:
    options = Options(hold="for;3600", hold_until=time.time() + 3600)
    result, peer = await sent(connect, Message(SENDER, body, options=options), [BOB], *PLAIN)
    assert result.final.enhanced == "5.3.3"
    assert peer.commands == [b"EHLO client.example"]
    _, peer = await sent(connect, Message(SENDER, body, options=options), [BOB], "FUTURERELEASE 7200 2030-01-01T00:00:00Z")
    assert peer.messages[0].mail == b"MAIL FROM:<ann@example.com> HOLDFOR=3600"


# --- LIMITS (RFC 9422)


def test_a_batch_has_as_many_domains_as_the_server_takes() -> None:
    recipients = ["a@x", "b@y", "c@X", "d@z", "e@y"]
    assert offer_of({"LIMITS": "RCPTDOMAINMAX=1"}).batch(recipients) == ["a@x", "c@X"]
    assert offer_of({"LIMITS": "RCPTDOMAINMAX=2 RCPTMAX=3"}).batch(recipients) == ["a@x", "b@y", "c@X"]
    assert offer_of({"LIMITS": "RCPTMAX=2"}).batch(recipients) == ["a@x", "b@y"]
    assert NOTHING.batch(recipients) == recipients


@pytest.mark.parametrize("text", ["", "x", "-1", "1" * 30, "٣", "0"])
def test_a_number_that_cannot_be_read_counts_as_not_said(text: str) -> None:
    assert offer_of({"SIZE": text, "LIMITS": f"RCPTDOMAINMAX={text}"}) == replace(
        NOTHING, extensions={"SIZE": text, "LIMITS": f"RCPTDOMAINMAX={text}"}, has_size=True
    )


# --- the public client


async def test_send_asks_for_what_it_is_told_to(body: Body) -> None:
    async with Peer(extensions=(*PLAIN, "DSN")) as peer:
        await waymail.send(
            b"Subject: x\r\n\r\nhello\r\n",
            f"smtp://{peer.address}?tls=off",
            sender=SENDER,
            recipients=BOB,
            dsn=waymail.Dsn(waymail.Notify.DELAY, "FULL", "a b"),
        )
        assert peer.messages[0].mail == b"MAIL FROM:<ann@example.com> RET=FULL ENVID=a+20b"
        assert peer.messages[0].rcpt == [b"RCPT TO:<bob@example.org> NOTIFY=DELAY ORCPT=rfc822;bob@example.org"]


@pytest.mark.parametrize(("sender", "subject"), [("jörg@example.com", "x"), (SENDER, "Grüße")])
async def test_send_asks_for_smtputf8_by_itself_where_the_message_needs_it(sender: str, subject: str) -> None:
    async with Peer(extensions=UTF8) as peer:
        content = f"Subject: {subject}\r\n\r\nhello\r\n".encode()
        await waymail.send(content, f"smtp://{peer.address}?tls=off", sender=sender, recipients=BOB)
        assert b"SMTPUTF8" in peer.messages[0].mail


async def test_send_does_not_ask_for_smtputf8_for_8_bit_text_or_an_international_domain() -> None:
    async with Peer(extensions=UTF8) as peer:
        content = "Subject: x\r\n\r\nGrüße\r\n".encode()
        await waymail.send(content, f"smtp://{peer.address}?tls=off", sender=SENDER, recipients="info@bücher.example")
        assert b"SMTPUTF8" not in peer.messages[0].mail
        assert peer.messages[0].rcpt == [b"RCPT TO:<info@xn--bcher-kva.example>"]


async def test_send_says_what_the_server_cannot_promise() -> None:
    async with Peer() as peer:
        with pytest.raises(MessageRefused, match="REQUIRETLS"):
            await waymail.send(
                b"Subject: x\r\n\r\n",
                f"smtp://{peer.address}?tls=off",
                sender=SENDER,
                recipients=BOB,
                options=Options(require_tls=True),
            )


async def test_send_leaves_binary_octets_as_they_are() -> None:
    content = b"Subject: x\r\nContent-Transfer-Encoding: binary\r\n\r\na\nb\0"
    async with Peer(extensions=("CHUNKING", "BINARYMIME")) as peer:
        await waymail.send(content, f"smtp://{peer.address}?tls=off", sender=SENDER, recipients=BOB, binary=True)
        assert peer.messages[0].content == content
