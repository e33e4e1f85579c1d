"""What is refused before a key is asked for, and with which result (RFC 6376 §6.1.1)."""

from __future__ import annotations

import pytest
from tests.senderauth.dkim.examples import NOW, PLAIN, crafted, key_zone, rsa_key, verified

from waymail.lookups import run
from waymail.senderauth.dkim import DkimResult, Limits, verify
from waymail.testing.zone import Zone

NOBODY = Zone({})  # a question would be answered with "permerror", and another reason


def refused(**tags: str) -> tuple[str, str]:
    [result] = verified(crafted(PLAIN, rsa_key(), **tags), NOBODY)  # type: ignore[arg-type]
    return result.result, result.reason


def passed(**tags: str) -> DkimResult:
    key = rsa_key()
    [result] = verified(crafted(PLAIN, key, **tags), key_zone(key))  # type: ignore[arg-type]
    assert result.result == "pass", result.reason
    return result


@pytest.mark.parametrize("tag", ["v", "a", "b", "bh", "d", "h", "s"])
def test_a_required_tag_that_is_missing_or_empty_is_named(tag: str) -> None:
    lacks = ("neutral", f"the signature lacks {tag}=")
    assert refused(without=tag) == lacks
    assert refused(**{tag: ""}) == lacks


@pytest.mark.parametrize(
    ("tags", "why"),
    [
        ({"v": "2"}, "v= names another version than 1"),
        ({"v": "1.0"}, "v= names another version than 1"),
        ({"a": "rsa-md5"}, "a= names an algorithm that nobody knows here"),
        ({"a": "rsa"}, "a= names an algorithm that nobody knows here"),
        ({"c": "nowsp"}, "c= names a canonicalization that nobody knows here"),
        ({"c": "relaxed/nowsp"}, "c= names a canonicalization that nobody knows here"),
        ({"c": "relaxed/"}, "c= names a canonicalization that nobody knows here"),
        ({"c": ""}, "c= names a canonicalization that nobody knows here"),
        ({"d": "example..org"}, "d= is no domain name"),
        ({"d": "example.org."}, "d= is no domain name"),
        ({"d": "org"}, "the domain in d= has one label only"),
        ({"s": "a b"}, "s= is no domain name"),
        ({"s": "x" * 60 + "." + "x" * 60, "d": "y" * 60 + "." + "y" * 60 + ".org"}, "the name of the key is too long for DNS"),
        ({"q": "http/get"}, "q= names no way to get the key but ones that nobody knows"),
        ({"b": "a*b"}, "b= is no base64"),
        ({"b": "abc"}, "b= is no base64"),
        ({"bh": "a*b"}, "bh= is no base64"),
        ({"bh": "\u00e9"}, "bh= is no base64"),
        ({"bh": "YWJj"}, "bh= has 3 octets, not the 32 of SHA-256"),
        ({"i": "example.org"}, 'i= has no "@"'),
        ({"i": "@"}, "i= ends with no domain name"),
        ({"h": "From:"}, "h= names something that is no header field"),
        ({"h": "From:Sub ject"}, "h= names something that is no header field"),
        ({"h": "From:S\u00fcbject"}, "h= names something that is no header field"),
        ({"l": "-1"}, "l= is no number, or one with too many digits"),
        ({"l": "1" * 77}, "l= is no number, or one with too many digits"),
        ({"t": "soon"}, "t= is no number, or one with too many digits"),
        ({"x": "1" * 13}, "x= is no number, or one with too many digits"),
        ({"t": "2000", "x": "2000"}, "the signature expires (x=) before it was made (t=)"),
        ({"more": "t=1; t=1"}, "the signature breaks the grammar: the tag 't' stands twice"),
        ({"more": "hello"}, "the signature breaks the grammar: 'hello' is no tag=value"),
    ],
)
def test_a_signature_that_breaks_the_grammar_is_neutral(tags: dict[str, str], why: str) -> None:
    assert refused(**tags) == ("neutral", why)


@pytest.mark.parametrize(
    ("tags", "why"),
    [
        ({"a": "rsa-sha1"}, "rsa-sha1 is too weak to be believed (RFC 8301 §3.1)"),
        ({"h": "To:Subject"}, "the signature does not cover From"),
        ({"i": "ann@example.net"}, "the domain of i= is neither that of d= nor one below it"),
        ({"i": "ann@notexample.org"}, "the domain of i= is neither that of d= nor one below it"),
        ({"d": "sub.example.org", "i": "@example.org"}, "the domain of i= is neither that of d= nor one below it"),
    ],
)
def test_a_signature_that_has_failed_for_good_is_permerror(tags: dict[str, str], why: str) -> None:
    assert refused(**tags) == ("permerror", why)


def test_a_signature_out_of_its_time_is_refused_by_policy() -> None:
    assert refused(x=f"{NOW - 60:.0f}") == ("policy", "the signature expired 60 seconds ago")
    assert refused(t=f"{NOW + 7200:.0f}") == ("policy", "the signature says that it was made 7200 seconds from now")


def test_clocks_may_differ_a_little_and_a_signature_is_good_until_it_expires() -> None:
    result = passed(t=f"{NOW + 1800:.0f}", x=f"{NOW + 1801:.0f}")
    assert (result.timestamp, result.expires) == (NOW + 1800, NOW + 1801)
    assert passed(x=f"{NOW:.0f}").expires == NOW


def test_more_field_names_than_the_limit_are_refused_by_policy() -> None:
    why = "h= names 501 fields, more than the 500 that are looked at"
    assert refused(h=":".join(["From"] * 501)) == ("policy", why)
    assert passed(h=":".join(["From"] * 500)).header_fields == ("From",) * 500


def test_names_are_not_told_apart_by_case() -> None:
    result = passed(a="RSA-SHA256", d="Example.ORG", s="S1", h="FROM : to", i="ann@EXAMPLE.org", q="x/y:DNS/TXT")
    assert (result.algorithm, result.domain, result.selector, result.identity) == (
        "rsa-sha256",
        "example.org",
        "s1",
        "ann@EXAMPLE.org",
    )
    assert result.header_fields == ("FROM", "to")


def test_canonicalization_is_simple_where_it_is_not_said() -> None:
    for c in ("relaxed", "relaxed/simple", "simple", "simple/simple", "simple/relaxed", "Relaxed/Relaxed"):
        assert passed(c=c.lower()).result == "pass"


def test_i_is_the_domain_by_default_and_quoting_in_it_is_undone() -> None:
    assert passed().identity == "@example.org"
    assert passed(i="a=3Bb @ sub.example.org").identity == "a;b@sub.example.org"


def test_unknown_tags_are_signed_and_otherwise_ignored() -> None:
    assert passed(more="zz=anything at all; r=y").result == "pass"


def test_a_domain_may_be_written_in_either_form() -> None:
    # RFC 8616 §5
    key = rsa_key()
    zone = key_zone(key, domain="xn--bcher-kva.example")
    for d in ("b\u00fccher.example", "xn--bcher-kva.example"):
        [result] = verified(crafted(PLAIN, key, d=d, i="b\u00fccher@b\u00fccher.example"), zone)
        assert (result.result, result.domain, result.identity) == (
            "pass",
            "xn--bcher-kva.example",
            "b\u00fccher@b\u00fccher.example",
        )


def test_a_broken_signature_is_told_of_with_what_it_says() -> None:
    [result] = verified(crafted(PLAIN, rsa_key(), v="2", d="x" * 1000, t="soon"), NOBODY)
    assert (result.domain, result.selector, result.algorithm) == ("x" * 255, "s1", "rsa-sha256")
    assert result.timestamp is None


def test_what_a_stranger_wrote_cannot_end_a_line() -> None:
    assert passed(i="a=0D=0ABcc:=20x=00@example.org").identity == "a Bcc: x @example.org"
    [result] = verified(crafted(PLAIN, rsa_key(), d="a\r\n\t b.example", s="x\r\n y", a="rsa\r\n -md5"), NOBODY)
    assert (result.domain, result.selector, result.algorithm) == ("a b.example", "x y", "rsa -md5")


def test_a_limit_can_be_another_one() -> None:
    [result] = run(verify(crafted(PLAIN, rsa_key()), now=NOW, limits=Limits(fields=2)), NOBODY)
    assert result.result == "policy"
