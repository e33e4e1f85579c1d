"""DMARC records read (RFC 9989 §4.7, §4.8)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waymail.senderauth.dmarc import record
from waymail.senderauth.dmarc.record import Record


def parsed(text: str) -> Record:
    found = record.parse(text)
    assert found is not None
    return found


def test_a_record_of_all_tags_is_read() -> None:
    text = (
        "v=DMARC1; p=reject; sp=quarantine; np=none; adkim=s; aspf=s; psd=n; t=y; fo=1:d:s;"
        " rua=mailto:a@example.org,mailto:b@example.net; ruf=mailto:c@example.org"
    )
    assert parsed(text) == Record(
        text=text,
        p="reject",
        sp="quarantine",
        np="none",
        adkim="s",
        aspf="s",
        psd="n",
        is_testing=True,
        rua=("mailto:a@example.org", "mailto:b@example.net"),
        ruf=("mailto:c@example.org",),
        fo="1:d:s",
    )


def test_what_a_record_does_not_say_has_its_default() -> None:
    assert parsed("v=DMARC1") == Record("v=DMARC1")
    assert parsed(text := "v=DMARC1;p=none;adkim=r;aspf=r;psd=u;t=n;fo=0") == Record(text)


@pytest.mark.parametrize(
    "text",
    [
        "v=DMARC1;p=reject",
        "v=DMARC1 ; p = reject ;",
        "V=DMARC1;P=Reject",
        "\tv = DMARC1\t;\tp\t=\treject",
        "v=DMARC1;;p=reject;;",
    ],
)
def test_spelling_does_not_matter_where_the_grammar_says_so(text: str) -> None:
    found = parsed(text)
    assert (found.p, found.notes) == ("reject", ())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "v=dmarc1; p=reject",
        "v=DMARC12; p=reject",
        "v=DMARC1 p=reject",
        "p=reject; v=DMARC1",
        "v=DMARC2",
        "x v=DMARC1",
        "v=spf1 -all",
    ],
)
def test_another_version_or_one_that_is_not_first_is_no_record(text: str) -> None:
    assert record.parse(text) is None
    assert not record.is_dmarc(text)


def test_unknown_and_historic_tags_are_ignored() -> None:
    found = parsed("v=DMARC1; p=reject; zz=1; pct=0; rf=afrf; ri=3600")
    assert (found.p, found.is_testing, found.notes) == ("reject", False, ())


def test_a_bad_tag_is_noted_and_the_others_count() -> None:
    found = parsed("v=DMARC1; p=reject; nonsense; adkim=x; 1=2; psd=maybe; t=; =y; sp=none; fo=9; ruf=mailto:a@example.org")
    assert (found.p, found.sp, found.adkim, found.psd, found.is_testing, found.fo) == ("reject", "none", "r", "u", False, "0")
    assert found.notes == (
        "'nonsense' is not name=value",
        "'1=2' is not name=value",
        "'t=' is not name=value",
        "'=y' is not name=value",
        "adkim='x' is none of r, s",
        "psd='maybe' is none of y, n, u",
        "fo='9' is not a list of 0 or 1, d and s",
    )


def test_octets_that_no_value_may_have_make_it_a_bad_tag() -> None:
    found = parsed("v=DMARC1; p=reject; sp=no\xffne; np=\x00none; rua=mailto:a@example.org")
    assert (found.p, found.sp, found.np, len(found.notes)) == ("reject", "", "", 2)


def test_a_tag_that_is_given_twice_does_not_count() -> None:
    found = parsed("v=DMARC1; p=none; adkim=s; adkim=s; t=y; T=n")
    assert (found.adkim, found.is_testing, found.notes[0]) == ("r", False, "adkim is given more than once, so it does not count")
    assert not parsed("v=DMARC1; p=none; p=reject").applies


@pytest.mark.parametrize("policy", ["p=bogus", "p=reject; sp=bogus", "p=reject; np=bogus"])
def test_a_policy_that_cannot_be_read_is_none_where_reports_are_asked_for_and_else_the_record_does_not_apply(policy: str) -> None:
    asking = parsed(f"v=DMARC1; {policy}; rua=mailto:a@example.org")
    assert (asking.applies, asking.p, asking.sp, asking.np) == (True, "none", "", "")
    assert not parsed(f"v=DMARC1; {policy}").applies
    assert not parsed(f"v=DMARC1; {policy}; rua=nonsense").applies


def test_a_record_without_a_policy_asks_for_none() -> None:
    # §4.7: "treated as if it included p=none"
    found = parsed("v=DMARC1; sp=reject")
    assert (found.p, found.sp, found.applies) == ("none", "reject", True)


@pytest.mark.parametrize(
    ("rua", "uris"),
    [
        ("mailto:a@example.org", ("mailto:a@example.org",)),
        ("mailto:a@example.org!10m", ("mailto:a@example.org",)),
        ("mailto:a@example.org!10 , https://example.org/r?x=1#y", ("mailto:a@example.org", "https://example.org/r?x=1#y")),
        ("MAILTO:a%2Cb@example.org!5K", ("MAILTO:a%2Cb@example.org",)),
        ("a@example.org, mailto:b@example.org", ("mailto:b@example.org",)),
        ("mailto:nobody", ()),
        ("mailto:a!b@example.org", ()),
        ("mailto:", ()),
        (",,", ()),
    ],
)
def test_only_what_is_a_uri_is_reported_to(rua: str, uris: tuple[str, ...]) -> None:
    assert parsed(f"v=DMARC1; p=none; rua={rua}").rua == uris


def test_there_is_an_end_to_uris_and_notes() -> None:
    many = ",".join(f"mailto:a{number}@example.org" for number in range(1000))
    assert len(parsed(f"v=DMARC1; p=none; rua={many}").rua) == 20
    assert len(parsed("v=DMARC1; p=none" + "; nonsense" * 1000).notes) == 10


@pytest.mark.parametrize(
    ("fo", "read"),
    [
        ("0", "0"),
        ("1", "1"),
        ("d", "d"),
        ("D:S:1", "d:s:1"),
        ("s : 0", "s:0"),
        ("0:1", "0"),
        ("d:d", "0"),
        ("1:", "0"),
    ],
)
def test_failure_options_are_those_of_the_rfc_or_the_default(fo: str, read: str) -> None:
    assert parsed(f"v=DMARC1; p=none; ruf=mailto:a@example.org; fo={fo}").fo == read


def test_failure_options_without_an_address_are_ignored() -> None:
    assert parsed("v=DMARC1; p=none; fo=1").fo == "0"
    assert parsed("v=DMARC1; p=none; fo=1; ruf=nonsense").fo == "0"


def test_several_records_are_none_and_other_texts_are_passed_over() -> None:
    one = "v=DMARC1; p=reject"
    assert record.of(("v=spf1 -all", one, "")) == (parsed(one), "")
    assert record.of((one, "v=DMARC1; p=none")) == (None, "2 DMARC records, so none of them counts")
    assert record.of(("v=spf1 -all",)) == (None, "")


@given(st.text(alphabet=st.characters(codec="latin-1"), max_size=200))
def test_any_text_can_be_read(text: str) -> None:
    assert record.parse(text) is None or record.is_dmarc(text)
    found = parsed("v=DMARC1;" + text)
    assert found.p in record.POLICIES
    assert all(note.isascii() for note in found.notes)
