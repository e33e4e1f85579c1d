"""The keys of forwarding: what is in their file is good enough, or the server says why it is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from waymail.app import wiring_forwarding
from waymail.app.config.load import parse
from waymail.app.config.problems import ConfigError
from waymail.app.config.schema import Config


def config(folder: Path) -> Config:
    text = f'hostname = "mail.example.org"\ndata_dir = "{folder}"\n[domains."example.org"]\naliases = {{ a = "b@example.net" }}\n'
    return parse(text, folder / "waymail.toml")


def test_a_key_is_made_once(tmp_path: Path) -> None:
    assert wiring_forwarding.forwarding(config(tmp_path)) is not None
    made = (tmp_path / wiring_forwarding.KEYS).read_bytes()
    assert wiring_forwarding.forwarding(config(tmp_path)) is not None
    assert (tmp_path / wiring_forwarding.KEYS).read_bytes() == made


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ("\n\n", "holds no key"),
        ("short\n", "can be guessed"),
        (f"{'k' * 32}\nshort\n", "can be guessed"),
        (f"short{' ' * 16}\n", "can be"),
    ],
)
def test_a_key_that_can_be_guessed_is_none(keys: str, problem: str, tmp_path: Path) -> None:
    (tmp_path / wiring_forwarding.KEYS).write_text(keys)
    with pytest.raises(ConfigError, match=problem):
        wiring_forwarding.forwarding(config(tmp_path))


def test_the_shortest_key_will_do(tmp_path: Path) -> None:
    (tmp_path / wiring_forwarding.KEYS).write_text(f"{'k' * wiring_forwarding.SHORTEST}\n\n")
    assert wiring_forwarding.forwarding(config(tmp_path)) is not None
