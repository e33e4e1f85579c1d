from __future__ import annotations

from waymail.logging.schedule import Schedule


def schedule(gather: float = 2, digest: float = 300, hourly: int = 12) -> Schedule:
    return Schedule(gather, digest, hourly)


def test_nothing_is_due_while_nothing_waits() -> None:
    times = schedule()
    assert times.due is None
    times.waiting(10)
    times.taken()
    assert times.due is None


def test_the_first_record_waits_for_what_comes_with_it_and_no_longer() -> None:
    times = schedule()
    times.waiting(10)
    times.waiting(11)
    assert times.due == 12


def test_the_next_mail_is_a_digest() -> None:
    times = schedule()
    times.sent(100)
    times.waiting(101)
    assert times.due == 400
    times.taken()
    times.waiting(1000)
    assert times.due == 1002


def test_no_more_than_so_many_go_in_an_hour() -> None:
    times = schedule(digest=0, hourly=3)
    for now in (0, 10, 20):
        times.waiting(now)
        assert times.due == now + 2
        times.taken()
        times.sent(now)
    times.waiting(30)
    assert times.due == 3600
    times.taken()
    times.sent(3600)
    times.waiting(3601)
    assert times.due == 3610


def test_after_failures_it_waits_longer_and_longer_up_to_an_hour() -> None:
    times = schedule(gather=0)
    waits = []
    for _ in range(8):
        times.failed(0)
        times.waiting(0)
        waits.append(times.due)
    assert waits == [60, 120, 240, 480, 960, 1920, 3600, 3600]
    times.sent(5000)
    times.failed(6000)
    assert times.due == 6060
