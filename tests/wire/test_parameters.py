"""What extensions add to MAIL and RCPT: each parameter's values, good and bad."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from waymail.wire.errors import SyntaxProblem
from waymail.wire.extensions import EVERYWHERE, TO_SOME
from waymail.wire.parameters import (
    MAIL_PARAMETERS,
    MAX_ENVID,
    MAX_ORCPT,
    RCPT_PARAMETERS,
    Terms,
    checked_mail_parameters,
    checked_rcpt_parameters,
)

ALL = Terms(extended=True, secure=True, message_size=1000, extensions=EVERYWHERE | TO_SOME, auth=True)
NONE = Terms(extended=True, secure=True, message_size=1000, extensions=())


def checked(parameters: Mapping[str, str | None], terms: Terms = ALL) -> Mapping[str, str | None]:
    return checked_mail_parameters(parameters, terms)


def refusal(
    parameters: Mapping[str, str | None], terms: Terms = ALL, *, rcpt: bool = False, utf8: bool = False
) -> tuple[int, str | None]:
    with pytest.raises(SyntaxProblem) as caught:
        checked_rcpt_parameters(parameters, terms, utf8=utf8) if rcpt else checked_mail_parameters(parameters, terms)
    return caught.value.reply.code, caught.value.reply.enhanced


GOOD: list[tuple[str, list[str | None]]] = [
    ("SIZE", ["0", "1000", "00000000000000000001"]),
    ("BODY", ["7BIT", "8BITMIME", "BINARYMIME"]),
    ("AUTH", ["<>", "e+3Dmc2@example.com", "a@b", "+22a+20b+22@c", "+C3+A9@c"]),
    ("SMTPUTF8", [None]),
    ("REQUIRETLS", [None]),
    ("RET", ["FULL", "HDRS"]),
    ("ENVID", ["QQ314159", "a+20b+2B+3D", "", "x" * MAX_ENVID]),
    ("HOLDFOR", ["1", "999999999"]),
    ("HOLDUNTIL", ["2027-02-28T23:59:59Z", "2028-02-29T00:00:00.5Z", "0001-01-01T00:00:00Z"]),
    ("BY", ["1;R", "120;RT", "+120;N", "-120;NT", "0;N", "999999999;R"]),
    ("MT-PRIORITY", ["0", "9", "-9", "4"]),
]
BAD: list[tuple[str, list[str | None]]] = [
    ("SIZE", [None, "-1", "1k", "", "9" * 21, "٣"]),
    ("BODY", [None, "9BIT", "", "8BITMIME "]),
    ("AUTH", [None, "", "ann+0A", "ann@example.org+0A", "+2", "<a@b>", "a@b+00", "+E9@c", "a+2b@c"]),
    ("SMTPUTF8", ["", "1"]),
    ("REQUIRETLS", ["", "NO"]),
    ("RET", [None, "", "NONE", "FULL,HDRS"]),
    ("ENVID", [None, "a=b", "a+2b", "a+", "a+0A", "a+0D+0Ab", "+00", "+7F", "+E9", "+C3+A9", "+1B[2J", "x" * (MAX_ENVID + 1)]),
    ("HOLDFOR", [None, "", "0", "01", "-1", "1000000000", "1.5"]),
    (
        "HOLDUNTIL",
        [
            *[
                None,
                "",
                "2027-01-01",
                "2027-01-01T00:00:00",
                "2027-01-01T00:00:00+01:00",
                "2027-02-29T00:00:00Z",
                "2027-04-31T00:00:00Z",
            ],
            *[
                "2027-13-01T00:00:00Z",
                "2027-01-01T24:00:00Z",
                "2027-01-01 00:00:00Z",
                "2027-01-01T00:00:00.Z",
                "0000-01-01T00:00:00Z",
            ],
        ],
    ),
    ("BY", [None, "", "1", ";R", "0;R", "-1;R", "1;X", "1;TR", "1;RTT", "1000000000;N", "1; R", "--1;N"]),
    ("MT-PRIORITY", [None, "", "10", "-10", "+1", "-0", "00", "1.0", "x"]),
]


@pytest.mark.parametrize(("keyword", "value"), [(keyword, value) for keyword, values in GOOD for value in values])
def test_a_good_value_passes_as_it_is(keyword: str, value: str | None) -> None:
    assert checked({keyword: value}) == {keyword: value}


@pytest.mark.parametrize(("keyword", "value"), [(keyword, value) for keyword, values in BAD for value in values])
def test_a_bad_value_is_refused_with_501(keyword: str, value: str | None) -> None:
    assert refusal({keyword: value, **({} if value is None or value.isascii() else {"SMTPUTF8": None})}) == (501, "5.5.4")


def test_the_lists_above_have_every_parameter_of_mail() -> None:
    assert {keyword for keyword, _ in GOOD} == {keyword for keyword, _ in BAD} == set(MAIL_PARAMETERS)


@pytest.mark.parametrize(
    ("keyword", "value"),
    [("BODY", "8bitmime"), ("RET", "full"), ("BY", "5;rt"), ("HOLDUNTIL", "2027-01-01t00:00:00z"), ("BODY", "BinaryMime")],
)
def test_a_value_without_regard_to_case_comes_out_in_upper_case(keyword: str, value: str) -> None:
    assert checked({"SIZE": "1", keyword: value}) == {"SIZE": "1", keyword: value.upper()}


def test_the_case_of_envid_is_kept() -> None:
    assert checked({"ENVID": "aBc"}) == {"ENVID": "aBc"}


@pytest.mark.parametrize("size", ["1001", "9" * 20])
def test_a_size_over_the_limit_is_refused_with_552(size: str) -> None:
    assert refusal({"SIZE": size}) == (552, "5.3.4")


def test_one_hold_is_enough() -> None:
    assert refusal({"HOLDFOR": "1", "HOLDUNTIL": "2027-01-01T00:00:00Z"}) == (501, "5.5.4")


def test_requiretls_in_clear_is_refused_with_530_5_7_10() -> None:
    clear = Terms(extended=True, secure=False, message_size=1000, extensions=EVERYWHERE)
    assert refusal({"REQUIRETLS": None}, clear) == (530, "5.7.10")


@pytest.mark.parametrize("keyword", [*sorted(MAIL_PARAMETERS.keys() - {"SIZE", "BODY"}), "XYZ", "NOTIFY", "ORCPT"])
def test_a_parameter_of_mail_that_is_not_offered_is_refused_with_555(keyword: str) -> None:
    assert refusal({"SIZE": "1", keyword: "1"}, NONE) == (555, "5.5.4")


def test_binarymime_that_is_not_offered_is_refused_with_501() -> None:
    assert refusal({"BODY": "BINARYMIME"}, NONE) == (501, "5.5.4")


def test_parameters_after_helo_are_refused_with_555() -> None:
    after_helo = Terms(extended=False, secure=True, message_size=1000, extensions=EVERYWHERE)
    assert refusal({"SIZE": "1"}, after_helo) == (555, "5.5.4")
    assert refusal({"NOTIFY": "NEVER"}, after_helo, rcpt=True) == (555, "5.5.4")
    assert checked({}, NONE) == {}


def test_the_keyword_that_is_said_back_is_cut() -> None:
    with pytest.raises(SyntaxProblem) as caught:
        checked({"X" * 1000: None})
    assert len(caught.value.reply.text) < 100


def test_a_users_name_as_submitter_is_as_good_as_unknown() -> None:
    assert checked({"AUTH": "somebody+20else"}) == {"AUTH": "<>"}


@pytest.mark.parametrize("keyword", ["ENVID", "AUTH", "X"])
def test_a_value_beyond_ascii_is_refused_without_smtputf8(keyword: str) -> None:
    assert refusal({keyword: "é"})[0] in (501, 555)


# --- NOTIFY and ORCPT (RFC 3461 §4.1, §4.2; RFC 6533 §3) ---


@pytest.mark.parametrize("value", ["NEVER", "SUCCESS", "FAILURE", "DELAY", "SUCCESS,FAILURE,DELAY", "DELAY,DELAY"])
def test_notify_is_never_or_a_list(value: str) -> None:
    assert checked_rcpt_parameters({"NOTIFY": value.lower()}, ALL, utf8=False) == {"NOTIFY": value}


@pytest.mark.parametrize(
    "value", [None, "", "NEVER,SUCCESS", "SUCCESS,NEVER", "SUCCESS,", ",SUCCESS", "SUCCESS;DELAY", "ALWAYS", "NEVER,NEVER"]
)
def test_never_stands_alone_and_nothing_else_is_known(value: str | None) -> None:
    assert refusal({"NOTIFY": value}, rcpt=True) == (501, "5.5.4")


ORCPT_GOOD = [
    *["rfc822;b@c", "RFC822;Bob+2BJones@c", "x400;/C=us"[:7], "unknown;a+20b", "rfc822;" + "x" * (MAX_ORCPT - 7)],
    *[
        "utf-8;b@c",
        "UTF-8;b\\x{E9}@c",
        "utf-8;\\x{2B}\\x{3D}\\x{5C}\\x{20}",
        "utf-8;\\x{10FFFF}\\x{1F600}\\x{D7FF}\\x{E000}\\x{80}",
    ],
]
ORCPT_BAD = [
    *[
        "",
        "rfc822",
        "rfc822;",
        ";b@c",
        "rfc 822;b",
        "rfc822;b=c",
        "rfc822;b+2",
        "rfc822;b+2b",
        "rfc822;b+0A",
        "rfc822;+E9",
        "rfc822;+C3+A9+0A",
        "x400;+C3+A9",
        "rfc822;" + "+C3+A9" * 82 + "abc",
    ],
    *[
        "rfc822;é",
        "rfc822;" + "x" * (MAX_ORCPT - 6),
        "utf-8;a+2Bb",
        "utf-8;a=b",
        "utf-8;a\\b",
        "utf-8;\\x{}",
        "utf-8;\\x{2b}",
        "utf-8;\\x{41}",
    ],
    *[
        "utf-8;\\x{D800}",
        "utf-8;\\x{DFFF}",
        "utf-8;\\x{110000}",
        "utf-8;\\x{FFFFFF}",
        "utf-8;\\x{00E9}",
        "utf-8;\\x{0A}",
        "utf-8;\\x{0D}",
        "utf-8;",
    ],
    *["utf-8;\\x{E9", "utf-8;\\x{000041}", "utf-8;\\x{7E}"],
]


@pytest.mark.parametrize("value", ORCPT_GOOD)
def test_orcpt_is_an_address_type_and_an_encoded_address(value: str) -> None:
    assert checked_rcpt_parameters({"ORCPT": value}, ALL, utf8=False) == {"ORCPT": value}


@pytest.mark.parametrize("value", ORCPT_BAD)
def test_what_is_no_orcpt_or_would_break_a_notice_is_refused_with_501(value: str) -> None:
    for utf8 in (False, True):
        assert refusal({"ORCPT": value}, rcpt=True, utf8=utf8) == (501, "5.5.4")


@pytest.mark.parametrize("value", ["utf-8;é@c", "utf-8;é\\x{2B}@例え.example", "utf-8;\U0001f600"])
def test_orcpt_of_type_utf_8_needs_no_encoding_with_smtputf8_and_needs_it_without(value: str) -> None:
    assert checked_rcpt_parameters({"ORCPT": value}, ALL, utf8=True) == {"ORCPT": value}
    assert refusal({"ORCPT": value}, rcpt=True) == (501, "5.5.4")


def test_orcpt_that_postfix_calls_rfc822_and_is_not_ascii_counts_as_utf_8() -> None:
    said = {"ORCPT": "rfc822;gr+C3+B6+C3+9Fe+2Bbooks@b+C3+BCcher.example"}
    meant = {"ORCPT": "utf-8;gr\\x{F6}\\x{DF}e\\x{2B}books@b\\x{FC}cher.example"}
    for utf8 in (False, True):
        assert checked_rcpt_parameters(said, ALL, utf8=utf8) == meant
    assert checked_rcpt_parameters(meant, ALL, utf8=False) == meant


@pytest.mark.parametrize("value", ["utf-8;a\u0085", "utf-8;\u2028", "utf-8;\ud800"], ids=ascii)
def test_no_control_character_line_separator_or_surrogate_stands_in_orcpt(value: str) -> None:
    assert refusal({"ORCPT": value}, rcpt=True, utf8=True) == (501, "5.5.4")


def test_what_is_asked_for_a_notice_is_unknown_where_dsn_is_not_offered() -> None:
    for keyword in RCPT_PARAMETERS:
        assert refusal({keyword: "NEVER"}, NONE, rcpt=True) == (555, "5.5.4")
    assert refusal({"SIZE": "1"}, rcpt=True) == (555, "5.5.4")
