"""What kind of data octets are, wherever the blocks are cut."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waymail.mail.survey import Survey

pieces = st.lists(st.sampled_from([b"\r\n", b"\r", b"\n", b"\0", b"\xff", b"=", b"a", b"a" * 497, b"a" * 998])).map(b"".join)


def survey(octets: bytes, *cuts: int) -> Survey:
    found = Survey()
    edges = [0, *sorted(cuts), len(octets)]
    for start, end in pairwise(edges):
        found.take(octets[start:end])
    found.finish()
    return found


def test_seven_bit_lines_are_nothing_special() -> None:
    found = survey(b"one\r\ntwo=3\r\n")
    assert (found.size, found.lines, found.escaped, found.eight_bit, found.is_binary, found.is_line_open) == (
        12,
        2,
        1,
        False,
        False,
        False,
    )


@pytest.mark.parametrize("octets", [b"a\0b\r\n", b"a\rb\r\n", b"a\nb\r\n", b"a\r", b"\r\r\n", b"a" * 999 + b"\r\n", b"a" * 999])
def test_what_is_not_made_of_lines_is_binary(octets: bytes) -> None:
    assert survey(octets).is_binary


def test_a_line_may_have_998_octets() -> None:
    assert not survey(b"a\r\n" + b"a" * 998 + b"\r\n" + b"\xff" * 998).is_binary


def test_what_comes_behind_a_gap_does_not_go_on_with_the_line_before_it() -> None:
    found = Survey()
    for block in (b"a" * 600, b"a" * 600):
        found.take(block)
        found.finish()
    assert not found.has_long_line
    assert found.is_line_open


@given(pieces, st.data())
def test_the_counts_are_those_of_a_plain_look_wherever_blocks_are_cut(octets: bytes, data: st.DataObject) -> None:
    found = survey(octets, *data.draw(st.lists(st.integers(0, len(octets)), max_size=4)))
    bare = re.search(rb"\r(?!\n)|(?<!\r)\n", octets) is not None
    assert (found.size, found.lines) == (len(octets), octets.count(b"\r\n"))
    assert (found.eight_bit, found.has_nul, found.has_bare_line_end) == (b"\xff" in octets, b"\0" in octets, bare)
    assert found.is_line_open == (octets != b"" and not octets.endswith(b"\r\n"))
    assert found.escaped == len(re.findall(rb"\r(?!\n)|(?<!\r)\n|[^\t\r\n -<>-~]", octets))
    if not bare:
        assert found.has_long_line == any(len(line) > 998 for line in octets.split(b"\r\n"))
