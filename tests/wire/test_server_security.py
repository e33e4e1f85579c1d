"""STARTTLS and AUTH, seen from the server."""

from __future__ import annotations

import base64
from dataclasses import replace

import pytest

from waymail.testing.shell import OK, Shell
from waymail.wire import Auth, AuthResponse, Mail, Offer, Reply, ServerConnection, State

HOST = "mail.example"
EHLO = b"EHLO client.example\r\n"
MAIL = b"MAIL FROM:<a@example.org>\r\n"
FULL = Offer(HOST, starttls=True, auth=("PLAIN", "LOGIN"))


class Session(Shell):
    def __init__(self, offer: Offer = FULL, *, secure: bool = False) -> None:
        super().__init__(offer, secure=secure)


# --- STARTTLS (RFC 3207) ---


def test_what_came_behind_starttls_is_never_run() -> None:
    session = Session()
    session.say(EHLO)
    assert session.say(b"STARTTLS\r\nRSET\r\nMAIL FROM:<evil@x>\r\n", b"NOOP\r\n") == ["220 2.0.0"]
    assert (session.core.state, session.core.buffered) == (State.TLS, 0)
    session.core.tls_started()
    assert session.core.buffered == 0
    assert session.say(b"NOOP\r\n") == ["250 2.0.0"]
    assert len(session.events) == 3


def test_after_tls_all_earlier_state_is_gone_and_mail_needs_a_new_ehlo() -> None:
    session = Session()
    session.say(EHLO, b"STARTTLS\r\n")
    session.core.tls_started()
    assert (session.core.state, session.core.secure, session.core.hello) == (State.START, True, None)
    assert session.say(MAIL) == ["503 5.5.1"]


def test_second_starttls_is_refused_with_503() -> None:
    session = Session()
    session.say(EHLO, b"STARTTLS\r\n")
    session.core.tls_started()
    assert session.say(EHLO, b"STARTTLS\r\n") == ["250", "503 5.5.1"]


def test_starttls_with_an_argument_is_501_and_where_it_is_not_offered_502() -> None:
    assert Session().say(EHLO, b"STARTTLS now\r\n", MAIL)[1:] == ["501 5.5.4", "250 2.0.0"]
    assert Session(Offer(HOST)).say(EHLO, b"STARTTLS\r\n")[1:] == ["502 5.5.1"]


def test_starttls_answered_by_454_leaves_the_session_as_it_was() -> None:
    core = ServerConnection(FULL)
    core.receive(EHLO)
    core.send(OK)
    core.receive(b"STARTTLS\r\n")
    core.send(Reply(454, "not now", "4.7.0"))
    assert core.receive(MAIL) == [Mail("a@example.org")]


# --- AUTH (RFC 4954) ---


def test_auth_on_cleartext_is_refused_with_538() -> None:
    session = Session()
    assert session.say(EHLO, b"AUTH PLAIN AGEAYg==\r\n")[1:] == ["538 5.7.11"]
    assert not session.core.authenticated


def test_auth_on_cleartext_is_taken_where_that_is_said_in_the_offer() -> None:
    session = Session(replace(FULL, auth_in_clear=True))
    assert session.say(EHLO, b"AUTH PLAIN AGEAYg==\r\n")[1:] == ["235 2.7.0"]
    assert b"AUTH PLAIN LOGIN" in session.sent
    assert session.say(b"MAIL FROM:<a@example.org> AUTH=<>\r\n") == ["250 2.0.0"]


@pytest.mark.parametrize(
    ("line", "code"),
    [(b"AUTH CRAM-MD5\r\n", "504 5.5.4"), (b"AUTH PLAIN !!\r\n", "501 5.5.2"), (b"AUTH\r\n", "501 5.5.4")],
)
def test_a_bad_auth_is_refused(line: bytes, code: str) -> None:
    assert Session(secure=True).say(EHLO, line)[1:] == [code]


def test_auth_where_it_is_not_offered_is_refused_with_502() -> None:
    assert Session(Offer(HOST), secure=True).say(EHLO, b"AUTH PLAIN\r\n")[1:] == ["502 5.5.1"]


def test_auth_before_ehlo_is_refused_with_503() -> None:
    assert Session(secure=True).say(b"AUTH PLAIN\r\n") == ["503 5.5.1"]


def test_a_second_auth_is_refused_with_503() -> None:
    session = Session(secure=True)
    assert session.say(EHLO, b"AUTH PLAIN AGEAYg==\r\n", b"AUTH PLAIN AGEAYg==\r\n")[1:] == ["235 2.7.0", "503 5.5.1"]
    assert session.core.authenticated


def test_an_equals_sign_is_an_empty_initial_response() -> None:
    session = Session(secure=True)
    session.say(EHLO, b"AUTH PLAIN =\r\n")
    assert session.events[-1] == Auth("PLAIN", b"")


def test_in_an_exchange_lines_are_responses() -> None:
    session = Session(secure=True)
    assert session.say(EHLO, b"AUTH LOGIN\r\n", base64.b64encode(b"QUIT") + b"\r\n", b"NOOP\r\n")[1:] == [
        "334",
        "235 2.7.0",
        "250 2.0.0",
    ]
    assert session.events[2] == AuthResponse(b"QUIT")


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"*", "501 5.7.0"),
        (b"QUIT!", "501 5.5.2"),
        (b"=", "501 5.5.2"),
        (b"AA=A", "501 5.5.2"),
        (b"A\nA=", "501 5.5.2"),
        (b"A" * 12_288, "500 5.5.6"),
    ],
)
def test_a_bad_response_ends_the_exchange(line: bytes, code: str) -> None:
    session = Session(secure=True)
    assert session.say(EHLO, b"AUTH LOGIN\r\n", line + b"\r\n", b"NOOP\r\n")[2:] == [code, "250 2.0.0"]
    assert (session.core.state, session.core.authenticated) == (State.READY, False)


def test_a_response_may_have_12288_octets_and_may_be_empty() -> None:
    session = Session(secure=True)
    session.say(EHLO, b"AUTH LOGIN\r\n", b"A" * 12_284 + b"\r\n")
    assert session.events[-1] == AuthResponse(bytes(9213))
    session = Session(secure=True)
    session.say(EHLO, b"AUTH LOGIN\r\n", b"\r\n")
    assert session.events[-1] == AuthResponse(b"")
