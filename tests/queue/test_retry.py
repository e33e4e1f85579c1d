"""The schedule's arithmetic."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waymail.queue.retry import DAY, HOUR, MINUTE, Schedule, interval, is_expired, next_attempt, wants_warning


def test_the_waits_follow_the_schedule_and_the_last_one_repeats() -> None:
    schedule = Schedule(intervals=(60, 300, 900))
    assert [interval(failures, schedule) for failures in (1, 2, 3, 4, 99)] == [60, 300, 900, 900, 900]


def test_the_default_waits_at_least_thirty_minutes_after_the_early_tries_and_gives_up_after_five_days() -> None:
    schedule = Schedule()
    assert interval(4, schedule) >= 30 * MINUTE
    assert schedule.expire >= 4 * DAY


@given(failures=st.integers(1, 1000), now=st.floats(0, 4e9), seed=st.integers())
def test_jitter_moves_a_wait_by_a_tenth_at_most(failures: int, now: float, seed: int) -> None:
    schedule = Schedule()
    wait = next_attempt(failures, now, random.Random(seed), schedule) - now
    assert wait == pytest.approx(interval(failures, schedule), rel=0.1 + 1e-6)


def test_what_failed_together_is_not_retried_together() -> None:
    rng = random.Random(1)
    assert len({next_attempt(1, 0, rng, Schedule()) for _ in range(100)}) == 100


def test_a_message_expires_when_its_time_is_over_and_not_before() -> None:
    schedule = Schedule(expire=DAY)
    assert not is_expired(1000, 1000 + DAY - 1, schedule)
    assert is_expired(1000, 1000 + DAY, schedule)


def test_no_warning_is_wanted_when_it_is_off() -> None:
    assert wants_warning(0, 5 * HOUR, Schedule(delay_warning=4 * HOUR))
    assert not wants_warning(0, 3 * HOUR, Schedule(delay_warning=4 * HOUR))
    assert not wants_warning(0, 500 * HOUR, Schedule(delay_warning=None))
