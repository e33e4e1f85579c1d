"""Which attempts start: concurrency, turns, back-off and the probe."""

import random

import pytest

from waymail.queue.plan import FIRST, DestinationState, RunnerLimits, Turns, allowed, slots
from waymail.queue.retry import Schedule
from waymail.wire.replies import Reply

REFUSED = Reply(451, "connection refused", "4.4.1")
SCHEDULE = Schedule(intervals=(60, 300, 900), jitter=0.0)
RNG = random.Random(1)
LIMITS = RunnerLimits(per_destination=20)
FREE = 1_000  # places for slow attempts


def test_a_destination_gets_no_more_attempts_than_its_concurrency() -> None:
    state = DestinationState("a", waiting=100, active=15, proven=99)
    assert slots(state, 0, LIMITS, FREE) == 5
    assert slots(DestinationState("a", waiting=100, active=20, proven=99), 0, LIMITS, FREE) == 0


def test_a_destination_gets_no_more_attempts_than_messages_wait() -> None:
    assert slots(DestinationState("a", waiting=3, proven=99), 0, LIMITS, FREE) == 3


def test_a_destination_of_which_nothing_is_known_gets_few_and_with_each_success_one_more() -> None:
    state = DestinationState("a", waiting=100)
    at_a_time = []
    for _ in range(30):
        at_a_time.append(allowed(state, LIMITS, FREE))
        state.came_up(delivered=True)
    assert at_a_time[:3] == [FIRST, FIRST + 1, FIRST + 2]
    assert at_a_time[-1] == 20
    state.came_up(delivered=False)
    assert allowed(state, LIMITS, FREE) == 20, "what it says of a message is no reason to distrust it"
    state.took_down(REFUSED, started=0, now=0, rng=RNG, schedules=SCHEDULE)
    state.came_up(delivered=True)
    assert allowed(state, LIMITS, FREE) == FIRST + 1


def test_destinations_that_are_slow_share_the_places_for_them() -> None:
    state = DestinationState("a", waiting=100, proven=99, is_slow=True)
    assert [allowed(state, LIMITS, free) for free in (1000, 80, 8, 0)] == [20, 10, 1, 1]


def test_destinations_take_turns() -> None:
    turns = Turns()
    for key in ("big", "small", "other"):
        turns.put(key)
    taken: list[str] = []
    while len(taken) < 7:
        key = turns.take()
        taken.append(key)
        if key != "small":  # nobody waits there any more
            turns.put(key)
    assert taken == ["big", "small", "other", "big", "other", "big", "other"]


def test_the_most_urgent_has_its_turn_first_and_keeps_it_when_it_is_put_twice() -> None:
    turns = Turns()
    for key, rank in (("late", 3), ("a", 0), ("b", 0), ("urgent", -4), ("a", 0)):
        turns.put(key, rank)
    assert [turns.take() for _ in range(4)] == ["urgent", "a", "b", "late"]
    assert not turns
    with pytest.raises(IndexError):
        turns.take()


def test_whoever_has_become_more_urgent_or_is_dropped_is_so_at_once() -> None:
    turns = Turns()
    for key in ("a", "b", "c"):
        turns.put(key)
    turns.put("c", -1)
    turns.drop("a")
    turns.drop("of nobody")
    assert [turns.take(), turns.take()] == ["c", "b"]


def test_nothing_goes_to_a_destination_that_is_down() -> None:
    state = DestinationState("a", waiting=10)
    state.took_down(REFUSED, started=990, now=1000, rng=RNG, schedules=SCHEDULE)
    assert state.down_until == 1060
    assert slots(state, 1059, LIMITS, FREE) == 0


def test_exactly_one_attempt_probes_when_the_back_off_is_over() -> None:
    state = DestinationState("a", waiting=10)
    state.took_down(REFUSED, started=990, now=1000, rng=RNG, schedules=SCHEDULE)
    assert slots(state, 1060, LIMITS, FREE) == 1
    state.active = 1
    assert slots(state, 1060, LIMITS, FREE) == 0


def test_a_failed_probe_lengthens_the_back_off_and_a_successful_one_ends_it() -> None:
    state = DestinationState("a", waiting=10)
    for now, until in ((1000, 1060), (1060, 1360), (1360, 2260), (2260, 3160)):
        state.took_down(REFUSED, started=now, now=now, rng=RNG, schedules=SCHEDULE)
        assert state.down_until == until
    state.came_up(delivered=False)
    assert slots(state, 3000, LIMITS, FREE) == FIRST
    assert state.last_reply is None


def test_failures_of_attempts_side_by_side_count_once_however_late_they_come() -> None:
    state = DestinationState("a", waiting=10, active=20)
    for now in (1000, 1000, 1030, 1100, 2000):
        state.took_down(REFUSED, started=995, now=now, rng=RNG, schedules=SCHEDULE)
    assert (state.failures, state.down_until) == (1, 1060)
