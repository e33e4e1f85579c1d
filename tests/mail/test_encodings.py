"""Base64 and quoted-printable, block by block."""

from __future__ import annotations

import base64 as oracle
import quopri
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waymail.mail.encodings import base64, base64_size, quoted_printable, quoted_printable_size
from waymail.mail.survey import Survey

texts = (
    st.lists(
        st.one_of(
            st.sampled_from(
                [b"\r\n", b" ", b"\t", b"=", b"-", b"--", b"--b", b".", b"\xc3\xa9", b"a" * 70, b"- " * 90, b"x" * 70000]
            ),
            st.binary(max_size=30).map(lambda octets: octets.translate(None, b"\r\n\0")),
        )
    )
    .map(b"".join)
    .filter(lambda text: text.count(b"\r") == text.count(b"\r\n") == text.count(b"\n"))
)


def blocks(octets: bytes, size: int) -> Iterator[bytes]:
    return (octets[at : at + size] for at in range(0, len(octets), size))


def survey(octets: bytes) -> Survey:
    found = Survey()
    found.take(octets)
    found.finish()
    return found


@given(st.binary(max_size=500), st.integers(1, 200))
def test_base64_is_what_others_write_and_its_size_is_known(octets: bytes, size: int) -> None:
    encoded = b"".join(base64(blocks(octets, size)))
    assert encoded == oracle.encodebytes(octets).replace(b"\n", b"\r\n")[:-2]
    assert 0 <= base64_size(survey(octets)) - len(encoded) <= 2


@given(texts, st.integers(1, 200))
def test_quoted_printable_text_is_decoded_to_what_it_was(text: bytes, size: int) -> None:
    encoded = b"".join(quoted_printable(blocks(text, size if len(text) < 10_000 else 65_536)))
    assert quopri.decodestring(encoded) == text
    assert encoded.isascii()
    assert b"\0" not in encoded
    assert len(encoded) <= quoted_printable_size(survey(text))
    for line in encoded.split(b"\r\n"):
        assert len(line) <= 76
        assert not line.startswith(b"--")
        assert not line.endswith((b" ", b"\t"))


@pytest.mark.parametrize(
    ("text", "encoded"),
    [
        (b"caf\xc3\xa9 = 1\r\n", b"caf=C3=A9 =3D 1\r\n"),
        (b"blank \r\ntab\t\r\n", b"blank=20\r\ntab=09\r\n"),
        (b"no line end", b"no line end"),
        (b"--b\r\n", b"=2D-b\r\n"),
        (b"x" * 80, b"x" * 75 + b"=\r\nxxxxx"),
        (b"x" * 75 + b"--b\r\n", b"x" * 75 + b"=\r\n=2D-b\r\n"),
        (b"x" * 74 + b"\xff\r\n", b"x" * 74 + b"=\r\n=FF\r\n"),
        (b"x" * 73 + b"\xff\r\n", b"x" * 73 + b"=\r\n=FF\r\n"),
        (b"x" * 72 + b"\xff\r\n", b"x" * 72 + b"=FF\r\n"),
    ],
)
def test_quoted_printable_follows_the_rules(text: bytes, encoded: bytes) -> None:
    assert b"".join(quoted_printable([text])) == encoded
