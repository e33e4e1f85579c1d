from __future__ import annotations

import pytest

from waymail.client.target import Credentials, Tls
from waymail.client.url import UrlError, parse


def test_smtp_is_port_587_and_smtps_465_unless_the_url_says_otherwise() -> None:
    assert parse("smtp://mail.example.org").port == 587
    assert parse("smtps://mail.example.org").port == 465
    assert parse("smtp://mail.example.org").explicit_port is None
    assert parse("smtp://mail.example.org:25").port == parse("SMTP://mail.example.org:25/").port == 25


def test_smtps_is_implicit_tls() -> None:
    assert parse("smtps://mail.example.org").tls is Tls.IMPLICIT
    assert parse("smtps://mail.example.org?tls=require").tls is Tls.IMPLICIT


@pytest.mark.parametrize("value", ["require", "opportunistic", "off"])
def test_tls_is_what_the_url_says(value: str) -> None:
    assert parse(f"smtp://mail.example.org?tls={value}").tls is Tls(value)


def test_without_tls_the_url_says_nothing_of_it() -> None:
    assert parse("smtp://mail.example.org").tls is None


def test_user_and_password_are_percent_decoded() -> None:
    target = parse("smtp://ann%40example.org:p%3Ass%2Fw%40rd+%C3%BC@mail.example.org:2525/")
    assert target.credentials == Credentials("ann@example.org", "p:ss/w@rd+ü")
    assert target.host == "mail.example.org"


def test_a_user_may_come_without_a_password() -> None:
    assert parse("smtp://ann@mail.example.org").credentials == Credentials("ann", "")
    assert parse("smtp://mail.example.org").credentials is None


@pytest.mark.parametrize(
    ("url", "host", "port"),
    [
        ("smtp://[2001:db8::1]:25", "2001:db8::1", 25),
        ("smtp://[::1]", "::1", 587),
        ("smtp://ann:x@[fe80::1%25eth0]:25", "fe80::1%25eth0", 25),
        ("smtp://192.0.2.1:25?tls=off", "192.0.2.1", 25),
    ],
)
def test_addresses_are_hosts_too(url: str, host: str, port: int) -> None:
    target = parse(url)
    assert (target.host, target.port) == (host, port)


@pytest.mark.parametrize(
    ("url", "fix"),
    [
        ("mail.example.org", "write smtp://"),
        ("mail.example.org:25", "write smtp://"),
        ("http://mail.example.org", "use smtp://"),
        ("lmtp://mail.example.org", "LMTP has no port of its own"),
        ("lmtp://mail.example.org:25", "25 is SMTP's"),
        ("lmtp:run/socket", "lmtp:/path/of/a/socket"),
        ("lmtp:/run/\nsocket", "lmtp:/path/of/a/socket"),
        ("smtp:/run/\0socket", "smtp:/path/of/a/socket"),
        ("smtp:run/socket", "write smtp://"),
        ("mx:example.org", 'is written "mx:"'),
        ("mx://ann:s3cret@example.org", 'is written "mx:"'),
        ("mx:?port=25", "unknown option"),
        ("mx:?tls=maybe", "one of require"),
        ("mx:?hello=a%0D%0AMAIL", "hello is a host name"),
        ("smtp://mail.example.org?hello=two%20words", "hello is a host name"),
        ("smtp://", "host is missing"),
        ("smtp://:25", "host is missing"),
        ("smtp://mail.example.org:0", "1 to 65535"),
        ("smtp://mail.example.org:99999", "1 to 65535"),
        ("smtp://mail.example.org:smtp", "cannot be read"),
        ("smtp://mail.example.org/inbox", "cannot be read"),
        ("smtp://2001:db8::1:25", "brackets"),
        ("smtp://mail.example.org?tls=yes", "one of require, opportunistic, off"),
        ("smtp://mail.example.org?TLS=off", "unknown option"),
        ("smtp://mail.example.org?timeout=5", "unknown option"),
        ("smtps://mail.example.org?tls=off", "use smtp://"),
        ("smtp://%FF@mail.example.org", "the user name is no UTF-8"),
        ("smtp://ann:%FF@mail.example.org", "the password is no UTF-8"),
        ("smtp://ann%0A:x@mail.example.org", "the user name holds a control character"),
        ("smtp://ann:x%0D%0A@mail.example.org", "the password holds a control character"),
        ("smtp://ann:%C2%85@mail.example.org", "the password holds a control character"),
        ("smtp://mail.example.org\r\nEHLO x", "cannot be read"),
    ],
)
def test_a_url_that_cannot_be_used_gets_told_what_to_write(url: str, fix: str) -> None:
    with pytest.raises(UrlError, match=fix):
        parse(url)


@pytest.mark.parametrize(
    "url",
    [
        "smtp://ann:s3cr@t@mail.example.org",
        "smtp://ann:s3cr/t@mail.example.org",
        "smtp://ann:s3cr#t@mail.example.org",
        "smtp://ann:s3crt%0A@mail.example.org",
        "smtp://s3crt%0A:x@mail.example.org",
        "smtp://ann:s3crt%FF@mail.example.org",
        "smtp://ann:s3cr?t@mail.example.org",
        "smtp://ann:s3crt@",
        "smtp//ann:s3crt@mail.example.org",
        "ann:s3crt@mail.example.org",
        "smtp://ann:s3crt@mail.example.org:port",
        "lmtp://ann:s3crt@mail.example.org",
        "smtp://ann:s3crt@mail.example.org?tls=maybe",
    ],
)
def test_no_error_shows_the_password(url: str) -> None:
    with pytest.raises(UrlError) as caught:
        parse(url)
    assert "s3cr" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_special_characters_in_a_password_are_explained() -> None:
    with pytest.raises(UrlError, match="%40"):
        parse("smtp://ann:s3cr@t@mail.example.org")


def test_no_repr_shows_the_password() -> None:
    assert "s3cret" not in repr(parse("smtp://ann:s3cret@mail.example.org"))


def test_a_unix_socket_is_spoken_to_by_smtp_or_lmtp() -> None:
    for scheme in ("smtp", "lmtp"):
        target = parse(f"{scheme.upper()}:/run/mail.sock")
        assert (target.scheme, target.path, target.host) == (scheme, "/run/mail.sock", "localhost")


def test_direct_delivery_has_no_host_and_the_port_of_relaying() -> None:
    target = parse("mx:?tls=require&hello=mail.example.org")
    assert (target.scheme, target.host, target.port, target.tls) == ("mx", "", 25, Tls.REQUIRED)
    assert target.options["hello"] == "mail.example.org"
    assert parse("MX:").tls is None
