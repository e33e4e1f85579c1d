"""Targets from text, and the longest match."""

import pytest

from waymail.client.target import Credentials, Host, NextHop, Tls
from waymail.delivery.routes import ByMx, Mailboxes, Pipe, PythonHandler, RouteError, Routes, Webhook, parse_target


def test_a_smarthost_defaults_to_port_25_and_opportunistic_tls() -> None:
    assert parse_target("smtp://relay.example") == NextHop("smtp://relay.example:25", (Host("relay.example", 25),))


def test_a_smarthost_with_a_password_demands_verified_tls() -> None:
    found = parse_target("smtp://user:se%40cret@10.0.0.5:587")
    assert isinstance(found, NextHop)
    assert (found.tls, found.credentials) == (Tls.REQUIRED, Credentials("user", "se@cret"))
    assert "cret" not in found.key
    assert "cret" not in repr(found)


def test_the_tls_demand_can_be_said() -> None:
    found = parse_target("smtp://relay.example:26?tls=off")
    assert isinstance(found, NextHop)
    assert (found.tls, found.hosts[0].port) == (Tls.OFF, 26)


def test_smtps_is_implicit_tls_at_port_465() -> None:
    found = parse_target("smtps://relay.example")
    assert isinstance(found, NextHop)
    assert (found.tls, found.hosts[0].port) == (Tls.IMPLICIT, 465)


def test_a_maildir_keeps_its_template() -> None:
    assert parse_target("maildir:/srv/{domain}/{local}") == Mailboxes("/srv/{domain}/{local}")


def test_lmtp_is_final_delivery_over_a_socket_or_at_a_port_that_is_named() -> None:
    assert parse_target("lmtp:/run/dovecot/lmtp") == NextHop(
        "lmtp:/run/dovecot/lmtp", (Host("localhost", 0, path="/run/dovecot/lmtp"),), Tls.OFF, None, True
    )
    assert parse_target("lmtp://mail.example:24") == NextHop(
        "lmtp://mail.example:24", (Host("mail.example", 24),), Tls.OPPORTUNISTIC, None, True
    )


def test_mail_is_relayed_over_a_unix_socket_too() -> None:
    assert parse_target("smtp:/run/relay") == NextHop(
        "smtp:/run/relay", (Host("localhost", 0, path="/run/relay"),), Tls.OFF, None, False
    )


def test_lmtp_is_never_spoken_at_the_port_of_smtp() -> None:
    for text in ("lmtp://mail.example", "lmtp://mail.example:25"):
        with pytest.raises(RouteError, match="25 is SMTP"):
            parse_target(text)


@pytest.mark.parametrize(
    "text",
    ["", "mx:", "maildir:", "lmtp:", "lmtp:run/x", "http://x", "smtp://", "smtp://host:99999", "smtp://h?tls=maybe", "nonsense"],
)
def test_nonsense_is_refused_with_a_reason(text: str) -> None:
    with pytest.raises(RouteError) as caught:
        parse_target(text)
    assert str(caught.value)


@pytest.mark.parametrize("text", ["192.0.2.1:2525", "relay.example.org:25", "relay.example.org"])
def test_a_host_that_stands_alone_is_answered_with_the_target_that_was_meant(text: str) -> None:
    with pytest.raises(RouteError, match=f'did you mean "smtp://{text}"'):
        parse_target(text)


def test_a_refused_target_does_not_print_its_password() -> None:
    with pytest.raises(RouteError) as caught:
        parse_target("smtp://user:topsecret@host:99999")
    assert "topsecret" not in str(caught.value)


def test_programs_and_python_are_named() -> None:
    assert parse_target("pipe:archive-2") == Pipe("archive-2")
    assert parse_target("python:our.mail:handle") == PythonHandler("our.mail:handle")


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("https://App.Example", "https://app.example/"),
        ("HTTPS://app.example:8443/In?a=B", "https://app.example:8443/In?a=B"),
        ("http://127.0.0.1:8000/in", "http://127.0.0.1:8000/in"),
        ("http://[::1]:8000", "http://[::1]:8000/"),
        ("http://localhost/in", "http://localhost/in"),
    ],
)
def test_a_webhook_has_one_spelling(text: str, url: str) -> None:
    assert parse_target(f"webhook+{text}") == Webhook(url)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("webhook+http://app.example/", "must begin with https://"),
        ("webhook+http://10.0.0.1/", "must begin with https://"),
        ("webhook+http://localhost.example/", "must begin with https://"),
        ("webhook+ftp://app.example/", "must begin with https://"),
        ("webhook+https://", "no address of a webhook"),
        ("webhook+https://app.example:x/", "no address of a webhook"),
        ("webhook+https://app.example/a b", "%20"),
        ("webhook+https://app.example/{local}", "no address of a webhook"),
        ("webhook+https://user:topsecret@app.example/", "no user, password"),
        ("webhook+https://app.example/#x", "no user, password or #fragment"),
        ("pipe:", "no name of a pipe"),
        ("pipe:/bin/sh", "no name of a pipe"),
        ("python:module", "write python:MODULE:NAME"),
        ("python:a b:c", "write python:MODULE:NAME"),
    ],
)
def test_a_target_of_final_delivery_that_is_none_says_why(text: str, why: str) -> None:
    with pytest.raises(RouteError, match=why) as caught:
        parse_target(text)
    assert "topsecret" not in str(caught.value)


def test_two_targets_are_never_one_destination() -> None:
    texts = ["pipe:a", "maildir:a", "python:a:a", "webhook+https://a/", "webhook+https://a/?x", "webhook+http://localhost/"]
    assert len({getattr(parse_target(text), "key", "") for text in texts}) == len(texts)


A, B, C, LOCAL = (Mailboxes(name) for name in ("a", "b", "c", "local"))
ROUTES = Routes(
    {"home.example": LOCAL}, {"*": A, "*.example": B, "*.deep.example": C, "exact.deep.example": A, "home.example": C}
)


@pytest.mark.parametrize(
    ("domain", "target"),
    [
        ("elsewhere.test", A),
        ("x.example", B),
        ("deep.example", B),
        ("x.deep.example", C),
        ("y.x.deep.example", C),
        ("exact.deep.example", A),
        ("home.example", LOCAL),
        ("example", A),
    ],
)
def test_the_longest_pattern_wins_and_local_domains_come_first(domain: str, target: Mailboxes) -> None:
    assert ROUTES.match(domain) == target


def test_without_routes_mail_goes_by_mx() -> None:
    assert Routes({}, {}).match("x.test") == ByMx()
