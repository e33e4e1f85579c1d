from __future__ import annotations

import threading
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waymail.client.rate import Pace, Rate


def test_as_many_as_may_go_at_once_and_the_next_when_the_first_is_far_enough_behind() -> None:
    pace = Pace(Rate(2, per=10))
    assert [pace.turn(100.0), pace.turn(103.0), pace.turn(104.0), pace.turn(104.0), pace.turn(104.0)] == [0, 0, 6, 9, 16]


def test_a_turn_that_would_come_too_late_is_not_taken_from_others() -> None:
    pace = Pace(Rate(1, per=10))
    assert pace.turn(0.0) == 0
    assert pace.turn(1.0, until=5.0) is None
    assert pace.turn(1.0, until=10.0) == 9


@given(st.lists(st.floats(0, 5), max_size=60), st.integers(1, 5), st.floats(0.1, 10))
def test_no_stretch_of_time_has_more_than_the_rate(gaps: list[float], messages: int, per: float) -> None:
    pace, now, turns = Pace(Rate(messages, per)), 0.0, []
    for gap in gaps:
        now += gap
        turns.append(now + (pace.turn(now) or 0.0))
    assert all(later - earlier >= -1e-6 for earlier, later in pairwise(turns))
    for first, beyond in zip(turns, turns[messages:], strict=False):
        assert beyond - first >= per - 1e-6


def test_threads_share_the_turns() -> None:
    pace, waits = Pace(Rate(1, per=1.0)), []
    threads = [threading.Thread(target=lambda: waits.append(pace.turn(0.0))) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(wait for wait in waits if wait is not None) == [float(number) for number in range(20)]


@pytest.mark.parametrize(("messages", "per"), [(0, 1), (-1, 1), (1, 0), (1, float("inf")), (1, float("nan"))])
def test_what_is_no_rate_is_a_value_error(messages: int, per: float) -> None:
    with pytest.raises(ValueError, match="a rate is"):
        Rate(messages, per)
