"""How a message looks where it is finally delivered."""

from __future__ import annotations

from pathlib import Path

import pytest

from waymail.delivery.final import content, with_lf
from waymail.mail.envelope import Body, Envelope

FIELDS = b"Return-Path: <b@x>\r\n"
BINARY = b"MIME-Version: 1.0\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: binary\r\n\r\n\0\r\n\n\xff"


def written(octets: bytes | Path, *, lf: bool, body: str = "7BIT") -> bytes:
    size = len(octets) if isinstance(octets, bytes) else octets.stat().st_size
    return b"".join(content(Envelope("0", "b@x", (), 0.0, body=body), Body(octets, size), FIELDS, lf=lf))


def test_its_own_return_path_stands_in_front_and_no_other_is_left() -> None:
    assert written(b"A: b\r\nReturn-Path: <z>\r\n\r\nx\r\n", lf=False) == FIELDS + b"A: b\r\n\r\nx\r\n"


def test_a_large_message_in_a_file_is_whole(tmp_path: Path) -> None:
    octets = b"A: b\r\n" * 60_000 + b"\r\n" + b"x\r\n" * 60_000
    file = tmp_path / "body"
    file.write_bytes(octets)
    assert written(file, lf=False) == FIELDS + octets
    assert written(file, lf=True) == (FIELDS + octets).replace(b"\r\n", b"\n")


@pytest.mark.parametrize("chunks", [[b"a\r", b"\nb\r\n"], [b"a", b"\r", b"\n", b"b\r\n"], [b"a\r\nb\r", b"\n"]])
def test_a_line_end_that_is_cut_in_two_is_one(chunks: list[bytes]) -> None:
    assert b"".join(with_lf(chunks)) == b"a\nb\n"


def test_a_lone_cr_at_the_end_stays() -> None:
    assert b"".join(with_lf([b"a\r"])) == b"a\r"


def test_binary_content_is_encoded_before_its_line_ends_could_be_changed() -> None:
    found = written(BINARY, lf=True, body="BINARYMIME")
    assert b"\r" not in found
    assert b"base64" in found
    assert written(BINARY, lf=False, body="BINARYMIME").endswith(b"\0\r\n\n\xff")


def test_binary_content_that_is_signed_keeps_every_octet() -> None:
    signed = b"DKIM-Signature: v=1; d=x; s=y; b=z\r\n" + BINARY
    assert written(signed, lf=True, body="BINARYMIME") == FIELDS + signed
