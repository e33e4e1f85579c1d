"""Which mechanism a client takes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import combinations

import pytest

from waymail.wire import sasl

NONCE = "the-client's-nonce"
BINDINGS = {"tls-server-end-point": b"hash"}


@dataclass(frozen=True)
class Has:
    password: str = ""
    token: str = ""
    mechanism: str = ""


PASSWORD, TOKEN, CERTIFICATE, BOTH = Has(password="x"), Has(token="x"), Has(), Has(password="x", token="x")
ALL = " ".join(reversed(sasl.MECHANISMS))


@pytest.mark.parametrize(
    ("offered", "best"),
    [
        (ALL, "SCRAM-SHA-256-PLUS"),
        ("SCRAM-SHA-1-PLUS SCRAM-SHA-256", "SCRAM-SHA-1-PLUS"),
        ("LOGIN PLAIN SCRAM-SHA-1 scram-sha-256", "SCRAM-SHA-256"),
        ("LOGIN PLAIN CRAM-MD5 SCRAM-SHA-1", "SCRAM-SHA-1"),
        ("CRAM-MD5 LOGIN plain", "PLAIN"),
        ("CRAM-MD5 LOGIN", "LOGIN"),
        ("CRAM-MD5 DIGEST-MD5", "CRAM-MD5"),
        ("XOAUTH2 OAUTHBEARER EXTERNAL", None),
        ("DIGEST-MD5", None),
        ("", None),
    ],
)
def test_a_password_goes_by_the_strongest_mechanism_over_a_secure_connection(offered: str, best: str | None) -> None:
    bound = BINDINGS | {"tls-unique": b"u"}
    assert sasl.best_mechanism(offered.split(), secure=True, credentials=PASSWORD, bindings=bound) == best


def test_plus_with_the_certificate_alone_is_for_where_nothing_else_keeps_others_out_or_where_it_is_named() -> None:
    bound = {"tls-server-end-point": b"x"}
    assert sasl.best_mechanism(ALL.split(), secure=True, credentials=PASSWORD, bindings=bound) == "SCRAM-SHA-256"
    assert sasl.best_mechanism(ALL.split(), secure=False, credentials=PASSWORD, bindings=bound) == "SCRAM-SHA-256-PLUS"
    named = replace(PASSWORD, mechanism="SCRAM-SHA-256-PLUS")
    assert sasl.best_mechanism(ALL.split(), secure=True, credentials=named, bindings=bound) == "SCRAM-SHA-256-PLUS"


@pytest.mark.parametrize("secure", [True, False])
@pytest.mark.parametrize("bindings", [{}, {"tls-unique-for-telnet": b"x"}])
def test_plus_needs_a_channel_binding(secure: bool, bindings: dict[str, bytes]) -> None:
    assert sasl.best_mechanism(ALL.split(), secure=secure, credentials=PASSWORD, bindings=bindings) == "SCRAM-SHA-256"


@pytest.mark.parametrize(
    ("offered", "best"),
    [
        (ALL, "OAUTHBEARER"),
        ("XOAUTH2 PLAIN", "XOAUTH2"),
        ("PLAIN SCRAM-SHA-256 EXTERNAL", None),
    ],
)
def test_a_token_goes_by_the_mechanisms_for_tokens(offered: str, best: str | None) -> None:
    assert sasl.best_mechanism(offered.split(), secure=True, credentials=TOKEN, bindings=BINDINGS) == best


def test_with_both_scram_comes_before_a_token_and_a_token_before_the_plain_password() -> None:
    assert sasl.best_mechanism(["PLAIN", "XOAUTH2", "SCRAM-SHA-1"], secure=True, credentials=BOTH) == "SCRAM-SHA-1"
    assert sasl.best_mechanism(["PLAIN", "XOAUTH2"], secure=True, credentials=BOTH) == "XOAUTH2"


@pytest.mark.parametrize("secure", [True, False])
def test_a_certificate_alone_goes_by_external(secure: bool) -> None:
    assert sasl.best_mechanism(ALL.split(), secure=secure, credentials=CERTIFICATE, bindings=BINDINGS) == "EXTERNAL"
    assert sasl.best_mechanism(["PLAIN", "SCRAM-SHA-256"], secure=secure, credentials=CERTIFICATE) is None


EXPOSING = ("PLAIN", "LOGIN", "OAUTHBEARER", "XOAUTH2", "CRAM-MD5")


@pytest.mark.parametrize("credentials", [PASSWORD, TOKEN, BOTH])
@pytest.mark.parametrize("offered", [set_ for size in range(1, 6) for set_ in combinations(EXPOSING, size)])
def test_nothing_that_gives_away_password_or_token_is_chosen_where_others_may_listen(
    credentials: Has, offered: tuple[str, ...]
) -> None:
    assert sasl.best_mechanism(offered, secure=False, credentials=credentials, bindings=BINDINGS) is None


@pytest.mark.parametrize("name", EXPOSING)
def test_naming_a_mechanism_does_not_make_a_connection_secure(name: str) -> None:
    credentials = Has(password="x", token="x", mechanism=name)
    expected = name if name == "CRAM-MD5" else None  # which sends no password
    assert sasl.best_mechanism(EXPOSING, secure=False, credentials=credentials) == expected


@pytest.mark.parametrize("name", sasl.MECHANISMS)
def test_a_named_mechanism_is_taken_and_no_other(name: str) -> None:
    credentials = Has(password="x", token="x", mechanism=name.lower())
    assert sasl.best_mechanism(ALL.split(), secure=True, credentials=credentials, bindings=BINDINGS) == name
    others = [other for other in sasl.MECHANISMS if other != name]
    assert sasl.best_mechanism(others, secure=True, credentials=credentials, bindings=BINDINGS) is None


@pytest.mark.parametrize("name", sasl.MECHANISMS)
def test_every_mechanism_has_a_client_under_its_name_in_any_case(name: str) -> None:
    channel = sasl.Channel(bindings=BINDINGS)
    assert sasl.client_mechanism(name.lower(), "ann", "pw", NONCE, token="abc", channel=channel).name == name


@pytest.mark.parametrize("name", ["", "DIGEST-MD5", "PLAIN-PLUS", "SCRAM-SHA-512", "SCRAM-SHA-256-PLUS-PLUS"])
def test_another_mechanism_is_unknown(name: str) -> None:
    with pytest.raises(sasl.UnknownMechanism):
        sasl.client_mechanism(name, "ann", "pw", NONCE)
