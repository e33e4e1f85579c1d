"""The schedule's arithmetic."""

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waymail.mail.envelope import DeliverBy, Envelope, Options, Recipient
from waymail.queue.retry import DAY, HOUR, MINUTE, Schedule, ends_at, interval, is_overdue, late_at, next_attempt
from waymail.store.contract import Pending


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


def envelope(**options: Any) -> Envelope:
    return Envelope("0123456789abc", "a@x.example", (Recipient("b@y.example"),), 1000.0, options=Options(**options))


def test_a_message_expires_when_its_time_is_over() -> None:
    assert ends_at(envelope(), Schedule(expire=DAY)) == 1000 + DAY


def test_no_warning_is_wanted_when_it_is_off() -> None:
    assert late_at(envelope(), Schedule(delay_warning=4 * HOUR)) == 1000 + 4 * HOUR
    assert late_at(envelope(), Schedule(delay_warning=None)) is None


def test_the_time_of_a_held_message_begins_with_its_release() -> None:
    held = envelope(hold_until=9 * DAY)
    assert ends_at(held, Schedule(expire=DAY)) == 10 * DAY
    assert late_at(held, Schedule(delay_warning=HOUR)) == 9 * DAY + HOUR


def test_the_time_that_the_sender_set_makes_the_stay_shorter_and_never_longer() -> None:
    assert ends_at(envelope(deliver_by=DeliverBy(2000, "R")), Schedule(expire=DAY)) == 2000
    assert ends_at(envelope(deliver_by=DeliverBy(9 * DAY, "R")), Schedule(expire=DAY)) == 1000 + DAY
    assert ends_at(envelope(deliver_by=DeliverBy(2000, "N")), Schedule(expire=DAY)) == 1000 + DAY


def test_whoever_asked_to_be_notified_at_a_time_is_warned_then() -> None:
    for schedule in (Schedule(), Schedule(delay_warning=None)):
        assert late_at(envelope(deliver_by=DeliverBy(2000, "N")), schedule) == 2000
    assert late_at(envelope(deliver_by=DeliverBy(900, "N")), Schedule(delay_warning=HOUR)) == 1000 + HOUR


@pytest.mark.parametrize(
    ("by", "warned", "now", "overdue"),
    [
        (None, False, 9e9, False),
        (DeliverBy(2000, "R"), False, 1999, False),
        (DeliverBy(2000, "R"), True, 2000, True),
        (DeliverBy(2000, "N"), False, 2000, True),
        (DeliverBy(2000, "N"), True, 2000, False),
        (DeliverBy(900, "N"), False, 2000, False),
    ],
)
def test_a_message_is_overdue_where_that_has_to_be_settled_before_an_attempt(
    by: DeliverBy | None, warned: bool, now: float, overdue: bool
) -> None:
    made = envelope(deliver_by=by)
    assert is_overdue(made, [Pending(0, made.recipients[0], 1, warned)], now) is overdue
