"""OAUTHBEARER and XOAUTH2."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waymail.wire.sasl.bearer import BearerClient
from waymail.wire.sasl.mechanism import (
    AuthenticationProtocolError,
    Challenge,
    Channel,
    Failure,
    NeedsToken,
    ServerExchange,
    Success,
)
from waymail.wire.sasl.saslprep import PreparationProblem
from waymail.wire.sasl.server import Secrets, server_exchange

NOTHING = Secrets(lambda _hash, _user: None, lambda _: None, b"")
NONCE = "0123456789abcdef"

# RFC 7628 §4.1: SMTP; §4.3; §4.4, which writes "user=" for "a=".
TOKEN = "vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg=="
SMTP_EXAMPLE = base64.b64decode(
    "bixhPXVzZXJAZXhhbXBsZS5jb20sAWhvc3Q9c2VydmVyLmV4YW1wbGUuY29tAXBvcnQ9NTg3AWF1dGg9QmVhcmVyIHZGOWRmdDRxbVRjMk52YjNSbGNrQmhi"
    "SFJoZG1semRHRXVZMjl0Q2c9PQEB"
)
EMPTY_EXAMPLE = base64.b64decode("bixhPXVzZXJAZXhhbXBsZS5jb20sAWhvc3Q9c2VydmVyLmV4YW1wbGUuY29tAXBvcnQ9MTQzAWF1dGg9AQE=")
REFUSED_EXAMPLE = base64.b64decode(
    "bix1c2VyPXNvbWV1c2VyQGV4YW1wbGUuY29tLAFhdXRoPUJlYXJlciB2RjlkZnQ0cW1UYzJOdmIzUmxja0JoZEhSaGRtbHpkR0V1WTI5dENnPT0BAQ=="
)
X_MESSAGE = b"user=someuser@example.com\x01auth=Bearer ya29.vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg\x01\x01"


def exchange(name: str = "OAUTHBEARER", channel: Channel | None = None) -> ServerExchange:
    return server_exchange(name, nonce=NONCE, secrets=NOTHING, channel=channel or Channel())


def asked(message: bytes, channel: Channel | None = None) -> tuple[ServerExchange, NeedsToken]:
    server = exchange(channel=channel)
    step = server.start(message)
    assert isinstance(step, NeedsToken)
    return server, step


def refused(server: ServerExchange, step: object, answer: bytes = b"\x01") -> Failure:
    """The end of an exchange whose server has just refused the token."""
    assert isinstance(step, Challenge)
    assert json.loads(step.data)["status"] == "invalid_token"
    outcome = server.step(answer)
    assert isinstance(outcome, Failure)
    return outcome


def message(user: str = "ann@example.org", *pairs: str, authorization: str = "Bearer abc") -> bytes:
    return (
        "n," + (f"a={user}" if user else "") + ",\x01" + "".join(f"{p}\x01" for p in (*pairs, f"auth={authorization}")) + "\x01"
    ).encode()


# --- OAUTHBEARER


def test_the_example_of_rfc_7628_for_smtp_is_understood() -> None:

    server, needed = asked(SMTP_EXAMPLE, Channel(host="server.example.com", port=587))
    assert needed == NeedsToken("user@example.com", "vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==")
    assert server.verified("user@example.com") == Success("user@example.com")


def test_the_example_without_a_token_gets_the_error_and_fails() -> None:
    server = exchange()
    assert "missing" in refused(server, server.start(EMPTY_EXAMPLE)).cause


def test_the_refused_example_gets_the_error_and_fails_although_it_writes_user_for_a() -> None:
    server, needed = asked(REFUSED_EXAMPLE)
    assert needed.user == "someuser@example.com"
    outcome = refused(server, server.verified(None))
    assert not outcome.malformed
    assert outcome.cause == "the token for someuser@example.com was refused"


def test_a_token_that_names_the_user_needs_no_other_name() -> None:
    server, needed = asked(message(""))
    assert needed.user == ""
    assert server.verified("Ann@EXAMPLE.org") == Success("Ann@example.org")


def test_the_token_of_somebody_else_fails() -> None:
    server, _ = asked(message("ann@example.org"))
    assert "token of bob@example.org" in refused(server, server.verified("bob@example.org")).cause


def test_a_user_in_another_spelling_is_the_same() -> None:
    server, needed = asked(message("a=2Cb@EXAMPLE.org"))
    assert needed.user == "a,b@example.org"
    assert server.verified("a,b@Example.org") == Success("a,b@example.org")


def test_without_an_initial_response_an_empty_challenge_asks_for_it() -> None:
    server = exchange()
    assert server.start(None) == Challenge(b"")
    assert isinstance(server.step(message()), NeedsToken)


@pytest.mark.parametrize("pairs", [("host=mx.example",), ("host=MX.example.", "port=587"), ("port=587",), (), ("qs=x", "other=")])
def test_host_and_port_of_this_server_and_unknown_keys_are_accepted(pairs: tuple[str, ...]) -> None:
    assert asked(message("ann", *pairs), Channel(host="mx.example", port=587))[1].user == "ann"


@pytest.mark.parametrize("pair", ["host=other.example", "port=465", "port=587x", "port=0587"])
def test_a_token_meant_for_another_server_is_refused_unseen(pair: str) -> None:
    server = exchange(channel=Channel(host="mx.example", port=587))
    assert "another server" in refused(server, server.start(message("ann", pair))).cause


@pytest.mark.parametrize("authorization", ["bearer abc", "BeArEr  abc", "Bearer a-b.c_d~e+f/g=="])
def test_bearer_may_be_written_in_any_case(authorization: str) -> None:
    assert asked(message(authorization=authorization))[1].token == authorization.split()[1]


@pytest.mark.parametrize("authorization", ["", "Bearer", "Bearer ", "Basic abc", "Bearer a b", "Bearer =", "Bearer a\tb", "abc"])
def test_what_is_no_bearer_token_is_refused_unseen(authorization: str) -> None:
    server = exchange()
    assert "missing" in refused(server, server.start(message(authorization=authorization))).cause


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"\x01",
        b"n,,\x01",
        b"n,,",
        b"n,a=ann\x01auth=Bearer abc\x01\x01",
        b"p=tls-unique,,\x01auth=Bearer abc\x01\x01",
        b"F,n,,\x01auth=Bearer abc\x01\x01",
        b"n,a=,\x01auth=Bearer abc\x01\x01",
        b"n,a=an=n,\x01auth=Bearer abc\x01\x01",
        b"n,,\x01auth=Bearer abc\x01",
        b"n,,\x01auth=Bearer abc\x01\x01\x01",
        b"n,,\x01auth=Bearer abc\x01auth=Bearer def\x01\x01",
        b"n,,\x01=x\x01auth=Bearer abc\x01\x01",
        b"n,,\x01auth=Bearer \xc3\xa9\x01\x01",
        b"n,,\x01auth=Bearer a\0\x01\x01",
        b"n,,\xff\x01auth=Bearer abc\x01\x01",
        message() + b"\n",
    ],
)
def test_a_message_against_the_grammar_is_malformed(octets: bytes) -> None:
    outcome = exchange().start(octets)
    assert isinstance(outcome, Failure)
    assert outcome.malformed


@pytest.mark.parametrize("answer", [b"", b"\x01\x01", b"more"])
def test_whatever_follows_the_error_the_exchange_fails(answer: bytes) -> None:
    server, _ = asked(message())
    outcome = refused(server, server.verified(None), answer)
    assert outcome.malformed
    assert "refused" in outcome.cause


@pytest.mark.parametrize("name", ["OAUTHBEARER", "XOAUTH2"])
def test_a_token_is_not_shown_in_a_log(name: str) -> None:
    assert "s3cr3t" not in repr(NeedsToken("ann", "s3cr3t"))
    server = exchange(name)
    server.start(message(authorization="Bearer s3cr3t") if name == "OAUTHBEARER" else b"user=a\x01auth=Bearer s3cr3t\x01\x01")
    server.verified(None)
    assert "s3cr3t" not in repr(server.step(b""))


@pytest.mark.parametrize("name", ["OAUTHBEARER", "XOAUTH2"])
@given(octets=st.binary(max_size=80))
def test_the_server_never_raises_for_what_a_client_sends(name: str, octets: bytes) -> None:
    assert isinstance(exchange(name).start(octets), Failure | Challenge | NeedsToken)


# --- the turn of the caller


def test_a_response_while_a_token_waits_is_a_mistake_of_the_caller() -> None:
    server, _ = asked(message())
    with pytest.raises(RuntimeError, match="waits for a token"):
        server.step(b"")
    assert isinstance(server.verified("ann@example.org"), Success)


def test_a_verdict_that_nobody_asked_for_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(RuntimeError, match="no token"):
        exchange().verified("ann")
    server, _ = asked(message())
    server.verified(None)
    with pytest.raises(RuntimeError, match="no token"):
        server.verified("ann@example.org")


def test_a_verifier_whose_user_cannot_be_one_lets_nobody_in() -> None:
    server, _ = asked(message(""))
    assert isinstance(server.verified("a\nb"), Failure)


# --- XOAUTH2


def test_xoauth2_asks_for_the_token_of_its_user() -> None:
    server = exchange("XOAUTH2")
    step = server.start(X_MESSAGE)
    assert step == NeedsToken("someuser@example.com", "ya29.vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg")
    assert server.verified("someuser@example.com") == Success("someuser@example.com")


def test_a_refused_token_of_xoauth2_gets_an_error_which_an_empty_response_answers() -> None:
    server = exchange("XOAUTH2")
    server.start(X_MESSAGE)
    step = server.verified(None)
    assert isinstance(step, Challenge)
    assert json.loads(step.data) == {"status": "401", "schemes": "bearer"}
    outcome = server.step(b"")
    assert isinstance(outcome, Failure)
    assert not outcome.malformed


@pytest.mark.parametrize("octets", [b"", b"user=\x01auth=Bearer a\x01\x01", b"auth=Bearer a\x01\x01", X_MESSAGE[:-1], message()])
def test_a_message_of_another_form_is_malformed(octets: bytes) -> None:
    outcome = exchange("XOAUTH2").start(octets)
    assert isinstance(outcome, Failure)
    assert outcome.malformed


# --- the client


def test_the_client_says_what_rfc_7628_prints() -> None:
    channel = Channel(host="server.example.com", port=587)
    client = BearerClient("OAUTHBEARER", "user@example.com", "vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==", channel)
    assert client.initial() == SMTP_EXAMPLE
    client.succeeded()


def test_the_client_of_xoauth2_says_what_google_prints() -> None:
    assert BearerClient("XOAUTH2", "someuser@example.com", "ya29.vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg").initial() == X_MESSAGE


def test_without_host_and_user_the_client_sends_the_token_alone() -> None:
    assert BearerClient("OAUTHBEARER", "", "abc").initial() == b"n,,\x01auth=Bearer abc\x01\x01"
    assert BearerClient("OAUTHBEARER", "a,b", "abc").initial() == b"n,a=a=2Cb,\x01auth=Bearer abc\x01\x01"


@pytest.mark.parametrize(("name", "answer"), [("OAUTHBEARER", b"\x01"), ("XOAUTH2", b"")])
def test_the_client_answers_the_error_and_believes_no_success_after_it(name: str, answer: bytes) -> None:
    client = BearerClient(name, "ann", "abc")
    assert client.step(b'{"status":"invalid_token"}') == answer
    assert client.error == '{"status":"invalid_token"}'
    with pytest.raises(AuthenticationProtocolError, match="refused"):
        client.succeeded()
    with pytest.raises(AuthenticationProtocolError):
        client.step(b"{}")


def test_the_client_sends_a_long_message_when_it_is_asked_for_it_once() -> None:
    client = BearerClient("OAUTHBEARER", "ann", "a" * 4000)
    assert client.step(b"") == client.initial()
    with pytest.raises(AuthenticationProtocolError):
        client.step(b"")


def test_an_error_that_is_no_text_is_one_all_the_same() -> None:
    client = BearerClient("XOAUTH2", "ann", "abc")
    assert client.step(b"\xff") == b""
    assert client.error


@pytest.mark.parametrize("token", ["", "a b", "a\x01auth=x", "a\r\nb", "é", "=", "Bearer abc"])
def test_the_client_refuses_what_is_no_token(token: str) -> None:
    with pytest.raises(ValueError, match="bearer token"):
        BearerClient("OAUTHBEARER", "ann", token)


@pytest.mark.parametrize(("name", "user"), [("XOAUTH2", ""), ("XOAUTH2", "a\x01b"), ("OAUTHBEARER", "a\x01b")])
def test_the_client_refuses_a_user_that_cannot_be_one(name: str, user: str) -> None:
    with pytest.raises(PreparationProblem):
        BearerClient(name, user, "abc")
