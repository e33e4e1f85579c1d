"""Who is greeted late."""

from __future__ import annotations

from waymail.server import early_talker
from waymail.server.early_talker import KEEP, EarlyTalkers

IP = "192.0.2.7"


def test_a_stranger_is_greeted_late_and_who_waited_is_not_for_a_day() -> None:
    early = EarlyTalkers(4.0)
    assert early.delay(IP, 0.0) == 4.0
    early.greeted(IP, 4.0, talked_early=False)
    assert early.delay(IP, 4.0) == 0.0
    assert early.delay(IP, KEEP) == 0.0
    assert early.delay(IP, 4.0 + KEEP) == 4.0


def test_who_talked_is_greeted_late_the_next_time_too_whatever_it_did_before() -> None:
    early = EarlyTalkers(4.0)
    early.greeted(IP, 0.0, talked_early=False)
    early.greeted(IP, 1.0, talked_early=True)
    assert early.delay(IP, 2.0) == 4.0


def test_a_customer_of_ipv6_is_one_client() -> None:
    early = EarlyTalkers(4.0)
    early.greeted("2001:db8::1", 0.0, talked_early=False)
    assert [early.delay(ip, 1.0) for ip in ("2001:db8::2", "2001:db8:0:1::1")] == [0.0, 4.0]


def test_nobody_is_greeted_late_without_a_delay_nor_who_is_exempt() -> None:
    assert EarlyTalkers(0.0).delay(IP, 0.0) == 0.0
    assert EarlyTalkers(4.0, exempt={IP}).delay(IP, 0.0) == 0.0


def test_with_another_delay_it_is_still_known_who_waited() -> None:
    old, new = EarlyTalkers(4.0), EarlyTalkers(8.0)
    old.greeted(IP, 0.0, talked_early=False)
    new.go_on_from(old)
    assert [new.delay(ip, 1.0) for ip in (IP, "192.0.2.8")] == [0.0, 8.0]


def test_memory_is_bounded() -> None:
    early = EarlyTalkers(4.0, most=10)
    for last in range(100):
        early.greeted(f"192.0.2.{last}", 0.0, talked_early=False)
    assert sum(early.delay(f"192.0.2.{last}", 0.0) == 0.0 for last in range(100)) == 10


def test_the_refusal_is_the_one_that_stands_in_place_of_a_greeting() -> None:
    assert (early_talker.REFUSAL.code, early_talker.REFUSAL.enhanced) == (554, "5.5.1")
