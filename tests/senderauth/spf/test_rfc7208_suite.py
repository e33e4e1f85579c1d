"""The openspf test suite for RFC 7208 (tests/suites/spf), each of its 203 cases."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from waymail import lookups
from waymail.senderauth import spf
from waymail.testing.zone import Zone

SUITE = Path(__file__).resolve().parents[2] / "suites/spf/rfc7208-tests.json"
SCENARIOS: list[dict[str, Any]] = json.loads(SUITE.read_text())
CASES = [(scenario, name) for scenario in SCENARIOS for name in scenario["tests"]]
DEFAULT = "DEFAULT"  # what a scenario says of a fail for which the domain has no words: here nothing
TYPES = ("A", "AAAA", "MX", "PTR", "TXT")


def zone_of(scenario: dict[str, Any]) -> Zone:
    """TXT records are those of "SPF" where a name has none of its own; "TXT: NONE" says that it has none. "TIMEOUT" is the answer
    to whatever else is asked."""
    names: dict[str, Any] = {}
    for name, entries in scenario["zonedata"].items():
        records: dict[str, Any] = {}
        for entry in entries:
            for kind, record in entry.items() if entry != "TIMEOUT" else ():
                records.setdefault(kind, []).append(tuple(record) if isinstance(record, list) else record)
        spf_records = records.pop("SPF", [])
        records["TXT"] = [record for record in records.get("TXT", spf_records) if record != "NONE"]
        if not records["TXT"]:
            del records["TXT"]
        if "TIMEOUT" in entries:
            records = {kind: records.get(kind, "TIMEOUT") for kind in TYPES}
        names[name] = records
    return Zone(names)


def test_the_suite_has_its_203_cases() -> None:
    assert len(CASES) == 203


@pytest.mark.parametrize(("scenario", "name"), CASES, ids=[f"{scenario['description']}: {name}" for scenario, name in CASES])
def test_the_suite(scenario: dict[str, Any], name: str) -> None:
    case = scenario["tests"][name]
    check = spf.check(case["host"], case["mailfrom"], case["helo"], receiver="receiver.example", now=1_700_000_000)
    result = lookups.run(check, zone_of(scenario))
    allowed = case["result"] if isinstance(case["result"], list) else [case["result"]]
    assert result.result in allowed, result.reason
    if "explanation" in case:
        assert result.explanation == ("" if case["explanation"] == DEFAULT else case["explanation"])
