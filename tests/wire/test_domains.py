"""Internationalised domain names (RFC 5890 to RFC 5893, UTS 46)."""

# ruff: noqa: RUF001 - letters that look like others are what is tested here

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waymail.wire import grammar
from waymail.wire.domains import BadDomain, normal, to_ascii, to_unicode

PAIRS = [
    ("bücher.example", "xn--bcher-kva.example"),
    ("faß.example", "xn--fa-hia.example"),
    ("βόλος.example", "xn--nxasmm1c.example"),
    ("例え.テスト", "xn--r8jz45g.xn--zckzah"),
    ("אב.example", "xn--4dbc.example"),
    ("l·l.example", "xn--ll-0ea.example"),
    ("क्\u200dष.example", "xn--11b2ezcw70k.example"),
    ("ア・.example", "xn--cckzj.example"),
]


@pytest.mark.parametrize(("u_label", "a_label"), PAIRS)
def test_a_labels_and_u_labels_lead_to_each_other(u_label: str, a_label: str) -> None:
    assert (to_ascii(u_label), to_unicode(a_label)) == (a_label, u_label)
    assert to_ascii(to_unicode(a_label)) == to_ascii(a_label) == a_label


@pytest.mark.parametrize(
    ("text", "a_label"),
    [
        ("BÜCHER.Example", "xn--bcher-kva.example"),
        ("XN--BCHER-KVA.Example", "xn--bcher-kva.example"),
        ("Example.ORG", "example.org"),
    ],
)
def test_case_does_not_matter(text: str, a_label: str) -> None:
    assert to_ascii(text) == normal(text) == a_label


def test_sharp_s_and_final_sigma_are_kept_and_not_mapped_to_other_names() -> None:
    assert normal("faß.example") != normal("fass.example")
    assert normal("βόλος.example") != normal("βόλοσ.example")
    assert normal("क्\u200dष.example") != normal("क्ष.example")


LOOK_ALIKES = [
    "ｅｘａｍｐｌｅ.org",
    "ＥＸＡＭＰＬＥ．ＯＲＧ",
    "𝐞𝐱𝐚𝐦𝐩𝐥𝐞.org",
    "ⓔⓧⓐⓜⓟⓛⓔ.org",
    "exam\u00adple.org",
    "exam\u200bple.org",
    "example\u3002org",
    "example\uff0eorg",
    "example\uff61org",
    "example.org\u3002",
    "example。org.",
    "example.org.",
    "EXAMPLE.ORG",
]


@pytest.mark.parametrize("text", LOOK_ALIKES, ids=ascii)
def test_other_forms_of_a_local_domain_have_its_key(text: str) -> None:
    assert normal(text) == "example.org"


@pytest.mark.parametrize("text", [text for text in LOOK_ALIKES if text[-1] not in ".\u3002"], ids=ascii)
def test_a_mailbox_may_have_such_a_domain(text: str) -> None:
    assert grammar.is_mailbox(f"a@{text}")


@pytest.mark.parametrize("text", ["bücher.example.", "bücher.example\u3002", "bücher.example\uff61"], ids=ascii)
def test_a_dot_at_the_end_is_kept_as_an_ascii_dot_and_is_in_no_key_and_no_mailbox(text: str) -> None:
    assert to_ascii(text) == "xn--bcher-kva.example."
    assert normal(text) == "xn--bcher-kva.example"
    assert not grammar.is_mailbox(f"a@{text}")


def test_a_letter_of_another_script_makes_another_name() -> None:
    assert normal("ex\u0430mple.org") == "xn--exmple-4nf.org"


REFUSED = {
    "bidi: Hebrew and Latin in one label": "אa.example",
    "bidi: a digit before Hebrew": "1אב.example",
    "bidi: two kinds of digits": "א٠1.example",
    "bidi: a mark alone": "\u0301a.example",
    "a joiner between Latin letters": "a\u200db.example",
    "a non-joiner between Latin letters": "a\u200cb.example",
    "a joiner alone": "\u200d.example",
    "a middle dot that stands not between two l": "a·l.example",
    "a Katakana middle dot without Katakana": "・.example",
    "Arabic-Indic and extended digits mixed": "\u0660\u06f0.example",
    "a symbol": "☃.example",
    "what maps to a slash": "a／b.example",
    "what maps to a/c": "℀.example",
    "an unassigned code point": "\u0378.example",
    "an empty label": "a..é",
    "only dots": "\u3002",
    "a dot at the beginning": ".é",
    "hyphens where xn-- has them": "ab--é.example",
    "a false A-label": "xn--é.example",
    "a label of more than 63 octets": "é" * 60 + ".example",
    "a hyphen at the end": "é-.example",
    "an underscore": "é_.example",
    "a space": "é .example",
    "a line end": "é\r\n.example",
    "a surrogate": "\ud800.example",
}


@pytest.mark.parametrize("text", REFUSED.values(), ids=REFUSED)
def test_what_is_no_internationalised_name_is_refused_and_has_no_other_names_key(text: str) -> None:
    with pytest.raises(BadDomain):
        to_ascii(text)
    assert not grammar.is_mailbox(f"a@{text}")
    assert not normal(text).isascii() or normal(text) in ("", ".")


@pytest.mark.parametrize(
    "text", ["xn--a", "xn--zzzzzzzzzzzzzz99999.example", "xn--1ch.example", "xn--", "xn--example-.org", "xn--\ud800"], ids=ascii
)
def test_a_forged_a_label_is_shown_as_it_is(text: str) -> None:
    assert to_unicode(text) == text


@given(st.text(max_size=30) | st.text("aß.é\u3002\u200d\u0301אב1-xn", max_size=20))
def test_whatever_the_text_a_name_in_ascii_is_its_own_name_and_so_is_what_is_shown(text: str) -> None:
    try:
        ascii_form = to_ascii(text)
    except BadDomain:
        return
    assert ascii_form.isascii()
    assert to_ascii(ascii_form) == ascii_form
    if not text.isascii():
        assert normal(to_unicode(ascii_form)) == normal(ascii_form) == normal(text)
