"""A session's promises, each by its name."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.server.conftest import Conversation, Place, settled

from waymail.server.inbound import Inbound, Trust
from waymail.server.reception import Client, Transaction
from waymail.wire.replies import Reply
from waymail.wire.sasl import Challenge

HELLO = b"EHLO client.example"
MAIL = b"MAIL FROM:<x@client.example>"
RCPT = b"RCPT TO:<ann@example.org>"
CONTENT = (b"Subject: hello", b"", b"text", b".")


async def test_a_message_is_taken_with_a_received_field_in_front_and_otherwise_as_it_came(place: Place) -> None:
    peer = await place.conversation()
    replies = await peer.say(HELLO, MAIL, RCPT, b"DATA")
    assert replies[-1].startswith(b"354 ")
    assert (await peer.say(*CONTENT))[-1].startswith(b"250 2.0.0 queued as ")
    content = place.queue.content()
    trace = b" ".join(content.split(b"\r\nSubject")[0].split())
    assert trace.startswith(b"Received: from client.example ([192.0.2.1]) by mail.example.org with ESMTP id ")
    assert b"for <ann@example.org>" in content
    assert content.endswith(b"Subject: hello\r\n\r\ntext\r\n")
    assert place.queue.envelopes[0].sender == "x@client.example"


async def test_the_250_waits_until_the_store_has_the_message(place: Place) -> None:
    place.store.gate = asyncio.Event()
    peer = await place.conversation()
    await peer.say(HELLO, MAIL, RCPT, b"DATA")
    assert await peer.say(*CONTENT) == []
    place.store.gate.set()
    await settled()
    assert peer.lines()[-1].startswith(b"250 2.0.0 queued")


async def test_a_store_that_fails_gives_451_never_250_and_the_session_goes_on(place: Place) -> None:
    place.store.fails = True
    peer = await place.conversation()
    await peer.say(HELLO, MAIL, RCPT, b"DATA")
    assert (await peer.say(*CONTENT))[-1].startswith(b"451 4.3.0")
    assert place.queue.deliveries == []
    place.store.fails = False
    await peer.say(MAIL, RCPT, b"DATA")
    assert (await peer.say(*CONTENT))[-1].startswith(b"250 ")


async def test_the_replies_of_a_pipelined_group_leave_in_one_write(place: Place) -> None:
    peer = await place.conversation()
    await peer.say(HELLO)
    before = len(peer.transport.writes)
    replies = await peer.say(MAIL, RCPT, b"RCPT TO:<bob@example.org>", b"DATA")
    assert len(peer.transport.writes) == before + 1
    assert [line[:3] for line in replies] == [b"250", b"250", b"250", b"354"]


SESSION = b"".join(line + b"\r\n" for line in (HELLO, MAIL, RCPT, b"DATA", *CONTENT, MAIL, RCPT, b"DATA", *CONTENT, b"QUIT"))


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.sets(st.integers(1, len(SESSION) - 1)))
async def test_a_whole_session_gets_the_same_replies_however_it_is_cut(cuts: set[int]) -> None:
    place = Place()
    try:
        peer = await place.conversation()
        edges = [0, *sorted(cuts), len(SESSION)]
        for start, end in pairwise(edges):
            peer.send(SESSION[start:end])
            await asyncio.sleep(0)
        await settled()
        codes = [b"220", b"250", b"250", b"250", b"354", b"250", b"250", b"250", b"354", b"250", b"221"]
        assert peer.codes == codes
        assert peer.transport.is_closing()
        assert len(place.queue.deliveries) == 2
    finally:
        await place.close()


async def test_what_follows_a_message_in_the_same_segment_waits_for_its_reply(place: Place) -> None:
    place.store.gate = asyncio.Event()
    peer = await place.conversation()
    peer.send(SESSION)
    await settled()
    assert peer.codes[-1] == b"354"
    place.store.gate.set()
    await settled()
    assert peer.codes[-1] == b"221"
    assert len(place.queue.deliveries) == 2


async def test_too_much_ahead_of_a_reply_is_not_read(place: Place) -> None:
    place.store.gate = asyncio.Event()
    peer = await place.conversation(unread=1000)
    peer.send(SESSION[: SESSION.index(b"QUIT")].replace(b"text", b"text" * 1000) * 2)
    await settled()
    assert peer.transport.is_paused
    place.store.gate.set()
    await settled()
    assert not peer.transport.is_paused


async def test_a_client_that_does_not_read_its_replies_is_not_listened_to(place: Place) -> None:
    peer = await place.conversation()
    peer.session.pause_writing()
    assert peer.transport.is_paused
    peer.session.resume_writing()
    assert not peer.transport.is_paused


async def test_a_bare_lf_is_refused_with_550_5_6_11_and_nothing_is_taken(place: Place) -> None:
    peer = await place.conversation()
    await peer.say(HELLO, MAIL, RCPT, b"DATA")
    replies = await peer.say(b"Subject: x\n.\r\nMAIL FROM:<evil@example.com>", b".")
    assert replies[-1].startswith(b"550 5.6.11")
    assert place.queue.deliveries == []


async def test_a_connection_lost_before_the_dot_leaves_nothing(place: Place, tmp_path: Path) -> None:
    peer = await place.conversation()
    await peer.say(HELLO, MAIL, RCPT, b"DATA", b"half a message")
    peer.session.connection_lost(None)
    await settled()
    assert place.queue.deliveries == []
    assert await place.store.list() == []


async def test_a_connection_lost_after_the_dot_leaves_the_message_once(place: Place) -> None:
    place.store.gate = asyncio.Event()
    peer = await place.conversation()
    await peer.say(HELLO, MAIL, RCPT, b"DATA")
    await peer.say(*CONTENT)
    peer.transport.close()
    peer.session.connection_lost(None)
    place.store.gate.set()
    await settled()
    assert len(place.queue.deliveries) == 1


async def test_a_message_for_several_recipients_names_none_of_them(place: Place) -> None:
    peer = await place.conversation()
    await peer.say(HELLO, MAIL, RCPT, b"RCPT TO:<bob@example.org>", b"DATA")
    await peer.say(*CONTENT)
    assert b"for <" not in place.queue.content().split(b"Subject")[0]


async def test_an_alias_is_named_as_it_was_addressed_not_where_it_leads(place: Place) -> None:
    peer = await place.conversation()
    await peer.say(HELLO, MAIL, b"RCPT TO:<me@example.org>", b"DATA")
    await peer.say(*CONTENT)
    assert b"for <me@example.org>" in place.queue.content()
    await peer.say(MAIL, b"RCPT TO:<sales@example.org>", b"DATA")
    await peer.say(*CONTENT)
    assert b"for <" not in place.queue.content().split(b"Subject")[0]


async def test_a_recipient_given_twice_gets_one_copy(place: Place) -> None:
    peer = await place.conversation()
    await peer.say(HELLO, MAIL, RCPT, RCPT, b"RCPT TO:<sales@example.org>", b"DATA")
    await peer.say(*CONTENT)
    addresses = [recipient.address for recipient in place.queue.envelopes[0].recipients]
    assert sorted(addresses) == ["ann@example.org", "bob@example.org"]


async def test_more_than_a_hundred_received_fields_are_a_loop(place: Place) -> None:
    peer = await place.conversation()
    await peer.say(HELLO, MAIL, RCPT, b"DATA")
    hop = b"Received: from a by b; Tue, 24 Nov 2026 12:00:00 +0000"
    assert (await peer.say(*[hop] * 101, *CONTENT))[-1].startswith(b"554 5.4.6")
    await peer.say(MAIL, RCPT, b"DATA")
    assert (await peer.say(*[hop] * 100, *CONTENT))[-1].startswith(b"250 ")


async def test_a_session_of_errors_is_ended_with_421(place: Place) -> None:
    peer = await place.conversation(errors=3)
    assert [line[:3] for line in await peer.say(*[b"NONSENSE"] * 10)] == [b"500", b"500", b"500", b"421"]
    assert peer.transport.is_closing()


async def test_a_session_of_nothing_but_noops_is_ended_with_421(place: Place) -> None:
    peer = await place.conversation(junk=5)
    assert [line[:3] for line in await peer.say(*[b"NOOP"] * 10)] == [b"250"] * 5 + [b"421"]
    assert peer.transport.is_closing()


async def test_recipients_past_the_limit_get_452_and_the_others_stand(place: Place) -> None:
    peer = await place.conversation(recipients=1)
    replies = await peer.say(HELLO, MAIL, RCPT, b"RCPT TO:<bob@example.org>", b"DATA")
    assert replies[-2].startswith(b"452 4.5.3")
    await peer.say(*CONTENT)
    assert [recipient.address for recipient in place.queue.envelopes[0].recipients] == ["ann@example.org"]


async def test_a_message_past_the_size_limit_is_refused_with_552(place: Place) -> None:
    peer = await place.conversation(message_size=1000)
    assert (await peer.say(HELLO, MAIL + b" SIZE=1001"))[-1].startswith(b"552 5.3.4")
    await peer.say(MAIL, RCPT, b"DATA")
    assert (await peer.say(b"x" * 1001, b"."))[-1].startswith(b"552 5.3.4")
    assert place.queue.deliveries == []


async def test_ehlo_in_a_transaction_clears_it(place: Place) -> None:
    peer = await place.conversation()
    replies = await peer.say(HELLO, MAIL, RCPT, HELLO, RCPT, b"DATA")
    assert [line[:3] for line in replies[-2:]] == [b"503", b"503"]


async def test_vrfy_says_252_and_tells_nothing(place: Place) -> None:
    peer = await place.conversation()
    assert (await peer.say(HELLO, b"VRFY ann"))[-1] == (await peer.say(b"VRFY nobody"))[-1]
    assert peer.codes[-1] == b"252"


async def test_a_session_that_says_nothing_is_ended_with_421_and_others_are_not(place: Place) -> None:
    listener = await place.listener(command_timeout=0.0)
    patient = Conversation(await place.listener())
    silent = Conversation(listener)
    await asyncio.sleep(0.01)
    listener._sweep()
    assert silent.lines()[-1].startswith(b"421 4.4.2")
    assert silent.transport.is_closing()
    assert not patient.transport.is_closing()


async def test_past_the_bounds_on_sessions_a_client_gets_421_instead_of_a_greeting(place: Place) -> None:
    listener = await place.listener(sessions=3, sessions_per_client=2)
    first, second, third = (Conversation(listener, "192.0.2.1") for _ in range(3))
    assert (first.codes, second.codes, third.codes) == ([b"220"], [b"220"], [b"421"])
    third.session.connection_lost(None)
    other, last = Conversation(listener, "192.0.2.2"), Conversation(listener, "192.0.2.3")
    assert (other.codes, last.codes) == ([b"220"], [b"421"])
    first.session.connection_lost(None)
    last.session.connection_lost(None)
    assert Conversation(listener, "192.0.2.1").codes == [b"220"]


async def test_stopping_ends_idle_sessions_with_421_and_lets_a_message_finish(place: Place) -> None:
    place.store.gate = asyncio.Event()
    listener = await place.listener()
    idle, busy = Conversation(listener), Conversation(listener)
    await busy.say(HELLO, MAIL, RCPT, b"DATA")
    await busy.say(*CONTENT)
    stopping = asyncio.create_task(listener.stop(grace=5))
    await settled()
    assert idle.lines()[-1].startswith(b"421 4.3.2")
    assert not busy.transport.is_closing()
    place.store.gate.set()
    await settled()
    assert [line[:3] for line in busy.lines()[-2:]] == [b"250", b"421"]
    for one in (idle, busy):
        one.session.connection_lost(None)
    await stopping


async def test_auth_is_refused_with_538_in_clear(place: Place) -> None:
    peer = await place.conversation("submission")
    replies = await peer.say(HELLO, b"AUTH PLAIN AGFubgBzZWNyZXQ=")
    assert not any(b"AUTH" in line for line in replies[:-1])
    assert replies[-1].startswith(b"538 5.7.11")


def secured(peer: Conversation) -> Conversation:
    """As after a handshake: the wire core believes in TLS."""
    peer.session._wire.tls_started()
    return peer


async def verified(peer: Conversation, *lines: bytes) -> bytes:
    """The last reply, when the thread that verifies passwords has answered."""
    number = len(peer.lines())
    await peer.say(*lines)
    for _ in range(500):
        if len(peer.lines()) > number:
            break
        await asyncio.sleep(0.01)
    return peer.lines()[-1]


async def test_plain_and_login_authenticate_and_mail_without_auth_is_refused(place: Place) -> None:
    peer = secured(await place.conversation("submission"))
    replies = await peer.say(HELLO, b"MAIL FROM:<ann@example.org>")
    assert any(line.endswith(b"AUTH PLAIN LOGIN") for line in replies)
    assert replies[-1].startswith(b"530 5.7.0")
    assert (await verified(peer, b"AUTH PLAIN AGFubgBzZWNyZXQ=")).startswith(b"235 2.7.0")
    assert (await peer.say(b"MAIL FROM:<ann@example.org>"))[-1].startswith(b"250 ")
    other = secured(await place.conversation("submission"))
    assert (await other.say(HELLO, b"AUTH LOGIN"))[-1] == b"334 VXNlcm5hbWU6"
    assert (await other.say(b"YW5u"))[-1] == b"334 UGFzc3dvcmQ6"
    assert (await verified(other, b"c2VjcmV0")).startswith(b"235 2.7.0")


async def test_an_unknown_user_and_a_wrong_password_get_the_same_535_and_three_end_the_session(place: Place) -> None:
    peer = secured(await place.conversation("submission"))
    await peer.say(HELLO)
    unknown = await verified(peer, b"AUTH PLAIN AG5vYm9keQBzZWNyZXQ=")
    wrong = await verified(peer, b"AUTH PLAIN AGFubgB3cm9uZw==")
    assert unknown == wrong
    assert wrong.startswith(b"535 5.7.8")
    assert (await verified(peer, b"AUTH PLAIN AGFubgB3cm9uZw==")).startswith(b"421 4.7.0")
    assert peer.transport.is_closing()


async def test_a_star_cancels_authentication_with_501(place: Place) -> None:
    peer = secured(await place.conversation("submission"))
    assert (await peer.say(HELLO, b"AUTH PLAIN"))[-1] == b"334 "
    assert (await peer.say(b"*"))[-1].startswith(b"501 5.7.0")
    assert (await peer.say(b"NOOP"))[-1].startswith(b"250 ")


class Passed:
    """An exchange that a back end carries out: it asks, and waits for the answer."""

    closed = 0

    async def step(self, response: bytes | None) -> Challenge:
        return Challenge(b"say it")

    def close(self) -> None:
        self.closed += 1


@pytest.mark.parametrize("ending", [b"*\r\n", b"no base64!\r\n", b"A" * 20_000 + b"\r\n", None])
async def test_an_exchange_that_ends_in_the_middle_is_closed_once_however_it_ends(place: Place, ending: bytes | None) -> None:
    passed = place.users.passed = Passed()
    peer = secured(await place.conversation("submission"))
    assert (await peer.say(HELLO, b"AUTH PLAIN"))[-1] == b"334 c2F5IGl0"
    assert passed.closed == 0
    if ending is None:
        peer.session.connection_lost(None)
    else:
        peer.send(ending)
    await settled()
    assert passed.closed == 1


@pytest.mark.parametrize("kind", ["mx", "submission"])
async def test_every_reply_but_greeting_hello_and_354_has_an_enhanced_code_of_its_class(place: Place, kind: str) -> None:
    peer = await place.conversation(kind)
    await peer.say(HELLO, b"NOOP", b"RSET", b"HELP", b"VRFY x", b"NONSENSE", b"DATA", MAIL, b"RCPT TO:<x@y.example>", b"QUIT")
    for line in peer.lines()[1:]:
        if line.startswith((b"250-", b"250 LIMITS")):
            continue  # the answer to EHLO
        code, enhanced = line.split()[:2]
        assert enhanced[:2] == code[:1] + b".", line


class Stumbling(Inbound):
    """A reception with a bug."""

    def mail(self, client: Client, transaction: Transaction) -> Reply:
        raise RecursionError


async def test_a_bug_ends_the_session_that_meets_it_with_421_and_no_other(place: Place) -> None:
    listener = await place.listener()
    unlucky, other = Conversation(listener), Conversation(listener)
    await unlucky.say(HELLO)
    reception, listener.reception = listener.reception, Stumbling(place.directory, Trust())
    assert (await unlucky.say(MAIL, RCPT))[-1].startswith(b"421 4.3.0")
    assert unlucky.transport.is_closing()
    listener.reception = reception
    assert (await other.say(HELLO, MAIL))[-1].startswith(b"250 ")


async def test_the_time_for_a_command_counts_from_the_last_reply_and_not_from_the_last_octet(place: Place) -> None:
    peer = await place.conversation(command_timeout=60.0)
    await peer.say(HELLO, MAIL, RCPT, b"DATA")
    place.store.gate = asyncio.Event()
    await peer.say(*CONTENT)
    place.store.gate.set()
    await settled()
    after = peer.session.deadline
    assert after == pytest.approx(asyncio.get_running_loop().time() + 60.0, abs=5.0), "and not the time for content"
    await asyncio.sleep(0.01)
    peer.send(b"NOO")
    assert peer.session.deadline == after
    await peer.say(b"P")
    assert peer.session.deadline > after


async def test_a_client_that_has_said_all_and_goes_on_listening_gets_every_answer(place: Place) -> None:
    peer = await place.conversation()
    peer.send((HELLO + b"\r\n") + b"NOOP\r\n" * 600 + b"QUIT\r\n")
    assert peer.session.eof_received()
    await settled()
    assert peer.codes == [b"220", b"250"] + [b"250"] * 600 + [b"221"]
    assert peer.transport.is_closing()
