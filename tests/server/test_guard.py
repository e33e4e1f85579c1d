"""Who guesses is slowed and refused, and nobody else."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from waymail.server.guard import MOST_DELAY, MOST_NAME, REMEMBER_SUCCESS, Guard, GuardLimits

HOST = "192.0.2.1"
LIMITS = GuardLimits(failures=6, window=60.0, block=100.0, user_failures=3)


def failed(guard: Guard, times: int, address: str = HOST, user: str = "ann", now: float = 0.0) -> None:
    for _ in range(times):
        guard.failed(address, user, now)


def test_the_wait_doubles_with_each_failure_up_to_half_a_minute() -> None:
    guard, waits = Guard(), []
    for number in range(7):
        guard.failed(HOST, f"user{number}", 0.0)
        waits.append(guard.delay(HOST, 0.0))
    assert waits == [2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]


def test_failures_are_forgotten_with_time() -> None:
    guard = Guard(LIMITS)
    failed(guard, 3)
    assert guard.delay(HOST, 0.0) == 8.0
    assert guard.delay(HOST, 10.0) == 4.0
    assert guard.delay(HOST, 30.0) == 0.0


def test_an_address_is_refused_at_its_number_of_failures_and_for_its_time() -> None:
    guard = Guard(LIMITS)
    failed(guard, 5)
    assert guard.is_blocked(HOST, 0.0) is None
    assert guard.failed(HOST, "ann", 0.0)
    assert guard.is_blocked(HOST, 1.0) == 99.0
    assert guard.is_blocked(HOST, 100.0) is None


def test_after_its_time_a_guesser_is_refused_again_sooner() -> None:
    guard = Guard(GuardLimits(failures=6, window=6000.0, block=100.0))
    failed(guard, 6)
    failed(guard, 4, now=101.0)
    assert guard.is_blocked(HOST, 101.0)


def test_failures_as_slow_as_the_window_allows_never_lead_to_a_refusal() -> None:
    guard = Guard(LIMITS)
    assert not any(guard.failed(HOST, "ann", number * 10.0) for number in range(1_000))


def test_exempt_addresses_are_neither_slowed_nor_refused_nor_counted_against_a_user() -> None:
    guard = Guard(LIMITS, exempt={HOST})
    failed(guard, 50)
    assert guard.is_blocked(HOST, 0.0) is None
    assert guard.delay(HOST, 0.0, "ann") == 0.0
    assert guard.user_delay("192.0.2.9", "ann", 0.0) == 0.0


def test_a_user_guessed_by_many_is_slowed_for_strangers_and_never_for_where_he_logged_in_lately() -> None:
    guard = Guard(LIMITS)
    guard.succeeded("198.51.100.1", "ann", 0.0)
    for last in range(20):
        guard.failed(f"192.0.2.{last}", "ann", 0.0)
    assert guard.user_delay("203.0.113.1", "ann", 0.0) == MOST_DELAY
    assert guard.user_delay("203.0.113.1", "bob", 0.0) == 0.0
    assert guard.user_delay("198.51.100.1", "ann", 0.0) == 0.0
    assert guard.is_blocked("203.0.113.1", 0.0) is None


def test_where_a_user_logged_in_is_forgotten_after_a_month() -> None:
    guard, later = Guard(LIMITS), REMEMBER_SUCCESS + 1
    guard.succeeded(HOST, "ann", 0.0)
    for last in range(2, 9):
        guard.failed(f"192.0.2.{last}", "ann", later)
    assert guard.user_delay(HOST, "ann", later) > 0


def test_a_success_does_not_wipe_out_the_failures_of_an_address() -> None:
    guard = Guard(LIMITS)
    for _ in range(3):
        failed(guard, 2)
        guard.succeeded(HOST, "mallory", 0.0)
    assert guard.is_blocked(HOST, 0.0)


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["failed", "succeeded"]),
        st.integers(0, 15),
        st.sampled_from(["ann", "bob", "carol", ""]),
        st.floats(-1e4, 1e4),  # the clock may run backwards
    ),
    max_size=60,
)


def test_of_a_long_name_only_its_beginning_is_remembered() -> None:
    guard = Guard(GuardLimits(user_failures=1))
    for last in range(3):
        guard.failed(f"192.0.2.{last}", "x" * MOST_NAME + str(last), 0.0)
    assert guard.user_delay("198.51.100.1", "x" * 9000, 0.0) == guard.user_delay("198.51.100.1", "x" * MOST_NAME, 0.0) > 0
    assert len(guard) == 3  # the addresses


@given(EVENTS, st.floats(-1e5, 1e5))
def test_memory_is_bounded_times_are_sane_and_an_address_without_failures_is_never_refused(
    events: list[tuple[str, int, str, float]], at: float
) -> None:
    guard, guilty = Guard(LIMITS, most=5), set()
    for what, last, user, now in events:
        address = f"192.0.2.{last}"
        if what == "failed":
            guilty.add(address)
            guard.failed(address, user, now)
        else:
            guard.succeeded(address, user, now)
        assert len(guard) <= 5
    for last in range(16):
        address = f"192.0.2.{last}"
        blocked = guard.is_blocked(address, at)
        assert blocked is None or 0 < blocked <= LIMITS.block
        assert blocked is None or address in guilty
        assert 0 <= guard.delay(address, at, "ann") <= MOST_DELAY
        assert address in guilty or guard.delay(address, at) == 0
