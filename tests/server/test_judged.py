"""What becomes of messages and recipients about which more is decided than yes or no."""

from __future__ import annotations

import logging

import pytest
from tests.server.conftest import Place, settled
from tests.server.thoughtful import BODY, JUDGED, MAIL, RCPT, SPOOFED, Scene, scene_of, send_message

from waymail.server.directory import Directory
from waymail.server.inbound import Inbound, Trust
from waymail.server.reception import Client, Judged, Transaction
from waymail.store.contract import State
from waymail.wire.replies import Reply


@pytest.fixture
async def scene(place: Place) -> Scene:
    return await scene_of(place)


@pytest.mark.parametrize("slow", [True, False])
async def test_a_message_that_is_refused_with_its_reasons_is_kept_as_history(
    scene: Scene, slow: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    if not slow:
        scene.reception.slow = frozenset()
    peer = await scene.in_session(MAIL, RCPT, b"RCPT TO:<bob@example.org>", b"DATA")
    scene.reception.decision = Judged(refusal=SPOOFED, events=(JUDGED,))
    send_message(peer)
    await settled()
    await scene.decide()
    assert peer.lines()[-1] == b"550 5.7.26 spoofed"
    assert scene.place.queue.deliveries == []
    (story,) = await scene.place.store.find("ann@example.org")
    assert {(one.address, one.state, one.reply) for one in story.recipients} == {
        ("ann@example.org", State.REFUSED, "550 5.7.26 spoofed"),
        ("bob@example.org", State.REFUSED, "550 5.7.26 spoofed"),
    }
    assert story.envelope.origin.address == "192.0.2.1"
    (told,) = [vars(record)["fields"] for record in caplog.records if record.message == "a message was refused"]
    assert told["id"] == story.envelope.id, "the log names by what it is explained"
    assert story.size == len(BODY) + len(b"Subject: hello\r\n\r\n") - 1
    whole = await scene.place.store.get(story.envelope.id)
    assert whole is not None
    assert whole.events == (JUDGED,)
    assert (await peer.say(b"NOOP"))[-1].startswith(b"250")


@pytest.mark.parametrize("slow", [True, False])
async def test_a_recipient_that_is_refused_with_its_reasons_is_kept_as_history(scene: Scene, slow: bool) -> None:
    if not slow:
        scene.reception.slow = frozenset()
    peer = await scene.in_session(MAIL)
    scene.reception.recipient = Judged(refusal=Reply(451, "wait a minute", "4.7.1"), events=(JUDGED,))
    await peer.say(RCPT)
    await scene.decide()
    assert peer.lines()[-1] == b"451 4.7.1 wait a minute"
    (story,) = await scene.place.store.find("x@client.example")
    assert [(one.address, one.state) for one in story.recipients] == [("ann@example.org", State.REFUSED)]
    assert (await peer.say(b"DATA"))[-1][:3] in (b"503", b"554"), "it is no recipient of the transaction"


async def test_without_reasons_nothing_is_kept_but_a_line_in_the_log(scene: Scene) -> None:
    peer = await scene.in_session(MAIL)
    scene.reception.recipient = Judged(refusal=SPOOFED)
    await peer.say(RCPT)
    await scene.decide()
    assert peer.codes[-1] == b"550"
    assert await scene.place.store.find("x@client.example") == []


async def test_a_history_that_cannot_be_written_changes_no_reply(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    await scene.place.store.close()
    peer = await scene.in_session(MAIL)
    scene.reception.recipient = Judged(refusal=SPOOFED, events=(JUDGED,))
    await peer.say(RCPT)
    await scene.decide()
    assert peer.lines()[-1] == b"550 5.7.26 spoofed"


async def test_a_message_that_is_taken_has_what_was_judged_in_its_history(scene: Scene) -> None:
    peer = await scene.in_session(MAIL, RCPT, b"DATA")
    scene.reception.decision = Judged(fields=b"X-Judged: mark\r\n", events=(JUDGED,))
    send_message(peer)
    await settled()
    await scene.decide()
    (delivery,) = scene.place.queue.deliveries
    story = await scene.place.store.get(delivery.envelope.id)
    assert story is not None
    assert story.events == (JUDGED,)
    assert b"X-Judged: mark\r\n" in scene.place.queue.content()
    assert [one.folder for one in delivery.envelope.recipients] == [""]


async def test_a_message_in_quarantine_names_the_folder_of_all_its_recipients(scene: Scene) -> None:
    peer = await scene.in_session(MAIL, b"RCPT TO:<sales@example.org>", b"DATA")
    scene.reception.decision = Judged(folder="Junk")
    send_message(peer)
    await settled()
    await scene.decide()
    (envelope,) = scene.place.queue.envelopes
    assert {(one.address, one.folder) for one in envelope.recipients} == {
        ("ann@example.org", "Junk"),
        ("bob@example.org", "Junk"),
    }


async def test_a_discarded_message_is_answered_as_if_it_were_taken(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    peer = await scene.in_session(MAIL, RCPT, b"DATA")
    scene.reception.decision = Judged(is_discarded=True, events=(JUDGED,))
    send_message(peer)
    await settled()
    await scene.decide()
    assert peer.lines()[-1].startswith(b"250 2.0.0 queued as ")
    assert scene.place.queue.deliveries == []
    story = await scene.place.store.get(peer.lines()[-1].rpartition(b" ")[2].decode())
    assert story is not None
    assert [(one.state, one.reply[:3]) for one in story.recipients] == [(State.REMOVED, "250")]
    assert "a message was discarded" in [record.message for record in caplog.records]


async def test_nothing_but_a_refusal_can_be_judged_of_a_recipient(scene: Scene) -> None:
    peer = await scene.in_session(MAIL)
    scene.reception.recipient = Judged(is_discarded=True)
    await peer.say(RCPT)
    await scene.decide()
    assert peer.lines()[-1].startswith(b"451 4.3.0"), "it is a bug"


def test_without_a_judge_everybody_is_let_in_and_no_body_is_looked_at() -> None:
    inbound, client = Inbound(Directory("mail.example.org", {}), Trust()), Client("192.0.2.1")
    assert not inbound.takes_bodies
    assert inbound.connect(client) is None
    assert inbound.body(client, Transaction(""), b"") is None
    inbound.left(client)
