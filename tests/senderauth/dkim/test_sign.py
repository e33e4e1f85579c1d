from __future__ import annotations

import re
from base64 import b64decode
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from tests.senderauth.dkim.examples import (
    NOW,
    PLAIN,
    RFC_6376,
    RFC_8463,
    RSA_6376,
    RSA_8463,
    RSA_SHORT,
    ed25519_key,
    key_zone,
    message,
    rsa_key,
    verified,
)

from waymail.senderauth.dkim import SigningKey, load_key, sign, tags
from waymail.senderauth.dkim.canonical import Field, HeaderFields, without_signature
from waymail.senderauth.dkim.sign import OVER_SIGNED
from waymail.senderauth.dkim.verify import signed_octets


def signed(octets: bytes = PLAIN, key: SigningKey | None = None, **more: Any) -> bytes:
    """The message with its signature in front."""
    options: dict[str, Any] = {"domain": "example.org", "selector": "s1", "now": NOW} | more
    return sign(octets, key or rsa_key(), **options) + octets


def tags_of(octets: bytes) -> dict[str, str]:
    return tags.parse(HeaderFields(octets).named(b"dkim-signature")[0].value)


def signature_again(octets: bytes, number: int, key: SigningKey) -> tuple[bytes, bytes]:
    """The signature that a field of a message has, and the one that the key makes of the same field."""
    fields = HeaderFields(octets.partition(b"\r\n\r\n")[0] + b"\r\n")
    own = fields.named(b"dkim-signature")[number]
    found = tags.parse(own.value)
    empty = Field(own.name, without_signature(own.value))
    covered = fields.picked(tags.listed(found["h"]), own)
    made = key.sign(signed_octets(covered, empty, found["c"].startswith("relaxed")))
    return b64decode(tags.compact(found["b"])), made


def test_the_keys_of_the_rfcs_make_the_signatures_that_the_rfcs_print() -> None:
    for text, number, key in (
        (RFC_6376, 0, load_key(RSA_6376)),
        (RFC_8463, 0, ed25519_key()),
        (RFC_8463, 1, load_key(RSA_8463)),
    ):
        printed, made = signature_again(message(text), number, key)
        assert made == printed


@pytest.mark.parametrize("relaxed", [True, False])
@pytest.mark.parametrize("key", [rsa_key(), ed25519_key()])
def test_what_is_signed_here_verifies(key: SigningKey, relaxed: bool) -> None:
    octets = signed(key=key, header_relaxed=relaxed, body_relaxed=relaxed, identity="ann@example.org", expires_after=60)
    [result] = verified(octets, key_zone(key))
    assert (result.result, result.reason) == ("pass", "")
    assert (result.domain, result.selector, result.algorithm) == ("example.org", "s1", key.algorithm)
    assert (result.identity, result.timestamp, result.expires) == ("ann@example.org", NOW, NOW + 60)


def test_the_same_input_gives_the_same_octets() -> None:
    assert signed() == signed()
    assert signed(now=NOW + 1) != signed()


def test_the_field_is_folded_and_its_lines_are_short() -> None:
    octets = b"Received: x\r\n" * 3 + PLAIN
    names = ["From", "X-" + "a" * 70, "Received", "Received", "Received"]
    for field in (
        signed()[: -len(PLAIN)],
        sign(octets, rsa_key(), domain="example.org", selector="s1", now=0, over_signed=names),
    ):
        lines = field.split(b"\r\n")
        assert lines.pop() == b""
        assert lines[0].startswith(b"DKIM-Signature: v=1; a=rsa-sha256;")
        assert all(line.startswith(b" ") and line.strip() for line in lines[1:])
        assert max(map(len, lines)) <= 78


def test_what_is_the_core_of_a_message_is_signed_once_more_than_it_stands() -> None:
    names = tags.listed(tags_of(signed())["h"])
    assert names.count("From") == names.count("To") == names.count("Subject") == 2
    assert names.count("Cc") == names.count("Content-Type") == 1
    assert "Sender" not in names
    key = rsa_key()
    for name in OVER_SIGNED:
        [result] = verified(f"{name}: another\r\n".encode() + signed(), key_zone(key))
        assert result.result == "fail"


def test_other_fields_are_signed_as_often_as_they_stand() -> None:
    octets = b"List-Id: a\r\nResent-From: b\r\nResent-From: c\r\n" + PLAIN
    names = tags.listed(tags_of(signed(octets))["h"])
    assert (names.count("List-Id"), names.count("Resent-From"), names.count("Resent-To")) == (1, 2, 0)
    [result] = verified(b"Sender: list@example.net\r\n" + signed(octets), key_zone(rsa_key()))
    assert result.result == "pass"


def test_l_is_never_used() -> None:
    assert "l" not in tags_of(signed())


def test_only_what_is_asked_for_is_said() -> None:
    assert list(tags_of(signed())) == ["v", "a", "c", "d", "s", "t", "h", "bh", "b"]


def test_names_are_written_in_ascii_and_lower_case() -> None:
    found = tags_of(signed(domain="B\u00fccher.Example", selector="S1", identity="@mail.B\u00fccher.example"))
    assert (found["d"], found["s"], found["i"]) == ("xn--bcher-kva.example", "s1", "@mail.xn--bcher-kva.example")


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"domain": "example"}, "one label only"),
        ({"domain": "a b.example"}, "no domain name"),
        ({"selector": "a;b"}, "no domain name"),
        ({"selector": "x" * 60 + "." + "x" * 60, "domain": "y" * 60 + "." + "y" * 60 + ".org"}, "too long"),
        ({"identity": "ann@example.net"}, "has to be plain ASCII, and to end with @example.org or a domain below it"),
        ({"identity": "ann@notexample.org"}, "to end with @example.org"),
        ({"identity": "example.org"}, "to end with @example.org"),
        ({"identity": "a;b@example.org"}, "plain ASCII"),
        ({"identity": "b\u00fc@example.org"}, "plain ASCII"),
        ({"identity": "@"}, "no domain name"),
    ],
)
def test_what_nobody_would_verify_is_not_signed(more: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=re.escape(why)):
        signed(**more)


def test_a_message_without_from_is_not_signed() -> None:
    with pytest.raises(ValueError, match="no From field"):
        signed(b"To: ann@example.org\r\n\r\nHi\r\n")


def pem(private: ec.EllipticCurvePrivateKey) -> bytes:
    return private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def test_a_key_is_read_from_either_form_of_pem() -> None:
    pkcs8 = load_pem_private_key(RSA_8463, None).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    assert load_key(pkcs8).sign(b"x") == load_key(RSA_8463).sign(b"x")


@pytest.mark.parametrize(
    ("octets", "why"),
    [
        (b"", "no private key in PEM"),
        (b"-----BEGIN PRIVATE KEY-----\nYWJj\n-----END PRIVATE KEY-----\n", "no private key in PEM"),
        (RSA_SHORT, "has 768 bits, and must have 1024 at least"),
        (pem(ec.generate_private_key(ec.SECP256R1())), "RSA and of Ed25519 only"),
        (
            load_pem_private_key(RSA_8463, None).private_bytes(
                Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")
            ),
            "has a password",
        ),
    ],
)
def test_what_is_no_key_to_sign_with_is_refused(octets: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        load_key(octets)
