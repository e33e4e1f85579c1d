"""Received octets fall into lines."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waymail.wire.lines import Input, TooLong

LIMIT = 10
streams = st.builds(b"".join, st.lists(st.sampled_from([b"\r\n", b"\r", b"\n", b"a", b"bcd", b"efghijkl"]), max_size=20))


def lines(chunks: list[bytes]) -> tuple[list[bytes | None], int]:
    """The lines of `chunks`, None for one that was too long; and the most octets that were kept between two chunks."""
    received = Input()
    found: list[bytes | None] = []
    kept = 0
    for chunk in chunks:
        received.put(chunk)
        while True:
            try:
                line = received.take_line(LIMIT)
            except TooLong:
                found.append(None)
                continue
            if line is None:
                break
            found.append(line)
        kept = max(kept, received.size)
    return found, kept


def expected(stream: bytes) -> list[bytes | None]:
    return [line if len(line) + 2 <= LIMIT else None for line in stream.split(b"\r\n")[:-1]]


@given(streams)
def test_lines_are_the_same_whole_and_octet_by_octet(stream: bytes) -> None:
    assert lines([stream])[0] == expected(stream)
    assert lines([bytes([octet]) for octet in stream])[0] == expected(stream)


@given(streams)
def test_an_incomplete_line_keeps_no_more_than_its_limit(stream: bytes) -> None:
    assert lines([stream])[1] <= LIMIT
    assert lines([bytes([octet]) for octet in stream])[1] <= LIMIT


def test_a_line_of_exactly_the_limit_is_taken_and_one_octet_more_is_too_long() -> None:
    assert lines([b"12345678\r\n", b"123456789\r\n"])[0] == [b"12345678", None]


def test_an_endless_line_is_reported_once_with_its_beginning() -> None:
    received = Input()
    received.put(b"begin")
    for _ in range(1000):
        received.put(b"x" * 100)
        assert received.take_line(LIMIT) is None
        assert received.size == 0
    received.put(b"\r\nNOOP\r\n")
    with pytest.raises(TooLong) as caught:
        received.take_line(LIMIT)
    assert caught.value.start.startswith(b"beginxxx")
    assert received.take_line(LIMIT) == b"NOOP"


def test_what_is_put_while_nothing_is_taken_is_counted_and_kept_in_order() -> None:
    received = Input()
    for octet in b"one\r\ntwo\r\n":
        received.put(bytes([octet]))
    assert received.size == 10
    assert (received.take_line(LIMIT), received.size) == (b"one", 5)
    assert (received.take_line(LIMIT), received.size) == (b"two", 0)
    assert received.take_line(LIMIT) is None
