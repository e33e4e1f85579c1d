from __future__ import annotations

from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waymail.wire.sasl.external import ExternalClient, external
from waymail.wire.sasl.mechanism import AuthenticationProtocolError, Challenge, Channel, Failure, ServerExchange, Success

ANN = Channel(external="ann@EXAMPLE.org")


def exchange(channel: Channel = ANN) -> ServerExchange:
    return ServerExchange(partial(external, channel=channel))


@pytest.mark.parametrize("identity", [b"", b"ann@example.org", b"ann@Example.ORG."])
def test_the_user_is_whom_the_certificate_names_and_may_say_so(identity: bytes) -> None:
    assert exchange().start(identity) == Success("ann@example.org")


def test_without_an_initial_response_an_empty_challenge_asks_for_it() -> None:
    server = exchange()
    assert server.start(None) == Challenge(b"")
    assert server.step(b"") == Success("ann@example.org")


@pytest.mark.parametrize("identity", [b"bob@example.org", b"Ann@example.org", b"ann", b"\x07"])
def test_acting_as_somebody_else_is_refused(identity: bytes) -> None:
    assert exchange().start(identity) == Failure("ann@example.org asked to act as somebody else")


@pytest.mark.parametrize("identity", [b"", b"ann@example.org"])
def test_without_a_certificate_nobody_is_anybody(identity: bytes) -> None:
    outcome = exchange(Channel()).start(identity)
    assert isinstance(outcome, Failure)
    assert "no certificate" in outcome.cause


@pytest.mark.parametrize("identity", [b"ann\0", b"\xff"])
def test_what_is_no_identity_is_malformed(identity: bytes) -> None:
    outcome = exchange().start(identity)
    assert isinstance(outcome, Failure)
    assert outcome.malformed


def test_a_certificate_whose_name_cannot_be_a_user_fails() -> None:
    assert isinstance(exchange(Channel(external="a\nb")).start(b""), Failure)


@given(st.binary(max_size=40))
def test_the_server_never_raises_for_what_a_client_sends(identity: bytes) -> None:
    assert isinstance(exchange().start(identity), Success | Failure)


def test_the_client_asks_for_a_user_or_for_nobody_in_particular() -> None:
    assert ExternalClient("ann").initial() == b"ann"
    assert ExternalClient("").initial() == b""
    ExternalClient("").succeeded()


def test_the_client_answers_one_empty_challenge() -> None:
    client = ExternalClient("ann")
    assert client.step(b"") == b"ann"
    with pytest.raises(AuthenticationProtocolError):
        client.step(b"")
    with pytest.raises(AuthenticationProtocolError):
        ExternalClient("ann").step(b"who?")


def test_the_client_refuses_nul() -> None:
    with pytest.raises(ValueError, match="NUL"):
        ExternalClient("a\0b")
