"""Bearer tokens: whose they are, and everything that makes one worthless."""

from __future__ import annotations

import base64
import hmac
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, Key, OKPKey, RSAKey

from waymail.net.fetch import Fetched, Fetcher, FetchFailed
from waymail.server.backends.contract import BackendUnavailable, TokenRefused, UserBackend
from waymail.server.tokens import (
    KEEP,
    LEEWAY,
    REFRESH,
    Demands,
    IntrospectionVerifier,
    JwtVerifier,
    KeyRing,
    KeysUnusable,
    WithTokens,
    keys_in,
)

NOW = 1_800_000_000.0
RSA = RSAKey.generate_key(2048, {"kid": "rsa"})
EC = ECKey.generate_key("P-256", {"kid": "ec"})
ED = OKPKey.generate_key("Ed25519", {"kid": "ed"})
STRANGER = ECKey.generate_key("P-256", {"kid": "ec"})
CLAIMS = {
    "iss": "https://login.example.org/",
    "aud": "mail",
    "exp": NOW + 300,
    "email": "Ann@EXAMPLE.org",
    "scope": "openid smtp",
}
DEMANDS = Demands("https://login.example.org/", "mail", "email", ("smtp",))


def key_set(*keys: Key) -> bytes:
    return json.dumps({"keys": [key.as_dict(private=False) for key in keys]}).encode()


class Web(Fetcher):
    """Answers from a mapping instead of the network, and counts."""

    def __init__(self, answers: Mapping[str, Fetched]) -> None:
        super().__init__()
        self.answers = dict(answers)
        self.fetched: list[str] = []
        self.forms: list[tuple[Mapping[str, str], str, str]] = []

    async def get(self, url: str, *, accept: str = "*/*") -> Fetched:
        self.fetched.append(url)
        if url not in self.answers:
            raise FetchFailed(f"{url}: no connection")
        return self.answers[url]

    async def post(self, url: str, form: Mapping[str, str], *, user: str = "", password: str = "") -> Fetched:
        self.forms.append((form, user, password))
        return await self.get(url)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def token(key: Key = EC, algorithm: str = "ES256", header: Mapping[str, Any] | None = None, **claims: Any) -> str:
    return jwt.encode({"alg": algorithm, "kid": key.kid} | dict(header or {}), {**CLAIMS, **claims}, key, algorithms=[algorithm])


def verifier(*keys: Key, demands: Demands = DEMANDS) -> JwtVerifier:
    web = Web({"https://keys": Fetched(200, key_set(*(keys or (RSA, EC, ED))))})
    return JwtVerifier(KeyRing("https://keys", web, clock=Clock()), demands, now=lambda: NOW)


@pytest.mark.parametrize(("key", "algorithm"), [(RSA, "RS256"), (RSA, "PS256"), (EC, "ES256"), (ED, "EdDSA"), (ED, "Ed25519")])
async def test_a_good_token_gives_its_user_in_the_form_of_user_names(key: Key, algorithm: str) -> None:
    assert await verifier().verify(token(key, algorithm)) == "Ann@example.org"


async def why_refused(verifier: JwtVerifier | IntrospectionVerifier, token: str) -> str:
    found = await verifier.verify(token)
    assert isinstance(found, TokenRefused)
    return found.why


# What is wrong, the claims, and a part of what the log says
BAD: dict[str, tuple[dict[str, Any], str]] = {
    "another issuer": ({"iss": "https://evil.example/"}, "evil.example"),
    "no issuer": ({"iss": None}, "issuer (none)"),
    "another audience": ({"aud": "calendar"}, "audience 'calendar'"),
    "other audiences": ({"aud": ["calendar", "chat"]}, "audience ['calendar', 'chat']"),
    "expired": ({"exp": NOW - LEEWAY}, "has expired 60 s ago"),
    "never expires": ({"exp": None}, "(exp)"),
    "expires some day": ({"exp": "tomorrow"}, "(exp)"),
    "expires at no number": ({"exp": float("nan")}, "(exp)"),
    "expires never": ({"exp": float("inf")}, "(exp)"),
    "expires beyond all times": ({"exp": 10**400}, "(exp)"),
    "expires if true": ({"exp": True}, "(exp)"),
    "not yet": ({"nbf": NOW + LEEWAY + 1}, "(nbf)"),
    "a scope missing": ({"scope": "openid"}, "the scope smtp"),
    "no scopes": ({"scope": None}, "the scope smtp"),
    "nobody": ({"email": None}, "names no user"),
    "a number": ({"email": 5}, "names no user"),
    "empty": ({"email": ""}, "no user name in email"),
    "no name": ({"email": "ann\0"}, "no user name in email"),
    "not verified": ({"email_verified": False}, "email_verified"),
}


@pytest.mark.parametrize("why", BAD)
async def test_a_token_that_does_not_say_what_it_must_is_worth_nothing(why: str) -> None:
    claims, said = BAD[why]
    assert said in await why_refused(verifier(), token(**claims))


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": ["chat", "mail"]},
        {"exp": NOW - LEEWAY + 1},
        {"nbf": NOW + LEEWAY},
        {"scope": None, "scp": ["smtp"]},
        {"scp": "smtp"},
    ],
)
async def test_a_token_may_say_it_in_other_ways(claims: dict[str, Any]) -> None:
    assert await verifier().verify(token(**claims)) == "Ann@example.org"


async def test_a_signature_by_another_key_under_the_same_name_is_worth_nothing() -> None:
    assert "signature" in await why_refused(verifier(), token(STRANGER))


async def test_the_public_key_is_no_shared_secret_and_none_is_no_algorithm() -> None:
    # The classical attacks: the server's public key as secret of an HMAC, and no signature at all.
    _, body, _ = token().split(".")
    signed = base64.urlsafe_b64encode(b'{"alg":"HS256","kid":"rsa"}').rstrip(b"=") + b"." + body.encode()
    code = base64.urlsafe_b64encode(hmac.digest(RSA.as_pem(private=False), signed, "sha256")).rstrip(b"=")
    forged = (signed + b"." + code).decode()
    assert "another algorithm" in await why_refused(verifier(), forged)
    head = token().split(".")[0]
    for unsigned in ("eyJhbGciOiJub25lIn0", "eyJhbGciOiJOb25lIiwia2lkIjoiZWMifQ", head):
        assert await why_refused(verifier(), f"{unsigned}.{body}.")


async def test_an_algorithm_that_is_not_on_the_list_is_worth_nothing() -> None:
    assert "another algorithm" in await why_refused(verifier(), token(RSA, "RS512"))


@pytest.mark.parametrize(
    "text", ["", "a.b.c", "..", "é.é.é", "a" * 20_000 + ".b.c", "eyJhbGciOiJFUzI1NiIsImtpZCI6NX0.e30.x", "x.y.z.v.w"]
)
async def test_what_is_no_token_is_worth_nothing(text: str) -> None:
    assert not text or text not in await why_refused(verifier(), text)


async def test_a_key_that_the_issuer_has_not_is_named_as_the_cause() -> None:
    assert "a key that the issuer has not" in await why_refused(verifier(RSA), token(EC))


async def test_one_changed_letter_makes_a_token_worthless() -> None:
    head, body, signature = token().split(".")
    other = "A" if body[10] != "A" else "B"
    assert "signature" in await why_refused(verifier(), f"{head}.{body[:10]}{other}{body[11:]}.{signature}")


async def test_a_token_without_a_key_id_is_tried_with_every_key_of_its_kind() -> None:
    plain = jwt.encode({"alg": "ES256"}, dict(CLAIMS), EC)
    assert await verifier(RSA, STRANGER, EC).verify(plain) == "Ann@example.org"


# --- keys ---


async def test_keys_are_fetched_once_and_again_after_an_hour() -> None:
    web, clock = Web({"https://keys": Fetched(200, key_set(EC))}), Clock()
    ring = KeyRing("https://keys", web, clock=clock)
    for _ in range(3):
        assert len(await ring.find("ec")) == 1
    assert len(web.fetched) == 1
    clock.now = KEEP
    await ring.find("ec")
    assert len(web.fetched) == 2


async def test_an_unknown_key_id_fetches_anew_but_a_flood_of_them_does_not() -> None:
    web, clock = Web({"https://keys": Fetched(200, key_set(EC))}), Clock()
    ring = KeyRing("https://keys", web, clock=clock)
    await ring.find("ec")
    web.answers["https://keys"] = Fetched(200, key_set(EC, ED))
    clock.now = REFRESH
    assert len(await ring.find("ed")) == 1
    for number in range(100):
        assert await ring.find(f"made up {number}") == []
    assert len(web.fetched) == 2


async def test_an_issuer_that_is_away_does_not_take_away_the_keys_that_are_known(caplog: pytest.LogCaptureFixture) -> None:
    web, clock = Web({"https://keys": Fetched(200, key_set(EC))}), Clock()
    ring = KeyRing("https://keys", web, clock=clock)
    await ring.find("ec")
    web.answers.clear()
    clock.now = 2 * KEEP
    with caplog.at_level(logging.ERROR, "waymail.server"):
        assert len(await ring.find("ec")) == 1
    assert "cannot be had" in caplog.text


@pytest.mark.parametrize(
    "answer", [Fetched(500, b""), Fetched(200, b"no json"), Fetched(200, b"[]"), Fetched(200, b'{"keys": []}')]
)
async def test_without_any_keys_nobody_can_tell(answer: Fetched) -> None:
    ring = KeyRing("https://keys", Web({"https://keys": answer}), clock=Clock())
    with pytest.raises(BackendUnavailable):
        await JwtVerifier(ring, DEMANDS, now=lambda: NOW).verify(token())


async def test_keys_may_stand_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    file.write_bytes(key_set(EC))
    ring = KeyRing(file, None, clock=Clock())
    assert await JwtVerifier(ring, DEMANDS, now=lambda: NOW).verify(token()) == "Ann@example.org"


def test_of_a_key_set_only_public_keys_for_signatures_count() -> None:
    document = json.loads(key_set(EC))
    document["keys"] += [{"kty": "oct", "k": "c2VjcmV0"}, {"kty": "RSA", "use": "enc"}, {"kty": "new"}, {"kty": "EC"}, 5]
    assert [key.kid for key in keys_in(json.dumps(document).encode())] == ["ec"]
    with pytest.raises(KeysUnusable):
        keys_in(b"[" * 100_000)


# --- introspection ---


ASKED = Demands("", "mail", "username", ())


def asking(answer: Fetched | None, demands: Demands = ASKED) -> tuple[IntrospectionVerifier, Web]:
    web = Web({"https://ask": answer} if answer else {})
    return IntrospectionVerifier("https://ask", "me", "secret", demands, web, lambda: NOW), web


def said(**claims: Any) -> Fetched:
    return Fetched(200, json.dumps(claims).encode())


async def test_the_issuer_is_asked_about_a_token_with_our_own_password() -> None:
    verifier, web = asking(said(active=True, username="ann@example.org", aud="mail"))
    assert await verifier.verify("opaque") == "ann@example.org"
    assert web.forms == [({"token": "opaque", "token_type_hint": "access_token"}, "me", "secret")]


@pytest.mark.parametrize(
    "answer",
    [
        said(active=False, username="ann", aud="mail"),
        said(active="true", username="ann", aud="mail"),
        said(username="ann", aud="mail"),
        said(active=True, username="ann", aud="chat"),
        said(active=True, username="ann", aud="mail", exp=NOW - LEEWAY - 1),
        said(active=True, aud="mail"),
        Fetched(200, b"[]"),
    ],
)
async def test_a_token_that_the_issuer_does_not_vouch_for_is_worth_nothing(answer: Fetched) -> None:
    assert "opaque" not in await why_refused(asking(answer)[0], "opaque")


@pytest.mark.parametrize("answer", [None, Fetched(401, b"{}"), Fetched(200, b"no json")])
async def test_an_issuer_that_cannot_be_asked_is_no_bad_token(answer: Fetched | None) -> None:
    with pytest.raises(BackendUnavailable):
        await asking(answer)[0].verify("opaque")


# --- beside a back end ---


class OneUser(UserBackend):
    async def verify(self, name: str, password: str) -> str | None:
        return name if password == "right" else None

    def senders(self, user: str) -> frozenset[str] | None:
        return frozenset({"sales@example.org"}) if user == "ann@example.org" else None


class Tokens:
    """A token is the name of its user."""

    closed = False

    async def verify(self, token: str) -> str | TokenRefused:
        return token or TokenRefused("has expired")

    async def close(self) -> None:
        self.closed = True


async def test_tokens_are_taken_beside_passwords_and_rights_stay_those_of_the_back_end() -> None:
    verifier = Tokens()
    users = WithTokens(OneUser(), verifier)
    assert set(users.mechanisms) == {"PLAIN", "LOGIN", "OAUTHBEARER", "XOAUTH2"}
    assert await users.verify("ann@example.org", "right") == "ann@example.org"
    assert await users.token("", "ann@example.org") == "ann@example.org"
    assert users.may_send_as("ann@example.org", "sales@example.org")
    assert not users.may_send_as("ann@example.org", "ann@example.org")
    await users.close()
    assert verifier.closed


async def test_a_user_whom_the_back_end_does_not_know_may_send_as_his_name() -> None:
    users = WithTokens(OneUser(), Tokens())
    assert users.may_send_as("eve@example.org", "eve@example.org")
    assert not users.may_send_as("eve@example.org", "ann@example.org")
    for name in ("eve", "*", "*@example.org"):
        assert users.senders(name) is None


async def test_a_token_of_somebody_else_is_not_taken_for_a_user_who_was_named() -> None:
    users = WithTokens(OneUser(), Tokens())
    assert await users.token("bob@example.org", "ann@example.org") == TokenRefused("is the token of ann@example.org")
    assert await users.token("", "") == TokenRefused("has expired")
