"""Greylisting: who waits, who has passed, and what is remembered of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waymail.server import greylist
from waymail.server.greylist import DEFAULT_TIMES, Greylist, GreylistTimes, Wait, sender_pattern
from waymail.server.networks import outgoing_of

IP, SENDER, RECIPIENT = "192.0.2.7", "ann@example.org", "bob@example.net"
T = 1_800_000_000.0
DAY = 86_400.0


def waits(lists: Greylist, now: float, ip: str = IP, sender: str = SENDER, recipient: str = RECIPIENT, vouched: str = "") -> bool:
    return lists.judge(ip, sender, recipient, now, vouched=vouched) is not None


def passed(path: Path | None = None, times: GreylistTimes = DEFAULT_TIMES) -> Greylist:
    """One that has let through a message of `IP` at T + 100."""
    lists = Greylist(path, times)
    assert waits(lists, T)
    assert not waits(lists, T + 100)
    return lists


def test_a_stranger_waits_a_minute_and_is_told_how_long() -> None:
    lists = Greylist()
    assert lists.judge(IP, SENDER, RECIPIENT, T) == Wait(60, is_first=True)
    assert lists.judge(IP, SENDER, RECIPIENT, T + 20.5) == Wait(40, is_first=False)
    assert lists.judge(IP, SENDER, RECIPIENT, T + 59.9) == Wait(1, is_first=False)
    assert lists.judge(IP, SENDER, RECIPIENT, T + 60) is None


def test_the_reply_is_temporary_a_matter_of_policy_and_says_when_to_come_again() -> None:
    wait = Greylist().judge(IP, SENDER, RECIPIENT, T)
    assert wait is not None
    assert (wait.reply.code, wait.reply.enhanced) == (450, "4.7.1")
    assert "in 60 seconds" in wait.reply.text


@pytest.mark.parametrize("other", [{"ip": "198.51.100.7"}, {"sender": "eve@example.org"}, {"recipient": "eve@example.net"}])
def test_another_network_sender_or_recipient_waits_for_itself(other: dict[str, str]) -> None:
    lists = Greylist()
    assert waits(lists, T)
    assert waits(lists, T + 100, **other)


@pytest.mark.parametrize(
    ("one", "other"), [("192.0.2.7", "192.0.2.200"), ("2001:db8::1", "2001:db8::ffff:1"), ("192.0.2.7", "::ffff:192.0.2.7")]
)
def test_a_retry_may_come_from_another_host_of_the_network(one: str, other: str) -> None:
    lists = Greylist()
    assert waits(lists, T, ip=one)
    assert not waits(lists, T + 100, ip=other)


@pytest.mark.parametrize("other", ["192.0.3.7", "2001:db8:0:1::1"])
def test_the_next_network_is_another(other: str) -> None:
    lists = Greylist()
    for ip in (IP, "2001:db8::1"):
        assert waits(lists, T, ip=ip)
    assert waits(lists, T + 100, ip=other)


def test_the_case_of_an_address_makes_no_difference() -> None:
    lists = Greylist()
    assert waits(lists, T)
    assert not waits(lists, T + 100, sender="Ann@EXAMPLE.org", recipient="BOB@example.NET.")


def test_a_retry_within_the_window_passes_and_a_later_one_is_a_new_message() -> None:
    lists = Greylist()
    assert waits(lists, T)
    assert waits(lists, T + DAY + 1), "too late: the time runs anew"
    assert waits(lists, T + DAY + 30)
    assert not waits(lists, T + DAY + 90)
    lists = Greylist()
    assert waits(lists, T)
    assert not waits(lists, T + DAY)


def test_who_has_passed_once_may_send_anything() -> None:
    lists = passed()
    assert not waits(lists, T + 101, sender="eve@other.example", recipient="dora@example.net")


def test_a_message_that_has_passed_passes_from_every_host_of_its_network() -> None:
    lists = passed()
    assert not waits(lists, T + 101, ip="192.0.2.8")
    assert not waits(lists, T + 102, ip="192.0.2.8", sender="eve@other.example"), "and that one is known now, too"


def test_a_network_of_which_enough_hosts_have_passed_is_known() -> None:
    lists = Greylist(times=GreylistTimes(known_after=3))
    for last in range(1, 4):
        assert waits(lists, T, ip=f"192.0.2.{last}", sender=f"s{'x' * last}@example.org")
        assert waits(lists, T, ip="192.0.2.99", sender="eve@example.org"), "not yet"
        assert not waits(lists, T + 60, ip=f"192.0.2.{last}", sender=f"s{'x' * last}@example.org")
    assert not waits(lists, T + 60, ip="192.0.2.98", sender="stranger@example.org")


def test_no_network_is_known_where_that_is_off() -> None:
    lists = Greylist(times=GreylistTimes(known_after=0))
    for last in range(1, 50):
        assert waits(lists, T, ip=f"192.0.2.{last}", recipient=f"{'b' * last}@example.net")
        assert not waits(lists, T + 60, ip=f"192.0.2.{last}", recipient=f"{'b' * last}@example.net")
    assert waits(lists, T + 60, ip="192.0.2.98")


def test_who_does_not_come_again_for_36_days_is_forgotten_and_who_does_stays_known() -> None:
    lists = passed()
    for week in range(1, 20):
        assert not waits(lists, T + week * 7 * DAY, recipient=f"{'b' * week}@example.net")
    assert waits(lists, T + (19 * 7 + 36) * DAY + 1, recipient="new@example.net")


def test_a_domain_that_spf_vouches_for_may_retry_from_any_of_its_networks() -> None:
    lists = Greylist()
    assert waits(lists, T, vouched="example.org")
    assert not waits(lists, T + 100, ip="198.51.100.7", vouched="example.org")
    assert not waits(lists, T + 101, ip="203.0.113.7", recipient="new@example.net", vouched="example.org"), "it is known"
    assert waits(lists, T + 102, ip="203.0.113.7", recipient="new@example.net"), "nobody vouches"
    assert not waits(lists, T + 103, ip="198.51.100.7", recipient="new@example.net", vouched="other.example"), "the host is"


def test_without_a_delay_nobody_waits() -> None:
    assert not waits(Greylist(times=GreylistTimes(delay=0)), T)


def test_a_clock_that_is_set_back_delays_once_more_at_worst() -> None:
    lists = Greylist()
    assert waits(lists, T)
    assert waits(lists, T - 1000)
    assert not waits(lists, T - 900)
    assert not waits(lists, T - 5000), "who is known stays known"


# --- senders that change ---


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("bounce-1234-ann=example.net@lists.example", "bounce-1235-ann=example.net@lists.example"),
        ("list+bounces-17@lists.example", "list+owner@lists.example"),
        ("0102018c2f-a1b2c3d4-000000@amazonses.example", "0102018c30-b1b2c3d4-000001@amazonses.example"),
        ("SRS0=HHH=TT=example.com=ann@forward.example", "srs0=xyz=UU=example.com=ann@forward.example"),
        ("SRS1=HHH=f.example==HHH=TT=example.com=ann@g.example", "SRS1=abc=f.example==HHH=TT=example.com=ann@g.example"),
        ("prvs=012345abcd=ann@example.org", "prvs=998765ffff=ann@example.org"),
        ("msprvs1=18000abc=bounces@example.org", "msprvs1=18001abd=bounces@example.org"),
        ("qwertzuiopasdfghjklyxcv@example.org", "mnbvcxyqlkjhgfdsapoiuzt@example.org"),
    ],
)
def test_what_a_client_changes_in_a_sender_with_every_attempt_makes_no_difference(one: str, other: str) -> None:
    assert sender_pattern(one) == sender_pattern(other)
    lists = Greylist()
    assert waits(lists, T, sender=one)
    assert not waits(lists, T + 100, sender=other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("ann@example.org", "bob@example.org"),
        ("ann@example.org", "ann@example.net"),
        ("ann-lists@example.org", "ann-work@example.org"),
        ("SRS0=HHH=TT=example.com=ann@forward.example", "SRS0=HHH=TT=example.com=bob@forward.example"),
        ("", "ann@example.org"),
        ("+@example.org", "-@example.org"),
    ],
)
def test_senders_that_are_two_stay_two(one: str, other: str) -> None:
    assert sender_pattern(one) != sender_pattern(other)


@given(st.text(max_size=60))
def test_whatever_a_sender_is_it_has_a_pattern_without_numbers(sender: str) -> None:
    assert not set("0123456789") & set(sender_pattern(sender).rpartition("@")[0])


# --- memory, and the file ---


def test_who_has_passed_and_who_waits_is_known_over_a_restart(tmp_path: Path) -> None:
    file = tmp_path / "greylist.json"
    lists = passed(file)
    assert waits(lists, T + 100, ip="198.51.100.7")
    lists.save(T + 100)
    again = Greylist(file)
    assert not waits(again, T + 120, recipient="new@example.net")
    assert waits(again, T + 159, ip="198.51.100.7")
    assert not waits(again, T + 160, ip="198.51.100.7")
    text = file.read_text()
    assert "example" not in text, "no address of anybody's mail stands in the file"


def test_a_known_network_is_known_over_a_restart_and_what_is_too_old_is_not_written(tmp_path: Path) -> None:
    file = tmp_path / "greylist.json"
    lists = passed(file, GreylistTimes(known_after=1))
    lists.save(T + 100)
    assert not waits(Greylist(file, GreylistTimes(known_after=1)), T + 200, ip="192.0.2.99", sender="x@example.com")
    assert waits(lists, T + 100, ip="198.51.100.7")
    lists.save(T + 37 * DAY, stopping=True)
    assert len(Greylist(file)) == 0


@pytest.mark.parametrize("row", ['["passed"]', '["other","a",1,1]', '["waiting","a","b"]', '["client","a",1,1e999]', "[]", "{}"])
def test_a_row_that_makes_no_sense_is_damage_and_mail_goes_on(tmp_path: Path, row: str) -> None:
    file = tmp_path / "greylist.json"
    file.write_text('{"form": 1, "rows": 2}\n["client","192.0.2.7",1800000000,1]\n' + row + "\n")
    lists = Greylist(file)
    assert len(lists) == 0
    assert waits(lists, T)
    assert file.with_name("greylist.json.damaged").exists()


def test_other_times_go_on_with_what_is_known(tmp_path: Path) -> None:
    old = passed()
    assert waits(old, T, ip="198.51.100.7")
    file = tmp_path / "greylist.json"
    new = Greylist(file, GreylistTimes(delay=300), before=old)
    new.save(T + 101)
    assert len(Greylist(file)) == len(new) > 0
    assert not waits(new, T + 101, recipient="new@example.net")
    assert waits(new, T + 299, ip="198.51.100.7")


def test_memory_is_bounded_however_many_come() -> None:
    lists = Greylist(times=GreylistTimes(known_after=1), most=50)
    for number in range(1000):
        ip = f"10.{number >> 8}.{number & 255}.1"
        assert waits(lists, T, ip=ip)
        assert not waits(lists, T + 100, ip=ip)
    for number in range(1000):
        assert waits(lists, T, ip=f"11.{number >> 8}.{number & 255}.1")
    assert len(lists) <= 50 * 4


def test_a_message_that_has_passed_is_waited_for_no_longer() -> None:
    assert len(passed()) == len(["the message", "its client", "its network"])


def test_one_network_that_tries_a_million_senders_does_not_push_others_out() -> None:
    lists = Greylist(most=3000)
    assert waits(lists, T, ip="198.51.100.7")
    for number in range(5000):
        assert waits(lists, T + 1, recipient=f"{number}@example.net")
    assert len(lists) == greylist.MOST_OF_ONE + 1
    assert not waits(lists, T + 100, ip="198.51.100.7")


@given(st.lists(st.tuples(st.integers(0, 600), st.integers(0, 3), st.sampled_from("abc")), max_size=60))
def test_who_passes_has_tried_before_at_least_a_delay_ago_from_his_network(tries: list[tuple[int, int, str]]) -> None:
    lists, now = Greylist(times=GreylistTimes(known_after=2)), T
    first: dict[str, float] = {}
    for seconds, host, letter in tries:
        now += seconds
        ip = f"192.0.{host % 2}.{host}"
        if not waits(lists, now, ip=ip, sender=f"{letter}@example.org"):
            assert now - first[outgoing_of(ip)] >= 60
        first.setdefault(outgoing_of(ip), now)
    assert len(lists) <= 3 * 2 + 3 * 2 + 4 + 2
