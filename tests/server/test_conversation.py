"""What a conversation makes of the extensions: chunks, LMTP, what the sender asks for, and clients that speak for others."""

from __future__ import annotations

import ipaddress
from dataclasses import replace

import pytest
from tests.server.conftest import Conversation, Place, settled

from waymail.mail.envelope import DeliverBy, Options
from waymail.server.inbound import Trust
from waymail.server.reception import Networks
from waymail.wire.server import ServerConnection

HELLO = b"EHLO client.example"
MAIL = b"MAIL FROM:<x@client.example>"
RCPT = b"RCPT TO:<ann@example.org>"
MESSAGE = b"Subject: hello\r\n\r\ntext\r\n"


def bdat(content: bytes, *, last: bool = False) -> bytes:
    return b"BDAT %d%b\r\n%b" % (len(content), b" LAST" if last else b"", content)


def networks(*names: str) -> Networks:
    return Networks([ipaddress.ip_network(name) for name in names])


async def offered(peer: Conversation) -> dict[str, str]:
    """What EHLO is answered with."""
    lines = (line[4:].decode() for line in (await peer.say(HELLO))[1:])
    return {keyword: rest for keyword, _, rest in (line.partition(" ") for line in lines)}


def secured(peer: Conversation) -> Conversation:
    """The same session as if TLS had been there from the beginning."""
    wire = peer.session._wire
    peer.session._wire = peer.session._talk._wire = ServerConnection(wire.offer, secure=True)
    return peer


# --- chunks


async def test_a_message_in_chunks_is_taken_octet_for_octet(place: Place) -> None:
    peer = await place.conversation()
    await peer.say(HELLO, MAIL, RCPT)
    peer.send(bdat(MESSAGE[:5]) + bdat(b"") + bdat(MESSAGE[5:], last=True))
    await settled()
    assert [line[:3] for line in peer.lines()[-3:]] == [b"250", b"250", b"250"]
    assert place.queue.content().endswith(MESSAGE)


async def test_a_whole_transaction_with_its_chunk_in_one_segment_is_answered_in_order(place: Place) -> None:
    peer = await place.conversation()
    await peer.say(HELLO)
    before = len(peer.transport.writes)
    peer.send(MAIL + b"\r\n" + RCPT + b"\r\n" + bdat(MESSAGE, last=True) + b"NOOP\r\n")
    await settled()
    assert [line[:9] for line in peer.lines(before)] == [b"250 2.1.0", b"250 2.1.5", b"250 2.0.0", b"250 2.0.0"]


async def test_bdat_0_last_is_an_empty_message(place: Place) -> None:
    peer = await place.conversation()
    await peer.say(HELLO, MAIL, RCPT)
    assert (await peer.say(b"BDAT 0 LAST"))[-1].startswith(b"250 2.0.0 queued")
    assert place.queue.content().startswith(b"Received:")


async def test_a_binary_message_keeps_its_octets_and_says_so(place: Place) -> None:
    binary = b"Subject: x\r\n\r\n\0\r\n\n\r\xff"
    peer = await place.conversation()
    await peer.say(HELLO, MAIL + b" BODY=BINARYMIME", RCPT)
    peer.send(bdat(binary, last=True))
    await settled()
    assert place.queue.content().endswith(binary)
    assert place.queue.envelopes[0].body == "BINARYMIME"


async def test_a_bare_lf_in_a_chunk_is_refused_and_nothing_is_queued(place: Place) -> None:
    peer = await place.conversation()
    await peer.say(HELLO, MAIL, RCPT)
    peer.send(bdat(b"Subject: x\r\n\r\na\nb\r\n", last=True))
    await settled()
    assert peer.lines()[-1].startswith(b"550 5.6.11")
    assert place.queue.deliveries == []


async def test_chunks_past_the_size_limit_are_swallowed_and_refused_with_552(place: Place) -> None:
    peer = await place.conversation(message_size=10)
    await peer.say(HELLO, MAIL, RCPT)
    peer.send(bdat(b"x" * 11) + b"NOOP\r\n")
    await settled()
    assert [line[:9] for line in peer.lines()[-2:]] == [b"552 5.3.4", b"250 2.0.0"]


async def test_what_came_in_chunks_is_dropped_by_rset_and_by_the_end_of_the_connection(place: Place) -> None:
    peer = await place.conversation()
    await peer.say(HELLO, MAIL, RCPT)
    peer.send(bdat(b"x" * 100_000) + b"RSET\r\n")
    await settled()
    await peer.say(MAIL, RCPT)
    peer.send(bdat(b"x" * 100_000))
    peer.session.connection_lost(None)
    assert place.queue.deliveries == []


# --- LMTP


async def test_lmtp_answers_the_content_once_for_each_recipient(place: Place) -> None:
    peer = await place.conversation("lmtp")
    await peer.say(b"LHLO client.example", MAIL, RCPT, b"RCPT TO:<bob@example.org>", b"RCPT TO:<nobody@example.org>", b"DATA")
    replies = await peer.say(b"Subject: x", b"", b"text", b".")
    assert [line[:9] for line in replies] == [b"250 2.0.0", b"250 2.0.0"]
    assert place.queue.envelopes[0].origin.protocol == "LMTP"


async def test_lmtp_is_greeted_with_lhlo_alone_and_smtp_never(place: Place) -> None:
    lmtp, smtp = await place.conversation("lmtp"), await place.conversation()
    assert (await lmtp.say(HELLO))[-1].startswith(b"500 5.5.1")
    assert (await lmtp.say(b"HELO x"))[-1].startswith(b"500 5.5.1")
    assert (await smtp.say(b"LHLO x"))[-1].startswith(b"500 5.5.1")


async def test_lmtp_delivers_locally_and_relays_for_nobody(place: Place) -> None:
    place.trust = Trust(relay=networks("0.0.0.0/0"))
    peer = await place.conversation("lmtp")
    replies = await peer.say(b"LHLO client.example", MAIL, b"RCPT TO:<x@elsewhere.example>")
    assert replies[-1].startswith(b"550 5.7.1")


# --- what the sender asks for


async def test_what_the_sender_asks_for_is_in_the_envelope(place: Place) -> None:
    place.trust = Trust(relay=networks("192.0.2.0/24"))
    peer = await place.conversation()
    await peer.say(
        HELLO,
        MAIL + b" BODY=8BITMIME SMTPUTF8 RET=hdrs ENVID=a+2Bb BY=60;nt MT-PRIORITY=3",
        b"RCPT TO:<ann@example.org> NOTIFY=success,failure ORCPT=rfc822;Ann+40example.org",
        b"DATA",
    )
    assert (await peer.say(b"Subject: x", b"", b"text", b"."))[-1].startswith(b"250 ")
    envelope = place.queue.envelopes[0]
    asked = envelope.options
    assert asked.deliver_by is not None
    assert asked.deliver_by.until == pytest.approx(envelope.accepted_at + 60, abs=5)
    assert replace(asked, deliver_by=None) == Options(smtputf8=True, ret="HDRS", envid="a+2Bb", priority=3)
    assert (asked.deliver_by.mode, asked.deliver_by.trace) == (DeliverBy(0, "N").mode, True)
    assert envelope.body == "8BITMIME"
    assert envelope.recipients[0].notify == "SUCCESS,FAILURE"
    assert envelope.recipients[0].orcpt == "rfc822;Ann+40example.org"
    assert b"with UTF8SMTP id" in b" ".join(place.queue.content().split())
    assert b"priority 3;" in place.queue.content()


async def test_an_alias_is_told_of_as_expanded_once_also_where_one_of_its_recipients_was_named_before(place: Place) -> None:
    peer = await place.conversation()
    await peer.say(HELLO, MAIL, RCPT, b"RCPT TO:<sales@example.org> NOTIFY=SUCCESS", b"DATA", b"Subject: x", b"", b"text", b".")
    told = [(one.address, one.notify, one.expanded) for one in place.queue.envelopes[0].recipients]
    assert told == [("ann@example.org", "", False), ("bob@example.org", "NEVER", True)]


async def test_a_stranger_may_lower_the_priority_of_his_message_but_not_raise_it(place: Place) -> None:
    peer = await place.conversation()
    await peer.say(HELLO)
    assert (await peer.say(MAIL + b" MT-PRIORITY=4"))[-1].startswith(b"250 2.3.6 0 ")
    await peer.say(b"RSET")
    assert (await peer.say(MAIL + b" MT-PRIORITY=-4"))[-1].startswith(b"250 2.1.0 ")


async def test_an_address_beyond_ascii_is_taken_with_smtputf8_and_its_domain_is_local_in_any_spelling(place: Place) -> None:
    peer = await place.conversation()
    replies = await peer.say(HELLO, "MAIL FROM:<jörg@bücher.example>".encode())
    assert replies[-1].startswith(b"550 5.6.7")
    replies = await peer.say("MAIL FROM:<jörg@bücher.example> SMTPUTF8".encode(), "RCPT TO:<ann@\uff45xample.org>".encode())
    assert replies[-1].startswith(b"250 2.1.5")
    await peer.say(b"DATA", b"Subject: x", b"", b"text", b".")
    assert place.queue.envelopes[0].sender == "jörg@bücher.example"
    assert place.queue.envelopes[0].recipients[0].address == "ann@example.org"


async def test_what_is_offered_depends_on_the_kind_of_listener(place: Place) -> None:
    mx, lmtp = await offered(await place.conversation()), await place.conversation("lmtp")
    submission = await offered(secured(await place.conversation("submission")))
    everywhere = {"CHUNKING", "BINARYMIME", "SMTPUTF8", "DSN", "DELIVERBY", "MT-PRIORITY"}
    assert everywhere <= mx.keys()
    assert {"AUTH", "FUTURERELEASE", "ETRN", "XCLIENT", "XFORWARD", "REQUIRETLS"}.isdisjoint(mx)
    assert mx["LIMITS"] == "RCPTMAX=1000 MAILMAX=10000"
    assert everywhere | {"AUTH", "FUTURERELEASE", "REQUIRETLS"} <= submission.keys()
    assert submission["FUTURERELEASE"].split()[0] == "3600"
    assert b"250-CHUNKING" in await lmtp.say(b"LHLO x")


async def test_a_user_may_have_a_message_held_as_long_as_was_offered(place: Place) -> None:
    place.trust = Trust(relay=networks("192.0.2.1"))  # who may relay need not log in
    peer = await place.conversation("submission")
    await peer.say(HELLO)
    for refused in (b"HOLDFOR=3601", b"HOLDUNTIL=2099-01-01T00:00:00Z", b"HOLDUNTIL=2025-02-31T00:00:00Z", b"HOLDFOR=60 BY=59;R"):
        assert (await peer.say(MAIL + b" " + refused))[-1].startswith(b"501 5.5.4"), refused
    await peer.say(MAIL + b" HOLDFOR=3600", RCPT, b"DATA")
    await peer.say(b"Subject: x", b"", b"text", b".")
    envelope = place.queue.envelopes[0]
    assert envelope.options.hold == "for;3600"
    assert envelope.options.hold_until == pytest.approx(envelope.accepted_at + 3600, abs=5)


async def test_require_tls_is_refused_in_clear(place: Place) -> None:
    peer = await place.conversation()
    assert (await peer.say(HELLO, MAIL + b" REQUIRETLS"))[-1].startswith(b"530 5.7.10")


async def test_a_users_blind_copies_are_taken_out_and_those_of_other_servers_are_not_touched(place: Place) -> None:
    place.trust = Trust(relay=networks("192.0.2.1"))
    content = (b"Subject: x", b"Bcc: bob@example.org,", b" carol@example.net", b"To: ann@example.org", b"", b"Bcc: text", b".")
    for kind in ("submission", "mx"):
        peer = await place.conversation(kind)
        await peer.say(HELLO, MAIL, RCPT, b"DATA")
        await peer.say(*content)
    submitted, relayed = place.queue.content(0), place.queue.content(1)
    assert b"bob@" not in submitted
    assert submitted.endswith(b"Subject: x\r\nTo: ann@example.org\r\n\r\nBcc: text\r\n")
    assert b"Bcc: bob@example.org,\r\n carol@example.net\r\n" in relayed


async def test_blind_copies_are_found_however_the_header_section_is_cut(place: Place) -> None:
    place.trust = Trust(relay=networks("192.0.2.1"))
    peer = await place.conversation("submission")
    await peer.say(HELLO, MAIL, RCPT, b"DATA")
    for octet in b"Bcc: bob@example.org\r\nTo: ann@example.org\r\n\r\ntext\r\n.\r\n":
        peer.send(bytes([octet]))
    await settled()
    assert b"Bcc" not in place.queue.content()
    assert place.queue.content().endswith(b"To: ann@example.org\r\n\r\ntext\r\n")


# --- who speaks for others


async def test_a_named_proxy_speaks_for_its_client_by_xclient(place: Place) -> None:
    place.trust = Trust(xclient=networks("192.0.2.1"), relay=networks("198.51.100.7"))
    peer = await place.conversation()
    assert "XCLIENT" in await offered(peer)
    assert (await peer.say(b"XCLIENT ADDR=198.51.100.7 HELO=far.example NAME=[UNAVAILABLE]"))[-1].startswith(b"220 ")
    assert (await peer.say(MAIL))[-1].startswith(b"503 "), "it begins anew"
    assert "XCLIENT" not in await offered(peer), "the client that it speaks for is not trusted with it"
    assert (await peer.say(MAIL, b"RCPT TO:<x@elsewhere.example>"))[-1].startswith(b"250 "), "but may relay"
    await peer.say(b"DATA", b"Subject: x", b"", b"text", b".")
    assert place.queue.envelopes[0].origin.address == "198.51.100.7"


async def test_xclient_and_xforward_of_anybody_else_are_refused(place: Place) -> None:
    peer = await place.conversation()
    await peer.say(HELLO)
    for line in (b"XCLIENT ADDR=10.0.0.1", b"XFORWARD ADDR=10.0.0.1"):
        assert (await peer.say(line))[-1].startswith(b"502 5.5.1")
    assert peer.session.client.address == "192.0.2.1"


async def test_an_xclient_with_an_address_that_is_none_changes_nothing(place: Place) -> None:
    place.trust = Trust(xclient=networks("192.0.2.1"))
    peer = await place.conversation()
    await peer.say(HELLO)
    assert (await peer.say(b"XCLIENT ADDR=somewhere"))[-1].startswith(b"501 5.5.4")
    assert peer.session.client.address == "192.0.2.1"
    assert (await peer.say(b"XCLIENT ADDR=IPV6:2001:db8::1"))[-1].startswith(b"220 ")
    assert peer.session.client.address == "2001:db8::1"


async def test_xforward_is_told_in_the_log(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    place.trust = Trust(xforward=networks("192.0.2.1"))
    peer = await place.conversation()
    await peer.say(HELLO)
    with caplog.at_level("INFO", "waymail.server"):
        assert (await peer.say(b"XFORWARD ADDR=203.0.113.5 NAME=[TEMPUNAVAIL] IDENT=4711"))[-1].startswith(b"250 ")
    told = {"peer": "192.0.2.1", "addr": "203.0.113.5", "ident": "4711"}
    assert [getattr(record, "fields", None) for record in caplog.records] == [told]


async def test_etrn_starts_the_queue_for_those_who_may(place: Place) -> None:
    place.trust = Trust(etrn=networks("192.0.2.1"))
    peer = await place.conversation()
    assert "ETRN" in await offered(peer)
    assert (await peer.say(b"ETRN example.net"))[-1].startswith(b"251 2.0.0")
    place.queue.waiting = 3
    assert (await peer.say(b"ETRN @example.net"))[-1].startswith(b"253 2.0.0 3 ")
    assert place.queue.flushed == [("example.net", False), ("example.net", True)]
    assert (await peer.say(MAIL, b"ETRN example.net"))[-1].startswith(b"503 ")


# --- line ends of old clients


async def lenient(place: Place) -> Conversation:
    place.trust = Trust(relay=networks("192.0.2.1"))
    listener = await place.listener("submission")
    listener.offer = replace(listener.offer, normalise=True)
    return Conversation(listener)


async def test_a_client_that_knows_only_lf_is_understood_where_that_is_allowed(place: Place) -> None:
    peer = await lenient(place)
    peer.send(b"EHLO x\nMAIL FROM:<a@b.example>\nRCPT TO:<ann@example.org>\nDATA\nSubject: x\n\n..text\n.\nNOOP\n")
    await settled()
    assert place.queue.content().endswith(b"Subject: x\r\n\r\n.text\r\n")
    assert peer.codes[-2:] == [b"250", b"250"]


async def test_a_client_that_knows_crlf_has_its_bare_lfs_mended_but_no_second_message_smuggled_in(place: Place) -> None:
    peer = await lenient(place)
    await peer.say(HELLO, b"MAIL FROM:<a@b.example>", RCPT, b"DATA")
    peer.send(b"Subject: x\r\n\r\none\n.\nMAIL FROM:<evil@b.example>\ntwo\r\n.\r\n")
    await settled()
    assert len(place.queue.deliveries) == 1
    assert place.queue.content().endswith(b"one\r\n.\r\nMAIL FROM:<evil@b.example>\r\ntwo\r\n")


async def test_nobody_else_is_borne_with(place: Place) -> None:
    peer = await place.conversation()
    await peer.say(HELLO, MAIL, RCPT, b"DATA")
    peer.send(b"Subject: x\r\n\r\none\ntwo\r\n.\r\n")
    await settled()
    assert peer.lines()[-1].startswith(b"550 5.6.11")
