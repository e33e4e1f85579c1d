"""ETRN, XCLIENT, XFORWARD, LIMITS and the parameters of extensions, seen from the server."""

from __future__ import annotations

from dataclasses import replace

import pytest

from waymail.testing.shell import NO, OK, Shell
from waymail.wire import Auth, Offer, ServerConnection, State, WireLimits
from waymail.wire.commands import Etrn, XClient, XForward
from waymail.wire.extensions import EVERYWHERE, TO_SOME

EHLO = b"EHLO client.example\r\n"
MAIL = b"MAIL FROM:<a@example.org>\r\n"
RCPT = b"RCPT TO:<b@example.org>\r\n"
ALL = Offer(
    "mail.example", starttls=True, auth=("PLAIN", "LOGIN"), extensions=EVERYWHERE | TO_SOME, limits=WireLimits(hold=86_400)
)
NONE = Offer("mail.example")

# --- ETRN (RFC 1985) ---


def test_etrn_is_reported_outside_of_a_transaction_and_refused_with_503_in_one() -> None:
    shell = Shell(ALL)
    assert shell.say(b"ETRN example.org\r\n", EHLO, b"ETRN example.org\r\n", b"etrn @example.org\r\n", MAIL, b"ETRN x\r\n") == [
        "503 5.5.1",
        "250",
        "250 2.0.0",
        "250 2.0.0",
        "250 2.0.0",
        "503 5.5.1",
    ]
    assert shell.events[2:4] == [Etrn("example.org"), Etrn("example.org", below=True)]


def test_etrn_where_it_is_not_offered_is_502() -> None:
    assert Shell(NONE).say(EHLO, b"ETRN example.org\r\n")[-1] == "502 5.5.1"


@pytest.mark.parametrize(
    "argument", [b"", b" ", b" a b", b" #queue", b" @", b" a@b", b" [192.0.2.1]", b" -", b" \xc3\xa9.example"]
)
def test_etrn_takes_one_domain(argument: bytes) -> None:
    assert Shell(ALL).say(EHLO, b"ETRN" + argument + b"\r\n")[-1] == "501 5.5.4"


# --- XCLIENT and XFORWARD ---


def test_xclient_that_is_accepted_leads_back_to_the_start_and_forgets_hello_and_authentication() -> None:
    shell = Shell(ALL, secure=True)
    shell.say(EHLO, b"AUTH PLAIN AGEAYg==\r\n", b"XCLIENT ADDR=192.0.2.1 name=a.example LOGIN=j+20x HELO=[UNAVAILABLE]\r\n")
    assert shell.events[-1] == XClient({"ADDR": "192.0.2.1", "NAME": "a.example", "LOGIN": "j x", "HELO": None})
    assert (shell.core.state, shell.core.hello, shell.core.authenticated) == (State.START, None, False)
    assert shell.say(MAIL, EHLO, MAIL) == ["503 5.5.1", "250", "250 2.0.0"]


def test_xclient_that_is_refused_changes_nothing() -> None:
    core = ServerConnection(ALL)
    for line, reply in ((EHLO, OK), (b"XCLIENT ADDR=192.0.2.1\r\n", NO)):
        core.receive(line)
        core.send(reply)
    assert (core.state, core.hello is not None) == (State.READY, True)


def test_xforward_changes_nothing() -> None:
    shell = Shell(ALL)
    assert shell.say(EHLO, b"XFORWARD NAME=x ADDR=[TEMPUNAVAIL] SOURCE=LOCAL\r\n", MAIL)[1:] == ["250 2.0.0", "250 2.0.0"]
    assert shell.events[1] == XForward({"NAME": "x", "ADDR": None, "SOURCE": "LOCAL"})


@pytest.mark.parametrize("line", [b"XCLIENT NAME=x\r\n", b"XFORWARD NAME=x\r\n"])
def test_both_are_refused_in_a_transaction_and_where_they_are_not_offered(line: bytes) -> None:
    assert Shell(ALL).say(EHLO, MAIL, line)[-1] == "503 5.5.1"
    assert Shell(NONE).say(EHLO, line)[-1] == "502 5.5.1"


@pytest.mark.parametrize(
    "argument",
    [
        b"",
        b" NAME",
        b" NAME=a=b",
        b" NAME=a  ADDR=b",
        b" NAME=+2",
        b" NAME=a\tADDR=b",
        b" NAME=a\xa0ADDR=b",
        b" =a",
        b" NAME=\xc3\xa9",
    ],
)
@pytest.mark.parametrize("verb", [b"XCLIENT", b"XFORWARD"])
def test_attributes_are_names_and_xtext(verb: bytes, argument: bytes) -> None:
    assert Shell(ALL).say(EHLO, verb + argument + b"\r\n")[-1] == "501 5.5.4"


@pytest.mark.parametrize("value", [b"a+0D+0Ab", b"+00", b"+7F", b"a+0Ab", b"+C2+85", b"+E2+80+A8", b"+E9"])
def test_no_line_end_or_control_character_comes_in_by_an_attribute(value: bytes) -> None:
    assert Shell(ALL).say(EHLO, b"XCLIENT LOGIN=" + value + b"\r\n", b"XFORWARD HELO=" + value + b"\r\n")[1:] == ["501 5.5.4"] * 2


def test_attributes_that_are_not_offered_are_refused() -> None:
    assert Shell(ALL).say(EHLO, b"XCLIENT IDENT=x\r\n", b"XFORWARD LOGIN=x\r\n", b"XFORWARD IDENT=x\r\n")[1:] == [
        "501 5.5.4",
        "501 5.5.4",
        "250 2.0.0",
    ]


# --- LIMITS (RFC 9422) ---


def test_limits_says_what_holds() -> None:
    shell = Shell(replace(ALL, limits=WireLimits(recipients=7, transactions=2)))
    shell.say(EHLO)
    assert b"LIMITS RCPTMAX=7 MAILMAX=2" in shell.sent
    shell = Shell(replace(ALL, limits=WireLimits(recipients=7)))
    shell.say(EHLO)
    assert b"LIMITS RCPTMAX=7\r\n" in shell.sent


def test_more_messages_than_mailmax_get_452_and_those_that_were_refused_do_not_count() -> None:
    shell = Shell(Offer("mail.example", limits=WireLimits(transactions=2)))
    assert shell.say(EHLO, MAIL, b"RSET\r\n", b"MAIL FROM:<a>\r\n", MAIL, RCPT, b"DATA\r\n", b".\r\n", MAIL, b"NOOP\r\n")[1:] == [
        "250 2.0.0",
        "250 2.0.0",
        "501 5.1.7",
        "250 2.0.0",
        "250 2.0.0",
        "354",
        "250 2.0.0",
        "452 4.5.3",
        "250 2.0.0",
    ]


# --- what is offered in which state ---


def test_requiretls_is_offered_and_taken_inside_tls_only() -> None:
    line = b"MAIL FROM:<a@b> REQUIRETLS\r\n"
    clear, secure = Shell(ALL), Shell(ALL, secure=True)
    assert clear.say(EHLO) == ["250"]
    assert b"REQUIRETLS" not in clear.sent
    assert clear.say(line) == ["530 5.7.10"]
    secure.say(EHLO)
    assert b"REQUIRETLS" in secure.sent
    assert secure.say(b"MAIL FROM:<a@b> REQUIRETLS=1\r\n", line) == ["501 5.5.4", "250 2.0.0"]


def test_futurerelease_says_how_long_and_until_when() -> None:
    core = ServerConnection(ALL)
    (hello,) = core.receive(EHLO)
    lines = core.hello_reply(hello, now=1_800_000_000.9).text.split("\n")  # type: ignore[arg-type]
    assert "FUTURERELEASE 86400 2027-01-16T08:00:00Z" in lines


def test_holdfor_and_holduntil_together_are_refused_with_501() -> None:
    line = b"MAIL FROM:<a@b> HOLDFOR=10 HOLDUNTIL=2027-01-01T00:00:00Z\r\n"
    assert Shell(ALL).say(EHLO, line, b"MAIL FROM:<a@b> HOLDFOR=10\r\n")[1:] == ["501 5.5.4", "250 2.0.0"]


PARAMETERS = [
    *[b"RET=HDRS", b"ENVID=x", b"SMTPUTF8", b"BODY=BINARYMIME", b"HOLDFOR=1", b"HOLDUNTIL=2027-01-01T00:00:00Z", b"BY=1;R"],
    *[b"MT-PRIORITY=1", b"REQUIRETLS", b"AUTH=<>"],
]


@pytest.mark.parametrize("parameter", PARAMETERS)
def test_a_parameter_of_mail_is_taken_where_it_is_offered_and_refused_elsewhere(parameter: bytes) -> None:
    line = b"MAIL FROM:<a@b> %s\r\n" % parameter
    assert Shell(ALL, secure=True).say(EHLO, line)[-1] == "250 2.0.0"
    assert Shell(NONE, secure=True).say(EHLO, line)[-1] == ("501 5.5.4" if b"BODY" in parameter else "555 5.5.4")
    assert Shell(ALL, secure=True).say(b"HELO x\r\n", line)[-1] == "555 5.5.4"


@pytest.mark.parametrize("parameter", [b"NOTIFY=NEVER", b"ORCPT=rfc822;b@c"])
def test_a_parameter_of_rcpt_is_taken_where_it_is_offered_and_refused_elsewhere(parameter: bytes) -> None:
    line = b"RCPT TO:<b@c> %s\r\n" % parameter
    assert Shell(ALL).say(EHLO, MAIL, line)[-1] == "250 2.0.0"
    assert Shell(NONE).say(EHLO, MAIL, line)[-1] == "555 5.5.4"
    assert Shell(ALL).say(EHLO, b"MAIL FROM:<a@b> %s\r\n" % parameter)[-1] == "555 5.5.4"


def test_a_parameter_that_comes_twice_is_refused_with_501() -> None:
    said = (b"MAIL FROM:<a@b> RET=HDRS ret=FULL\r\n", MAIL, b"RCPT TO:<a@b> NOTIFY=NEVER NOTIFY=NEVER\r\n")
    assert Shell(ALL).say(EHLO, *said)[1:] == ["501 5.5.4", "250 2.0.0", "501 5.5.4"]


def test_a_refused_recipient_parameter_counts_as_a_refused_recipient() -> None:
    assert Shell(ALL).say(EHLO, MAIL, b"RCPT TO:<a@b> NOTIFY=X\r\n", b"DATA\r\n")[2:] == ["501 5.5.4", "554 5.5.1"]


# --- AUTH with a long initial response (RFC 4954 §4) ---


def test_auth_takes_an_initial_response_of_12000_octets_in_one_line() -> None:
    shell = Shell(ALL, secure=True)
    shell.say(EHLO)
    assert shell.say(b"AUTH PLAIN " + b"QUFB" * 3000 + b"\r\n") == ["235 2.7.0"]
    assert shell.events[-1] == Auth("PLAIN", b"AAA" * 3000)


def test_a_long_line_is_taken_for_auth_alone_and_where_auth_may_stand() -> None:
    long = b"A" * 3000 + b"\r\n"
    assert Shell(ALL, secure=True).say(EHLO, b"NOOP " + long, b"NOOP\r\n")[1:] == ["500 5.5.2", "250 2.0.0"]
    assert Shell(ALL).say(EHLO, b"AUTH PLAIN " + long)[1:] == ["500 5.5.2"]
    assert Shell(ALL, secure=True).say(EHLO, b"AUTH PLAIN " + b"A" * 12_288 + b"\r\n", b"NOOP\r\n")[1:] == [
        "500 5.5.2",
        "250 2.0.0",
    ]
