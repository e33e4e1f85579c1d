from __future__ import annotations

import time
from base64 import b64encode
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from tests.senderauth.dkim.examples import (
    NOW,
    PLAIN,
    RFC_6376,
    RFC_8463,
    RSA_SHORT,
    ZONE,
    crafted,
    ed25519_key,
    key_zone,
    message,
    rsa_key,
    verified,
)

from waymail.lookups import Answer, Lookups, Query, Status, run
from waymail.senderauth.dkim import DkimResult, Limits, SigningKey, Verifier, verify
from waymail.senderauth.dkim.key import record
from waymail.testing.zone import Zone

NAME = "s1._domainkey.example.org"


class Counted:
    """A zone that remembers what it was asked."""

    def __init__(self, zone: Zone) -> None:
        self.zone = zone
        self.asked: list[Query] = []

    def answer(self, query: Query) -> Answer:
        self.asked.append(query)
        return self.zone.answer(query)


class ShortKey(SigningKey):
    """A signer who does not keep to RFC 8301."""

    def __init__(self) -> None:
        private = load_pem_private_key(RSA_SHORT, None)
        assert isinstance(private, RSAPrivateKey)
        self.private = private
        self.public = private.public_key()
        self.algorithm = "rsa-sha256"

    def sign(self, data: bytes) -> bytes:
        return self.private.sign(data, PKCS1v15(), SHA256())


def one(octets: bytes, *records: str, authentic: bool = False) -> DkimResult:
    zone = Zone({NAME: {"TXT": list(records)}} if records else {}, authentic={NAME} if authentic else ())
    [result] = verified(octets, zone)
    return result


def outcome(result: DkimResult) -> tuple[str, str]:
    return result.result, result.reason


KEY = rsa_key()
SIGNED = crafted(PLAIN, KEY)
TEXT = record(KEY.public)


def test_the_example_of_rfc_6376_verifies() -> None:
    [result] = verified(message(RFC_6376), Zone(ZONE))
    assert result == DkimResult(
        result="pass",
        domain="example.com",
        selector="brisbane",
        identity="joe@football.example.com",
        algorithm="rsa-sha256",
        bits=1024,
        signature="AuUoFEfD",
        header_fields=("Received", "From", "To", "Subject", "Date", "Message-ID"),
    )


def test_the_example_of_rfc_8463_verifies_with_both_its_signatures() -> None:
    results = verified(message(RFC_8463), Zone(ZONE))
    assert [(result.result, result.algorithm, result.bits, result.selector) for result in results] == [
        ("pass", "ed25519-sha256", 256, "brisbane"),
        ("pass", "rsa-sha256", 1024, "test"),
    ]
    assert [result.signature for result in results] == ["/gCrinpc", "F45dVWDf"]
    assert {result.timestamp for result in results} == {NOW}


def test_a_message_without_signatures_has_no_result_and_asks_nothing() -> None:
    zone = Counted(Zone({}))
    assert run(verify(PLAIN, now=NOW), zone) == []
    assert zone.asked == []


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64])
@pytest.mark.parametrize("c", ["simple/simple", "relaxed/relaxed"])
def test_the_body_may_come_in_any_pieces(size: int, c: str) -> None:
    body = b"At  noon?\t\r\n\r\n\r\nYes \r\n\r\n\r\n"
    octets = crafted(PLAIN.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" + body, KEY, c=c)
    section = octets.partition(b"\r\n\r\n")[0] + b"\r\n"
    verifier = Verifier(section, now=NOW)
    for at in range(0, len(body), size):
        verifier.update(body[at : at + size])
    assert [result.result for result in run(verifier.finish(), key_zone(KEY))] == ["pass"]


def test_a_message_without_a_body_verifies() -> None:
    for c in ("simple/simple", "relaxed/relaxed"):
        assert one(crafted(PLAIN.partition(b"\r\n\r\n")[0] + b"\r\n\r\n", KEY, c=c), TEXT).result == "pass"


def test_a_changed_body_fails() -> None:
    assert outcome(one(SIGNED + b"Buy this!\r\n", TEXT)) == ("fail", "the body was changed")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"Subject: Lunch", b"Subject: Dinner"),
        (b"To: Bob", b"To: Rob"),
        (b"d=example.org", b"zz=1; d=example.org"),
        (b"\r\nSubject: Lunch", b""),
    ],
)
def test_a_changed_header_field_fails(before: bytes, after: bytes) -> None:
    assert before in SIGNED
    why = "the signature does not fit: a header field that it covers was changed, or its key"
    assert outcome(one(SIGNED.replace(before, after, 1), TEXT)) == ("fail", why)


def test_relaxed_form_allows_what_relays_do_to_white_space_and_simple_does_not() -> None:
    for c, wanted in (("relaxed/relaxed", "pass"), ("simple/simple", "fail")):
        signed = crafted(PLAIN, KEY, c=c)
        assert one(signed, TEXT).result == "pass"
        assert one(signed.replace(b"Subject: Lunch", b"SUBJECT:   Lunch "), TEXT).result == wanted
        assert one(signed.replace(b"At noon?", b"At   noon? "), TEXT).result == wanted
        assert one(signed + b"\r\n\r\n", TEXT).result == "pass"


def test_a_field_that_was_signed_once_more_than_it_stood_cannot_be_added() -> None:
    signed = crafted(PLAIN, KEY, h="From:From:Subject:Cc")
    assert one(signed, TEXT).result == "pass"
    for added in (b"From: eve@example.net\r\n", b"Cc: eve@example.net\r\n"):
        assert one(added + signed, TEXT).result == "fail"
        assert one(added + SIGNED, TEXT).result == "pass"  # which does not guard against it


def test_a_signature_may_cover_another_one_but_not_itself() -> None:
    twice = crafted(SIGNED, KEY, h="From:DKIM-Signature:DKIM-Signature", s="s2")
    zone = Zone({NAME: {"TXT": [TEXT]}, "s2._domainkey.example.org": {"TXT": [TEXT]}})
    assert [result.result for result in verified(twice, zone)] == ["pass", "pass"]
    changed = twice.replace(b"s=s1", b"s=s3")
    assert [result.result for result in verified(changed, zone)] == ["fail", "permerror"]


def test_l_covers_the_beginning_and_the_result_says_how_much_was_appended() -> None:
    result = one(crafted(PLAIN, KEY, body_length=10) + b"Buy this!\r\n", TEXT)
    assert (result.result, result.body_length, result.unsigned) == ("pass", 10, 11)
    assert result.reason == "the last 11 octets of the body are not signed (l=)"
    whole = one(crafted(PLAIN, KEY, body_length=10), TEXT)
    assert (whole.result, whole.body_length, whole.unsigned, whole.reason) == ("pass", 10, 0, "")


def test_l_beyond_the_end_of_the_body_fails() -> None:
    signed = crafted(PLAIN, KEY, l="12", bh=b64encode(bytes(32)).decode())
    assert outcome(one(signed, TEXT)) == ("fail", "the body is shorter than the 12 octets that were signed (l=)")


def test_a_key_that_cannot_be_looked_up_is_temperror() -> None:
    [result] = verified(SIGNED, Zone({NAME: "TIMEOUT"}))
    assert outcome(result) == ("temperror", f"the key {NAME} could not be looked up: timeout")
    assert (result.domain, result.selector, result.signature) == ("example.org", "s1", result.signature)


def test_a_failure_without_a_reason_is_one_too() -> None:
    class Silent:
        def answer(self, query: Query) -> Answer:
            return Answer(Status.FAILURE)

    [result] = run(verify(SIGNED, now=NOW), Silent())
    assert outcome(result) == ("temperror", f"the key {NAME} could not be looked up: no answer")


@pytest.mark.parametrize("zone", [Zone({}), Zone({NAME: {"A": ["192.0.2.1"]}})])
def test_a_key_that_is_not_there_is_permerror(zone: Zone) -> None:
    [result] = verified(SIGNED, zone)
    assert outcome(result) == ("permerror", f"there is no key at {NAME}")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("v=spf1 -all", f"the key record {NAME} is broken: its v= is not DKIM1, or is not the first tag"),
        ("v=DKIM1; p=", f"the key {NAME} is revoked"),
        (TEXT + "; h=sha1", f"the key {NAME} is not for SHA-256 (h=)"),
        (TEXT + "; s=tlsrpt", f"the key {NAME} is not for mail (s=)"),
        (record(ed25519_key().public), f"the key {NAME} is not for rsa-sha256 (k=)"),
        (TEXT.replace("k=rsa", "k=dsa"), f"the key {NAME} is not for rsa-sha256 (k=)"),
    ],
)
def test_a_key_that_is_not_for_this_signature_is_permerror(text: str, why: str) -> None:
    assert outcome(one(SIGNED, text)) == ("permerror", why)


@pytest.mark.parametrize("more", ["h=sha256:sha1", "s=*", "s=tlsrpt:email", "g=bob", "t=z", "n=note"])
def test_a_key_that_says_more_is_for_this_signature_nevertheless(more: str) -> None:
    assert outcome(one(SIGNED, f"{TEXT}; {more}")) == ("pass", "")


def test_a_key_of_a_domain_that_is_trying_dkim_out_says_so() -> None:
    result = one(SIGNED, TEXT + "; t=y")
    assert (result.result, result.is_testing, result.reason) == ("pass", True, "the domain is trying DKIM out (t=y)")
    failed = one(SIGNED + b"more\r\n", TEXT + "; t=y")
    assert (failed.result, failed.is_testing, failed.reason) == ("fail", True, "the body was changed")


def test_a_strict_key_allows_no_domain_below_its_own() -> None:
    below = crafted(PLAIN, KEY, i="@sub.example.org")
    assert one(below, TEXT).result == "pass"
    assert outcome(one(below, TEXT + "; t=s")) == ("permerror", f"the key {NAME} allows no domain below d= in i= (t=s)")
    assert one(crafted(PLAIN, KEY, i="ann@Example.org"), TEXT + "; t=s").result == "pass"


def test_a_short_key_never_passes() -> None:
    key = ShortKey()
    result = one(crafted(PLAIN, key), record(key.public))
    assert (result.result, result.bits) == ("permerror", 768)
    assert result.reason == f"the key {NAME} has 768 bits, too few to be believed (RFC 8301 §3.2)"


def test_a_key_longer_than_the_limit_is_not_tried() -> None:
    [result] = run(verify(SIGNED, now=NOW, limits=Limits(key_bits=1023)), key_zone(KEY))
    assert (result.result, result.bits) == ("policy", 1024)
    assert result.reason == f"the key {NAME} has 1024 bits, more than the 1023 that are tried"


def test_of_several_key_records_the_one_that_fits_counts() -> None:
    others = ("v=spf1 -all", record(ed25519_key().public))
    assert one(SIGNED, *others, TEXT).result == "pass"
    assert one(SIGNED, TEXT, *others).result == "pass"


def test_of_several_key_records_none_of_which_fits_the_best_is_told_of() -> None:
    changed = SIGNED + b"more\r\n"
    assert one(changed, "v=spf1 -all", "v=DKIM1; p=", TEXT).result == "fail"


def test_only_a_few_of_many_key_records_are_tried() -> None:
    assert one(SIGNED, *["v=spf1 -all"] * 4, TEXT).result == "permerror"


def test_the_result_says_whether_dnssec_vouched_for_the_key() -> None:
    assert one(SIGNED, TEXT, authentic=True).authentic
    assert not one(SIGNED, TEXT).authentic


def test_all_keys_are_asked_for_at_once_and_each_once() -> None:
    octets = crafted(crafted(SIGNED, KEY, h="From"), KEY, s="s2")
    lookups: Lookups[list[DkimResult]] = verify(octets, now=NOW)
    assert next(lookups) == (Query("s2._domainkey.example.org", "TXT"), Query(NAME, "TXT"))


def test_the_beginning_of_b_grows_until_it_tells_signatures_apart() -> None:
    # RFC 6008 §4
    octets = PLAIN
    for b in ("AAAAAAAAAABB", "AAAAAAAAAACC", "AAAAAAAAAACC", "AA AA"):
        octets = crafted(octets, KEY, b=b)
    results = verified(octets, key_zone(KEY))
    assert [result.signature for result in results] == ["AAAA", "AAAAAAAAAAC", "AAAAAAAAAAC", "AAAAAAAAAAB"]


def test_signatures_that_differ_late_are_not_told_apart() -> None:
    octets = crafted(crafted(PLAIN, KEY, b="A" * 100 + "BBBB"), KEY, b="A" * 104)
    assert {result.signature for result in verified(octets, key_zone(KEY))} == {"A" * 8}


def test_signatures_beyond_the_limit_are_told_of_in_one_result() -> None:
    zone = Counted(key_zone(KEY))
    octets = SIGNED
    for number in range(499):
        octets = b"DKIM-Signature: v=1; n=%d\r\n" % number + octets
    results = run(verify(octets, now=NOW), zone)
    assert len(results) == 21
    assert {result.result for result in results[:20]} == {"neutral"}
    assert outcome(results[20]) == ("policy", "480 more signatures: 20 at most are looked at")
    assert zone.asked == []


def test_a_signature_is_found_however_its_name_is_spelled() -> None:
    for name in (b"dkim-signature:", b"DKIM-SIGNATURE :"):
        assert one(SIGNED.replace(b"DKIM-Signature:", name, 1), TEXT).result == "pass"


def test_octets_that_are_no_text_make_nothing_raise() -> None:
    for junk in (b"\xff\xfe", b"\x00", b"\r", b"\n", b";;;", b"=", b"v=1" * 10):
        [result] = verified(b"DKIM-Signature: " + junk + b"\r\n" + PLAIN, Zone({}))
        assert result.result == "neutral"
        assert one(SIGNED.replace(b"Subject: Lunch", b"Subject: " + junk), TEXT).result == "fail"
        assert one(SIGNED, junk.decode("utf-8", "surrogateescape")).result == "permerror"


def test_the_results_are_values() -> None:
    assert replace(one(SIGNED, TEXT), result="fail") != one(SIGNED, TEXT)


@pytest.mark.parametrize(
    ("name", "octets"),
    [
        ("fields", b"X-Field: hello world\r\n" * 450_000),
        ("one field", b"X-Field: " + b"a b\r\n " * 1_600_000 + b"\r\n"),
        ("b=", b"DKIM-Signature: v=1; b=" + b"A" * 10_000_000 + b"\r\n"),
        (
            "h=",
            b"DKIM-Signature: v=1; a=rsa-sha256; d=example.org; s=s1; bh="
            + b"A" * 43
            + b"=; b=YWJj; h=From"
            + b":a" * 5_000_000
            + b"\r\n",
        ),
        ("tags", b"DKIM-Signature: v=1" + b";a=1" * 2_500_000 + b"\r\n"),
        ("domain", b"DKIM-Signature: v=1; a=rsa-sha256; h=From; s=s1; bh=x; b=x; d=" + b"a." * 5_000_000 + b"\r\n"),
        ("white space", b"DKIM-Signature: v=1;" + b" \t" * 5_000_000 + b"\r\n"),
    ],
)
def test_ten_megabytes_of_header_take_little_time(name: str, octets: bytes) -> None:
    begin = time.process_time()
    results = verified(octets + SIGNED, key_zone(KEY))
    assert time.process_time() - begin < 10
    assert results[-1].result == "pass"


def test_twenty_signatures_over_a_large_header_and_body_take_little_time() -> None:
    large = b"X-Large: " + b"a b\r\n " * 100_000 + b"\r\n" + PLAIN + b"hello world\r\n" * 500_000
    signed = crafted(large, KEY, h="From:X-Large")
    field, _, _ = signed.partition(b"\r\n")
    octets = b"".join(field.replace(b"v=1", b"v=1; l=%d" % length) + b"\r\n" for length in range(20)) + large
    begin = time.process_time()
    results = verified(octets, key_zone(KEY))
    assert time.process_time() - begin < 5
    assert [result.result for result in results] == ["fail"] * 20
