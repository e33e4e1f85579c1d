"""The vectors of tests/suites/dmarc."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.senderauth.dmarc.evidence import Asked, Dkim, Spf, dmarc_zone

from waymail import lookups
from waymail.senderauth.dmarc import evaluate
from waymail.senderauth.dmarc import walk as walks

VECTORS = json.loads((Path(__file__).resolve().parents[2] / "suites/dmarc/rfc9989-vectors.json").read_text())


def zone_of(vector: dict[str, Any]) -> Asked:
    records = {name.removeprefix("_dmarc."): text for name, text in vector["records"].items() if name.startswith("_dmarc.")}
    existing = (name[3:] for name, status in vector["records"].items() if name.startswith("nx:") and status == "NOERROR")
    return dmarc_zone(records, *existing)


def walked(start: str, vector: dict[str, Any]) -> tuple[walks.Walk, list[str]]:
    zone = zone_of(vector)
    return lookups.run(walks.Tree().walk(start), zone), zone.questions


@pytest.mark.parametrize("vector", VECTORS, ids=[vector["id"] for vector in VECTORS])
def test_vector(vector: dict[str, Any]) -> None:
    spf = Spf(vector["spf"]) if vector["spf"] else None
    found = lookups.run(evaluate(vector["author"], spf=spf, dkim=[Dkim(one) for one in vector["dkim"]]), zone_of(vector))
    for name, wanted in vector["expect"].items():
        match name:
            case "org":
                assert {start: walks.organizational_domain(walked(start, vector)[0]) for start in wanted} == wanted
            case "queries":
                assert {start: walked(start, vector)[1] for start in wanted} == wanted
            case "policy_domain":
                assert found.record_domain == wanted
            case "policy" | "policy_effective":
                assert found.policy == wanted
            case "spf_aligned" | "dkim_aligned":
                assert getattr(found, name) is wanted
            case "dmarc":
                assert found.result == wanted
            case "default_disposition":
                # §7.4 is for whoever decides what is done. DMARC hands on what the owner asks for.
                assert (found.result, found.policy, wanted) == ("fail", "reject", "quarantine")
            case "note":
                helo = Spf(vector["author"], identity="helo")
                assert lookups.run(evaluate(vector["author"], spf=helo, dkim=[]), zone_of(vector)).result == "fail"
                null_path = Spf(vector["author"])  # postmaster@HELO is then the MAIL FROM identity (RFC 7208 §2.4)
                assert lookups.run(evaluate(vector["author"], spf=null_path, dkim=[]), zone_of(vector)).result == "pass"
            case _:
                pytest.fail(f"nothing holds {name}")
