from __future__ import annotations

from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waymail.wire.sasl.cram_md5 import CramMd5Client, cram_md5, digest
from waymail.wire.sasl.mechanism import AuthenticationProtocolError, Challenge, Channel, Failure, ServerExchange, Success

# RFC 2195 §2.
CHALLENGE = b"<1896.697170952@postoffice.reston.mci.net>"
RESPONSE = b"tim b913a602c7eda7a495b4e6e7334d3890"
SECRET = b"the server's secret"
NONCE = "1896.697170952-0"


def exchange(password: str | None = "tanstaaftanstaaf") -> tuple[ServerExchange, bytes]:
    """An exchange that waits for the response to a challenge."""
    server = ServerExchange(
        partial(cram_md5, nonce=NONCE, password={"tim": password}.get, secret=SECRET, channel=Channel(host="mx.example"))
    )
    challenge = server.start(None)
    assert isinstance(challenge, Challenge)
    return server, challenge.data


def test_the_example_of_rfc_2195_comes_out_as_printed() -> None:
    assert CramMd5Client("tim", "tanstaaftanstaaf").step(CHALLENGE) == RESPONSE


def test_the_challenge_has_the_form_of_a_message_id() -> None:
    assert exchange()[1] == b"<1896.697170952-0@mx.example>"


def test_the_right_password_is_accepted() -> None:
    server, challenge = exchange()
    assert server.step(CramMd5Client("tim", "tanstaaftanstaaf").step(challenge)) == Success("tim")


def test_a_user_name_with_spaces_is_one() -> None:
    server = ServerExchange(partial(cram_md5, nonce=NONCE, password=lambda name: f"of {name}", secret=SECRET))
    challenge = server.start(None)
    assert isinstance(challenge, Challenge)
    assert server.step(CramMd5Client("tim of old", "of tim of old").step(challenge.data)) == Success("tim of old")


@pytest.mark.parametrize(
    ("password", "user", "cause"),
    [
        ("another", "tim", "the digest of tim is wrong"),
        (None, "tim", "no user tim with a password for CRAM-MD5"),
        ("tanstaaftanstaaf", "tom", "no user tom with a password for CRAM-MD5"),
        ("\0", "tim", "no user tim with a password for CRAM-MD5"),
    ],
)
def test_a_wrong_password_and_an_unknown_user_fail(password: str | None, user: str, cause: str) -> None:
    server, challenge = exchange(password)
    outcome = server.step(CramMd5Client(user, "tanstaaftanstaaf").step(challenge))
    assert isinstance(outcome, Failure)
    assert cause in outcome.cause
    assert not outcome.malformed


def test_who_knows_what_unknown_users_are_compared_with_gets_in_as_nobody() -> None:
    server, challenge = exchange()
    assert isinstance(server.step(b"tom " + digest(SECRET, challenge).encode()), Failure)


def test_the_answer_to_another_challenge_fails() -> None:
    server, _ = exchange()
    assert server.step(RESPONSE) == Failure("the digest of tim is wrong")


def test_an_initial_response_is_refused_since_the_server_begins() -> None:
    server = ServerExchange(partial(cram_md5, nonce=NONCE, password=lambda _: "x", secret=SECRET))
    outcome = server.start(RESPONSE)
    assert isinstance(outcome, Failure)
    assert outcome.malformed


@pytest.mark.parametrize(
    "response", [b"", b"tim", RESPONSE[4:], RESPONSE[3:], RESPONSE.upper(), RESPONSE + b"0", RESPONSE + b"\n", b"\xff" + RESPONSE]
)
def test_a_response_of_another_form_is_malformed(response: bytes) -> None:
    outcome = exchange()[0].step(response)
    assert isinstance(outcome, Failure)
    assert outcome.malformed


@given(st.binary(max_size=60) | st.binary(max_size=20).map(lambda octets: octets + RESPONSE[3:]))
def test_the_server_never_raises_for_what_a_client_sends(response: bytes) -> None:
    assert isinstance(exchange()[0].step(response), Failure)


def test_the_client_answers_one_challenge() -> None:
    client = CramMd5Client("tim", "x")
    client.initial()
    client.step(CHALLENGE)
    client.succeeded()
    with pytest.raises(AuthenticationProtocolError):
        client.step(CHALLENGE)


def test_the_client_does_not_answer_an_empty_challenge() -> None:
    with pytest.raises(AuthenticationProtocolError):
        CramMd5Client("tim", "x").step(b"")


def test_the_client_refuses_a_success_without_a_challenge() -> None:
    with pytest.raises(AuthenticationProtocolError):
        CramMd5Client("tim", "x").succeeded()


@pytest.mark.parametrize(("user", "password"), [("", "x"), ("tim", ""), ("t\0m", "x"), ("tim", "\0")])
def test_the_client_refuses_what_it_cannot_send(user: str, password: str) -> None:
    with pytest.raises(ValueError, match=r"empty|holds|hold"):
        CramMd5Client(user, password)
