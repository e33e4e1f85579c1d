"""The targets hold for what fuzzing begins with, and for what a few moments of hypothesis make of it.

So a harness that is broken, or a core that breaks a promise plainly, is seen here and not only in an hour's run.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.fuzz import client, content, pipe, server, text
from tests.fuzz.__main__ import TARGETS
from tests.fuzz.choices import Choices, input_of
from tests.fuzz.reading import by_the_book, is_bare, unstuffed
from tests.fuzz.transcripts import SEEDS, TO_A_CLIENT, TO_A_PARSER, TO_A_SERVER, WORDS

Target = Callable[[bytes], None]
ALL: dict[str, Target] = {
    module.__name__.rpartition(".")[2]: module.one_input for module in (server, client, pipe, content, text)
}
lines = [line + b"\r\n" for stream in TO_A_SERVER + TO_A_CLIENT + TO_A_PARSER for line in stream.split(b"\r\n")]
streams = st.lists(st.sampled_from(lines + WORDS) | st.binary(max_size=8), max_size=20).map(b"".join)
inputs = st.builds(input_of, st.binary(max_size=40), streams) | st.binary(max_size=100)


def test_the_runner_knows_every_target() -> None:
    assert set(TARGETS) == set(ALL)


@pytest.mark.parametrize("target", ALL.values(), ids=ALL)
def test_a_target_holds_for_every_transcript(target: Target) -> None:
    for seed in SEEDS:
        target(seed)


@pytest.mark.parametrize("target", ALL.values(), ids=ALL)
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(data=inputs)
def test_a_target_holds_for_what_is_made_of_them(target: Target, data: bytes) -> None:
    target(data)


@given(st.binary(max_size=63), st.binary(max_size=100))
def test_an_input_is_taken_apart_into_what_it_was_made_of(decisions: bytes, stream: bytes) -> None:
    choices = Choices(input_of(decisions, stream))
    assert choices.stream == stream
    assert b"".join(choices.cut(stream)) == stream


def test_the_model_of_content_is_that_of_the_book() -> None:
    assert by_the_book(b".\r\nx") == (b"", 3)
    assert by_the_book(b"a\r\n.\r\nx") == (b"a\r\n", 6)
    assert by_the_book(b"a\r\n.\r") is None
    assert unstuffed(b"..\r\na.\r\n.b\r\n") == b".\r\na.\r\nb\r\n"
    assert [is_bare(octets) for octets in (b"a\r\n", b"\r", b"\n", b"\r\r\n", b"\r\n\n", b"a\rb")] == [False] + [True] * 5
