"""The rules of queues and notices that are about what is said on the wire, by their numbers; the others are in
`tests/queue/test_part_e.py`."""

from __future__ import annotations

import re

import pytest
from tests.system.conftest import Start
from tests.system.test_transcripts import BY_PEER, LOCAL, RELAY, a_message

from waymail.testing.peer import Peer

DSN = ("PIPELINING", "8BITMIME", "DSN")


# --- 83: RET, ENVID and ORCPT ---


async def test_83_what_was_asked_for_is_handed_on_as_it_was_given(start: Start) -> None:
    server = await start(LOCAL + RELAY + BY_PEER, peer=(peer := Peer(extensions=DSN)))
    envid, orcpt = "x" * 100, "rfc822;" + "+2B" * 164 + "y"
    assert (len(envid), len(orcpt)) == (100, 500)
    await server.talk(rf"""
        S: 220
        C: EHLO client.example
        C: MAIL FROM:<ann@example.org> RET=HDRS ENVID={envid}
        C: RCPT TO:<y@elsewhere.example> NOTIFY=FAILURE ORCPT={orcpt}
        C: DATA
        S: 250
        S: 250 2.1.0
        S: 250 2.1.5
        S: 354
        C: Subject: x
        C: .
        S: 250 2.0.0
    """)
    await server.results("y@elsewhere.example")
    assert f"MAIL FROM:<ann@example.org> RET=HDRS ENVID={envid}".encode() in [
        one.replace(b" BODY=7BIT", b"") for one in peer.commands
    ]
    assert f"RCPT TO:<y@elsewhere.example> NOTIFY=FAILURE ORCPT={orcpt}".encode() in peer.commands


@pytest.mark.parametrize("parameter", ["ENVID=" + "x" * 101, "ENVID=a+2", "ENVID=", "RET=ALL", "RET"])
async def test_83_a_bad_parameter_of_mail_is_501(start: Start, parameter: str) -> None:
    server = await start(LOCAL + RELAY)
    await server.talk(rf"""
        S: 220
        C: EHLO client.example
        C: MAIL FROM:<ann@example.org> {parameter}
        C: RCPT TO:<ann@example.org>
        S: 250
        S: 501 5.5.4
        S: 503
    """)


@pytest.mark.parametrize(
    "parameter",
    [
        "ORCPT=rfc822;" + "x" * 494,
        "ORCPT=rfc822;a+2",
        "ORCPT=rfc822",
        "ORCPT=;a@x.example",
        "NOTIFY=NEVER,FAILURE",
        "NOTIFY=SOON",
    ],
)
async def test_83_a_bad_parameter_of_rcpt_is_501(start: Start, parameter: str) -> None:
    server = await start(LOCAL + RELAY)
    await server.talk(rf"""
        S: 220
        C: EHLO client.example
        C: MAIL FROM:<x@client.example>
        C: RCPT TO:<ann@example.org> {parameter}
        C: RCPT TO:<ann@example.org>
        S: 250
        S: 250 2.1.0
        S: 501 5.5.4
        S: 250 2.1.5
    """)


# --- 86: what is not wanted is refused while whoever sends it is there ---


async def test_86_who_does_not_exist_is_refused_at_once_and_no_notice_is_ever_made(start: Start) -> None:
    server = await start(LOCAL)
    await server.talk(r"""
        S: 220
        C: EHLO client.example
        C: MAIL FROM:<victim@elsewhere.example>
        C: RCPT TO:<nobody@example.org>
        C: RCPT TO:<x@elsewhere.example>
        C: DATA
        S: 250
        S: 250 2.1.0
        S: 550 5.1.1
        S: 550 5.7.1
        S: 554 5.5.1
    """)
    assert await server.machine.store.ids() == []
    assert await server.machine.store.find("victim@elsewhere.example") == []
    assert server.mailboxes() == set()


async def test_86_what_is_wrong_with_the_content_is_said_in_the_reply_to_it(start: Start) -> None:
    server = await start(LOCAL)
    loop = "\n".join(["C: Received: from x by y; Thu, 1 Jan 2026 00:00:00 +0000"] * 120)
    await server.talk(
        "S: 220\nC: EHLO client.example\nC: MAIL FROM:<victim@elsewhere.example>\nC: RCPT TO:<ann@example.org>\nC: DATA\n"
        f"S: 250\nS: 250\nS: 250\nS: 354\n{loop}\nC: \nC: x\nC: .\nS: 554 5.4.6"
    )
    await server.talk(r"""
        S: 220
        C: EHLO client.example
        C: MAIL FROM:<victim@elsewhere.example> SIZE=99999999999
        S: 250
        S: 552 5.3.4
    """)
    assert await server.machine.store.find("victim@elsewhere.example") == []
    assert server.mailboxes() == set()


# --- 87: who the sender is, where an alias leads elsewhere ---


@pytest.mark.parametrize("srs", [False, True])
async def test_87_an_alias_keeps_the_sender_and_a_forwarder_rewrites_it_where_he_may(start: Start, srs: bool) -> None:
    config = LOCAL.replace('["ann", "bob"] }', '["ann", "y@elsewhere.example"] }') + RELAY + BY_PEER
    server = await start(config + ("" if srs else "[forwarding]\nsrs = false\n"), peer=(peer := Peer()))
    await server.talk(a_message("x@client.example", "sales@example.org"))
    [local] = await server.mail("example.org/ann")
    assert local.startswith("Return-Path: <x@client.example>\n")
    await server.results("y@elsewhere.example")
    [sender] = [command.split()[1].decode() for command in peer.commands if command.startswith(b"MAIL")]
    rewritten = r"FROM:<SRS0=[A-Z2-7]{8}=[A-Z2-7]{2}=client\.example=x@example\.org>"
    assert re.fullmatch(rewritten if srs else r"FROM:<x@client\.example>", sender)
    assert [command for command in peer.commands if command.startswith(b"RCPT")] == [b"RCPT TO:<y@elsewhere.example>"]


async def test_87_who_cannot_be_reached_behind_an_alias_is_told_of_to_the_first_sender(start: Start) -> None:
    config = LOCAL.replace('["ann", "bob"] }', '["ann", "y@elsewhere.example"] }') + RELAY + BY_PEER
    server = await start(config, peer=Peer([("RCPT", b"550 5.1.1 no\r\n")]))
    await server.talk(a_message("bob@example.org", "sales@example.org"))
    [notice] = await server.mail("example.org/bob")
    assert "\nFinal-Recipient: rfc822; y@elsewhere.example\n" in notice
    assert "\nOriginal-Recipient: rfc822; sales@example.org\n" in notice
