"""How much may come from one network, sender and domain in an hour."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waymail.server.sender_rates import HOUR, Exceeded, RateLimits, SenderRates

IP, SENDER = "192.0.2.7", "ann@example.org"
T = 1_800_000_000.0


def allowed(rates: SenderRates, now: float = T, ip: str = IP, sender: str = SENDER, vouched: bool = False) -> bool:
    """Whether one message may come."""
    return rates.allows(ip, sender, now, messages=1, vouched=vouched) is None


def test_without_limits_everybody_may_send_and_nothing_is_remembered() -> None:
    rates = SenderRates(RateLimits())
    assert all(allowed(rates) for _ in range(1000))
    assert len(rates) == 0


def test_a_network_may_send_its_messages_and_then_as_many_as_the_hour_gives_back() -> None:
    rates = SenderRates(RateLimits(messages_per_network=60))
    assert [allowed(rates) for _ in range(61)] == [True] * 60 + [False]
    assert not allowed(rates, T + 59)
    assert allowed(rates, T + 60)
    assert not allowed(rates, T + 60)
    assert [allowed(rates, T + 2 * HOUR) for _ in range(61)] == [True] * 60 + [False]


def test_the_refusal_names_who_sends_too_much_and_when_to_come_again() -> None:
    rates = SenderRates(RateLimits(messages_per_network=60))
    assert rates.allows(IP, SENDER, T, messages=60) is None
    refused = rates.allows(IP, SENDER, T + 15, messages=1)
    assert refused == Exceeded("messages", "network", "192.0.2.0/24", 60, 45)
    assert (refused.reply.code, refused.reply.enhanced) == (450, "4.7.1")
    assert refused.reply.text == "too many messages from the network 192.0.2.0/24: 60 an hour; try again in 45 seconds"
    assert rates.allows(IP, SENDER, T + 60, messages=1) is None, "as it was told"


def test_recipients_are_counted_besides_messages() -> None:
    rates = SenderRates(RateLimits(messages_per_network=10, recipients_per_network=2))
    assert allowed(rates)
    assert [rates.allows(IP, SENDER, T, recipients=1) is None for _ in range(3)] == [True, True, False]
    assert allowed(rates)


@pytest.mark.parametrize(
    ("limits", "other", "is_allowed"),
    [
        (RateLimits(messages_per_network=1), {"ip": "192.0.2.200"}, False),
        (RateLimits(messages_per_network=1), {"ip": "192.0.3.7"}, True),
        (RateLimits(messages_per_network=1), {"sender": "eve@example.net"}, False),
        (RateLimits(messages_per_sender=1), {"ip": "198.51.100.7"}, False),
        (RateLimits(messages_per_sender=1), {"sender": "Ann@EXAMPLE.ORG"}, False),
        (RateLimits(messages_per_sender=1), {"sender": "eve@example.org"}, True),
        (RateLimits(messages_per_domain=1), {"sender": "eve@example.org"}, False),
        (RateLimits(messages_per_domain=1), {"sender": "ann@example.net"}, True),
        (RateLimits(messages_per_sender=1, messages_per_domain=1), {"sender": ""}, True),
    ],
)
def test_who_is_one_and_who_is_another(limits: RateLimits, other: dict[str, str], is_allowed: bool) -> None:
    rates = SenderRates(limits)
    assert allowed(rates)
    assert not allowed(rates)
    assert allowed(rates, **other) is is_allowed  # type: ignore[arg-type]


def test_the_null_path_is_counted_by_its_network_alone() -> None:
    rates = SenderRates(RateLimits(messages_per_network=5, messages_per_sender=1, messages_per_domain=1))
    assert [allowed(rates, sender="") for _ in range(6)] == [True] * 5 + [False]


def test_who_forges_a_sender_does_not_use_up_what_the_real_one_may_send() -> None:
    rates = SenderRates(RateLimits(messages_per_sender=5, messages_per_domain=5))
    assert [allowed(rates, ip="198.51.100.7") for _ in range(6)] == [True] * 5 + [False]
    assert [allowed(rates, vouched=True) for _ in range(6)] == [True] * 5 + [False]


def test_spf_gives_no_network_a_second_bucket() -> None:
    rates = SenderRates(RateLimits(messages_per_network=5))
    assert all(allowed(rates, vouched=bool(number % 2)) for number in range(5))
    assert not allowed(rates, vouched=True)


def test_what_is_refused_is_counted_nowhere() -> None:
    rates = SenderRates(RateLimits(messages_per_network=100, messages_per_sender=1))
    assert allowed(rates)
    for _ in range(500):
        assert not allowed(rates)
    assert allowed(rates, sender="bob@example.org"), "the network has its 99 left"


def test_a_clock_that_is_set_back_gives_nobody_more() -> None:
    rates = SenderRates(RateLimits(messages_per_network=2))
    assert [allowed(rates, T - back) for back in (0, 10, 10_000)] == [True, True, False]


def test_what_was_counted_counts_over_a_restart(tmp_path: Path) -> None:
    file, limits = tmp_path / "rates.json", RateLimits(messages_per_network=60, messages_per_sender=60)
    rates = SenderRates(limits, file)
    assert rates.allows(IP, SENDER, T, messages=60) is None
    rates.save(T)
    again = SenderRates(limits, file)
    assert not allowed(again, T + 59)
    assert allowed(again, T + 60)
    again.save(T + 60 + HOUR, stopping=True)
    assert len(SenderRates(limits, file)) == 0, "an hour later every bucket is full: none is written"


@pytest.mark.parametrize("row", ['["network","a",1]', '["other","a",1,1]', '["network","a","b",1]', "5"])
def test_a_damaged_file_is_set_aside_and_counting_begins_anew(tmp_path: Path, row: str) -> None:
    file = tmp_path / "rates.json"
    file.write_text('{"form": 1, "rows": 2}\n["network","messages 192.0.2.0/24",1800000000,0]\n' + row + "\n")
    assert allowed(SenderRates(RateLimits(messages_per_network=1), file))
    assert file.with_name("rates.json.damaged").exists()


def test_other_limits_go_on_with_what_was_counted(tmp_path: Path) -> None:
    old = SenderRates(RateLimits(messages_per_network=5))
    assert all(allowed(old) for _ in range(5))
    new = SenderRates(RateLimits(messages_per_network=100), tmp_path / "rates.json", before=old)
    new.save(T)
    assert len(SenderRates(RateLimits(), tmp_path / "rates.json")) == 1
    assert not allowed(new)
    assert allowed(new, T + 36)


def test_memory_is_bounded_and_many_forged_senders_make_no_network_be_forgotten() -> None:
    rates = SenderRates(RateLimits(messages_per_network=2000, messages_per_sender=1), most=50)
    for number in range(2000):
        assert allowed(rates, sender=f"{number}@example.org")
    assert len(rates) <= 2 * 50 + 1
    assert not allowed(rates, sender="new@example.org")


def test_a_name_that_is_too_long_is_told_from_others_by_its_beginning() -> None:
    rates = SenderRates(RateLimits(messages_per_sender=1))
    assert [allowed(rates, sender=f"{'x' * 1000}{number}@example.org") for number in range(3)] == [True, False, False]


@given(st.lists(st.tuples(st.floats(0, 900), st.integers(1, 3)), max_size=80))
def test_no_more_comes_than_a_full_bucket_and_what_time_gives_back_and_who_waits_as_he_is_told_is_let_in(
    steps: list[tuple[float, int]],
) -> None:
    rates, now, total = SenderRates(RateLimits(recipients_per_network=10)), T, 0
    for seconds, number in steps:
        now += seconds
        refused = rates.allows(IP, SENDER, now, recipients=number)
        total += 0 if refused else number
        assert total <= 10 + 10 * (now - T) / HOUR + 0.001
        if refused:
            assert rates.allows(IP, SENDER, now + refused.seconds, recipients=number) is None
            now, total = now + refused.seconds, total + number
