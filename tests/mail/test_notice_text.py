"""The texts of notices: read from plain data, checked, and said."""

from __future__ import annotations

import tomllib
from string import Formatter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waymail.mail.notice_text import NoticeText, Reason, read
from waymail.mail.notices import LANGUAGES, shipped, template

ENGLISH = tomllib.loads(template("en"))


def problems(data: dict[str, Any]) -> dict[str, str]:
    return {".".join(map(str, path)): message for path, message in read(data, shipped())[1]}


def test_a_text_is_said_with_what_belongs_into_it() -> None:
    text, found = read({"subject": {"failed": "{to}: {{no}}"}}, shipped())
    assert not found
    assert text.say("subject.failed", to="{who}") == "{who}: {no}"
    assert {name for name, said in text.texts.items() if said != shipped().texts[name]} == {"subject.failed"}


def test_a_date_is_written_as_people_do() -> None:
    assert shipped("en").date(1_800_000_000.0) == "15 January 2027, 08:00 UTC"
    assert shipped("de").date(1_804_000_000.0) == "2. März 2027, 15:06 Uhr (UTC)"


@pytest.mark.parametrize(
    ("status", "what"),
    [("5.7.1", "exact"), ("5.7.2", "of 5.7"), ("4.7.1", "of X.7.1"), ("4.7.2", "of X"), ("5.1.1", "of 5"), ("2.0.0", "of X")],
)
def test_the_most_exact_code_counts(status: str, what: str) -> None:
    codes = {"5.7.1": "exact", "5.7": "of 5.7", "X.7.1": "of X.7.1", "X": "of X", "5": "of 5"}
    reasons = {code: Reason(said, "") for code, said in codes.items()}
    text = NoticeText("en", "", "", (), {}, reasons)
    assert text.reason(status, "example.net").what == what


def test_a_code_of_which_nothing_is_known_has_no_reason() -> None:
    assert NoticeText("en", "", "", (), {}, {}).reason("5.1.1", "example.net") == Reason("", "")


def test_a_reason_names_the_domain() -> None:
    assert shipped().reason("5.1.2", "{x}.example").what.startswith("There is no {x}.example,")


def test_a_reason_may_be_added_and_a_known_one_changed_in_part() -> None:
    added = {"5.7.26": {"what": "DMARC", "do": ""}, "X.2.2": {"what": "Full!"}}
    text, found = read({"reasons": added}, shipped())
    assert not found
    assert text.reason("5.7.26", "") == Reason("DMARC", "")
    assert text.reason("5.2.2", "") == Reason("Full!", shipped().reasons["X.2.2"].do)


@pytest.mark.parametrize(
    ("data", "key", "message"),
    [
        ({"subjects": {}}, "subjects", 'no such text; did you mean "subject"?'),
        ({"subject": "x"}, "subject", "must be a table"),
        ({"subject": {"faild": "x"}}, "subject.faild", 'no such text; did you mean "failed"?'),
        ({"label": {"zzz": "x"}}, "label.zzz", "no such text; here may stand "),
        ({"subject": {"failed": 1}}, "subject.failed", "must be a text, in quotes"),
        ({"subject": {"failed": " "}}, "subject.failed", "must not be empty"),
        ({"subject": {"failed": "x" * 1001}}, "subject.failed", "must have 1000 characters at most"),
        ({"subject": {"failed": "a\nb"}}, "subject.failed", "must be one paragraph"),
        ({"subject": {"failed": "{to"}}, "subject.failed", "has a brace without its other half"),
        ({"subject": {"failed": "{from}"}}, "subject.failed", "{from} cannot stand here; what can is {to}"),
        ({"subject": {"failed": "{to.x}"}}, "subject.failed", "{to.x} cannot stand here"),
        ({"subject": {"failed": "{to!r}"}}, "subject.failed", "{to} cannot stand here"),
        ({"subject": {"failed": "{to:>9}"}}, "subject.failed", "{to} cannot stand here"),
        ({"subject": {"failed": "{}"}}, "subject.failed", "{} cannot stand here"),
        ({"news": {"one": "{x}"}}, "news.one", "{x} cannot stand here; nothing is put into this text"),
        ({"date": "{era}"}, "date", "{era} cannot stand here"),
        ({"months": ["x"]}, "months", "must be a list of the names of the twelve months"),
        ({"language": "no language"}, "language", "must be a language tag"),
        ({"sender": ""}, "sender", "must not be empty"),
        ({"reasons": {"5.7.01": {}}}, "reasons.5.7.01", "is no status code"),
        ({"reasons": {"2.1.1": {}}}, "reasons.2.1.1", "is no status code"),
        ({"reasons": {"5.7.1": "x"}}, "reasons.5.7.1", "must be a table with what and do"),
        ({"reasons": {"5.7.99": {"what": "x"}}}, "reasons.5.7.99", "do is missing"),
        ({"reasons": {"X.2.2": {"advice": "x"}}}, "reasons.X.2.2.advice", "no such text"),
        ({"reasons": {"X.2.2": {"do": "{host}"}}}, "reasons.X.2.2.do", "{host} cannot stand here; what can is {domain}"),
    ],
)
def test_what_is_wrong_is_said_with_its_key(data: dict[str, Any], key: str, message: str) -> None:
    found = problems(data)
    assert list(found) == [key]
    assert found[key].startswith(message)


def test_what_is_wrong_is_not_in_the_value() -> None:
    text, _ = read({"subject": {"failed": "{no}"}, "reasons": {"X.2.2": {"do": "{no}"}}, "months": []}, shipped())
    assert text == shipped()


@pytest.mark.parametrize("missing", ["date", "months", "language", "sender", "contact", "news"])
def test_without_a_base_nothing_may_be_missing(missing: str) -> None:
    found = read({key: value for key, value in ENGLISH.items() if key != missing})[1]
    assert {str(path[0]) for path, _ in found} == {missing}
    assert {message for _, message in found} == {"is missing"}


json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
)
known = st.sampled_from(["subject", "news", "label", "reasons", "months", "date", "language", "sender", "contact"])
texts = st.dictionaries(st.sampled_from(["failed", "one", "said", "5.7.1", "X"]), st.text("{}to!:. x") | json)


@given(st.dictionaries(known, texts | json))
def test_whatever_was_read_can_be_said(data: dict[str, Any]) -> None:
    text, _ = read(data, shipped())
    values = dict.fromkeys(
        ["day", "month", "year", "time", "to", "number", "hostname", "who", "since", "by", "until", "address", "host"], "v"
    ) | {"contact": "c", "id": "i"}
    for name in text.texts:
        assert isinstance(text.say(name, **values), str)
    for code in text.reasons:
        text.reason(code, "example.net")
    text.date(0.0)


# --- the languages that are there ---


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_has_every_text_and_the_same_reasons(language: str) -> None:
    text = shipped(language)
    assert text.language == language
    assert text.texts.keys() == shipped().texts.keys()
    assert text.reasons.keys() == shipped().reasons.keys()


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_puts_the_same_into_its_texts(language: str) -> None:
    def places(text: str) -> set[str | None]:
        return {name for _, name, _, _ in Formatter().parse(text)} - {None}

    for name, text in shipped().texts.items():
        assert places(shipped(language).texts[name]) == places(text), name


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_class_of_status_has_a_reason(language: str) -> None:
    for status in ("4.9.9", "5.9.9", "4.0.0", "5.0.0"):
        reason = shipped(language).reason(status, "example.net")
        assert reason.what
        assert reason.do
