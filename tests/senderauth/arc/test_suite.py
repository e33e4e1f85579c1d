"""The published suite of ARC: every case that has a defined result has it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from waymail.lookups import run
from waymail.senderauth import arc
from waymail.testing import Zone

FILE = Path(__file__).resolve().parents[2] / "suites/arc/validation.json"
CASES = [
    pytest.param(case["message"], scenario["txt-records"], case["cv"], id=case["name"])
    for scenario in json.loads(FILE.read_text())
    for case in scenario["tests"]
]


def test_the_suite_is_whole() -> None:
    assert len(CASES) == 171


@pytest.mark.parametrize(("message", "records", "cv"), CASES)
def test_the_chain_has_the_result_that_the_suite_says(message: str, records: dict[str, str], cv: str) -> None:
    zone = Zone({name: {"TXT": [text]} for name, text in records.items()})
    result = run(arc.verify(message.replace("\n", "\r\n").encode(), now=20_000.0), zone)
    # What is left open, waymail takes for broken: each of these says itself that it is (RFC 8617 §5.2, steps 2 and 3).
    assert result.result == (cv.lower() or "fail")
    assert bool(result.reason) == (result.result == "fail")
