from __future__ import annotations

import base64
import hashlib
import hmac
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from waymail.wire.sasl.mechanism import AuthenticationProtocolError, Challenge, Failure, ServerExchange, Success
from waymail.wire.sasl.saslprep import PreparationProblem
from waymail.wire.sasl.scram import MAX_ITERATIONS, ScramClient, ScramKeys, scram, unknown_user_keys

# RFC 7677 §3.
CLIENT_NONCE = "rOprNGfwEbeRWgbNEkqO"
SERVER_NONCE = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
SALT = base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
CLIENT_FIRST = b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
SERVER_FIRST = b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
CLIENT_FINAL = b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
SERVER_FINAL = b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="

SECRET = b"the server's secret"
KEYS = ScramKeys.derive("pencil", SALT, 4096)


def exchange(users: dict[str, ScramKeys] | None = None, nonce: str = SERVER_NONCE) -> ServerExchange:
    known = {"user": KEYS} if users is None else users
    return ServerExchange(partial(scram, nonce=nonce, keys=known.get, secret=SECRET))


def final_for(first: bytes, challenge: bytes, keys_of: str = "pencil", *, binding: bytes | None = None, extra: str = "") -> bytes:
    """A client's second message, computed here by RFC 5802 §3 with what the test wants to be wrong."""
    nonce, salt, iterations = (part[2:] for part in challenge.decode().split(",")[:3])
    bare = first.decode().split(",", 2)[2]
    gs2 = first[: len(first) - len(bare.encode())] if binding is None else binding
    unproved = f"c={base64.b64encode(gs2).decode()},r={nonce}{extra}"
    message = f"{bare},{challenge.decode()},{unproved}".encode()
    salted = hashlib.pbkdf2_hmac("sha256", keys_of.encode(), base64.b64decode(salt), int(iterations))
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    signature = hmac.digest(hashlib.sha256(client_key).digest(), message, "sha256")
    proof = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
    return f"{unproved},p={base64.b64encode(proof).decode()}".encode()


def log_in(first: bytes, **wrong: object) -> object:
    server = exchange()
    challenge = server.start(first)
    if not isinstance(challenge, Challenge):
        return challenge
    proof = server.step(final_for(first, challenge.data, **wrong))  # type: ignore[arg-type]
    return server.step(b"") if isinstance(proof, Challenge) else proof


# --- the server's side ---


def test_the_server_says_what_rfc_7677_prints() -> None:
    server = exchange()
    assert server.start(CLIENT_FIRST) == Challenge(SERVER_FIRST)
    assert server.step(CLIENT_FINAL) == Challenge(SERVER_FINAL)
    assert server.step(b"") == Success("user")


def test_without_an_initial_response_an_empty_challenge_asks_for_it() -> None:
    server = exchange()
    assert server.start(None) == Challenge(b"")
    assert server.step(CLIENT_FIRST) == Challenge(SERVER_FIRST)


def test_a_wrong_password_fails_without_the_server_s_proof() -> None:
    assert log_in(CLIENT_FIRST, keys_of="pencils") == Failure("the proof of user is wrong")


def test_every_octet_of_the_proof_counts() -> None:
    proof = base64.b64decode(CLIENT_FINAL.rpartition(b",p=")[2])
    for at in range(len(proof)):
        server = exchange()
        server.start(CLIENT_FIRST)
        tampered = proof[:at] + bytes([proof[at] ^ 1]) + proof[at + 1 :]
        assert isinstance(server.step(CLIENT_FINAL.rpartition(b",p=")[0] + b",p=" + base64.b64encode(tampered)), Failure)


@pytest.mark.parametrize("proof", [b"AAAA", base64.b64encode(bytes(31)), base64.b64encode(bytes(33)), b"A"])
def test_a_proof_of_the_wrong_length_fails(proof: bytes) -> None:
    server = exchange()
    server.start(CLIENT_FIRST)
    assert server.step(CLIENT_FINAL.rpartition(b",p=")[0] + b",p=" + proof) == Failure("the proof of user is wrong")


def test_the_nonce_of_another_exchange_fails() -> None:
    server = exchange(nonce="another-server-nonce")
    server.start(CLIENT_FIRST)
    outcome = server.step(CLIENT_FINAL)
    assert isinstance(outcome, Failure)
    assert "nonce" in outcome.cause


def test_a_client_that_would_bind_but_sees_no_offer_is_accepted() -> None:
    # RFC 5802 §6: "y" is an attack only where the server does offer -PLUS.
    assert log_in(CLIENT_FIRST.replace(b"n,,", b"y,,")) == Success("user")


def test_a_client_that_demands_channel_binding_is_refused() -> None:
    outcome = exchange().start(CLIENT_FIRST.replace(b"n,,", b"p=tls-exporter,,"))
    assert isinstance(outcome, Failure)
    assert "channel binding" in outcome.cause


@pytest.mark.parametrize("binding", [b"y,,", b"n,", b"n,a=user,", b"n,,x"])
def test_a_binding_that_is_not_the_first_message_s_header_fails(binding: bytes) -> None:
    # RFC 5802 §6: the server MUST validate "c=", although the proof over it is right.
    outcome = log_in(CLIENT_FIRST, binding=binding)
    assert isinstance(outcome, Failure)
    assert "channel binding" in outcome.cause


def test_the_user_may_name_himself_as_the_authorization_identity() -> None:
    assert log_in(b"n,a=user,n=user,r=rOprNGfwEbeRWgbNEkqO") == Success("user")


def test_acting_as_somebody_else_is_refused() -> None:
    assert log_in(b"n,a=root,n=user,r=rOprNGfwEbeRWgbNEkqO") == Failure("user asked to act as somebody else")


def test_optional_extensions_are_ignored_but_signed() -> None:
    first = CLIENT_FIRST + b",x=anything,Y=more"
    assert log_in(first, extra=",z=1") == Success("user")


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"user",
        b"n,,r=rOprNGfwEbeRWgbNEkqO,n=user",
        b"n,n=user,r=rOprNGfwEbeRWgbNEkqO",
        b"x,,n=user,r=rOprNGfwEbeRWgbNEkqO",
        b"F,n,,n=user,r=rOprNGfwEbeRWgbNEkqO",
        b"p,,n=user,r=rOprNGfwEbeRWgbNEkqO",
        b"n,,n=,r=rOprNGfwEbeRWgbNEkqO",
        b"n,,n=user,r=",
        b"n,,n=user,r=with space",
        b"n,,n=us\0er,r=rOprNGfwEbeRWgbNEkqO",
        b"n,,n=us\xffer,r=rOprNGfwEbeRWgbNEkqO",
        b"n,,n=us=er,r=rOprNGfwEbeRWgbNEkqO",
        b"n,,n=us=2cer,r=rOprNGfwEbeRWgbNEkqO",
        b"n,,m=critical,n=user,r=rOprNGfwEbeRWgbNEkqO",
        b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO,m=critical",
        b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO\n",
    ],
)
def test_a_first_message_against_the_grammar_is_malformed(message: bytes) -> None:
    outcome = exchange().start(message)
    assert isinstance(outcome, Failure)
    assert outcome.malformed


@pytest.mark.parametrize(
    "message",
    [
        b"",
        CLIENT_FINAL.rpartition(b",p=")[0],
        CLIENT_FINAL + b",x=y",
        CLIENT_FINAL.replace(b"c=biws", b"c=b!ws"),
        CLIENT_FINAL.replace(b"c=biws,", b""),
        CLIENT_FINAL.replace(b",p=", b",m=x,p="),
        CLIENT_FINAL + b"\n",
    ],
)
def test_a_second_message_against_the_grammar_is_malformed(message: bytes) -> None:
    server = exchange()
    server.start(CLIENT_FIRST)
    outcome = server.step(message)
    assert isinstance(outcome, Failure)
    assert outcome.malformed


def test_the_answer_to_the_server_s_proof_must_be_empty() -> None:
    server = exchange()
    server.start(CLIENT_FIRST)
    server.step(CLIENT_FINAL)
    outcome = server.step(b"x")
    assert isinstance(outcome, Failure)
    assert outcome.malformed


def test_a_user_name_is_looked_up_prepared_and_unescaped_but_signed_as_sent() -> None:
    server = exchange({"a,b=c@example.org": KEYS})
    first = "n,,n=a=2Cb\u00ad=3Dc@EXAMPLE.org,r=rOprNGfwEbeRWgbNEkqO".encode()
    challenge = server.start(first)
    assert isinstance(challenge, Challenge)
    server.step(final_for(first, challenge.data))
    assert server.step(b"") == Success("a,b=c@example.org")


def test_a_user_name_that_cannot_be_prepared_fails() -> None:
    outcome = exchange().start(b"n,,n=us\x07er,r=rOprNGfwEbeRWgbNEkqO")
    assert isinstance(outcome, Failure)
    assert "control character" in outcome.cause


def test_an_unknown_user_sees_the_same_salt_each_time_and_fails_at_the_proof() -> None:
    first = b"n,,n=nobody@example.org,r=rOprNGfwEbeRWgbNEkqO"
    same = b"n,,n=nobody@EXAMPLE.org,r=rOprNGfwEbeRWgbNEkqO"
    server = exchange()
    challenge = server.start(first)
    assert isinstance(challenge, Challenge)
    assert exchange().start(first) == exchange().start(same) == challenge
    assert exchange().start(first.replace(b"nobody", b"no-one")) != challenge
    outcome = server.step(final_for(first, challenge.data))
    assert isinstance(outcome, Failure)
    assert not outcome.malformed


def test_made_up_keys_look_like_fresh_ones() -> None:
    fresh, made_up = ScramKeys.derive("x", bytes(16)), unknown_user_keys("x", SECRET)
    assert (len(fresh.salt), fresh.iterations) == (len(made_up.salt), made_up.iterations)


def test_a_bad_nonce_is_a_mistake_of_the_caller() -> None:
    for nonce in ("short", "a comma, and so on", "umlaut-äöü-umlaut-äöü"):
        with pytest.raises(ValueError, match="nonce"):
            exchange(nonce=nonce).start(CLIENT_FIRST)
        with pytest.raises(ValueError, match="nonce"):
            ScramClient("user", "pencil", nonce)


# --- keys ---


def test_keys_match_their_password_alone() -> None:
    assert KEYS.matches("pencil")
    assert not KEYS.matches("Pencil")


def test_keys_are_not_shown_in_a_log() -> None:
    assert repr(KEYS) == f"ScramKeys(salt={SALT!r}, iterations=4096)"


def test_a_password_that_cannot_be_prepared_gives_no_keys() -> None:
    with pytest.raises(PreparationProblem):
        ScramKeys.derive("", SALT, 4096)


# --- the client's side ---


def client() -> ScramClient:
    return ScramClient("user", "pencil", CLIENT_NONCE)


def test_the_client_says_what_rfc_7677_prints() -> None:
    mechanism = client()
    assert mechanism.initial() == CLIENT_FIRST
    assert mechanism.step(SERVER_FIRST) == CLIENT_FINAL
    assert mechanism.step(SERVER_FINAL) == b""
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


@settings(max_examples=300)
@given(st.binary(max_size=200), st.binary(max_size=200))
def test_the_server_never_raises_for_what_a_client_sends(first: bytes, second: bytes) -> None:
    assert isinstance(exchange().start(first), Challenge | Failure)
    server = exchange()
    server.start(CLIENT_FIRST)
    assert isinstance(server.step(second), Failure)
