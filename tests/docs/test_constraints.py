"""The pinned packages: complete, held to hashes, and with no trace of the machine that wrote them down."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def pins(name: str) -> dict[str, str]:
    """Package by package what is pinned: version and hashes, comments left out."""
    text = re.sub(r"\\\n|#.*", "", (ROOT / name).read_text())
    return {line.partition("==")[0]: " ".join(line.split()) for line in text.splitlines() if line.strip()}


def required(*extras: str) -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lists = [project["dependencies"], *(project["optional-dependencies"][extra] for extra in extras)]
    return {re.split(r"[^A-Za-z0-9-]", requirement)[0] for requirements in lists for requirement in requirements}


@pytest.mark.parametrize("name", ["constraints.txt", "constraints-server.txt"])
def test_every_line_pins_one_version_by_hash_and_sets_no_option(name: str) -> None:
    form = re.compile(r"[a-z0-9-]+==[^ ;]+( ; [^;]+)?( --hash=sha256:[0-9a-f]{64})+")
    assert [pin for pin in pins(name).values() if not form.fullmatch(pin)] == []


def test_all_that_pyproject_names_is_pinned() -> None:
    assert required("server", "dev") - pins("constraints.txt").keys() == set()
    assert required("server") - pins("constraints-server.txt").keys() == set()


def test_a_server_runs_on_what_was_tested() -> None:
    assert pins("constraints-server.txt").items() <= pins("constraints.txt").items()
