"""The face of the package: names, choice, and our client against our server."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from waymail.wire import sasl

SALT = b"0123456789abcdef"
NOBODY: dict[str, sasl.ScramKeys] = {}
CLIENT_NONCE, SERVER_NONCE = "the-client's-nonce", "the-server's-nonce"


def converse(name: str, user: str, password: str, *, right: str, with_initial: bool) -> sasl.Step:
    """Run client and server against each other; what the server ended with."""
    kept = sasl.ScramKeys.derive(right, SALT, 4096)
    server = sasl.server_exchange(name, nonce=SERVER_NONCE, keys={sasl.user_name(user): kept}.get, secret=b"secret")
    client = sasl.client_mechanism(name, user, password, CLIENT_NONCE)
    step = server.start(client.initial() if with_initial else None)
    while isinstance(step, sasl.Challenge):
        step = server.step(client.step(step.data))
    if not isinstance(step, sasl.Failure):
        client.succeeded()
    return step


@pytest.mark.parametrize("with_initial", [True, False])
@pytest.mark.parametrize("name", sasl.MECHANISMS)
def test_our_client_and_our_server_understand_each_other(name: str, with_initial: bool) -> None:
    user, password = "jörg,=@EXAMPLE.org", "p\u00e4ss w\u00aard"
    outcome = converse(name, user, password, right=password, with_initial=with_initial)
    if name == "SCRAM-SHA-256":
        assert outcome == sasl.Success("jörg,=@example.org")
    else:
        assert outcome == sasl.NeedsVerification("jörg,=@example.org", sasl.saslprep(password))


def test_scram_fails_with_another_password() -> None:
    outcome = converse("SCRAM-SHA-256", "ann", "wrong", right="right", with_initial=True)
    assert isinstance(outcome, sasl.Failure)


WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=20)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sasl.MECHANISMS), WORDS, WORDS)
def test_whatever_can_be_prepared_can_log_in(name: str, user: str, password: str) -> None:
    try:
        prepared = sasl.user_name(user)
        kept = sasl.saslprep(password, stored=True)
    except sasl.PreparationProblem:
        return
    outcome = converse(name, user, password, right=password, with_initial=True)
    assert outcome in (sasl.Success(prepared), sasl.NeedsVerification(prepared, kept))


def test_mechanism_names_are_compared_without_regard_to_case() -> None:
    assert sasl.client_mechanism("plain", "ann", "pw", CLIENT_NONCE).name == "PLAIN"
    assert sasl.server_exchange("Login", nonce=SERVER_NONCE, keys=NOBODY.get, secret=b"").start(None) == sasl.Challenge(
        b"Username:"
    )


@pytest.mark.parametrize("name", ["", "CRAM-MD5", "SCRAM-SHA-256-PLUS"])
def test_another_mechanism_is_unknown(name: str) -> None:
    with pytest.raises(sasl.UnknownMechanism):
        sasl.client_mechanism(name, "ann", "pw", CLIENT_NONCE)
    with pytest.raises(sasl.UnknownMechanism):
        sasl.server_exchange(name, nonce=SERVER_NONCE, keys=NOBODY.get, secret=b"")


@pytest.mark.parametrize(
    ("offered", "secure", "best"),
    [
        (["LOGIN", "PLAIN", "SCRAM-SHA-256"], True, "SCRAM-SHA-256"),
        (["LOGIN", "plain"], True, "PLAIN"),
        (["LOGIN", "CRAM-MD5"], True, "LOGIN"),
        (["LOGIN", "PLAIN", "scram-sha-256"], False, "SCRAM-SHA-256"),
        (["LOGIN", "PLAIN"], False, None),
        (["CRAM-MD5", "SCRAM-SHA-256-PLUS"], True, None),
        ([], True, None),
    ],
)
def test_the_strongest_shared_mechanism_is_chosen_and_no_password_goes_over_cleartext(
    offered: list[str], secure: bool, best: str | None
) -> None:
    assert sasl.best_mechanism(offered, secure) == best
