"""Content off the wire and onto it."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waymail.wire.data import BareLineEnd, DataDecoder, stuff

# Made of the pieces that matter, so that near misses of CRLF.CRLF are common.
pieces = st.lists(
    st.sampled_from([b"\r\n", b"\r", b"\n", b".", b"..", b"a", b"\0", b"\r\n.", b"\r\n.\r\n", b"\xc3\xa9"]), max_size=20
)
streams = st.builds(b"".join, pieces)
lines = st.lists(st.sampled_from([b"", b".", b"..", b"...", b".a", b"a", b"a.b.", b"\0", b"\xff"]), max_size=12)
contents = st.builds(lambda parts: b"".join(part + b"\r\n" for part in parts), lines)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """`data` in pieces, cut at `places`."""
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in pairwise(edges)]


def decode(chunks: list[bytes], limit: int = 1000) -> tuple[bytes, bytes | None, DataDecoder]:
    """What a decoder makes of `chunks`: the content, what stands behind the end, and the decoder."""
    decoder = DataDecoder(limit)
    content = b""
    for at, chunk in enumerate(chunks):
        some, rest = decoder.feed(chunk)
        content += some
        if rest is not None:
            return content, rest + b"".join(chunks[at + 1 :]), decoder
    return content, None, decoder


def by_the_book(stream: bytes) -> tuple[list[bytes], bytes] | None:
    """The lines before the end, stuffing removed, and what stands behind it; line by line, as RFC 5321 §4.5.2 tells it."""
    found: list[bytes] = []
    while True:
        line, crlf, stream = stream.partition(b"\r\n")
        if not crlf:
            return None
        if line == b".":
            return found, stream
        found.append(line[1:] if line.startswith(b".") else line)


@given(streams, st.lists(st.integers(0, 100), max_size=6))
def test_the_end_and_the_content_are_those_of_the_rfc_however_the_stream_is_cut(stream: bytes, places: list[int]) -> None:
    content, rest, decoder = decode(cut(stream, places))
    expected = by_the_book(stream)
    if expected is None:
        assert rest is None
        return
    whole = b"".join(line + b"\r\n" for line in expected[0])
    bare = any(b"\r" in line or b"\n" in line for line in expected[0])
    assert rest == expected[1]
    assert decoder.size == len(whole)
    assert decoder.problem == ("bare" if bare else None)
    if not bare:
        assert content == whole


@given(streams, st.lists(st.integers(0, 100), max_size=6), st.integers(0, 20))
def test_the_size_limit_and_the_problem_do_not_depend_on_where_the_stream_is_cut(
    stream: bytes, places: list[int], limit: int
) -> None:
    stream += b"\r\n.\r\n"
    _, rest, cut_decoder = decode(cut(stream, places), limit)
    _, whole_rest, decoder = decode([stream], limit)
    assert (rest, cut_decoder.size, cut_decoder.problem) == (whole_rest, decoder.size, decoder.problem)


def test_a_dot_at_the_very_beginning_ends_an_empty_message() -> None:
    assert decode([b".\r\nQUIT\r\n"])[:2] == (b"", b"QUIT\r\n")


def test_an_empty_message_ends_when_its_dot_comes_octet_by_octet() -> None:
    assert decode([b".", b"\r", b"\n", b"QUIT"])[:2] == (b"", b"QUIT")


@pytest.mark.parametrize("sent", [b"..\r\n", b"...\r\n", b".x\r\n", b"a\r\n..b\r\n", b"a..b\r\n.. \r\n"])
def test_exactly_one_leading_dot_is_removed_from_a_line_at_every_split(sent: bytes) -> None:
    expected = b"\r\n".join(line[1:] if line.startswith(b".") else line for line in sent.split(b"\r\n"))
    stream = sent + b".\r\n"
    for place in range(len(stream) + 1):
        assert decode([stream[:place], stream[place:]])[:2] == (expected, b"")


def test_no_content_is_given_out_after_the_size_limit_and_the_end_is_still_found() -> None:
    decoder = DataDecoder(limit=10)
    assert decoder.feed(b"12345678\r\n") == (b"12345678", None)
    assert decoder.feed(b"x\r\n") == (b"", None)
    assert decoder.problem == "size"
    assert decoder.feed(b"more\r\n.\r\nQUIT\r\n") == (b"", b"QUIT\r\n")
    assert decoder.size == 19


def test_a_message_of_exactly_the_size_limit_is_taken() -> None:
    content, rest, decoder = decode([b"12345678\r\n.\r\n"], limit=10)
    assert (content, rest, decoder.problem) == (b"12345678\r\n", b"", None)


def test_stuffing_dots_do_not_count_against_the_size_limit() -> None:
    assert decode([b"..\r\n..\r\n.\r\n"], limit=6)[2].problem is None


def test_a_bare_line_end_counts_for_more_than_the_size() -> None:
    assert decode([b"123456\r\n", b"\n\r\n.\r\n"], limit=2)[2].problem == "bare"


def test_nul_octets_are_content_and_end_nothing() -> None:
    stream = b"a\0b\r\n\0.\r\n.\0\r\n.\r\n"
    assert decode([stream])[:2] == (b"a\0b\r\n\0.\r\n\0\r\n", b"")


def test_a_large_chunk_without_dots_is_not_copied() -> None:
    chunk = b"x" * 5000
    assert DataDecoder(10_000).feed(chunk)[0] is chunk


@given(contents, st.lists(st.integers(0, 100), max_size=6), st.lists(st.integers(0, 100), max_size=6))
def test_what_is_stuffed_comes_out_equal_however_both_are_cut(content: bytes, places: list[int], others: list[int]) -> None:
    sent = b"".join(stuff(cut(content, places)))
    assert sent == b"".join(stuff([content]))
    assert decode(cut(sent + b"QUIT\r\n", others))[:2] == (content, b"QUIT\r\n")


@pytest.mark.parametrize(
    ("content", "sent"),
    [
        (b"", b".\r\n"),
        (b"a\r\n", b"a\r\n.\r\n"),
        (b"a", b"a\r\n.\r\n"),
        (b".", b"..\r\n.\r\n"),
        (b".\r\n.", b"..\r\n..\r\n.\r\n"),
        (b"\r\n", b"\r\n.\r\n"),
    ],
)
def test_content_is_ended_by_one_crlf_only_if_missing(content: bytes, sent: bytes) -> None:
    assert b"".join(stuff([content])) == sent


@pytest.mark.parametrize(
    "content", [b"\n", b"\r", b"a\nb\r\n", b"a\rb\r\n", b"\r\r\n", b"\n\r\n", b"a\r\n\r", b"\r\n.\n", b"\n\r"]
)
def test_content_with_a_bare_cr_or_lf_is_never_sent_at_any_split(content: bytes) -> None:
    for place in range(len(content) + 1):
        chunks = [content[:place], content[place:]]
        with pytest.raises(BareLineEnd):
            list(stuff(chunks))


@given(streams, st.lists(st.integers(0, 100), max_size=6))
def test_nothing_that_stuff_gives_out_has_a_bare_line_end_or_an_early_end(stream: bytes, places: list[int]) -> None:
    sent = b""
    try:
        for chunk in stuff(cut(stream, places)):
            sent += chunk
    except BareLineEnd:
        rest = stream.replace(b"\r\n", b"")
        assert b"\r" in rest or b"\n" in rest
        assert b"\r\n.\r\n" not in b"\r\n" + sent
    else:
        assert (b"\r\n" + sent).index(b"\r\n.\r\n") == len(sent) - 3
    rest = sent.replace(b"\r\n", b"")
    assert b"\r" not in rest
    assert b"\n" not in rest
