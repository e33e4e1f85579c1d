"""What is offered, and what it adds to MAIL and RCPT."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from waymail.wire.errors import SyntaxProblem
from waymail.wire.extensions import check_rcpt_parameters, checked_mail_parameters, offered, parse_offered
from waymail.wire.replies import Reply


def checked(parameters: Mapping[str, str | None], *, extended: bool = True, auth: bool = True) -> Mapping[str, str | None]:
    return checked_mail_parameters(parameters, extended=extended, message_size=1000, auth=auth)


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"SIZE": "0"},
        {"SIZE": "1000"},
        {"BODY": "7BIT"},
        {"SIZE": "1", "BODY": "8BITMIME"},
        {"AUTH": "<>"},
        {"AUTH": "e+3Dmc2@example.com"},
    ],
)
def test_known_parameters_pass_unchanged(parameters: Mapping[str, str | None]) -> None:
    assert checked(parameters) is parameters


def test_the_value_of_body_is_known_in_any_case_and_comes_out_in_upper_case() -> None:
    assert checked({"SIZE": "1", "BODY": "8bitmime"}) == {"SIZE": "1", "BODY": "8BITMIME"}


@pytest.mark.parametrize(
    ("parameters", "code", "enhanced"),
    [
        ({"SIZE": "1001"}, 552, "5.3.4"),
        ({"SIZE": "9" * 20}, 552, "5.3.4"),
        ({"SIZE": "9" * 21}, 501, "5.5.4"),
        ({"SIZE": None}, 501, "5.5.4"),
        ({"SIZE": "-1"}, 501, "5.5.4"),
        ({"SIZE": "1k"}, 501, "5.5.4"),
        ({"BODY": None}, 501, "5.5.4"),
        ({"BODY": "BINARYMIME"}, 501, "5.5.4"),
        ({"AUTH": None}, 501, "5.5.4"),
        ({"AUTH": "ann"}, 501, "5.5.4"),
        ({"AUTH": "ann@example.org+0A"}, 501, "5.5.4"),
        ({"AUTH": "+2"}, 501, "5.5.4"),
        ({"SMTPUTF8": None}, 555, "5.5.4"),
        ({"SIZE": "1", "RET": "HDRS"}, 555, "5.5.4"),
    ],
)
def test_a_bad_parameter_of_mail_is_refused(parameters: Mapping[str, str | None], code: int, enhanced: str) -> None:
    with pytest.raises(SyntaxProblem) as caught:
        checked(parameters)
    assert (caught.value.reply.code, caught.value.reply.enhanced) == (code, enhanced)


def test_parameters_after_helo_are_refused_with_555() -> None:
    with pytest.raises(SyntaxProblem) as caught:
        checked({"SIZE": "1"}, extended=False)
    assert caught.value.reply.code == 555
    assert checked({}, extended=False) == {}


def test_the_auth_parameter_is_unknown_where_auth_is_not_offered() -> None:
    with pytest.raises(SyntaxProblem) as caught:
        checked({"AUTH": "<>"}, auth=False)
    assert caught.value.reply.code == 555


def test_no_parameter_of_rcpt_is_known() -> None:
    check_rcpt_parameters({})
    with pytest.raises(SyntaxProblem) as caught:
        check_rcpt_parameters({"NOTIFY": "NEVER"})
    assert (caught.value.reply.code, caught.value.reply.enhanced) == (555, "5.5.4")


def test_what_a_server_offers_a_client_reads() -> None:
    lines = offered(message_size=5, starttls=True, auth=("PLAIN", "LOGIN"))
    assert parse_offered(Reply(250, "\n".join(("mail.example hello", *lines)))) == {
        "PIPELINING": "",
        "SIZE": "5",
        "8BITMIME": "",
        "ENHANCEDSTATUSCODES": "",
        "HELP": "",
        "STARTTLS": "",
        "AUTH": "PLAIN LOGIN",
    }


def test_keywords_are_read_in_any_case_and_lines_that_are_none_are_passed_over() -> None:
    reply = Reply(250, "SIZE 1\nsize 2\n\n-x\né\nAuth=LOGIN PLAIN\n8bitmime ")
    assert parse_offered(reply) == {"SIZE": "2", "8BITMIME": "", "AUTH": "LOGIN PLAIN"}


def test_the_old_form_of_auth_gives_way_to_the_proper_one() -> None:
    assert parse_offered(Reply(250, "x\nAUTH=LOGIN\nAUTH PLAIN"))["AUTH"] == "PLAIN"
