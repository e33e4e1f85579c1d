"""Content in chunks, counted and not searched (RFC 3030 §2)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waymail.wire.chunks import ChunkedContent

pieces = st.lists(st.sampled_from([b"\r\n", b"\r", b"\n", b"a", b".", b"\0", b""]), max_size=12)


def taken(chunks: list[bytes], *, limit: int = 100, binary: bool = False) -> tuple[bytes, ChunkedContent]:
    """The content that was given out, and the state behind the last chunk."""
    content = ChunkedContent(limit, binary=binary)
    given_out = b""
    for at, chunk in enumerate(chunks):
        content.begin(len(chunk), last=at == len(chunks) - 1)
        given_out += content.take(chunk)
        assert content.left == 0
    content.finish()
    return given_out, content


def test_octets_come_out_as_they_are_and_are_counted() -> None:
    chunks = [b"..\r\n.\r\n", b"", b"\0\xff x"]
    content, state = taken(chunks)
    assert (content, state.size, state.problem) == (b"..\r\n.\r\n\0\xff x", 11, None)


@pytest.mark.parametrize(
    "chunks", [[b"a\nb"], [b"a\rb"], [b"a\r", b"b"], [b"a", b"\nb"], [b"a\r"], [b"a\r", b"", b"\r\n"], [b"\r", b"\r"]]
)
def test_a_bare_cr_or_lf_is_found_across_chunk_borders(chunks: list[bytes]) -> None:
    assert taken(chunks)[1].problem == "bare"


@pytest.mark.parametrize("chunks", [[b"a\r", b"\nb"], [b"a\r", b"", b"\n"], [b"\r", b"\n\r", b"\n"]])
def test_a_crlf_may_be_cut_by_a_chunk_border(chunks: list[bytes]) -> None:
    content, state = taken(chunks)
    assert (content, state.problem) == (b"".join(chunks), None)


@given(pieces)
def test_a_message_is_refused_for_its_octets_and_not_for_how_they_were_cut(chunks: list[bytes]) -> None:
    whole = b"".join(chunks)
    left = whole.replace(b"\r\n", b"")
    is_bare = b"\r" in left or b"\n" in left
    for cut in (chunks, [whole], [whole[at : at + 1] for at in range(len(whole))]):
        content, state = taken(cut)
        assert (state.problem == "bare") is is_bare
        assert content == whole if not is_bare else whole.startswith(content)


@given(pieces)
def test_binarymime_lets_every_octet_pass(chunks: list[bytes]) -> None:
    content, state = taken(chunks, binary=True)
    assert (content, state.problem) == (b"".join(chunks), None)


def test_what_goes_beyond_the_limit_is_known_before_it_comes() -> None:
    content = ChunkedContent(10, binary=False)
    content.begin(10, last=False)
    assert content.take(b"0123456789") == b"0123456789"
    content.begin(1, last=True)
    assert (content.problem, content.take(b"x"), content.left) == ("size", b"", 0)


def test_a_chunk_of_19_digits_costs_nothing() -> None:
    content = ChunkedContent(10, binary=False)
    content.begin(9_999_999_999_999_999_999, last=True)
    assert (content.problem, content.take(b"x" * 1000), content.left) == ("size", b"", 9_999_999_999_999_998_999)
