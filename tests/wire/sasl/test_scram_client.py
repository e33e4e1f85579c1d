"""The client's side of SCRAM."""

from __future__ import annotations

import base64
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.wire.sasl.scram_vectors import NONCE_OF_TESTS, RFC_7677, VECTORS, Vector

from waymail.wire.sasl.mechanism import AuthenticationProtocolError, Channel
from waymail.wire.sasl.saslprep import PreparationProblem
from waymail.wire.sasl.scram_client import ScramClient, binding_type
from waymail.wire.sasl.scram_keys import MAX_ITERATIONS

CLIENT_NONCE, CLIENT_FIRST, CLIENT_FINAL = RFC_7677.client_nonce, RFC_7677.client_first, RFC_7677.client_final
SERVER_FIRST, SERVER_FINAL = RFC_7677.server_first, RFC_7677.server_final
BOUND = Channel({"tls-unique": b"finished", "tls-server-end-point": b"hash"}, offers_plus=True)


def client() -> ScramClient:
    return ScramClient("user", "pencil", CLIENT_NONCE)


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector.name)
def test_the_client_says_what_the_rfc_prints(vector: Vector) -> None:
    mechanism = ScramClient("user", "pencil", vector.client_nonce, name=vector.name)
    assert mechanism.name == vector.name
    assert mechanism.initial() == vector.client_first
    assert mechanism.step(vector.server_first) == vector.client_final
    assert mechanism.step(vector.server_final) == b""
    mechanism.succeeded()


def test_the_client_answers_an_empty_challenge_with_its_first_message() -> None:
    mechanism = client()
    assert mechanism.step(b"") == CLIENT_FIRST
    assert mechanism.step(SERVER_FIRST) == CLIENT_FINAL


@pytest.mark.parametrize(
    "challenge",
    [
        SERVER_FIRST.replace(b"r=rO", b"r=xO"),
        b"r=rOprNGfwEbeRWgbNEkqO,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
        SERVER_FIRST.replace(b"i=4096", b"i=4095"),
        SERVER_FIRST.replace(b"i=4096", b"i=%d" % (MAX_ITERATIONS + 1)),
        SERVER_FIRST.replace(b"i=4096", b"i=0"),
        SERVER_FIRST.replace(b"i=4096", b"i=-4096"),
        SERVER_FIRST.replace(b"i=4096", b"i=" + b"9" * 5000),
        SERVER_FIRST.replace(b"s=W22ZaJ0SNY7soEsUEjb6gQ==", b"s="),
        SERVER_FIRST.replace(b"s=W22ZaJ0SNY7soEsUEjb6gQ==", b"s=W22Za"),
        SERVER_FIRST.replace(b",i=4096", b""),
        b"m=critical," + SERVER_FIRST,
        SERVER_FIRST + b",m=critical",
        SERVER_FIRST + b"\n",
        SERVER_FIRST + b"\xff",
        b"e=other-error",
    ],
)
def test_the_client_refuses_a_first_challenge_that_it_cannot_trust(challenge: bytes) -> None:
    mechanism = client()
    mechanism.initial()
    with pytest.raises(AuthenticationProtocolError):
        mechanism.step(challenge)


@pytest.mark.parametrize(
    "challenge",
    [
        b"",
        b"v=",
        b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95H4=",
        b"v=AAAA",
        b"v=A",
        b"v=" + base64.b64encode(bytes(32)),
        SERVER_FINAL + b",m=x",
        SERVER_FIRST,
    ],
)
def test_the_client_refuses_a_server_without_the_right_signature(challenge: bytes) -> None:
    mechanism = client()
    mechanism.step(SERVER_FIRST)
    with pytest.raises(AuthenticationProtocolError):
        mechanism.step(challenge)
    with pytest.raises(AuthenticationProtocolError):
        mechanism.succeeded()


def test_the_client_refuses_a_success_without_the_server_s_proof() -> None:
    mechanism = client()
    mechanism.initial()
    with pytest.raises(AuthenticationProtocolError):
        mechanism.succeeded()
    mechanism.step(SERVER_FIRST)
    with pytest.raises(AuthenticationProtocolError):
        mechanism.succeeded()


def test_an_error_of_the_server_is_no_proof() -> None:
    mechanism = client()
    mechanism.step(SERVER_FIRST)
    assert mechanism.step(b"e=invalid-proof") == b""
    with pytest.raises(AuthenticationProtocolError):
        mechanism.succeeded()


def test_the_client_refuses_a_challenge_after_the_last() -> None:
    mechanism = client()
    mechanism.step(SERVER_FIRST)
    mechanism.step(SERVER_FINAL)
    with pytest.raises(AuthenticationProtocolError):
        mechanism.step(SERVER_FINAL)


def test_the_client_prepares_and_escapes_the_user_name() -> None:
    assert ScramClient("a,b=c\u00ad", "pencil", CLIENT_NONCE).initial() == b"n,,n=a=2Cb=3Dc,r=rOprNGfwEbeRWgbNEkqO"


@pytest.mark.parametrize(("user", "password"), [("", "pencil"), ("user", ""), ("us\ner", "pencil"), ("user", "pen\0cil")])
def test_the_client_refuses_what_cannot_be_prepared(user: str, password: str) -> None:
    with pytest.raises(PreparationProblem):
        ScramClient(user, password, CLIENT_NONCE)


@pytest.mark.parametrize("nonce", ["short", "a comma, and so on", "umlaut-äöü-umlaut-äöü"])
def test_a_bad_nonce_is_a_mistake_of_the_caller(nonce: str) -> None:
    with pytest.raises(ValueError, match="nonce"):
        ScramClient("user", "pencil", nonce)


# --- channel binding (RFC 5802 §6)


def header(name: str, channel: Channel) -> bytes:
    return ScramClient("user", "pencil", NONCE_OF_TESTS, name=name, channel=channel).initial().partition(b"n=user")[0]


def test_plus_binds_to_the_certificate_rather_than_to_what_may_not_be_unique() -> None:
    assert header("SCRAM-SHA-256-PLUS", BOUND) == b"p=tls-server-end-point,,"


def test_plus_binds_to_keys_exported_from_tls_where_there_are_some() -> None:
    assert binding_type({"tls-unique": b"1", "tls-server-end-point": b"2", "tls-exporter": b"3"}) == "tls-exporter"


def test_tls_unique_is_used_where_there_is_nothing_else() -> None:
    assert header("SCRAM-SHA-1-PLUS", replace(BOUND, bindings={"tls-unique": b"finished"})) == b"p=tls-unique,,"


def test_the_second_message_holds_header_and_binding() -> None:
    mechanism = ScramClient("user", "pencil", CLIENT_NONCE, name="SCRAM-SHA-256-PLUS", channel=BOUND)
    final = mechanism.step(SERVER_FIRST)
    assert base64.b64decode(final[2:].partition(b",")[0]) == b"p=tls-server-end-point,,hash"


def test_a_client_that_sees_no_offer_of_plus_says_that_it_would_have_bound() -> None:
    assert header("SCRAM-SHA-256", replace(BOUND, offers_plus=False)) == b"y,,"


def test_a_client_that_was_told_to_do_without_plus_does_not_say_that_there_was_no_offer() -> None:
    assert header("SCRAM-SHA-256", BOUND) == b"n,,"


@pytest.mark.parametrize("offers_plus", [True, False])
def test_a_client_that_cannot_bind_says_so(offers_plus: bool) -> None:
    assert header("SCRAM-SHA-256", Channel(offers_plus=offers_plus)) == b"n,,"


@pytest.mark.parametrize("bindings", [{}, {"tls-unique-for-telnet": b"x"}])
def test_plus_with_nothing_to_bind_to_is_refused(bindings: dict[str, bytes]) -> None:
    with pytest.raises(ValueError, match="channel binding"):
        ScramClient("user", "pencil", NONCE_OF_TESTS, name="SCRAM-SHA-256-PLUS", channel=Channel(bindings))


@given(st.lists(st.binary(max_size=100) | st.sampled_from([SERVER_FINAL, b"e=x", b""]), max_size=4))
def test_no_server_makes_the_client_raise_anything_but_the_documented(challenges: list[bytes]) -> None:
    mechanism = client()
    try:
        for challenge in challenges:
            mechanism.step(challenge)
        mechanism.succeeded()
    except AuthenticationProtocolError:
        return
    raise AssertionError("it believed a server that knew nothing")
