"""Which service a message needs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waymail.mail.needs import Needs, needs

PARTS = (
    b"Subject: x\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain; name=NAME\r\n\r\ntext\r\n"
    b"--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: INNER\r\n\r\nattached\r\n--b--\r\n"
)


@pytest.mark.parametrize(
    ("message", "found"),
    [
        (PARTS, Needs()),
        (b"", Needs()),
        (b"\r\nbody", Needs()),
        (b"A: " + b"h" * 2000 + b"\r\n", Needs()),
        (b"A: " + b"h" * 2000 + b"\r\n\r\nbody\r\n", Needs()),
        (b"A: b\r\n\r\n" + b"c" * 999 + b"\r\n", Needs(binary=True, long_lines=True)),
        (b"\r\n" + b"c" * 999, Needs(binary=True, long_lines=True)),
        (b"A: b\r\n\r\na\nb" + b"c" * 999 + b"\r\n", Needs(binary=True)),
        (b"A: b\r\n\r\na\rb\r\n", Needs(binary=True)),
        (b"A: b\r\n\r\na\0b\r\n", Needs(binary=True)),
        (b"A: b\nB: c\r\n\r\nbody\r\n", Needs(binary=True)),
        (PARTS.replace(b"text\r\n", b"t\xe9xt\r\n"), Needs(eight_bit=True)),
        (PARTS.replace(b"text\r\n", b"t\xe9xt\n\r\n"), Needs(eight_bit=True, binary=True)),
        (PARTS.replace(b"Subject: x", b"Subject: \xc3\xa9"), Needs(utf8_headers=True)),
        (PARTS.replace(b"NAME", b"\xc3\xa9"), Needs(eight_bit=True, utf8_headers=True)),
        (PARTS.replace(b"INNER", b"\xe9"), Needs(eight_bit=True)),
    ],
)
def test_the_octets_tell(message: bytes, found: Needs) -> None:
    assert needs([message]) == found
    assert needs([message[:30], message[30:]]) == found


@given(st.lists(st.sampled_from([b"A: b\r\n", b"\r\n", b"\n", b"\r", b"\0", b"x" * 500])).map(b"".join), st.integers(0, 600))
def test_the_short_way_for_ascii_leads_to_the_same(message: bytes, at: int) -> None:
    assert needs([message]) == needs([message[:at], message[at:]])
