"""The whole server in three literals: the DNS zone around it, its configuration, and what is said on the wire; then what became
of the mail."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.system.conftest import Start

from waymail.mail.envelope import Origin
from waymail.store.contract import State
from waymail.testing.peer import DROP, END, Answer, Peer

LOCAL = """
hostname = "mail.example.org"
[queue]
store = "$store"
retry = ["1s"]
[[listener]]
kind = "mx"
address = "127.0.0.1:0"
tls = "off"
[domains."example.org"]
recipients = ["ann", "bob"]
aliases = { sales = ["ann", "bob"] }
[dns]
resolvers = ["$dns"]
"""
RELAY = '[relay]\nallow = ["127.0.0.0/8"]\n'
BY_PEER = '[routes]\n"*" = "smtp://$peer?tls=off"\n'


def a_message(sender: str, *recipients: str, content: str = "Subject: hello") -> str:
    """The transcript of a message that is taken."""
    commands = [f"MAIL FROM:<{sender}>", *(f"RCPT TO:<{recipient}>" for recipient in recipients), "DATA"]
    replies = ["220", "250", "250 2.1.0", *["250 2.1.5"] * len(recipients), "354"]
    said = [*(f"C: {line}" for line in ("EHLO client.example", *commands)), *(f"S: {line}" for line in replies)]
    return "\n".join([*said, f"C: {content}", "C: ", "C: text", "C: .", "S: 250 2.0.0 queued as [0-9a-z]{13}"])


# --- mail for this server ---


async def test_mail_for_a_local_user_lands_in_the_maildir(start: Start) -> None:
    server = await start(LOCAL)
    await server.talk(r"""
        S: 220 mail.example.org ESMTP
        C: EHLO client.example
        S: 250 mail.example.org\n(.*\n)*250 8BITMIME
        C: MAIL FROM:<x@client.example> SIZE=100 BODY=8BITMIME
        C: RCPT TO:<Ann@EXAMPLE.ORG>
        C: DATA
        S: 250 2.1.0
        S: 250 2.1.5
        S: 354 end data with
        C: Subject: hello
        C:
        C: ..a dot
        C: grüße
        C: .
        S: 250 2.0.0 queued as [0-9a-z]{13}
        C: QUIT
        S: 221 2.0.0 mail.example.org
        S: closed
    """)
    [message] = await server.mail("example.org/ann")
    head, _, text = message.partition("\n\n")
    assert text == ".a dot\ngrüße\n"
    fields = head.split("\n")
    assert fields[0] == "Return-Path: <x@client.example>"
    assert fields[1].lower() == "delivered-to: ann@example.org"
    assert fields[2].startswith("Received: from client.example ([127.0.0.1])")
    assert fields[-1] == "Subject: hello"
    assert server.mailboxes() == {"example.org/ann"}
    [result] = await server.results("ann@example.org")
    assert (result["outcome"], result["reply"]) == ("delivered", "250 2.1.5 delivered to mailbox")


async def test_an_alias_reaches_both_it_names_and_neither_learns_of_the_other(start: Start) -> None:
    server = await start(LOCAL)
    await server.talk(a_message("x@client.example", "sales@example.org"))
    for who, other in (("ann", "bob"), ("bob", "ann")):
        [message] = await server.mail(f"example.org/{who}")
        assert f"Delivered-To: {who}@example.org\n" in message
        assert f"{other}@" not in message
    assert [one.original for one in (await server.story("sales@example.org")).recipients] == ["sales@example.org"] * 2


async def test_who_does_not_exist_is_refused_and_who_does_gets_the_message(start: Start) -> None:
    server = await start(LOCAL)
    await server.talk(r"""
        S: 220
        C: HELO client.example
        S: 250 mail.example.org$
        C: MAIL FROM:<x@client.example>
        C: RCPT TO:<nobody@example.org>
        C: RCPT TO:<bob@example.org>
        C: RCPT TO:<Postmaster>
        C: DATA
        S: 250
        S: 550 5.1.1 no such user here
        S: 250
        S: 250
        S: 354
        C: Subject: x
        C: .
        S: 250
    """)
    await server.mail("example.org/bob")
    await server.mail("example.org/postmaster")
    assert server.mailboxes() == {"example.org/bob", "example.org/postmaster"}


async def test_mail_for_others_is_not_relayed_for_strangers(start: Start) -> None:
    server = await start(LOCAL + BY_PEER, peer=(peer := Peer()))
    await server.talk(r"""
        S: 220
        C: EHLO client.example
        C: MAIL FROM:<ann@example.org>
        C: RCPT TO:<x@elsewhere.example>
        C: RCPT TO:<"x@elsewhere.example"@example.org>
        C: RCPT TO:<x%elsewhere.example@example.org>
        C: RCPT TO:<@example.org:x@elsewhere.example>
        C: DATA
        S: 250
        S: 250
        S: 550 5.7.1 relaying denied
        S: 550 5.1.1
        S: 550 5.1.1
        S: 550 5.7.1 relaying denied
        S: 554 5.5.1
        C: QUIT
        S: 221
    """)
    assert await server.machine.store.list() == []
    assert peer.connections == 0


# --- mail for others ---


async def test_mail_of_an_allowed_network_is_relayed_as_it_came(start: Start) -> None:
    server = await start(LOCAL + RELAY + BY_PEER, peer=(peer := Peer()))
    await server.talk(a_message("x@client.example", "y@elsewhere.example", content="X-Odd :  kept \t as it is"))
    [result] = await server.results("y@elsewhere.example")
    assert (result["outcome"], result["reply"]) == ("delivered", "250 2.0.0 taken as 1")
    assert peer.commands[:4] == [
        b"EHLO mail.example.org",
        b"MAIL FROM:<x@client.example> SIZE=%d" % len(peer.messages[0].content),
        b"RCPT TO:<y@elsewhere.example>",
        b"DATA",
    ]
    content = peer.messages[0].content
    assert content.startswith(b"Received: from client.example ([127.0.0.1])")
    assert content.endswith(b"\r\nX-Odd :  kept \t as it is\r\n\r\ntext\r\n")


async def test_a_user_s_message_goes_over_tls_with_auth_to_the_smarthost(start: Start) -> None:
    config = LOCAL.replace('"mx"', '"submission"').replace('"off"', '"starttls"') + BY_PEER + "[tls]\nself_signed = true\n"
    server = await start(config, peer=(peer := Peer()), users={"ann": "secret"})
    await server.talk(r"""
        S: 220
        C: EHLO laptop.example
        S: 250 mail.example.org\n(.*\n)*250 STARTTLS
        C: STARTTLS
        S: 220 2.0.0
        TLS
        C: EHLO laptop.example
        S: 250 mail.example.org\n(.*\n)*250 AUTH SCRAM-SHA-256 PLAIN LOGIN
        C: MAIL FROM:<ann@example.org>
        S: 530 5.7.0
        C: AUTH PLAIN AGFubgBzZWNyZXQ=
        S: 235 2.7.0
        C: MAIL FROM:<bob@example.org>
        S: 553 5.7.1
        C: MAIL FROM:<ann@example.org>
        C: RCPT TO:<y@elsewhere.example>
        C: DATA
        S: 250 2.1.0
        S: 250 2.1.5
        S: 354
        C: From: ann@example.org
        C:
        C: text
        C: .
        S: 250 2.0.0
        C: QUIT
        S: 221
    """)
    story = await server.story("y@elsewhere.example")
    origin = story.envelope.origin
    assert origin == Origin("ESMTPSA", "laptop.example", "127.0.0.1", origin.tls, "ann")
    assert origin.tls.startswith("TLSv1.3 ")
    [message] = peer.messages
    head = message.content.partition(b"\r\n\r\n")[0]
    assert b"\r\nDate: " in head
    assert f"\r\nMessage-ID: <{story.envelope.id}@mail.example.org>".lower().encode() in head.lower()
    assert b"secret" not in message.content


async def test_several_recipients_of_one_way_go_in_one_transaction(start: Start) -> None:
    peer = Peer([("RCPT TO:<no@", b"550 5.1.1 no such user\r\n")])
    server = await start(LOCAL + RELAY + BY_PEER, peer=peer)
    await server.talk(a_message("ann@example.org", "x@a.example", "no@b.example", "y@b.example", "bob@example.org"))
    await server.mail("example.org/bob")
    [notice] = await server.mail("example.org/ann")
    assert [message.rcpt for message in peer.messages] == [[b"RCPT TO:<x@a.example>", b"RCPT TO:<y@b.example>"]]
    assert "no@b.example" in notice
    assert "x@a.example" not in notice.partition("message/rfc822")[0], "who got it is not reported"
    states = [one.state for one in (await server.story("ann@example.org", "attempt", 2)).recipients]
    assert states == [State.DELIVERED, State.FAILED, State.DELIVERED, State.DELIVERED]


async def test_the_next_message_goes_over_the_same_connection(start: Start) -> None:
    server = await start(LOCAL + RELAY + BY_PEER, peer=(peer := Peer()))
    for recipient in ("x@a.example", "y@b.example"):
        await server.talk(a_message("ann@example.org", recipient))
        await server.results(recipient)
    assert [message.connection for message in peer.messages] == [1, 1]
    assert peer.connections == 1


# --- what does not arrive ---


async def test_a_failure_is_reported_to_the_sender_in_the_sender_s_mailbox(start: Start) -> None:
    peer = Peer([("RCPT", b"550 5.7.1 we do not like you\r\n")])
    server = await start(LOCAL + RELAY + BY_PEER, peer=peer)
    await server.talk(a_message("ann@example.org", "y@elsewhere.example"))
    [notice] = await server.mail("example.org/ann")
    assert notice.startswith("Return-Path: <>\nDelivered-To: ann@example.org\n")
    for line in (
        "To: <ann@example.org>",
        "Auto-Submitted: auto-replied",
        "Final-Recipient: rfc822; y@elsewhere.example",
        "Action: failed",
        "Status: 5.7.1",
        "Diagnostic-Code: smtp; 550 5.7.1 we do not like you",
        "Subject: hello",
    ):
        assert f"\n{line}\n" in notice
    events = (await server.story("y@elsewhere.example", "bounced")).events
    told = [event.detail for event in events if event.kind == "bounced"]
    assert [detail["to"] for detail in told] == [["y@elsewhere.example"]]
    assert await server.machine.store.get(told[0]["notice"]) is not None


async def test_the_null_sender_gets_no_notice(start: Start) -> None:
    server = await start(LOCAL + RELAY + BY_PEER, peer=Peer([("RCPT", b"550 5.1.1 no\r\n")]))
    await server.talk(a_message("", "y@elsewhere.example"))
    story = await server.story("y@elsewhere.example", "bounced")
    assert [event.kind for event in story.events][-2:] == ["attempt", "bounced"]
    assert "notice" not in story.events[-1].detail
    assert "null sender" in story.events[-1].detail["why"]
    assert server.mailboxes() == set()
    assert await server.machine.store.list() == []


async def test_a_lost_reply_to_the_final_dot_is_uncertain_and_the_message_is_sent_again(start: Start) -> None:
    only_the_first: Iterator[Answer] = iter([DROP])
    peer = Peer([(END.decode(), lambda _: next(only_the_first, None))])
    server = await start(LOCAL + RELAY + BY_PEER, peer=peer)
    await server.talk(a_message("ann@example.org", "y@elsewhere.example"))
    first, second = await server.results("y@elsewhere.example", 2)
    assert (first["outcome"], first["uncertain"]) == ("deferred", True)
    assert first["reply"].startswith("451 4.4.2")
    assert (second["outcome"], second["reply"]) == ("delivered", "250 2.0.0 taken as 1")
    assert "uncertain" not in second
    assert peer.connections == 2


# --- what DNS says ---

ZONE = {
    "null.example": {"MX": [(0, ".")]},
    "broken.example": "SERVFAIL",
    "looped.example": {"MX": [(10, "mx.looped.example")]},
    "mx.looped.example": {"A": ["127.0.0.1"]},
    "ours.example": {"MX": [(10, "mail.example.org"), (20, "backup.example")]},
}


@pytest.mark.parametrize(
    ("domain", "status"),
    [
        ("nowhere.example", "5.1.2"),  # NXDOMAIN
        ("null.example", "5.1.10"),  # RFC 7505
        ("looped.example", "5.4.6"),  # a stranger's MX record does not make this server talk to itself
        ("ours.example", "5.4.6"),
    ],
)
async def test_a_domain_that_takes_no_mail_fails_with_a_notice(start: Start, domain: str, status: str) -> None:
    server = await start(LOCAL + RELAY, zone=ZONE)
    await server.talk(a_message("ann@example.org", f"y@{domain}"))
    [notice] = await server.mail("example.org/ann")
    assert f"\nStatus: {status}\n" in notice
    assert f"\nFinal-Recipient: rfc822; y@{domain}\n" in notice


async def test_a_dns_server_that_fails_defers(start: Start) -> None:
    server = await start(LOCAL.replace('"1s"', '"1h"') + RELAY, zone=ZONE)
    await server.talk(a_message("ann@example.org", "y@broken.example"))
    [result] = await server.results("y@broken.example")
    assert (result["outcome"], result["reply"]) == ("deferred", "451 4.4.3 DNS lookup for broken.example failed")
    assert [one.state for one in (await server.story("y@broken.example")).recipients] == [State.QUEUED]
    assert server.mailboxes() == set()
