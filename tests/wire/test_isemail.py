"""The addresses of the isemail suite (tests/suites/addresses), each one judged as a Mailbox of RFC 5321.

The suite tells apart what RFC 5321 allows, what only RFC 5322 allows in a header field (comments, folding, obsolete forms, other
domain literals), and what nobody allows. Here the first are accepted and the others refused, but for the differences below.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from waymail.wire import grammar
from waymail.wire.errors import SyntaxProblem

SUITE = Path(__file__).resolve().parents[1] / "suites/addresses/isemail-tests.xml"
CASES = list(ET.fromstring(SUITE.read_bytes()).iter("test"))  # noqa: S314 - a file of our own
# Valid, valid though its domain was not in DNS, valid though unusual.
ACCEPTED = {"ISEMAIL_VALID_CATEGORY", "ISEMAIL_DNSWARN", "ISEMAIL_RFC5321"}
# Invalid; or no Mailbox but an addr-spec of RFC 5322: comments and folding, deprecated forms, other lengths and literals.
REFUSED = {"ISEMAIL_ERR", "ISEMAIL_CFWS", "ISEMAIL_DEPREC", "ISEMAIL_RFC5322"}
ACCEPTED_ALL_THE_SAME = {
    "66": "a General-address-literal to the ABNF, which knows no list of tags (RFC 5321 §4.1.3): the tag is 1111",
    "71": "'::' for one group, which RFC 5952 §4.2.2 says not to write, and every parser of addresses reads",
}


def address_of(case: ET.Element) -> str:
    """Its address: control characters stand in the file as their symbols, U+2400 and the following."""
    text = case.findtext("address") or ""
    return "".join(chr(ord(c) - 0x2400) if 0x2400 <= ord(c) < 0x2420 else c for c in text)


def test_the_suite_has_its_164_cases_and_each_is_of_a_known_category() -> None:
    assert len(CASES) == 164
    assert {case.findtext("category") for case in CASES} == ACCEPTED | REFUSED


@pytest.mark.parametrize("case", CASES, ids=[f"{case.get('id')} {case.findtext('diagnosis')}" for case in CASES])
def test_an_address_is_a_mailbox_where_rfc_5321_says_so(case: ET.Element) -> None:
    address = address_of(case)
    expected = case.findtext("category") in ACCEPTED or case.get("id") in ACCEPTED_ALL_THE_SAME
    assert grammar.is_mailbox(address) is expected
    if expected:
        assert grammar.parse_path(f"<{address}>".encode()) == address
    elif address:
        with pytest.raises(SyntaxProblem):
            grammar.parse_path(f"<{address}>".encode())


@pytest.mark.parametrize("number", ACCEPTED_ALL_THE_SAME)
def test_a_difference_is_one(number: str) -> None:
    (case,) = [case for case in CASES if case.get("id") == number]
    assert case.findtext("category") in REFUSED
    assert grammar.is_mailbox(address_of(case))
