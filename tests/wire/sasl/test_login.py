from __future__ import annotations

import pytest

from waymail.wire.sasl.login import LoginClient, login
from waymail.wire.sasl.mechanism import AuthenticationProtocolError, Challenge, Failure, NeedsVerification, ServerExchange


def test_the_server_asks_for_the_user_name_and_then_for_the_password() -> None:
    exchange = ServerExchange(login)
    assert exchange.start(None) == Challenge(b"Username:")
    assert exchange.step(b"ann@EXAMPLE.org") == Challenge(b"Password:")
    assert exchange.step(b"pw") == NeedsVerification("ann@example.org", "pw")


def test_a_user_name_sent_with_the_command_is_accepted() -> None:
    exchange = ServerExchange(login)
    assert exchange.start(b"ann") == Challenge(b"Password:")
    assert exchange.step(b"pw") == NeedsVerification("ann", "pw")


@pytest.mark.parametrize(
    ("user", "password", "malformed"),
    [(b"", b"pw", False), (b"ann", b"", False), (b"a\0nn", b"pw", False), (b"ann", b"\xff", True), (b"\xff", b"pw", True)],
)
def test_an_unusable_name_or_password_fails(user: bytes, password: bytes, malformed: bool) -> None:
    exchange = ServerExchange(login)
    exchange.start(user)
    outcome = exchange.step(password)
    assert isinstance(outcome, Failure)
    assert outcome.malformed is malformed


def test_the_client_goes_by_the_order_of_the_challenges_alone() -> None:
    client = LoginClient("ann", "pw")
    client.initial()
    assert client.step(b"User Name\0") == b"ann"
    assert client.step(b"") == b"pw"
    client.succeeded()


def test_the_client_refuses_a_third_question() -> None:
    client = LoginClient("ann", "pw")
    client.step(b"Username:")
    client.step(b"Password:")
    with pytest.raises(AuthenticationProtocolError):
        client.step(b"Credit card:")


def test_the_client_refuses_a_success_without_the_password() -> None:
    client = LoginClient("ann", "pw")
    client.step(b"Username:")
    with pytest.raises(AuthenticationProtocolError):
        client.succeeded()
