"""From a name to the server's side, and our client against our server with every mechanism."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from waymail.wire import sasl

SALT = b"0123456789abcdef"
CLIENT_NONCE, SERVER_NONCE = "the-client's-nonce", "the-server's-nonce"
CHANNEL = sasl.Channel({"tls-exporter": b"x" * 32, "tls-unique": b"y"}, host="mx.example", port=587, offers_plus=True)
TOKEN = "ya29.token"
HASHES = ("SCRAM-SHA-256", "SCRAM-SHA-1")


def secrets_of(name: str, password: str, hashes: tuple[str, ...] = HASHES) -> sasl.Secrets:
    """What is kept of one user."""

    def scram_keys(hash_name: str, user: str) -> sasl.ScramKeys | None:
        if user != name or hash_name not in hashes:
            return None
        return sasl.ScramKeys.derive(password, SALT, 4096, hash_name)

    return sasl.Secrets(scram_keys, {name: password}.get, b"secret")


def converse(
    name: str,
    user: str,
    password: str,
    *,
    right: str,
    with_initial: bool,
    ours: sasl.Channel = CHANNEL,
    theirs: sasl.Channel = CHANNEL,
    hashes: tuple[str, ...] = HASHES,
) -> sasl.Step:
    """Run client and server against each other; what the server ended with. Tokens are right where the password is."""
    known = sasl.user_name(user)
    channel = sasl.Channel(theirs.bindings, known, theirs.host, theirs.port, theirs.offers_plus)
    server = sasl.server_exchange(name, nonce=SERVER_NONCE, secrets=secrets_of(known, right, hashes), channel=channel)
    client = sasl.client_mechanism(name, user, password, CLIENT_NONCE, token=TOKEN, channel=ours)
    initial = client.initial()
    step = server.start(initial if with_initial else None)
    while True:
        if isinstance(step, sasl.Challenge):
            step = server.step(client.step(step.data))
        elif isinstance(step, sasl.NeedsToken):
            assert step.token == TOKEN
            step = server.verified(known if password == right else None)
        else:
            break
    if not isinstance(step, sasl.Failure):
        client.succeeded()
    return step


@pytest.mark.parametrize("with_initial", [True, False])
@pytest.mark.parametrize("name", sasl.MECHANISMS)
def test_our_client_and_our_server_understand_each_other(name: str, with_initial: bool) -> None:
    user, password = "jörg,=@EXAMPLE.org", "p\u00e4ss w\u00aard"
    outcome = converse(name, user, password, right=password, with_initial=with_initial)
    if name in ("PLAIN", "LOGIN"):
        assert outcome == sasl.NeedsVerification("jörg,=@example.org", sasl.saslprep(password))
    else:
        assert outcome == sasl.Success("jörg,=@example.org")


@pytest.mark.parametrize("name", [name for name in sasl.MECHANISMS if name not in ("PLAIN", "LOGIN", "EXTERNAL")])
def test_every_mechanism_that_decides_by_itself_fails_with_the_wrong_secret(name: str) -> None:
    assert isinstance(converse(name, "ann", "wrong", right="right", with_initial=True), sasl.Failure)


@pytest.mark.parametrize("name", ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS"])
def test_plus_fails_where_somebody_sits_between_two_tls_connections(name: str) -> None:
    other = sasl.Channel({"tls-exporter": b"z" * 32, "tls-unique": b"z"}, offers_plus=True)
    outcome = converse(name, "ann", "pw", right="pw", with_initial=True, ours=other)
    assert isinstance(outcome, sasl.Failure)
    assert "channel binding" in outcome.cause


@pytest.mark.parametrize("name", HASHES)
def test_an_offer_of_plus_that_was_taken_away_is_noticed(name: str) -> None:
    seen = sasl.Channel(CHANNEL.bindings, offers_plus=False)
    outcome = converse(name, "ann", "pw", right="pw", with_initial=True, ours=seen)
    assert isinstance(outcome, sasl.Failure)
    assert "changed the offer" in outcome.cause
    assert isinstance(converse(name, "ann", "pw", right="pw", with_initial=True, ours=seen, theirs=seen), sasl.Success)


def test_a_user_with_keys_of_one_hash_cannot_use_the_other() -> None:
    only = ("SCRAM-SHA-256",)
    assert isinstance(converse("SCRAM-SHA-256", "ann", "pw", right="pw", with_initial=True, hashes=only), sasl.Success)
    assert isinstance(converse("SCRAM-SHA-1", "ann", "pw", right="pw", with_initial=True, hashes=only), sasl.Failure)


WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=20)


@settings(max_examples=150)
@given(st.sampled_from(sasl.MECHANISMS), WORDS, WORDS, st.booleans())
def test_whatever_can_be_prepared_can_log_in(name: str, user: str, password: str, with_initial: bool) -> None:
    try:
        prepared = sasl.user_name(user)
        kept = sasl.saslprep(password, stored=True)
    except sasl.PreparationProblem:
        return
    outcome = converse(name, user, password, right=password, with_initial=with_initial)
    assert outcome in (sasl.Success(prepared), sasl.NeedsVerification(prepared, kept))


@settings(max_examples=200)
@given(st.sampled_from(sasl.MECHANISMS), st.lists(st.binary(max_size=40), max_size=4), st.booleans())
def test_no_client_makes_a_server_raise(name: str, responses: list[bytes], with_initial: bool) -> None:
    channel = sasl.Channel(CHANNEL.bindings, "ann", offers_plus=True)
    server = sasl.server_exchange(name, nonce=SERVER_NONCE, secrets=secrets_of("ann", "pw"), channel=channel)
    step = server.start(responses[0] if with_initial and responses else None)
    for response in responses:
        if isinstance(step, sasl.NeedsToken):
            step = server.verified(None)
        if not isinstance(step, sasl.Challenge):
            break
        step = server.step(response)
    assert not isinstance(step, sasl.Success) or (name, step.user) == ("EXTERNAL", "ann")


@pytest.mark.parametrize("name", sasl.MECHANISMS)
def test_mechanism_names_are_compared_without_regard_to_case(name: str) -> None:
    exchange = sasl.server_exchange(name.lower(), nonce=SERVER_NONCE, secrets=secrets_of("ann", "pw"))
    assert isinstance(exchange.start(None), sasl.Challenge)


@pytest.mark.parametrize("name", ["", "DIGEST-MD5", "PLAIN-PLUS", "SCRAM-SHA-512", "SCRAM-SHA-256-PLUS-PLUS"])
def test_another_mechanism_is_unknown(name: str) -> None:
    with pytest.raises(sasl.UnknownMechanism):
        sasl.server_exchange(name, nonce=SERVER_NONCE, secrets=secrets_of("ann", "pw"))


def test_what_salts_are_made_from_is_not_shown_in_a_log() -> None:
    assert "s3cr3t" not in repr(sasl.Secrets(lambda _hash, _user: None, lambda _: None, b"s3cr3t"))
