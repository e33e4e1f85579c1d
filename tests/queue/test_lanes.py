"""What waits in memory, what starts, and what goes back to the store."""

from __future__ import annotations

import random
from dataclasses import dataclass

from waymail.mail.envelope import NO_OPTIONS, Body, DeliverBy, Envelope, Options, Recipient
from waymail.mail.outcome import Deferred, Delivered
from waymail.queue.lanes import FORGET, IDLE, LONGEST_WAIT, Lanes, PutOff, Share
from waymail.queue.plan import SLOW, RunnerLimits
from waymail.queue.retry import Schedule
from waymail.store.contract import Delivery, Pending
from waymail.wire.replies import Reply

OK = Delivered(Reply(250, "taken", "2.0.0"))
REFUSED = Deferred(Reply(451, "connection refused", "4.4.1"), destination_down=True)
SCHEDULE = Schedule(intervals=(60, 300), jitter=0.0)


@dataclass(frozen=True)
class Place:
    key: str


def lanes(**limits: int) -> Lanes[Place]:
    return Lanes(RunnerLimits(**limits), SCHEDULE, random.Random(1))


def share(key: str, since: float = 0.0, octets: int = 10, recipients: int = 1, options: Options = NO_OPTIONS) -> Share[Place]:
    people = tuple(Recipient(f"x{number}@{key}") for number in range(recipients))
    envelope = Envelope("0" * 13, "a@example.org", people, since, options=options)
    pending = tuple(Pending(number, person) for number, person in enumerate(people))
    return Share(Delivery(envelope, Body(b"x" * octets, octets), pending, 1), pending, Place(key), since, True)


def started(made: Lanes[Place], now: float = 0.0) -> list[Share[Place]]:
    return [one for one in made.start(now) if isinstance(one, Share)]


def outcomes(one: Share[Place], outcome: Delivered | Deferred) -> dict[str, Delivered | Deferred]:
    return {pending.recipient.address: outcome for pending in one.pending}


def prove(made: Lanes[Place], key: str) -> None:
    """Let it be known that the destination is quick and takes mail."""
    one = share(key)
    made.add(one, 0)
    for taken in started(made):
        made.finish(taken, outcomes(taken, OK), started=0, now=0)


def test_what_is_added_starts_once() -> None:
    made = lanes()
    one = share("a")
    assert made.add(one, 0) is None
    assert started(made) == [one]
    assert started(made) == []


def test_a_full_lane_puts_off_and_leaves_room_for_the_others() -> None:
    made = lanes(waiting=3, per_destination=1)
    taken = [made.add(share("slow"), 0) for _ in range(10)]
    assert [one is None for one in taken] == [True] * 2 + [False] * 8
    assert made.add(share("quick"), 0) is None
    put_off = taken[-1]
    assert put_off is not None
    assert put_off.until == 0, "it stays due, and is left out of claims"
    assert made.room_for("slow", 0) == 0
    assert made.room_for("quick", 0) > 0


def test_one_probes_and_whoever_comes_meanwhile_is_put_off() -> None:
    made = lanes()
    first = share("a")
    made.add(first, 0)
    started(made)
    made.finish(first, outcomes(first, REFUSED), started=0, now=0)
    probe = share("a", since=61)
    assert made.add(probe, 61) is None
    assert isinstance(made.add(share("a"), 61), PutOff)
    assert started(made, 61) == [probe]


def test_when_a_destination_goes_down_all_who_wait_go_back_until_it_is_probed() -> None:
    made = lanes(per_destination=1)
    prove(made, "a")
    shares = [share("a") for _ in range(5)]
    for one in shares:
        made.add(one, 0)
    assert started(made) == [shares[0]]
    put_off = made.finish(shares[0], outcomes(shares[0], REFUSED), started=0, now=0)
    assert [one.share for one in put_off] == shares[1:]
    assert all(60 < one.until < 66 for one in put_off)
    assert made.recipients == 0
    assert made.back_off("a") > max(one.until for one in put_off), "another one probes"


def test_what_has_waited_long_goes_back_before_its_claim_can_lapse() -> None:
    made = lanes()
    made.add(share("a"), 0)
    late = list(made.start(LONGEST_WAIT + 1))
    assert [type(one) for one in late] == [PutOff]
    assert made.recipients == 0


def test_room_is_counted_in_recipients_and_in_octets() -> None:
    made = lanes(ready=10, ready_octets=1000)
    one = share("a", recipients=4)
    made.add(one, 0)
    assert made.room == 6
    big = share("b", octets=1000)
    made.add(big, 0)
    assert made.room == 0
    assert not made.is_relieved
    for taken in started(made):
        made.finish(taken, outcomes(taken, OK), started=0, now=0)
    assert (made.room, made.recipients, made.octets) == (10, 0, 0)
    assert made.is_relieved


def test_a_destination_that_is_up_is_forgotten_soon_and_a_dead_one_later() -> None:
    made = lanes()
    up, dead = share("up"), share("dead")
    for one in (up, dead):
        made.add(one, 0)
    started(made)
    made.finish(up, outcomes(up, OK), started=0, now=0)
    made.finish(dead, outcomes(dead, REFUSED), started=0, now=0)
    made.forget(IDLE)
    assert [state.key for state in made.states()] == ["up", "dead"]
    made.forget(2 * IDLE)
    assert [state.key for state in made.states()] == ["dead"]
    made.forget(FORGET)
    assert [state.key for state in made.states()] == ["dead"]
    made.forget(61 + FORGET)
    assert made.states() == []


def test_the_lane_with_the_most_urgent_message_starts_first() -> None:
    made = lanes(total=1)
    for key, priority in (("a", -5), ("b", 0), ("c", 2), ("c", -9)):
        made.add(share(key, options=Options(priority=priority)), 0)
    order = []
    while found := started(made):
        order += [(one.destination.key, one.delivery.envelope.options.priority) for one in found]
        made.finish(found[0], outcomes(found[0], OK), started=0, now=0)
    assert order == [("c", 2), ("b", 0), ("a", -5), ("c", -9)]
    assert made.recipients == 0


def test_those_with_a_priority_go_back_too_when_a_destination_goes_down() -> None:
    made = lanes(per_destination=1)
    prove(made, "a")
    shares = [share("a", options=Options(priority=priority)) for priority in (9, -1, 3)] + [share("a")]
    for one in shares:
        made.add(one, 0)
    assert started(made) == [shares[0]]
    put_off = made.finish(shares[0], outcomes(shares[0], REFUSED), started=0, now=0)
    assert [one.share for one in put_off] == [shares[2], shares[3], shares[1]]
    assert made.recipients == 0
    assert started(made, 0) == []


def test_what_is_held_waits_in_no_lane() -> None:
    put_off = lanes().add(share("a", options=Options(hold_until=500)), 100)
    assert put_off is not None
    assert put_off.until == 500


def test_what_became_overdue_in_its_lane_is_handed_back() -> None:
    made = lanes()
    made.add(share("a", options=Options(deliver_by=DeliverBy(50, "R"))), 0)
    assert [type(one) for one in made.start(50)] == [PutOff]
    assert made.recipients == 0


def test_a_back_off_that_is_lifted_lets_one_probe() -> None:
    made = lanes()
    first = share("a")
    made.add(first, 0)
    started(made)
    made.finish(first, outcomes(first, REFUSED), started=0, now=0)
    assert isinstance(made.add(share("a"), 10), PutOff)
    made.lift("a", 10)
    made.lift("of nobody", 10)
    assert made.add(share("a"), 10) is None
    assert isinstance(made.add(share("a"), 10), PutOff), "the others wait for what it meets"


def test_people_are_told_since_when_a_destination_is_down_however_often_its_back_off_was_lifted() -> None:
    made = lanes()

    def attempt(now: float, outcome: Delivered | Deferred) -> None:
        one = share("a", since=now)
        made.lift("a", now)
        assert made.add(one, now) is None
        assert started(made, now) == [one]
        made.finish(one, outcomes(one, outcome), started=now, now=now)

    for now in (100, 200, 300, 400):
        attempt(now, REFUSED)
    (state,) = made.states()
    assert (state.troubled_since, state.failed) == (100, 4)
    assert (state.failures, state.down_until) == (2, 700), "the back-off began anew with each"
    made.set_back(50)
    assert state.troubled_since == 50
    attempt(500, OK)
    attempt(600, REFUSED)
    assert (state.troubled_since, state.failed) == (600, 1)


def test_attempts_that_take_long_give_their_places_to_others() -> None:
    made = lanes(total=2, slow=2)
    for key in ("slow1", "slow2", "quick1", "quick2"):
        made.add(share(key), 0)
    assert [one.destination.key for one in started(made, 0)] == ["slow1", "slow2"]
    assert started(made, SLOW / 2) == []
    assert made.is_crowded
    assert [one.destination.key for one in started(made, SLOW)] == ["quick1", "quick2"]
    assert not made.is_crowded


def test_a_destination_that_was_slow_takes_no_place_of_the_others() -> None:
    made = lanes(total=1, slow=4)
    first = share("slow")
    made.add(first, 0)
    started(made, 0)
    made.finish(first, outcomes(first, OK), started=0, now=60)
    for key in ("slow", "slow", "quick"):
        made.add(share(key, since=60), 60)
    assert sorted(one.destination.key for one in started(made, 60)) == ["quick", "slow"], "one of each"
    assert started(made, 60 + SLOW) == [], "the places for slow ones are taken, and nobody else's are given to them"


def test_a_destination_is_slow_no_more_when_it_was_quick_once() -> None:
    made = lanes()
    for now, took in ((0, 60), (100, 0)):
        one = share("a", since=now)
        made.add(one, now)
        started(made, now)
        made.finish(one, outcomes(one, OK), started=now, now=now + took)
        assert [state.is_slow for state in made.states()] == [took > 0]


def test_a_lane_has_its_part_of_the_room_that_is_left() -> None:
    made = lanes(ready=800, waiting=1000, per_destination=1)
    counts = []
    for key in range(20):
        prove(made, str(key))
    for key in range(20):
        taken = 0
        while made.add(share(str(key)), 0) is None:
            taken += 1
        counts.append(taken)
    assert counts[0] > 80, "alone it may have much"
    assert counts == sorted(counts, reverse=True)
    assert min(counts) >= 2
    assert made.room > 50, "there is always some for one that comes anew"


def test_attempts_that_take_long_take_no_more_places_than_there_are_after_these_became_fewer() -> None:
    made = lanes(total=3, slow=3)
    for number in range(3):
        made.add(share(f"first{number}"), 0)
    assert len(started(made, 0)) == 3
    for number in range(3):
        made.add(share(f"second{number}"), SLOW)
    assert len(started(made, SLOW)) == 3
    made.reconfigure(RunnerLimits(total=3, slow=1), SCHEDULE)
    for number in range(3):
        made.add(share(f"third{number}"), 3 * SLOW)
    assert started(made, 3 * SLOW) == []


def test_nobody_waits_while_fewer_are_under_way_than_there_may_be() -> None:
    made = lanes(total=4, slow=4)
    for key in ("slow1", "slow2"):
        first = share(key)
        made.add(first, 0)
        started(made, 0)
        made.finish(first, outcomes(first, OK), started=0, now=60)
    for key in ("slow1", "slow2", "quick"):
        made.add(share(key, since=60), 60)
    assert len(started(made, 60)) == 3, "one has the place for those known to be slow, the other one that nobody needs"
