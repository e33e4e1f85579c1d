"""Chains are made longer by RFC 8617 §5.1."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.senderauth.arc.examples import ED25519, MESSAGE, METHODS, NOW, RSA, chain, changed, sealed, verified

from waymail.mail import headers
from waymail.senderauth import arc
from waymail.senderauth.authres import Method

FOLDER = Path(__file__).resolve().parents[2] / "suites/mail"
MAILS = [re.sub(rb"\r?\n", b"\r\n", file.read_bytes()) for file in sorted(FOLDER.glob("*.eml"))]


def set_of(message: bytes, **other: str) -> bytes:
    arguments = {"domain": "example.org", "selector": "e", "authserv_id": "mx.example.org", "cv": "none", **other}
    return arc.seal(message, ED25519, methods=METHODS, now=NOW, **arguments)  # type: ignore[arg-type]


def test_a_set_has_three_fields_the_seal_first() -> None:
    fields = list(headers.fields(set_of(MESSAGE)))
    assert [name for name, _ in fields] == [b"ARC-Seal", b"ARC-Message-Signature", b"ARC-Authentication-Results"]
    assert all(value.startswith(b" i=1;") for _, value in fields)
    assert fields[2][1] == b" i=1; mx.example.org;\r\n    spf=pass smtp.mailfrom=example.net"


def test_the_same_message_key_and_time_give_the_same_octets_in_short_lines() -> None:
    assert sealed() == sealed()
    assert max(len(line) for line in set_of(MESSAGE).split(b"\r\n")) <= 78


@pytest.mark.parametrize("mail", range(len(MAILS)))
def test_real_messages_are_sealed_twice_and_pass(mail: int) -> None:
    result = verified(sealed(sealed(MAILS[mail]), 2))
    assert (result.result, result.instances, result.oldest_pass) == ("pass", 2, 0)


def test_the_message_signature_covers_dkim_signatures_and_no_results_and_no_arc_fields() -> None:
    message = b"Authentication-Results: x; none\r\n" + chain(2)
    fields = sealed(message, 3).removesuffix(message)
    names = re.sub(rb"\s", b"", re.search(rb"h=([^;]*)", fields)[1]).lower().split(b":")  # type: ignore[index]
    assert b"dkim-signature" in names
    assert names.count(b"from") == 2  # none can be added
    assert b"authentication-results" not in names
    assert not [name for name in names if name.startswith(b"arc-")]


def test_over_a_broken_chain_only_fail_can_be_written() -> None:
    broken = changed(chain(2), rb"ARC-Authentication-Results: i=2", b"ARC-Authentication-Results: i=1")
    with pytest.raises(ValueError, match="cv=pass is not true of this chain: the ARC-Authentication-Results of instance 1"):
        sealed(broken, 3, cv="pass")
    result = verified(sealed(broken, 3, cv="fail"))
    assert result.result == "fail"


def test_the_seal_over_a_broken_chain_covers_its_own_set_only() -> None:
    broken = chain(2) + b"more\r\n"
    other = changed(broken, rb"smtp.mailfrom=example.net", b"smtp.mailfrom=elsewhere")
    seals = [sealed(message, 3, cv="fail").partition(b"\r\nARC-M")[0] for message in (broken, other)]
    assert seals[0] == seals[1]
    passing = [sealed(message, 3, cv="pass").partition(b"\r\nARC-M")[0] for message in (broken, other)]
    assert passing[0] != passing[1]
    assert verified(sealed(broken, 3, cv="fail")).reason == "the ARC-Seal of instance 3 says that the chain was broken before it"


def test_nothing_is_put_behind_a_seal_that_says_fail() -> None:
    ended = sealed(chain(2) + b"more\r\n", 3, cv="fail")
    for cv in ("pass", "fail"):
        assert set_of(ended, cv=cv) == b""


def test_nothing_is_put_behind_fifty_sets() -> None:
    assert set_of(b"ARC-Seal: i=50; cv=pass\r\n" + MESSAGE, cv="fail") == b""
    assert set_of(b"ARC-Authentication-Results: i=1; x\r\n" * 151 + MESSAGE, cv="fail") == b""
    assert b"i=50;" in set_of(b"ARC-Seal: i=49; cv=pass\r\n" + MESSAGE, cv="fail")


@pytest.mark.parametrize(
    ("message", "other", "reason"),
    [
        (MESSAGE, {"cv": "pass"}, "cv=none is for"),
        (MESSAGE, {"cv": "fail"}, "cv=none is for"),
        (chain(1), {"cv": "none"}, "cv=none is for"),
        (b"ARC-Seal: ?\r\n" + MESSAGE, {"cv": "none"}, "cv=none is for"),
        (b"ARC-Seal: ?\r\n" + MESSAGE, {"cv": "pass"}, "without an instance"),
        (MESSAGE, {"cv": "maybe"}, "none, pass or fail"),
        (b"To: x\r\n\r\n", {}, "no From field"),
        (MESSAGE, {"domain": "-"}, "no domain name"),
        (MESSAGE, {"domain": "localhost"}, "one label"),
        (MESSAGE, {"selector": ""}, "no domain name"),
    ],
)
def test_what_would_not_be_true_is_not_sealed(message: bytes, other: dict[str, str], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        set_of(message, **other)


def test_a_message_without_utf_8_stays_so() -> None:
    methods = [Method("spf", "pass", "", (("smtp", "mailfrom", "bücher.example"),))]
    for is_utf8 in (True, False):
        fields = arc.seal(
            MESSAGE,
            RSA,
            domain="hop1.example",
            selector="s1",
            authserv_id="x",
            methods=methods,
            cv="none",
            now=NOW,
            is_utf8=is_utf8,
        )
        assert fields.isascii() != is_utf8
        assert verified(fields + MESSAGE).result == "pass"


@given(st.text(max_size=60), st.text(max_size=60))
@settings(max_examples=40)
def test_whatever_was_found_the_chain_passes(reason: str, value: str) -> None:
    result = verified(sealed(methods=[Method("spf", "fail", reason, (("smtp", "helo", value),))]))
    assert (result.result, result.instances) == ("pass", 1)
    assert result.authserv_results[0] is not None
