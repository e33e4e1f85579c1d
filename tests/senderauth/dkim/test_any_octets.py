"""Whatever octets a message or a key record has, there is a result for each signature, and nothing raises."""

from __future__ import annotations

import os

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.senderauth.dkim.examples import NOW, PLAIN, crafted, rsa_key

from waymail.lookups import Answer, Query, Status, run
from waymail.senderauth.dkim import verify
from waymail.senderauth.dkim.key import record

EXAMPLES = int(os.environ.get("WAYMAIL_DKIM_EXAMPLES", "100"))
RESULTS = {"pass", "fail", "policy", "neutral", "permerror", "temperror"}
PIECES = [
    b"DKIM-Signature:",
    b"From:",
    b"v=1;",
    b"a=rsa-sha256;",
    b"b=",
    b"bh=",
    b"d=example.org;",
    b"s=s1;",
    b"h=from;",
    b"l=9;",
]
SECTIONS = st.lists(st.one_of(st.sampled_from([*PIECES, b"\r\n", b"\r\n ", b";", b"="]), st.binary(max_size=4)), max_size=40)
TEXT = record(rsa_key().public)


class Answers:
    """Every name has the same records."""

    def __init__(self, *records: bytes) -> None:
        self.records = tuple(octets.decode("utf-8", "surrogateescape") for octets in records)

    def answer(self, query: Query) -> Answer:
        return Answer(Status.RECORDS, self.records)


def results(octets: bytes, *records: bytes) -> set[str]:
    return {result.result for result in run(verify(octets, now=NOW), Answers(*records))}


@settings(max_examples=EXAMPLES)
@given(SECTIONS.map(b"".join))
def test_any_header_section_has_results(section: bytes) -> None:
    assert results(section + b"\r\n\r\nbody\r\n", TEXT.encode()) <= RESULTS - {"pass", "temperror"}


@settings(max_examples=EXAMPLES)
@given(
    st.lists(st.one_of(st.binary(max_size=300), st.sampled_from([b"v=DKIM1; p=", b"k=ed25519; p=AAAA"])), min_size=1, max_size=3)
)
def test_any_key_record_has_a_result(records: list[bytes]) -> None:
    assert results(crafted(PLAIN, rsa_key()), *records) <= {"permerror"}
