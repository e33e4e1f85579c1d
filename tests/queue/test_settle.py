"""What outcomes mean: states, next attempts, who is told."""

import random
from collections.abc import Mapping

from waymail.mail.envelope import Envelope, Recipient
from waymail.mail.outcome import Deferred, Delivered, Failed, Outcome, Peer
from waymail.queue.retry import DAY, HOUR, Schedule
from waymail.queue.settle import Decision, attempt_event, decide
from waymail.store.contract import Pending, State
from waymail.wire.replies import Reply

OK = Reply(250, "queued", "2.0.0")
LATER = Reply(451, "later", "4.3.0")
NEVER = Reply(550, "no such user", "5.1.1")
SCHEDULE = Schedule(intervals=(60, 300), expire=5 * DAY, delay_warning=4 * HOUR, jitter=0.0)


def decision(
    outcomes: Mapping[str, Outcome], *, now: float = 1000.0, attempts: int = 0, warned: bool = False, **more: float
) -> Decision:
    pending = [Pending(n, Recipient(address), attempts, warned) for n, address in enumerate(outcomes)]
    envelope = Envelope("0123456789abc", "s@x", tuple(one.recipient for one in pending), 0.0)
    return decide(pending, outcomes, envelope=envelope, now=now, schedules=SCHEDULE, rng=random.Random(1), **more)  # type: ignore[arg-type]


def test_each_recipient_gets_the_state_of_its_own_outcome() -> None:
    found = decision({"a@x": Delivered(OK), "b@x": Deferred(LATER), "c@x": Failed(NEVER)})
    assert [(c.number, c.state, c.attempts) for c in found.changes] == [
        (0, State.DELIVERED, 1),
        (1, State.QUEUED, 1),
        (2, State.FAILED, 1),
    ]
    assert [report.pending.recipient.address for report in found.failed] == ["c@x"]


def test_a_deferred_recipient_is_due_again_by_the_schedule() -> None:
    assert decision({"a@x": Deferred(LATER)}).changes[0].next_at == 1060
    assert decision({"a@x": Deferred(LATER)}, attempts=1).changes[0].next_at == 1300


def test_recipients_who_were_put_off_together_are_due_together() -> None:
    outcomes: dict[str, Outcome] = {f"{n}@x": Deferred(LATER) for n in range(5)}
    envelope = Envelope("0123456789abc", "s@x", tuple(map(Recipient, outcomes)), 0.0)
    pending = [Pending(n, one, attempts=n == 4) for n, one in enumerate(envelope.recipients)]
    found = decide(pending, outcomes, envelope=envelope, now=1000.0, schedules=Schedule(), rng=random.Random(1))
    first, *others = [change.next_at for change in found.changes]
    assert others[:3] == [first] * 3
    assert others[3] != first, "who was tried more often waits for longer"


def test_what_waits_for_a_destination_that_is_down_keeps_its_count_and_waits_for_it() -> None:
    change = decision({"a@x": Deferred(LATER)}, attempts=3, attempted=False, not_before=5000.0).changes[0]
    assert (change.attempts, change.next_at, change.state) == (3, 5000, State.QUEUED)


def test_the_message_that_probed_waits_no_less_than_its_destination() -> None:
    assert decision({"a@x": Deferred(LATER)}, not_before=9000.0).changes[0].next_at == 9000


def test_a_deferral_after_the_expiry_is_a_failure_with_5_4_7_and_the_last_reply() -> None:
    found = decision({"a@x": Deferred(LATER)}, now=5 * DAY)
    assert found.changes[0].state == State.FAILED
    assert found.failed[0].reply.enhanced == "5.4.7"
    assert "451 4.3.0 later" in found.failed[0].reply.text


def test_the_last_attempt_is_made_when_the_message_expires_not_after() -> None:
    change = decision({"a@x": Deferred(LATER)}, now=5 * DAY - 100, attempts=5).changes[0]
    assert change.next_at == 5 * DAY


def test_a_late_message_is_warned_of_once() -> None:
    first = decision({"a@x": Deferred(LATER)}, now=4 * HOUR)
    assert [report.pending.recipient.address for report in first.delayed] == ["a@x"]
    assert first.changes[0].warned
    assert decision({"a@x": Deferred(LATER)}, now=5 * HOUR, warned=True).reports == {}
    assert decision({"a@x": Deferred(LATER)}, now=HOUR).reports == {}


def test_recipients_of_whom_the_same_was_said_share_a_result() -> None:
    found = decision({"a@x": Delivered(OK), "b@x": Delivered(OK), "c@x": Failed(NEVER)})
    assert [result["to"] for result in found.results] == [["a@x", "b@x"], ["c@x"]]


def test_recipients_share_no_result_where_their_mail_is_in_different_places() -> None:
    one, other = (Delivered(OK, final=True, place=place) for place in ("/srv/ann", "/srv/bob"))
    found = decision({"a@x": one, "b@x": other, "c@x": one})
    assert [(result["to"], result["place"]) for result in found.results] == [(["a@x", "c@x"], "/srv/ann"), (["b@x"], "/srv/bob")]
    for outcome in (Deferred(LATER, place="/srv/ann"), Failed(NEVER, place="/srv/ann")):
        assert decision({"a@x": outcome}).results[0]["place"] == "/srv/ann"


def test_the_event_tells_destination_tls_reply_duration_and_the_next_time_with_its_reason() -> None:
    found = decision({"a@x": Deferred(LATER, uncertain=True)})
    peer = Peer("mx.x", "192.0.2.1", "TLSv1.3 unverified")
    detail = attempt_event(found, destination="mx.x", peer=peer, now=1000, seconds=0.25).detail
    assert detail["destination"] == "mx.x"
    assert detail["tls"] == "TLSv1.3 unverified"
    assert detail["ms"] == 250
    result = detail["results"][0]
    assert (result["reply"], result["next"], result["uncertain"]) == ("451 4.3.0 later", 1060, True)
    assert result["why"]


def test_the_event_has_what_was_said_where_not_all_was_delivered() -> None:
    said = ("> RCPT TO:<b@x>", "< 451 4.3.0 later")
    outcomes: dict[str, Outcome] = {"a@x": Delivered(OK), "b@x": Deferred(LATER, dialogue=said)}
    event = attempt_event(decision(outcomes), destination="x", peer=None, now=1000, seconds=0.1, outcomes=outcomes)
    assert event.detail["dialogue"] == list(said)
    outcomes["b@x"] = Delivered(OK)
    event = attempt_event(decision(outcomes), destination="x", peer=None, now=1000, seconds=0.1, outcomes=outcomes)
    assert "dialogue" not in event.detail
