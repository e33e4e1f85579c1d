"""The server's side of SCRAM."""

from __future__ import annotations

import base64
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.wire.sasl.scram_vectors import RFC_7677, VECTORS, Vector, final_for

from waymail.wire.sasl.mechanism import NO_CHANNEL, Challenge, Channel, Failure, ServerExchange, Success
from waymail.wire.sasl.scram import scram
from waymail.wire.sasl.scram_keys import ITERATIONS, ScramKeys

CLIENT_FIRST, CLIENT_FINAL, SERVER_NONCE = RFC_7677.client_first, RFC_7677.client_final, RFC_7677.server_nonce
SECRET = b"the server's secret"
KEYS = ScramKeys.derive("pencil", RFC_7677.salt, 4096)
END_POINT, UNIQUE = b"\x00\xffhash of the certificate", b"finished"
BOUND = Channel({"tls-server-end-point": END_POINT, "tls-unique": UNIQUE}, offers_plus=True)


def exchange(
    users: dict[str, ScramKeys] | None = None,
    nonce: str = SERVER_NONCE,
    name: str = "SCRAM-SHA-256",
    channel: Channel = NO_CHANNEL,
) -> ServerExchange:
    known = {"user": KEYS} if users is None else users
    return ServerExchange(partial(scram, nonce=nonce, keys=known.get, secret=SECRET, name=name, channel=channel))


def log_in(first: bytes, name: str = "SCRAM-SHA-256", channel: Channel = NO_CHANNEL, **wrong: str | bytes) -> object:
    server = exchange(name=name, channel=channel)
    challenge = server.start(first)
    if not isinstance(challenge, Challenge):
        return challenge
    proof = server.step(final_for(first, challenge.data, **wrong))  # type: ignore[arg-type]
    return server.step(b"") if isinstance(proof, Challenge) else proof


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector.name)
def test_the_server_says_what_the_rfc_prints(vector: Vector) -> None:
    keys = ScramKeys.derive("pencil", vector.salt, 4096, vector.name)
    server = exchange({"user": keys}, vector.server_nonce, vector.name)
    assert server.start(vector.client_first) == Challenge(vector.server_first)
    assert server.step(vector.client_final) == Challenge(vector.server_final)
    assert server.step(b"") == Success("user")


def test_without_an_initial_response_an_empty_challenge_asks_for_it() -> None:
    server = exchange()
    assert server.start(None) == Challenge(b"")
    assert server.step(CLIENT_FIRST) == Challenge(RFC_7677.server_first)


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


def test_a_bad_nonce_is_a_mistake_of_the_caller() -> None:
    for nonce in ("short", "a comma, and so on", "umlaut-äöü-umlaut-äöü"):
        with pytest.raises(ValueError, match="nonce"):
            exchange(nonce=nonce).start(CLIENT_FIRST)


# --- channel binding (RFC 5802 §6, RFC 7677 §4)

PLUS_FIRST = CLIENT_FIRST.replace(b"n,,", b"p=tls-server-end-point,,")
PLUS_HEADER = b"p=tls-server-end-point,,"


def bound_log_in(first: bytes, binding: bytes) -> object:
    return log_in(first, "SCRAM-SHA-256-PLUS", BOUND, binding=binding)


def cause(outcome: object) -> str:
    assert isinstance(outcome, Failure)
    return outcome.cause


@pytest.mark.parametrize(("kind", "data"), list(BOUND.bindings.items()))
def test_the_client_chooses_the_type_of_the_binding(kind: str, data: bytes) -> None:
    header = f"p={kind},,".encode()
    assert bound_log_in(CLIENT_FIRST.replace(b"n,,", header), header + data) == Success("user")


@pytest.mark.parametrize(
    "binding",
    [
        PLUS_HEADER,
        PLUS_HEADER + UNIQUE,
        PLUS_HEADER + END_POINT + b"x",
        PLUS_HEADER + END_POINT[:-1],
        b"n,,",
        b"p=tls-unique,," + END_POINT,
    ],
)
def test_another_channel_s_binding_fails_although_the_proof_over_it_is_right(binding: bytes) -> None:
    assert "channel binding" in cause(bound_log_in(PLUS_FIRST, binding))


@pytest.mark.parametrize("kind", [b"tls-exporter", b"tls-unique-for-telnet", b"TLS-UNIQUE"])
def test_a_type_that_is_not_known_of_this_connection_fails(kind: bytes) -> None:
    outcome = exchange(name="SCRAM-SHA-256-PLUS", channel=BOUND).start(CLIENT_FIRST.replace(b"n,,", b"p=" + kind + b",,"))
    assert "not known of this connection" in cause(outcome)


@pytest.mark.parametrize("flag", [b"n", b"y"])
def test_plus_without_a_binding_fails(flag: bytes) -> None:
    first = CLIENT_FIRST.replace(b"n,,", flag + b",,")
    assert "binds to no channel" in cause(exchange(name="SCRAM-SHA-256-PLUS", channel=BOUND).start(first))


def test_a_binding_without_plus_fails_even_where_plus_is_offered() -> None:
    assert "demands channel binding" in cause(exchange(channel=BOUND).start(PLUS_FIRST))


def test_a_client_that_did_not_see_the_offer_of_plus_is_told_of_the_downgrade() -> None:
    assert "changed the offer" in cause(exchange(channel=BOUND).start(CLIENT_FIRST.replace(b"n,,", b"y,,")))


def test_a_client_that_cannot_bind_may_do_without_where_plus_is_offered() -> None:
    assert log_in(CLIENT_FIRST, channel=BOUND) == Success("user")


def test_the_flag_cannot_be_changed_on_the_way() -> None:
    # The client said "y"; somebody made it "n" on the way, so that the server does not notice.
    server = exchange(channel=BOUND)
    challenge = server.start(CLIENT_FIRST)
    assert isinstance(challenge, Challenge)
    assert "channel binding" in cause(server.step(final_for(CLIENT_FIRST.replace(b"n,,", b"y,,"), challenge.data)))


# --- hashes


def test_a_user_with_keys_of_another_hash_looks_like_an_unknown_one() -> None:
    first = b"n,,n=ann,r=rOprNGfwEbeRWgbNEkqO"
    asked: list[str] = []

    def none(user: str) -> None:
        asked.append(user)

    server = ServerExchange(partial(scram, nonce=SERVER_NONCE, keys=none, secret=SECRET, name="SCRAM-SHA-1"))
    challenge = server.start(first)
    assert isinstance(challenge, Challenge)
    assert challenge.data.endswith(b",i=%d" % ITERATIONS)
    outcome = server.step(b"c=biws,r=rOprNGfwEbeRWgbNEkqO" + SERVER_NONCE.encode() + b",p=" + base64.b64encode(bytes(20)))
    assert "no user ann with keys for SCRAM-SHA-1" in cause(outcome)
    assert asked == ["ann"]
    assert exchange().start(first) != challenge, "each hash has a salt of its own"


def test_a_proof_of_another_hash_fails() -> None:
    keys = ScramKeys.derive("pencil", RFC_7677.salt, 4096, "SCRAM-SHA-1")
    server = exchange({"user": keys}, name="SCRAM-SHA-1")
    challenge = server.start(CLIENT_FIRST)
    assert isinstance(challenge, Challenge)
    assert cause(server.step(final_for(CLIENT_FIRST, challenge.data))) == "the proof of user is wrong"
    server = exchange({"user": keys}, name="SCRAM-SHA-1")
    server.start(CLIENT_FIRST)
    assert isinstance(server.step(final_for(CLIENT_FIRST, challenge.data, digest="sha1")), Challenge)


@settings(max_examples=300)
@given(st.binary(max_size=200), st.binary(max_size=200))
def test_the_server_never_raises_for_what_a_client_sends(first: bytes, second: bytes) -> None:
    assert isinstance(exchange().start(first), Challenge | Failure)
    server = exchange()
    server.start(CLIENT_FIRST)
    assert isinstance(server.step(second), Failure)
