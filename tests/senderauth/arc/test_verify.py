"""Chains are verified by RFC 8617 §5.2."""

from __future__ import annotations

import time
from base64 import b64encode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.senderauth.arc.examples import ED25519, MESSAGE, METHODS, NOW, RSA, ZONE, chain, changed, resealed, sealed, verified

from waymail.lookups import Answer, Query, Status, run
from waymail.senderauth import arc, authres, dkim
from waymail.senderauth.arc import ArcResult
from waymail.senderauth.dkim import tags
from waymail.senderauth.dkim.canonical import HeaderFields
from waymail.senderauth.dkim.key import record
from waymail.senderauth.dkim.verify import signed_octets
from waymail.testing import Zone

THREE = chain(3)


class Recording:
    """A zone that remembers what it was asked, and fails for some names."""

    def __init__(self, zone: Zone = ZONE, failing: str = "none") -> None:
        self.asked: list[str] = []
        self._zone = zone
        self._failing = failing

    def answer(self, query: Query) -> Answer:
        self.asked.append(query.name)
        if query.name.startswith(self._failing):
            return Answer(Status.FAILURE, reason="SERVFAIL")
        return self._zone.answer(query)


def test_a_message_without_arc_fields_has_no_chain_and_asks_nothing() -> None:
    zone = Recording()
    assert run(arc.verify(MESSAGE, now=NOW), zone) == ArcResult("none")
    assert zone.asked == []


def test_a_chain_passes_and_says_who_sealed_it_and_what_each_found() -> None:
    result = verified(THREE)
    assert (result.result, result.reason, result.instances) == ("pass", "", 3)
    assert (result.domain, result.selector) == ("hop3.example", "s3")
    assert result.domains == ("hop1.example", "hop2.example", "hop3.example")
    assert result.authserv_results[0] == authres.AuthenticationResults("hop1.example", METHODS)
    assert result.oldest_pass == 0


def test_ed25519_and_rsa_may_take_turns() -> None:
    assert verified(sealed(sealed(sealed(key=ED25519), 2), 3, key=ED25519)).result == "pass"


def test_results_that_cannot_be_read_do_no_harm_to_the_chain() -> None:
    result = verified(sealed(resealed(sealed(), rb"spf=pass[^\r]*", b"???"), 2))
    assert (result.result, result.authserv_results[0]) == ("pass", None)


def test_a_changed_body_is_noticed() -> None:
    result = verified(THREE + b"more\r\n")
    assert result == ArcResult(
        "fail", "the ARC-Message-Signature of instance 3: the body was changed", 3, "hop3.example", "s3", temperror=False
    )


def test_a_changed_header_field_is_noticed() -> None:
    assert (
        "ARC-Message-Signature of instance 3: the signature"
        in verified(changed(THREE, b"Subject: hello", b"Subject: bye")).reason
    )


def test_an_added_header_field_is_noticed_where_it_matters() -> None:
    assert verified(b"Subject: another\r\n" + THREE).result == "fail"
    assert verified(b"Received: from c by d\r\n" + THREE).result == "pass"


@pytest.mark.parametrize("instance", [1, 2, 3])
def test_changed_results_are_noticed_by_a_seal(instance: int) -> None:
    message = changed(THREE, rb"(?<=hop%d.example;\r\n    )spf=pass" % instance, b"spf=fail")
    assert verified(message).reason == (
        "the ARC-Seal of instance 3: the signature does not fit: a field that it covers was changed, or its key"
    )


def test_a_message_that_was_changed_on_its_way_passes_and_the_oldest_signature_that_fits_is_told() -> None:
    first = sealed(sealed(), 2)
    listed = changed(first, b"Subject: hello", b"Subject: [list] hello")
    result = verified(sealed(sealed(listed, 3), 4))
    assert (result.result, result.oldest_pass) == ("pass", 3)


def test_an_old_message_signature_that_has_expired_since_does_no_harm() -> None:
    expiring = resealed(sealed(), rb"(?<=ARC-Message-Signature: i=1; )", b"x=%d; " % (NOW + 1))
    result = verified(sealed(expiring, 2), now=NOW + 10)
    assert (result.result, result.oldest_pass) == ("pass", 2)


def test_the_last_message_signature_must_be_one_that_is_believed() -> None:
    weak = resealed(sealed(), rb"(?<=ARC-Message-Signature: i=1; )a=rsa-sha256", b"a=rsa-sha1")
    assert verified(weak).reason == (
        "the ARC-Message-Signature of instance 1: rsa-sha1 is too weak to be believed (RFC 8301 §3.1)"
    )


def test_more_names_in_h_than_the_limit_are_too_many() -> None:
    crowded = changed(sealed(), rb"h=From", b"h=" + b"a:" * 501 + b"From")
    assert "h= names" in verified(crowded).reason


def test_a_message_signature_that_names_its_own_kind_does_not_cover_itself() -> None:
    # RFC 6376 §3.7: "without the signature field being added"; §5.4.2 then has nothing to pick.
    message = changed(sealed(), rb"(?<=h=)From", b"ARC-Message-Signature:From")
    fields = HeaderFields(dkim_section(message))
    (own,) = fields.named(b"arc-message-signature")
    names = ("arc-message-signature", *fields_of_h(own.value))
    octets = signed_octets(fields.picked(names, leave_out=own), own, relaxed=True)
    signed = changed(message, rb"(ARC-Message-Signature:[^|]*? b=)[^|]*?(?=ARC-A)", rb"\1%b\r\n" % b64encode(RSA.sign(octets)))
    assert verified(resealed(signed, b"ARC-Seal", b"ARC-Seal")).result == "pass"


def test_keys_are_asked_for_in_two_rounds_and_each_once() -> None:
    verifier = arc.Verifier(dkim_section(THREE), now=NOW)
    verifier.update(THREE.partition(b"\r\n\r\n")[2])
    lookups = verifier.finish()
    first = next(lookups)
    assert first == (Query("s3._domainkey.hop3.example", "TXT"),)
    second = lookups.send((ZONE.answer(Query("s3._domainkey.hop3.example", "TXT")),))
    assert isinstance(second, tuple)
    assert {query.name for query in second} == {"s1._domainkey.hop1.example", "s2._domainkey.hop2.example"}


def test_where_the_last_set_fails_no_other_key_is_asked_for() -> None:
    zone = Recording()
    assert run(arc.verify(THREE + b"more", now=NOW), zone).result == "fail"
    assert zone.asked == ["s3._domainkey.hop3.example"]


def test_where_all_sets_have_one_key_it_is_asked_for_once() -> None:
    zone = Recording()
    message = sealed(sealed(key=ED25519), 2, key=ED25519)
    assert run(arc.verify(message, now=NOW), zone).result == "pass"
    assert zone.asked == ["e._domainkey.example.org"]


@pytest.mark.parametrize("failing", ["s3", "s2", "s1"])
def test_a_failure_of_dns_is_a_fail_that_says_so(failing: str) -> None:
    result = run(arc.verify(THREE, now=NOW), Recording(failing=failing))
    assert (result.result, result.temperror) == ("fail", True)
    number = failing[1]
    assert (
        f"instance {number}: the key s{number}._domainkey.hop{number}.example could not be looked up: SERVFAIL" in result.reason
    )


@pytest.mark.parametrize(
    ("texts", "reason"),
    [
        ([], "there is no key at e._domainkey.example.org"),
        (["v=DKIM1; p="], "the key e._domainkey.example.org is revoked"),
        (["v=DKIM1; k=ed25519; p=AAAA"], "the key record e._domainkey.example.org is broken"),
        ([record(RSA.public)], "the key e._domainkey.example.org is not for ed25519-sha256"),
        (["v=spf1 -all"], "the key record e._domainkey.example.org is broken"),
    ],
)
def test_a_key_that_is_none_is_a_fail(texts: list[str], reason: str) -> None:
    zone = Zone({"e._domainkey.example.org": {"TXT": texts}} if texts else {})
    result = verified(sealed(key=ED25519), zone)
    assert (result.result, result.temperror) == ("fail", False)
    assert reason in result.reason


def test_of_several_key_records_any_may_fit() -> None:
    zone = Zone({"e._domainkey.example.org": {"TXT": ["v=spf1 -all", record(RSA.public), record(ED25519.public)]}})
    assert verified(sealed(key=ED25519), zone).result == "pass"


def test_dnssec_is_told_where_it_vouches_for_all_keys() -> None:
    class Signed(Recording):
        def answer(self, query: Query) -> Answer:
            answer = super().answer(query)
            return Answer(answer.status, answer.records, authentic=not query.name.startswith(self._failing))

    assert run(arc.verify(THREE, now=NOW), Signed()).authentic
    assert not verified(THREE).authentic


def test_a_message_signature_from_the_future_or_too_old_is_none() -> None:
    assert "from now" in verified(sealed(), now=NOW - 10_000).reason
    expired = changed(sealed(), rb"(ARC-Message-Signature: [^;]*;)", b"\\1 x=%d;" % (NOW + 1))
    assert "expired" in verified(expired, now=NOW + 10).reason


@given(st.lists(st.integers(0, len(MESSAGE) + 20), max_size=5).map(sorted))
@settings(max_examples=30)
def test_the_body_may_come_in_any_pieces(cuts: list[int]) -> None:
    section, _, body = THREE.partition(b"\r\n\r\n")
    verifier = arc.Verifier(section + b"\r\n", now=NOW)
    for start, end in zip([0, *cuts], [*cuts, len(body)], strict=True):
        verifier.update(body[start:end])
    assert run(verifier.finish(), ZONE).result == "pass"


def test_dkim_and_arc_share_one_pass_over_the_body() -> None:
    message = dkim.sign(MESSAGE, ED25519, domain="example.org", selector="e", now=NOW) + MESSAGE
    message = sealed(message)
    bodies = dkim.Bodies()
    signatures = dkim.Verifier(dkim_section(message), now=NOW, bodies=bodies)
    chains = arc.Verifier(dkim_section(message), now=NOW, bodies=bodies)
    for octet in message.partition(b"\r\n\r\n")[2]:
        bodies.update(bytes([octet]))
    assert "pass" in [one.result for one in run(signatures.finish(), ZONE)]
    assert run(chains.finish(), ZONE).result == "pass"


@given(st.data())
@settings(max_examples=60)
def test_no_octets_raise(data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(THREE)))
    length = data.draw(st.integers(0, 40))
    piece = data.draw(
        st.sampled_from([b"", b";", b"=", b"\r\n", b"\r\n\r\n", b"ARC-Seal: i=4", b"\xff", b"i=", b"h=", b"0", b"("])
    )
    result = verified(THREE[:at] + piece + THREE[at + length :])
    assert result.result in ("none", "pass", "fail")
    assert bool(result.reason) == (result.result == "fail")


def test_a_chain_of_fifty_passes_and_one_of_sixty_fails_without_a_question() -> None:
    fifty = chain(50)
    start = time.process_time()
    assert verified(fifty).result == "pass"
    assert time.process_time() - start < 2
    zone = Recording()
    sixty = b"".join(
        b"ARC-Authentication-Results: i=%d; x; none\r\nARC-Message-Signature: i=%d; a=b\r\nARC-Seal: i=%d; cv=pass\r\n"
        % ((i,) * 3)
        for i in range(60, 0, -1)
    )
    result = run(arc.verify(sixty + MESSAGE, now=NOW), zone)
    assert (result.result, result.reason) == ("fail", "there are 60 fields ARC-Authentication-Results, more than 50")
    assert zone.asked == []


@pytest.mark.parametrize(
    "field",
    [
        b"ARC-Seal: i=1; cv=none" + b"; a=" + b"b" * 1_000_000,
        b"ARC-Message-Signature: i=1" + b" " * 1_000_000 + b"; h=" + b"a:" * 1_000_000,
        b"ARC-Authentication-Results: " + b"(" * 1_000_000,
    ],
)
def test_ten_megabytes_of_arc_fields_are_refused_in_time(field: bytes) -> None:
    message = (field + b"\r\n") * (10_000_000 // len(field)) + MESSAGE
    start = time.process_time()
    assert verified(message).result == "fail"
    assert verified(b"ARC-Seal: i=1\r\n" * 600_000 + MESSAGE).result == "fail"
    assert time.process_time() - start < 8


def fields_of_h(value: bytes) -> list[str]:
    names = tags.parse(value)["h"]
    return [name for name in tags.listed(names) if name != "ARC-Message-Signature"]


def dkim_section(message: bytes) -> bytes:
    return message.partition(b"\r\n\r\n")[0] + b"\r\n"
