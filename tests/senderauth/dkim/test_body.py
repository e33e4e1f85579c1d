from __future__ import annotations

import re
from base64 import b64encode
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from waymail.senderauth.dkim.body import Bodies, BodyHash


def canonical(body: bytes, relaxed: bool) -> bytes:
    """RFC 6376 §3.4.3 and §3.4.4 in the plainest way."""
    if relaxed:
        body = re.sub(rb"[ \t]+", b" ", body)
        body = re.sub(rb" (?=\r\n|\Z)", b"", body)
    while body.endswith(b"\r\n"):
        body = body[:-2]
    return body + b"\r\n" if body or not relaxed else b""


def hashed(body: bytes, *, relaxed: bool, cuts: list[int] | None = None, lengths: list[int] | None = None) -> BodyHash:
    made = BodyHash(relaxed, [None, *(lengths or [])])
    at = 0
    for cut in sorted(cuts or []):
        made.update(body[at:cut])
        at = max(at, cut)
    made.update(body[at:])
    made.finish()
    return made


def test_empty_bodies_have_the_hashes_that_the_rfc_prints() -> None:
    # RFC 6376 §3.4.3, §3.4.4
    simple, relaxed = hashed(b"", relaxed=False), hashed(b"", relaxed=True)
    assert b64encode(simple.digest() or b"") == b"frcCV1k9oG9oKj3dpUqdJg1PxRT2RSN/XKdLCPjaYaY="
    assert b64encode(relaxed.digest() or b"") == b"47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="
    assert (simple.size, relaxed.size) == (2, 0)


def test_the_example_of_the_rfc() -> None:
    body = b" C \r\nD \t E\r\n\r\n\r\n"  # RFC 6376 §3.4.5
    assert hashed(body, relaxed=True).digest() == sha256(b" C\r\nD E\r\n").digest()
    assert hashed(body, relaxed=False).digest() == sha256(b" C \r\nD \t E\r\n").digest()


BODIES = st.lists(st.sampled_from([b"a", b" ", b"\t", b"\r\n", b"\r", b"\n", b"  ", b"bc"]), max_size=24).map(b"".join)


@settings(max_examples=300)
@given(body=BODIES, relaxed=st.booleans(), cuts=st.lists(st.integers(0, 30), max_size=8), lengths=st.lists(st.integers(0, 30)))
def test_any_pieces_give_the_hash_of_the_canonical_whole(body: bytes, relaxed: bool, cuts: list[int], lengths: list[int]) -> None:
    whole = canonical(body, relaxed)
    made = hashed(body, relaxed=relaxed, cuts=cuts, lengths=lengths)
    assert made.size == len(whole)
    assert made.digest() == sha256(whole).digest()
    for length in lengths:
        assert made.digest(length) == (sha256(whole[:length]).digest() if length <= len(whole) else None)


@pytest.mark.parametrize("relaxed", [False, True])
@pytest.mark.parametrize("unit", [b"\r\n", b" ", b" \r\n", b"\n", b"\r", b"\t"])
def test_nothing_grows_while_it_may_turn_out_to_be_the_end(unit: bytes, relaxed: bool) -> None:
    made = BodyHash(relaxed)
    chunk = unit * (30_000 // len(unit))
    for _ in range(10):
        made.update(chunk)
        assert len(made._held) <= 2
    made.update(b"x")
    made.finish()
    assert made.digest() == sha256(canonical(chunk * 10 + b"x", relaxed)).digest()


def test_a_length_that_was_not_announced_is_an_error() -> None:
    with pytest.raises(KeyError):
        hashed(b"abc\r\n", relaxed=False).digest(3)


def test_several_may_ask_for_hashes_of_one_body_and_each_may_end_it() -> None:
    bodies = Bodies()
    bodies.want(True)
    bodies.want(True, 3)
    bodies.want(False, 40)
    bodies.update(b"a \tb")
    bodies.update(b"\r\n")
    bodies.finish()
    bodies.finish()
    assert bodies.digest(True) == sha256(b"a b\r\n").digest()
    assert bodies.digest(True, 3) == sha256(b"a b").digest()
    assert bodies.digest(False, 40) is None
    assert (bodies.size(True), bodies.size(False)) == (5, 6)


def test_where_nobody_asks_nothing_is_hashed() -> None:
    bodies = Bodies()
    bodies.update(b"a\r\n")
    bodies.finish()
    with pytest.raises(KeyError):
        bodies.digest(True)
