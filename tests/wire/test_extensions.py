"""What is offered, and what a client reads of it."""

from __future__ import annotations

import pytest

from waymail.wire.extensions import EVERYWHERE, TO_SOME, offered, parse_offered
from waymail.wire.limits import WireLimits
from waymail.wire.replies import Reply

LIMITS = WireLimits(message_size=5, recipients=7, hold=60)
ALWAYS = {"PIPELINING": "", "SIZE": "5", "8BITMIME": "", "ENHANCEDSTATUSCODES": "", "HELP": ""}


def lines(names: frozenset[str], *, secure: bool = True, starttls: bool = False, auth: tuple[str, ...] = ()) -> tuple[str, ...]:
    return offered(names, LIMITS, secure=secure, starttls=starttls, auth=auth, now=0.0)


def test_what_a_server_offers_a_client_reads() -> None:
    said = lines(frozenset(), starttls=True, auth=("PLAIN", "LOGIN"))
    assert parse_offered(Reply(250, "\n".join(("mail.example hello", *said)))) == {
        **ALWAYS,
        "STARTTLS": "",
        "AUTH": "PLAIN LOGIN",
    }


def test_all_that_there_is_is_offered_by_name_and_with_its_limits() -> None:
    said = lines(EVERYWHERE | TO_SOME)
    assert parse_offered(Reply(250, "\n".join(("mail.example hello", *said)))) == {
        **ALWAYS,
        **dict.fromkeys(("CHUNKING", "BINARYMIME", "SMTPUTF8", "DSN", "DELIVERBY", "MT-PRIORITY", "ETRN", "REQUIRETLS"), ""),
        "FUTURERELEASE": "60 1970-01-01T00:01:00Z",
        "LIMITS": "RCPTMAX=7",
        "XCLIENT": "NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT",
        "XFORWARD": "NAME ADDR PORT PROTO HELO IDENT SOURCE",
    }


@pytest.mark.parametrize("name", sorted(EVERYWHERE | TO_SOME))
def test_each_extension_is_offered_alone_by_one_line(name: str) -> None:
    (line,) = set(lines(frozenset({name}))) - set(lines(frozenset()))
    assert line.split()[0] == name


def test_requiretls_is_not_offered_in_clear() -> None:
    assert "REQUIRETLS" not in lines(EVERYWHERE, secure=False)


def test_keywords_are_read_in_any_case_and_lines_that_are_none_are_passed_over() -> None:
    reply = Reply(250, "SIZE 1\nsize 2\n\n-x\né\nAuth=LOGIN PLAIN\n8bitmime ")
    assert parse_offered(reply) == {"SIZE": "2", "8BITMIME": "", "AUTH": "LOGIN PLAIN"}


def test_the_old_form_of_auth_gives_way_to_the_proper_one() -> None:
    assert parse_offered(Reply(250, "x\nAUTH=LOGIN\nAUTH PLAIN"))["AUTH"] == "PLAIN"
