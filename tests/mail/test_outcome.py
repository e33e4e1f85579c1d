"""What became of one recipient."""

from __future__ import annotations

from waymail.mail.outcome import Deferred, Delivered, Failed, Outcome, Peer
from waymail.wire.replies import Reply


def word(outcome: Outcome) -> str:
    match outcome:
        case Delivered():
            return "delivered"
        case Deferred():
            return "deferred"
        case Failed():
            return "failed"


def test_outcomes_are_told_apart_by_their_class() -> None:
    reply = Reply(250, "OK", "2.0.0")
    assert [word(kind(reply)) for kind in (Delivered, Deferred, Failed)] == ["delivered", "deferred", "failed"]


def test_a_deferral_is_certain_and_blames_the_message_unless_it_says_otherwise() -> None:
    deferred = Deferred(Reply(451, "Later", "4.3.0"))
    assert not deferred.uncertain
    assert not deferred.destination_down
    assert deferred.cause == ""
    assert deferred.peer is None


def test_equal_outcomes_are_equal_and_hash_alike() -> None:
    reply, peer = Reply(550, "No", "5.1.1"), Peer("mx.example.net", "192.0.2.1", "TLSv1.3")
    failed = Failed(reply, peer)
    assert failed == Failed(Reply(550, "No", "5.1.1"), Peer("mx.example.net", "192.0.2.1", "TLSv1.3"))
    assert failed != Failed(reply, None)
    assert hash(failed) == hash(Failed(reply, peer))
