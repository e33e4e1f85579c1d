"""Hashes that other programs stored."""

from __future__ import annotations

import base64
import hashlib

import pytest

from waymail.server.backends.stored import NOBODY, is_understood, matches
from waymail.server.users_edit import hash_password
from waymail.server.users_file import scram_line
from waymail.wire.sasl import ScramKeys

SALT = b"0123456789abcdef"


def unpadded(octets: bytes) -> str:
    return base64.b64encode(octets).decode().rstrip("=")


def scrypt() -> str:
    made = hashlib.scrypt(b"right", salt=SALT, n=1 << 10, r=8, p=1, dklen=32)
    return f"$scrypt$ln=10,r=8,p=1${unpadded(SALT)}${unpadded(made)}"


def pbkdf2(digest: str) -> str:
    made = hashlib.pbkdf2_hmac(digest, b"right", SALT, 1000)
    return f"$pbkdf2-{digest}$1000${unpadded(SALT).replace('+', '.')}${unpadded(made).replace('+', '.')}"


STORED = {
    "argon2id": hash_password("right"),
    "argon2id of Dovecot": "{ARGON2ID}" + hash_password("right"),
    "scrypt": scrypt(),
    "pbkdf2-sha256": pbkdf2("sha256"),
    "pbkdf2-sha512": pbkdf2("sha512"),
    "SCRAM-SHA-256": scram_line(ScramKeys.derive("right", SALT, 4096)),
    "SCRAM-SHA-1": scram_line(ScramKeys.derive("right", SALT, 4096, "SCRAM-SHA-1")),
}


@pytest.mark.parametrize("name", STORED)
def test_the_right_password_matches_and_no_other(name: str) -> None:
    assert is_understood(STORED[name])
    assert matches(STORED[name], "right")
    assert not matches(STORED[name], "wrong")
    assert not matches(STORED[name], "")


@pytest.mark.parametrize(
    "stored",
    ["", "right", "{PLAIN}right", "$2b$12$" + "A" * 53, "$1$salt$hash", "{SSHA}AAAA", "$argon2id$", "$scrypt$ln=10,r=8,p=1$$"],
)
def test_what_is_not_understood_matches_nothing(stored: str) -> None:
    assert not is_understood(stored)
    assert not matches(stored, "right")


@pytest.mark.parametrize(
    "stored",
    [
        f"$scrypt$ln=30,r=8,p=1${unpadded(SALT)}${'A' * 43}",
        f"$pbkdf2-sha256$99999999${unpadded(SALT)}${'A' * 43}",
        f"$argon2id$v=19$m=9999999,t=1,p=1${'A' * 22}${'A' * 43}",
        f"$argon2id$v=19$m=7,t=1,p=1${'A' * 22}${'A' * 43}",
    ],
)
def test_a_hash_that_would_take_all_memory_or_time_matches_nothing(stored: str) -> None:
    assert not matches(stored, "right")


def test_what_stands_for_nobody_is_a_hash_that_no_password_has() -> None:
    assert is_understood(NOBODY)
    assert not matches(NOBODY, "")
