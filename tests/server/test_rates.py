from __future__ import annotations

from waymail.server.rates import Rates


def test_a_burst_up_to_the_limit_is_allowed_and_then_as_much_as_the_time_gives_back() -> None:
    rates = Rates(3, 60.0)
    assert [rates.allows("a", 0.0) for _ in range(4)] == [True, True, True, False]
    assert not rates.allows("a", 19.9)
    assert rates.allows("a", 20.0)
    assert not rates.allows("a", 20.0)


def test_no_time_of_quiet_gives_more_than_the_limit() -> None:
    rates = Rates(2, 60.0)
    rates.allows("a", 0.0)
    assert [rates.allows("a", 1e9) for _ in range(3)] == [True, True, False]


def test_one_key_does_not_count_for_another() -> None:
    rates = Rates(1, 60.0)
    assert rates.allows("a", 0.0)
    assert rates.allows("b", 0.0)
    assert not rates.allows("a", 0.0)


def test_what_costs_more_is_allowed_less_often_and_what_is_refused_costs_nothing() -> None:
    rates = Rates(10, 10.0)
    assert rates.allows("a", 0.0, cost=8)
    assert not rates.allows("a", 0.0, cost=3)
    assert rates.allows("a", 0.0, cost=2)


def test_the_key_that_was_asked_for_longest_ago_is_forgotten_first() -> None:
    rates = Rates(1, 60.0, most_keys=2)
    for key in ("a", "b", "a", "c"):
        rates.allows(key, 0.0)
    assert len(rates) == 2
    assert not rates.allows("a", 0.0), "seen lately"
    assert rates.allows("b", 0.0), "forgotten"
