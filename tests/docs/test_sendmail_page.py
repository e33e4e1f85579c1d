"""docs/sendmail.md says what `waymail sendmail` does: every option and every key, and no other."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from waymail.app.cli.sendmail.options import ATTACHED, FLAGS, MEANING, VALUES
from waymail.app.cli.sendmail.settings import KEYS

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "sendmail.md").read_text()
ROWS = dict(re.findall(r"^\| `([^`]+)` \| (.+) \|$", PAGE, re.MULTILINE))


def test_the_options_of_the_page_are_those_of_the_command_in_the_same_words() -> None:
    assert {name: meaning for name, meaning in ROWS.items() if name.startswith("-")} == MEANING


def test_the_keys_of_the_page_are_those_that_are_read() -> None:
    assert {name for name in ROWS if name.islower() and name.isalpha()} == set(KEYS)
    _, example = re.findall(r"^```toml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert set(tomllib.loads(example)) <= set(KEYS)


def test_every_letter_that_is_taken_is_on_the_page() -> None:
    told = set(re.findall(r"`-(\w)", PAGE)) | {"e"}  # -oe stands for -e
    assert set(VALUES + ATTACHED + FLAGS) - told == set()
