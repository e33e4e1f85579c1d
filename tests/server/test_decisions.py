"""A reception that takes its time: what the client gets, and what waits, ends or is kept meanwhile."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from collections.abc import Sequence

import pytest
from tests.server.conftest import Conversation, Place, settled
from tests.server.thoughtful import BODY, HEADER, HELLO, MAIL, RCPT, SPOOFED, Scene, Thoughtful, scene_of, send_message

from waymail.server.inbound import Trust
from waymail.server.reception import Client, Networks
from waymail.wire.replies import Reply


@pytest.fixture
async def scene(place: Place) -> Scene:
    return await scene_of(place)


# --- answers that come later ---


async def test_each_answer_is_waited_for_and_pipelined_commands_wait_their_turn(scene: Scene) -> None:
    peer = scene.connect()
    assert peer.codes == []
    await scene.decide()
    assert peer.codes == [b"220"]
    await peer.say(HELLO, MAIL, RCPT, b"DATA")
    assert peer.codes == [b"220", b"250"], "MAIL is being decided, and nothing behind it is looked at"
    await scene.decide()
    assert peer.codes == [b"220", b"250", b"250"]
    await scene.decide()
    assert peer.codes == [b"220", b"250", b"250", b"250", b"354"]
    send_message(peer)
    await settled()
    assert scene.place.queue.deliveries == []
    await scene.decide()
    assert peer.codes[-1] == b"250"
    assert scene.reception.seen == ["connect", "mail", "rcpt", "message"]
    assert b"\r\nX-Judged: yes\r\nSubject: hello\r\n\r\ntext" in b"\r\n" + scene.place.queue.content()


@pytest.mark.parametrize("slow", [True, False])
async def test_a_refusal_leaves_the_session_where_it_was(scene: Scene, slow: bool) -> None:
    if not slow:
        scene.reception.slow = frozenset()
    peer = await scene.in_session()
    scene.reception.sender = SPOOFED
    await peer.say(MAIL)
    await scene.decide()
    assert peer.codes[-1] == b"550"
    scene.reception.sender = None
    await peer.say(MAIL)
    await scene.decide()
    scene.reception.recipient = SPOOFED
    await peer.say(RCPT)
    await scene.decide()
    assert peer.codes[-2:] == [b"250", b"550"]
    scene.reception.recipient, scene.reception.decision = None, SPOOFED
    await peer.say(RCPT)
    await scene.decide()
    await peer.say(b"DATA")
    send_message(peer)
    await settled()
    await scene.decide()
    assert peer.codes[-3:] == [b"250", b"354", b"550"]
    assert scene.place.queue.deliveries == []
    assert (await peer.say(b"DATA"))[-1].startswith(b"503")


@pytest.mark.parametrize(("hook", "said"), [("mail", (MAIL,)), ("rcpt", (MAIL, RCPT)), ("message", (MAIL, RCPT, b"DATA"))])
async def test_a_bug_in_a_decision_puts_the_client_off_and_is_logged(
    scene: Scene, hook: str, said: Sequence[bytes], caplog: pytest.LogCaptureFixture
) -> None:
    peer = await scene.in_session(*said if hook == "message" else said[:-1])
    scene.reception.fails = ZeroDivisionError("of the user's own code")
    if hook == "message":
        send_message(peer)
    else:
        peer.send(said[-1] + b"\r\n")
    await settled()
    await scene.decide()
    assert peer.lines()[-1].startswith(b"451 4.3.0")
    assert not peer.transport.is_closing()
    (record,) = [one for one in caplog.records if one.levelno >= logging.ERROR]
    assert record.exc_info is not None
    assert record.exc_info[0] is ZeroDivisionError
    assert scene.place.queue.deliveries == []
    assert (await peer.say(b"NOOP"))[-1].startswith(b"250")


async def test_a_decision_that_takes_too_long_is_a_451(place: Place) -> None:
    listener = await place.listener(decision_time=0.01)
    listener.reception = reception = Thoughtful(place)
    reception.slow = frozenset({"mail"})
    peer = Conversation(listener)
    await peer.say(HELLO, MAIL)
    await asyncio.sleep(0.05)
    await settled()
    assert peer.lines()[-1] == b"451 4.3.0 this could not be decided in time, try again later"
    assert reception.seen == ["mail", "called off"]


async def test_a_session_is_not_late_while_it_waits_for_this_server(scene: Scene) -> None:
    peer = await scene.in_session()
    await peer.say(MAIL)
    peer.session.deadline = 0.0
    await asyncio.sleep(0.6)
    assert not peer.transport.is_closing()


@pytest.mark.parametrize(("hook", "said"), [("connect", None), ("rcpt", (MAIL, RCPT)), ("message", (MAIL, RCPT, b"DATA"))])
async def test_a_decision_is_called_off_where_the_client_goes_away(scene: Scene, hook: str, said: Sequence[bytes] | None) -> None:
    if said is None:
        peer = scene.connect()
    else:
        peer = await scene.in_session(*said if hook == "message" else said[:-1])
        if hook == "message":
            send_message(peer)
        else:
            peer.send(said[-1] + b"\r\n")
    await settled()
    written = len(peer.transport.writes)
    peer.transport.close()
    peer.session.connection_lost(None)
    await settled()
    assert scene.reception.seen[-3:] == [hook, "left", "called off"]
    await scene.decide()
    assert len(peer.transport.writes) == written
    assert scene.place.queue.deliveries == []


async def test_a_stop_waits_for_no_decision_longer_than_its_grace(scene: Scene) -> None:
    peer = await scene.in_session(MAIL, RCPT, b"DATA")
    send_message(peer)
    await settled()
    await scene.listener.stop(grace=0.05)
    await settled()
    assert scene.reception.seen[-1] == "called off"
    assert peer.lines()[-1].startswith(b"421 4.3.2")
    assert peer.transport.is_closing()


async def test_a_decision_within_the_grace_of_a_stop_is_told_before_the_end(scene: Scene) -> None:
    peer = await scene.in_session(MAIL, RCPT, b"DATA")
    send_message(peer)
    await settled()
    stop = asyncio.create_task(scene.listener.stop(grace=5.0))
    await asyncio.sleep(0.01)
    await scene.decide()
    peer.session.connection_lost(None)
    await stop
    assert [line[:3] for line in peer.lines()[-2:]] == [b"250", b"421"]
    assert len(scene.place.queue.deliveries) == 1


# --- the greeting ---


async def test_a_client_that_talks_before_it_is_greeted_is_noticed_and_answered_in_order(scene: Scene) -> None:
    scene.reception.slow = frozenset({"connect"})
    peer = scene.connect()
    peer.send(HELLO + b"\r\n" + MAIL + b"\r\n")
    await settled()
    assert peer.session.client.talked_early
    assert peer.transport.is_paused
    assert peer.codes == []
    await scene.decide()
    assert peer.codes == [b"220", b"250", b"250"]
    assert not peer.transport.is_paused


async def test_a_client_that_waits_for_the_greeting_did_not_talk_early(scene: Scene) -> None:
    peer = scene.connect()
    await scene.decide()
    await peer.say(HELLO)
    assert peer.codes == [b"220", b"250"]
    assert not peer.session.client.talked_early


@pytest.mark.parametrize("slow", [True, False])
async def test_a_client_refused_with_5xx_can_say_nothing_but_quit(scene: Scene, slow: bool) -> None:
    scene.reception.greeting = Reply(550, "you are listed", "5.7.1")
    if not slow:
        scene.reception.slow = frozenset()
    peer = scene.connect()
    await scene.decide()
    assert peer.lines() == [b"554 5.7.1 you are listed"]
    await peer.say(HELLO, MAIL, b"NOOP", b"BDAT 3 LAST", b"a", b"nonsense")
    assert set(peer.codes[1:]) == {b"503"}
    assert not peer.transport.is_closing()
    assert (await peer.say(b"QUIT"))[-1].startswith(b"221")
    assert peer.transport.is_closing()


async def test_a_refused_client_that_does_not_quit_is_hung_up_on(scene: Scene) -> None:
    scene.reception.greeting = Reply(554, "you are listed", "5.7.1")
    peer = scene.connect()
    await scene.decide()
    await peer.say(*[b"NOOP"] * 30)
    assert peer.codes[-1] == b"421"
    assert peer.transport.is_closing()


@pytest.mark.parametrize("code", [421, 451])
async def test_a_client_that_may_come_back_is_told_421_and_hung_up_on(scene: Scene, code: int) -> None:
    scene.reception.greeting = Reply(code, "come back later", "4.7.0")
    peer = scene.connect()
    await scene.decide()
    assert peer.lines() == [b"421 4.7.0 come back later"]
    assert peer.transport.is_closing()


@pytest.mark.parametrize("slow", [True, False])
async def test_a_bug_in_the_decision_about_a_client_is_421(
    scene: Scene, slow: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    scene.reception.fails = ZeroDivisionError("of the user's own code")
    if not slow:
        monkeypatch.setattr(scene.reception, "connect", lambda client: 1 / 0)
    peer = scene.connect()
    await scene.decide()
    assert peer.codes == [b"421"]
    assert peer.transport.is_closing()
    assert "ZeroDivisionError" in caplog.text


async def test_half_a_connection_is_not_greeted(scene: Scene) -> None:
    peer = scene.connect()
    await settled()
    assert not peer.session.eof_received(), "the transport closes it"


async def test_the_client_that_a_proxy_speaks_for_is_judged_anew(scene: Scene, place: Place) -> None:
    proxy = Trust(xclient=Networks([ipaddress.ip_network("192.0.2.1")]))
    scene.reception._trust = proxy
    peer = await scene.in_session()
    scene.reception.greeting = Reply(554, "you are listed", "5.7.1")
    await peer.say(b"XCLIENT ADDR=198.51.100.7")
    assert scene.reception.seen == ["left", "connect"]
    await scene.decide()
    assert peer.codes[-1] == b"554"
    assert (await peer.say(HELLO))[-1].startswith(b"503")


async def test_only_a_reception_that_kept_something_is_told_of_the_end(place: Place) -> None:
    class Silent(Thoughtful):
        def connect(self, client: Client) -> None:
            return None

    listener = await place.listener()
    listener.reception = reception = Silent(place)
    peer = Conversation(listener)
    peer.session.connection_lost(None)
    assert reception.seen == []


async def test_what_was_found_out_about_a_client_is_kept_over_starttls(scene: Scene) -> None:
    scene.reception.slow = frozenset()
    peer = scene.connect()
    peer.session.client.talked_early = True
    peer.session._talk.tls_started()
    assert (peer.session.client.evidence, peer.session.client.talked_early) == ("something", True)


# --- the body as it passes ---


async def in_pieces(scene: Scene, size: int) -> bytes:
    """What the taker saw of a message that came in pieces of so many octets."""
    peer = await scene.in_session(MAIL, RCPT, b"DATA")
    octets = HEADER + b"\r\n" + BODY + b".\r\n"
    for at in range(0, len(octets), size):
        peer.send(octets[at : at + size])
    await settled()
    await scene.decide()
    assert peer.codes[-1] == b"250"
    return b"".join(scene.reception.taker.chunks)


@pytest.mark.parametrize("size", [1, 2, 3, 17, 1000])
async def test_the_body_is_seen_once_however_it_is_cut_and_without_the_dots_of_data(scene: Scene, size: int) -> None:
    assert await in_pieces(scene, size) == b"text\r\n.dots\r\n"
    assert scene.reception.sections == [HEADER], "as it came, and not as it is kept"
    assert b"Authentication-Results" not in scene.place.queue.content()


async def test_the_body_is_seen_of_a_message_in_chunks_too(scene: Scene) -> None:
    peer = await scene.in_session(MAIL, RCPT)
    message = HEADER + b"\r\n" + BODY
    peer.send(b"BDAT 30\r\n" + message[:30] + b"BDAT %d LAST\r\n" % (len(message) - 30) + message[30:])
    await settled()
    await scene.decide()
    assert peer.codes[-1] == b"250"
    assert b"".join(scene.reception.taker.chunks) == BODY
    assert scene.reception.sections == [HEADER]


@pytest.mark.parametrize(
    ("content", "section", "body"),
    [(b"", b"", b""), (b"Subject: x\r\n", b"Subject: x\r\n", b""), (b"\r\ntext\r\n", b"", b"text\r\n")],
    ids=["empty", "no body", "no header"],
)
async def test_a_message_without_header_or_body_has_been_seen_all_the_same(
    scene: Scene, content: bytes, section: bytes, body: bytes
) -> None:
    peer = await scene.in_session(MAIL, RCPT, b"DATA")
    peer.send(content + b".\r\n")
    await settled()
    await scene.decide()
    assert scene.reception.sections == [section]
    assert b"".join(scene.reception.taker.chunks) == body


async def test_a_header_section_that_is_too_large_is_refused_unseen(place: Place) -> None:
    listener = await place.listener(head=1000)
    listener.reception = reception = Thoughtful(place)
    reception.slow = frozenset()
    peer = Conversation(listener)
    await peer.say(HELLO, MAIL, RCPT, b"DATA")
    await peer.say(*[b"X-Long: " + b"x" * 90] * 20, b"", b"text", b".")
    assert peer.codes[-1] == b"552"
    assert reception.sections == []
