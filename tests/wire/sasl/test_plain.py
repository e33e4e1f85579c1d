from __future__ import annotations

import pytest

from waymail.wire.sasl.mechanism import AuthenticationProtocolError, Challenge, Failure, NeedsVerification, ServerExchange
from waymail.wire.sasl.plain import PlainClient, plain


def answer(message: bytes) -> object:
    return ServerExchange(plain).start(message)


def test_the_examples_of_rfc_4616_are_understood() -> None:
    # RFC 4616 §4: the second one is refused for its authorization identity.
    assert answer(b"\0tim\0tanstaaftanstaaf") == NeedsVerification("tim", "tanstaaftanstaaf")
    assert answer(b"Ursel\0Kurt\0xipj3plmq") == Failure("Kurt asked to act as somebody else")


def test_without_an_initial_response_an_empty_challenge_asks_for_it() -> None:
    exchange = ServerExchange(plain)
    assert exchange.start(None) == Challenge(b"")
    assert exchange.step(b"\0ann\0pw") == NeedsVerification("ann", "pw")


def test_the_user_may_name_himself_as_the_authorization_identity() -> None:
    assert answer(b"ann@EXAMPLE.org\0ann@example.org\0pw") == NeedsVerification("ann@example.org", "pw")


def test_an_authorization_identity_that_cannot_be_prepared_is_refused() -> None:
    assert answer(b"ann\x07\0ann\0pw") == Failure("ann asked to act as somebody else")


def test_user_and_password_come_out_prepared() -> None:
    message = "\0ann@EXAMPLE.org\0p\u00adw\u00a0\u2168".encode()
    assert answer(message) == NeedsVerification("ann@example.org", "pw IX")


def test_255_octets_of_each_are_accepted() -> None:
    # RFC 4616 §2: MUST.
    assert answer(b"a" * 255 + b"\0" + b"a" * 255 + b"\0" + b"p" * 255) == NeedsVerification("a" * 255, "p" * 255)


@pytest.mark.parametrize("message", [b"", b"ann", b"\0ann", b"\0\0pw", b"\0ann\0", b"\0ann\0pw\0", b"\0\0\0", b"\0ann\0\xff"])
def test_what_is_no_plain_message_is_malformed(message: bytes) -> None:
    outcome = answer(message)
    assert isinstance(outcome, Failure)
    assert outcome.malformed


@pytest.mark.parametrize("message", [b"\0an\x07n\0pw", b"\0ann\0p\x07w", "\0ann\0\u00ad".encode()])
def test_what_cannot_be_prepared_fails_without_repeating_the_password(message: bytes) -> None:
    outcome = answer(message)
    assert isinstance(outcome, Failure)
    assert not outcome.malformed
    assert "p\x07w" not in outcome.cause


def test_the_client_sends_user_and_password_as_they_are() -> None:
    client = PlainClient("jörg", "p\u00aass")
    assert client.initial() == "\0jörg\0p\u00aass".encode()
    client.succeeded()


def test_the_client_answers_one_empty_challenge_with_the_message() -> None:
    client = PlainClient("ann", "pw")
    assert client.step(b"") == b"\0ann\0pw"
    with pytest.raises(AuthenticationProtocolError):
        client.step(b"")


def test_the_client_does_not_send_the_password_to_a_server_that_asks_for_something_else() -> None:
    with pytest.raises(AuthenticationProtocolError):
        PlainClient("ann", "pw").step(b"Password:")


@pytest.mark.parametrize(("user", "password"), [("", "pw"), ("ann", ""), ("a\0b", "pw"), ("ann", "p\0w")])
def test_the_client_refuses_what_plain_cannot_carry(user: str, password: str) -> None:
    with pytest.raises(ValueError, match="must not be empty or hold NUL"):
        PlainClient(user, password)
