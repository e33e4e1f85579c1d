"""What a server keeps of a password."""

from __future__ import annotations

import pytest
from tests.wire.sasl.scram_vectors import RFC_7677

from waymail.wire.sasl.saslprep import PreparationProblem
from waymail.wire.sasl.scram_keys import HASHES, ScramKeys, unknown_user_keys

SALT = RFC_7677.salt
SECRET = b"the server's secret"
KEYS = ScramKeys.derive("pencil", SALT, 4096)


def test_keys_match_their_password_alone() -> None:
    assert KEYS.matches("pencil")
    assert not KEYS.matches("Pencil")


def test_keys_are_not_shown_in_a_log() -> None:
    assert repr(KEYS) == f"ScramKeys(salt={SALT!r}, iterations=4096, hash='SCRAM-SHA-256')"


def test_a_password_that_cannot_be_prepared_gives_no_keys() -> None:
    with pytest.raises(PreparationProblem):
        ScramKeys.derive("", SALT, 4096)


@pytest.mark.parametrize(("name", "length"), [("SCRAM-SHA-256", 32), ("SCRAM-SHA-1", 20)])
def test_each_hash_has_keys_of_its_length(name: str, length: int) -> None:
    keys = ScramKeys.derive("pencil", SALT, 4096, name)
    assert keys.hash == name
    assert (len(keys.stored_key), len(keys.server_key)) == (length, length)
    assert keys.matches("pencil")
    assert not keys.matches("pencils")


@pytest.mark.parametrize("name", HASHES)
def test_made_up_keys_look_like_fresh_ones(name: str) -> None:
    fresh, made_up = ScramKeys.derive("x", bytes(16), hash=name), unknown_user_keys("x", SECRET, name)
    assert (len(fresh.salt), fresh.iterations, fresh.hash) == (len(made_up.salt), made_up.iterations, made_up.hash)
    assert (len(fresh.stored_key), len(fresh.server_key)) == (len(made_up.stored_key), len(made_up.server_key))


def test_made_up_salts_are_the_same_for_a_name_and_differ_between_names_hashes_and_secrets() -> None:
    salts = {
        unknown_user_keys(name, secret, hash_name).salt for name in ("a", "b") for secret in (b"1", b"2") for hash_name in HASHES
    }
    assert len(salts) == 8
    assert unknown_user_keys("a", b"1").salt in salts
