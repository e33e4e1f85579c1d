from __future__ import annotations

from base64 import b64encode

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from tests.senderauth.dkim.examples import ZONE, ed25519_key, rsa_key

from waymail.lookups import Query
from waymail.senderauth.dkim import key
from waymail.senderauth.dkim.key import Key, domain_name, parse, query, record

RSA_TEXT = record(rsa_key().public)


def der(public_format: PublicFormat) -> str:
    return b64encode(rsa_key().public.public_bytes(Encoding.DER, public_format)).decode()


def rsa_with(exponent: int) -> str:
    numbers = RSAPublicNumbers(exponent, (1 << 1023) + 1)
    return b64encode(numbers.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).decode()


def elliptic() -> str:
    public = ec.generate_private_key(ec.SECP256R1()).public_key()
    return b64encode(public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).decode()


def test_the_key_of_a_selector_stands_below_domainkey() -> None:
    assert query("foo.bar", "example.com") == Query("foo.bar._domainkey.example.com", "TXT")  # RFC 6376 §3.6.2.1
    assert query("S1", "B\u00fccher.Example") == Query("s1._domainkey.xn--bcher-kva.example", "TXT")


@pytest.mark.parametrize(
    "name",
    ["", ".", "a..b", "example.org.", "-a.example", "a b", "a/b", "x" * 64, "a\u2028b", ".".join(["x" * 63] * 4), "y" * 254],
)
def test_what_is_no_domain_name_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        domain_name(name)
    with pytest.raises(ValueError, match=r"."):
        query("s1", name)


def test_names_that_are_too_long_together_are_refused() -> None:
    with pytest.raises(ValueError, match="too long for DNS"):
        query(".".join(["x" * 60] * 2), ".".join(["y" * 60] * 2) + ".example")


def test_the_records_that_the_rfcs_print_are_read() -> None:
    [[ed25519], [rsa]] = [names["TXT"] for names in list(ZONE.values())[1:]]
    assert (parse(ed25519).type, parse(ed25519).bits) == ("ed25519", 256)
    assert (parse(rsa).type, parse(rsa).bits) == ("rsa", 1024)


def test_what_a_record_does_not_say_has_its_default() -> None:
    found = parse(f"p={der(PublicFormat.SubjectPublicKeyInfo)}")
    assert (found.type, found.bits, found.hashes, found.services, found.flags) == ("rsa", 1024, (), ("*",), ())
    assert [found.is_testing, found.is_strict, found.is_revoked] == [False, False, False]


def test_all_that_a_record_may_say_is_read() -> None:
    text = f"v=DKIM1; g=*; h=sha1 : SHA256; k=RSA; n=hello=20there; s=email:tlsrpt; t=y:s:z; p={der(PublicFormat.PKCS1)};"
    found = parse(text.encode())
    assert found.hashes == ("sha1", "sha256")
    assert found.services == ("email", "tlsrpt")
    assert found.type == "rsa"
    assert found.is_testing
    assert found.is_strict


def test_both_encodings_of_an_rsa_key_are_read() -> None:
    data = b"signed"
    signature = rsa_key().sign(data)
    for public_format in (PublicFormat.PKCS1, PublicFormat.SubjectPublicKeyInfo):
        found = parse(f"p={der(public_format)}")
        assert found.verifies(signature, data)
        assert not found.verifies(signature, b"another")


def test_white_space_in_the_key_is_ignored() -> None:
    text = RSA_TEXT[:60] + " \t" + RSA_TEXT[60:90] + "\r\n " + RSA_TEXT[90:]
    assert parse(text).bits == 1024


def test_a_record_without_key_data_is_a_revoked_key() -> None:
    assert parse("v=DKIM1; p=") == Key("rsa", None, 0, is_revoked=True)
    assert not parse("v=DKIM1; p=").verifies(b"", b"")


def test_a_key_of_a_type_that_nobody_knows_verifies_nothing() -> None:
    found = parse("v=DKIM1; k=x25519; p=YWJj")
    assert (found.type, found.public, found.bits) == ("x25519", None, 0)
    assert not found.verifies(b"", b"")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("v=spf1 -all", "v= is not DKIM1"),
        ("v=DKIM1.0; p=", "v= is not DKIM1"),
        ("v=dkim1; p=", "v= is not DKIM1"),
        ("k=rsa; v=DKIM1; p=", "not the first tag"),
        ("v=DKIM1; k=rsa", "no p="),
        ("v=DKIM1; p=a*b", "no base64"),
        ("v=DKIM1; p=abc", "no base64"),
        ("v=DKIM1; p=\u00e9", "no base64"),
        ("v=DKIM1; p=YWJj", "no key that can be read"),
        ("v=DKIM1; k=ed25519; p=YWJj", "3 octets, not 32"),
        (b"v=DKIM1; p=; n=\xff\xfe", "may not stand in it"),
        ("google-site-verification", "no tag=value"),
        (f"p={rsa_with((1 << 80) + 1)}", "longer than 64 bits"),
        (f"p={elliptic()}", "another kind than RSA"),
        (f"p={der(PublicFormat.PKCS1)[:-8]}", "no key that can be read"),
        ("p=" + "A" * 1_000_000, "no key that can be read"),
    ],
)
def test_what_is_no_key_record_is_refused_with_the_reason(text: str | bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse(text)


def test_a_record_is_read_once_but_a_huge_one_is_not_remembered() -> None:
    assert parse(RSA_TEXT) is parse(RSA_TEXT)
    huge = RSA_TEXT + "; n=" + "x" * 5000
    assert parse(huge) is not parse(huge)
    assert parse(huge).bits == 1024


def test_a_record_that_is_made_here_is_read_as_the_same_key() -> None:
    for private in (rsa_key(), ed25519_key()):
        found = parse(record(private.public))
        assert found.verifies(private.sign(b"x"), b"x")
        assert not found.verifies(private.sign(b"x"), b"y")
        assert key.ALGORITHMS[private.algorithm] == found.type


def test_signatures_of_any_length_are_only_wrong() -> None:
    for private in (rsa_key(), ed25519_key()):
        found = parse(record(private.public))
        for length in (0, 1, 63, 64, 128, 129, 10_000):
            assert not found.verifies(b"\xff" * length, b"x")
