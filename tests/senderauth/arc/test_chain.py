"""Which ARC fields form a chain (RFC 8617 §4.2, §5.2)."""

from __future__ import annotations

import pytest
from tests.senderauth.arc.examples import MESSAGE, NOW, chain, changed

from waymail.mail import headers
from waymail.senderauth.arc.chain import ArcSet, Broken, Limits, has_any, last_status, next_instance, read
from waymail.senderauth.dkim.canonical import HeaderFields

TWO = chain(2)


def fields(message: bytes) -> HeaderFields:
    return HeaderFields(headers.header_section(message))


def sets(message: bytes, limits: Limits | None = None) -> tuple[ArcSet, ...]:
    return read(fields(message), now=NOW, limits=limits or Limits())


def test_the_sets_come_from_the_first_on() -> None:
    assert [(one.instance, one.status, one.seal.domain) for one in sets(TWO)] == [
        (1, "none", "hop1.example"),
        (2, "pass", "hop2.example"),
    ]


def test_names_and_cv_are_known_in_any_case() -> None:
    message = changed(changed(changed(TWO, b"ARC-Seal", b"arc-SEAL"), b"cv=pass", b"cv=PASS"), b"ARC-Message", b"Arc-message")
    assert len(sets(message)) == 2


@pytest.mark.parametrize(
    ("pattern", "replacement", "reason"),
    [
        (rb"ARC-Seal: i=2(.|\r\n[ \t])*\r\n", b"", "there is no ARC-Seal of instance 2"),
        (rb"ARC-Message-Signature: i=1(.|\r\n[ \t])*\r\n", b"", "there is no ARC-Message-Signature of instance 1"),
        (rb"ARC-Authentication-Results: i=1", b"X: i=1", "there is no ARC-Authentication-Results of instance 1"),
        (rb"ARC-Authentication-Results: i=1", b"ARC-Authentication-Results: i=2", "of instance 2 stands twice"),
        (rb"ARC-Seal: i=2", b"ARC-Seal: i=51", "without an instance from 1 to 50"),
        (rb"ARC-Seal: i=2", b"ARC-Seal: i=0", "without an instance from 1 to 50"),
        (rb"ARC-Seal: i=2", b"ARC-Seal: i=+2", "without an instance from 1 to 50"),
        (rb"ARC-Seal: i=2", b"ARC-Seal: i=\xb2", "without an instance from 1 to 50"),
        (rb"ARC-Authentication-Results: i=2; ", b"ARC-Authentication-Results: ", "without an instance from 1 to 50"),
        (rb"cv=pass", b"cv=maybe", "cv= is none of none, pass and fail"),
        (rb"cv=pass;", b"", "cv= is none of none, pass and fail"),
        (rb"cv=pass", b"cv=none", "the ARC-Seal of instance 2 says cv=none"),
        (rb"cv=none", b"cv=pass", "the ARC-Seal of instance 1 says cv=pass"),
        (rb"cv=pass", b"cv=fail", "the ARC-Seal of instance 2 says that the chain was broken before it"),
        (rb"cv=pass", b"h=from; cv=pass", "the ARC-Seal of instance 2: h= is not allowed in it"),
        (rb"a=rsa-sha256", b"a=rsa-sha1", "the ARC-Seal of instance 2: rsa-sha1 is too weak"),
        (rb"d=hop2.example", b"d=", "the ARC-Seal of instance 2: the signature lacks d="),
        (rb"t=1750000000", b"t=now", "the ARC-Seal of instance 2: t= is no number"),
        (rb"(?<=h=)From", b"ARC-Seal:From", "the ARC-Message-Signature of instance 2: h= names ARC-Seal"),
        (rb" h=", b" hh=", "the ARC-Message-Signature of instance 2: the signature lacks h="),
    ],
)
def test_what_is_no_chain_says_why(pattern: bytes, replacement: bytes, reason: str) -> None:
    with pytest.raises(Broken, match=reason):
        sets(changed(TWO, pattern, replacement))


def test_fields_that_are_too_long_together_are_no_chain() -> None:
    with pytest.raises(Broken, match="the ARC fields have more than 100 octets"):
        sets(TWO, Limits(octets=100))


def test_the_next_instance_is_counted_however_broken_the_chain_is() -> None:
    assert next_instance(fields(MESSAGE)) == 1
    assert next_instance(fields(TWO)) == 3
    assert next_instance(fields(b"ARC-Seal: i=7\r\nARC-Seal: ?\r\nARC-Authentication-Results: ?\r\n")) == 8
    assert next_instance(fields(b"ARC-Seal: i=7\r\n" * 151)) == 51


def test_the_last_status_is_that_of_the_highest_seal() -> None:
    assert last_status(fields(MESSAGE)) == ""
    assert last_status(fields(TWO)) == "pass"
    assert last_status(fields(b"ARC-Seal: i=7; cv=Fail\r\nARC-Seal: ?\r\nARC-Seal: i=3; cv=pass\r\n")) == "fail"


def test_arc_fields_are_noticed_at_the_begin_of_a_line_only() -> None:
    assert has_any(b"A: b\r\narc-seal : x\r\n")
    assert not has_any(b"A: b\r\n ARC-Seal: x\r\nX-ARC-Seal: y\r\n")
