"""Which attempts start: concurrency, turns, back-off and the probe."""

import random
from collections import Counter

from waymail.queue.plan import DestinationState, RunnerLimits, plan, slots
from waymail.queue.retry import Schedule
from waymail.wire.replies import Reply

REFUSED = Reply(451, "connection refused", "4.4.1")
SCHEDULE = Schedule(intervals=(60, 300, 900), jitter=0.0)
RNG = random.Random(1)


def test_a_destination_gets_no_more_attempts_than_its_concurrency() -> None:
    state = DestinationState("a", waiting=100, active=15)
    assert slots(state, 0, RunnerLimits(per_destination=20)) == 5
    assert slots(DestinationState("a", waiting=100, active=20), 0, RunnerLimits(per_destination=20)) == 0


def test_a_destination_gets_no_more_attempts_than_messages_wait() -> None:
    assert slots(DestinationState("a", waiting=3), 0, RunnerLimits(per_destination=20)) == 3


def test_the_total_bounds_all_destinations_together() -> None:
    states = [DestinationState(name, waiting=100) for name in "abc"]
    assert len(plan(0, states, RunnerLimits(per_destination=20, total=30), active=10)) == 20
    assert plan(0, states, RunnerLimits(total=30), active=30) == []


def test_destinations_take_turns() -> None:
    states = [
        DestinationState("big", waiting=10_000),
        DestinationState("small", waiting=2),
        DestinationState("other", waiting=10),
    ]
    starts = plan(0, states, RunnerLimits(per_destination=20, total=9), active=0)
    assert Counter(state.key for state in starts) == {"big": 4, "small": 2, "other": 3}
    assert [state.key for state in starts[:3]] == ["big", "small", "other"]


def test_nothing_goes_to_a_destination_that_is_down() -> None:
    state = DestinationState("a", waiting=10)
    state.took_down(REFUSED, started=990, now=1000, rng=RNG, schedule=SCHEDULE)
    assert state.down_until == 1060
    assert plan(1059, [state], RunnerLimits(), active=0) == []


def test_exactly_one_attempt_probes_when_the_back_off_is_over() -> None:
    state = DestinationState("a", waiting=10)
    state.took_down(REFUSED, started=990, now=1000, rng=RNG, schedule=SCHEDULE)
    assert plan(1060, [state], RunnerLimits(), active=0) == [state]
    state.active = 1
    assert plan(1060, [state], RunnerLimits(), active=1) == []


def test_a_failed_probe_lengthens_the_back_off_and_a_successful_one_ends_it() -> None:
    state = DestinationState("a", waiting=10)
    for now, until in ((1000, 1060), (1060, 1360), (1360, 2260), (2260, 3160)):
        state.took_down(REFUSED, started=now, now=now, rng=RNG, schedule=SCHEDULE)
        assert state.down_until == until
    state.came_up()
    assert slots(state, 3000, RunnerLimits(per_destination=20)) == 10
    assert state.last_reply is None


def test_failures_of_attempts_side_by_side_count_once_however_late_they_come() -> None:
    state = DestinationState("a", waiting=10, active=20)
    for now in (1000, 1000, 1030, 1100, 2000):
        state.took_down(REFUSED, started=995, now=now, rng=RNG, schedule=SCHEDULE)
    assert (state.failures, state.down_until) == (1, 1060)
