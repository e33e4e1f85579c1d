from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waymail.app.units import duration, duration_or_off, duration_text, size, size_or_off, size_text


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30s", 30), ("5m", 300), ("4h", 14_400), ("5d", 432_000), ("1w", 604_800), ("1h30m", 5_400), ("1.5h", 5_400)],
)
def test_a_duration_is_numbers_with_units(text: str, seconds: float) -> None:
    assert duration(text) == seconds


@pytest.mark.parametrize("value", ["5", "", "m", "5 m", "5x", "-5m", "0s", "1h30", 5, True, None, ["5m"], "5M", "٣m"])
def test_what_is_no_duration_is_refused_with_an_example(value: object) -> None:
    with pytest.raises(ValueError, match=r"s|zero"):
        duration(value)


@pytest.mark.parametrize(
    ("text", "octets"),
    [("1B", 1), ("50MB", 50_000_000), ("64KiB", 65_536), ("1 GiB", 1 << 30), ("2kb", 2_000), ("50MiB", 52_428_800)],
)
def test_a_size_is_a_number_with_a_unit(text: str, octets: int) -> None:
    assert size(text) == octets


@pytest.mark.parametrize("value", ["50", "MB", "0MB", "1.5MB", "5TB", 50, True, None])
def test_what_is_no_size_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match=r"MB|zero"):
        size(value)


def test_off_is_no_duration_where_off_may_be_said() -> None:
    assert duration_or_off("off") is None
    assert duration_or_off("4h") == 14_400
    with pytest.raises(ValueError, match='or "off"'):
        duration_or_off("never")


def test_off_is_no_size_where_off_may_be_said() -> None:
    assert size_or_off("off") is None
    assert size_or_off("100MB") == 100_000_000
    assert size_text(None) == "off"
    with pytest.raises(ValueError, match='or "off"'):
        size_or_off("0MB")


@given(st.integers(1, 10**9))
def test_what_is_shown_reads_back_to_the_same(number: int) -> None:
    assert duration(duration_text(number)) == number
    assert size(size_text(number)) == number


def test_shown_texts_are_short() -> None:
    assert [duration_text(seconds) for seconds in (60, 5400, 432_000, None, 0.5)] == ["1m", "1h30m", "5d", "off", "0.5s"]
    assert [size_text(octets) for octets in (50_000_000, 65_536, 1_001)] == ["50MB", "64KiB", "1001B"]
