from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)

from waymail.client.signing import DkimKey, keys_of, signatures

ED25519 = Ed25519PrivateKey.generate()
RSA = generate_private_key(65537, 2048)
MESSAGE = b"From: ann@example.org\r\nSubject: hello\r\n\r\ntext\r\n"


def octets(
    key: Any,
    encoding: Encoding = Encoding.PEM,
    encryption: KeySerializationEncryption = NoEncryption(),  # noqa: B008
) -> bytes:
    found: bytes = key.private_bytes(encoding, PrivateFormat.PKCS8, encryption)
    return found


@pytest.mark.parametrize("private", [ED25519, RSA], ids=["ed25519", "rsa"])
def test_a_key_is_taken_in_every_form(private: Any, tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(octets(private, Encoding.DER))
    forms: list[Any] = [private, octets(private), octets(private).decode(), octets(private, Encoding.DER), path, str(path)]
    signed = {DkimKey("example.org", "s1", form).sign(MESSAGE, now=1_700_000_000) for form in forms}
    assert len(signed) == 1
    assert b"d=example.org; s=s1;" in signed.pop().replace(b"\r\n", b"")


def test_a_message_is_signed_by_each_key_once() -> None:
    keys = keys_of([DkimKey("example.org", "s1", RSA), DkimKey("example.org", "s2", ED25519)])
    fields = signatures(MESSAGE, keys, now=1_700_000_000)
    assert fields.count(b"DKIM-Signature:") == 2
    assert fields.endswith(b"\r\n")
    assert [key.is_slow for key in keys] == [True, False]


@pytest.mark.parametrize(
    ("key", "words"),
    [
        (b"junk", "no private key in PEM or DER"),
        (b"-----BEGIN PRIVATE KEY-----\njunk\n-----END PRIVATE KEY-----\n", "no private key in PEM"),
        (octets(ED25519, encryption=BestAvailableEncryption(b"x")), "has a password"),
        (octets(ED25519, Encoding.DER, BestAvailableEncryption(b"x")), "has a password"),
        (octets(ec.generate_private_key(ec.SECP256R1())), "RSA and of Ed25519 only"),
        (octets(ec.generate_private_key(ec.SECP256R1()), Encoding.DER), "RSA and of Ed25519 only"),
        ("/no/such/file", "cannot be read.*No such file.*begins with -----BEGIN"),
        (7, "not int"),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else value,
)
def test_a_key_that_is_of_no_use_is_a_value_error_that_names_it(key: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        DkimKey("example.org", "s1", key)
    assert str(caught.value).startswith("the DKIM key of s1._domainkey.example.org: ")


@pytest.mark.parametrize(("domain", "selector"), [("org", "s1"), ("example.org", "a b"), ("exa\r\nmple.org", "s1"), ("", "")])
def test_a_place_that_dns_cannot_have_is_a_value_error(domain: str, selector: str) -> None:
    with pytest.raises(ValueError, match="the DKIM key of"):
        DkimKey(domain, selector, ED25519)


def test_what_is_no_key_at_all_is_a_value_error() -> None:
    assert keys_of(None) == ()
    with pytest.raises(ValueError, match=r"waymail\.DkimKey"):
        keys_of(["s1"])  # type: ignore[list-item]


def test_no_key_is_shown() -> None:
    assert repr(DkimKey("example.org", "s1", ED25519)) == "DkimKey('example.org', 's1', ...)"
