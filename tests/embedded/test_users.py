"""Who may log in to a program's server, and what is asked of those who have not."""

from __future__ import annotations

import asyncio
import smtplib
import ssl
from functools import partial
from pathlib import Path
from typing import Any

import aiosmtplib
import pytest
from tests.embedded.conftest import Connect, Inbox, Serve

import waymail
from waymail.embedded.users import Users, backend
from waymail.server.backends.contract import UserBackend

USERS = {"ann": "secret", "Bob@Example.org": "other"}


async def right(name: str, password: str) -> str | None:
    await asyncio.sleep(0)
    return f"{name}@example.org" if (name, password) == ("ann", "secret") else None


def logged_in(server: Any, mechanism: str, user: str = "ann", password: str = "secret") -> int:
    """The code that AUTH came to."""
    with smtplib.SMTP("127.0.0.1", server.port) as client:
        client.ehlo()
        client.user, client.password = user, password
        authobject = getattr(client, f"auth_{mechanism.lower().replace('-', '_')}")
        try:
            return client.auth(mechanism, authobject)[0]
        except smtplib.SMTPAuthenticationError as error:
            return error.smtp_code


@pytest.mark.parametrize("users", [USERS, right, lambda name, password: (name, password) == ("ann", "secret")])
def test_the_right_password_logs_in_and_a_wrong_one_does_not(serve: Serve, users: Users) -> None:
    server = serve(Inbox(), users=users, auth_in_clear=True)
    assert logged_in(server, "PLAIN") == 235
    assert logged_in(server, "LOGIN") == 235
    assert logged_in(server, "PLAIN", password="wrong") == 535
    assert logged_in(server, "PLAIN", user="nobody") == 535


class Database:
    """Asked in each of the ways in which a program may have it."""

    async def __call__(self, name: str, password: str) -> bool:
        return password == "secret"

    def method(self, name: str, password: str) -> bool:
        return password == "secret"

    async def with_more(self, table: str, name: str, password: str, retries: int = 3) -> bool:
        return (table, password) == ("people", "secret")

    def any(self, *pair: str) -> bool:
        return pair[1] == "secret"


class Unsigned(Database):
    __signature__ = "none that inspect can read"


@pytest.mark.parametrize(
    "users", [Database(), Database().method, partial(Database().with_more, "people"), Database().any, Unsigned()]
)
def test_whatever_takes_a_name_and_a_password_is_asked(serve: Serve, users: Users) -> None:
    server = serve(Inbox(), users=users, auth_in_clear=True)
    assert (logged_in(server, "PLAIN"), logged_in(server, "PLAIN", password="wrong")) == (235, 535)


def of_aiosmtpd(server: Any, session: Any, envelope: Any, mechanism: str, auth_data: Any) -> bool:
    return True


@pytest.mark.parametrize("users", [of_aiosmtpd, lambda name: True, partial(right, "ann"), Database])
def test_a_function_that_takes_anything_else_is_said_when_the_server_is_made(users: Any) -> None:
    with pytest.raises(TypeError, match=r"takes \(.*\).*: write def users\(name, password\): return True"):
        waymail.Server(Inbox(), users=users, auth_in_clear=True)


def test_a_name_is_compared_as_names_are(serve: Serve) -> None:
    assert logged_in(serve(Inbox(), users=USERS, auth_in_clear=True), "PLAIN", "Bob@EXAMPLE.ORG", "other") == 235


async def test_scram_works_with_passwords_that_the_program_knows() -> None:
    inbox = Inbox()
    async with waymail.Server(inbox, tls="self-signed", users=USERS) as server:
        trust = ssl.create_default_context(cafile=server.certificate)
        async with aiosmtplib.SMTP(port=server.port, hostname="127.0.0.1", tls_context=trust) as client:
            await client.ehlo()
            assert "SCRAM-SHA-256" in client.esmtp_extensions["auth"]
            assert "CRAM-MD5" not in client.esmtp_extensions["auth"]

        async def send(name: str) -> None:
            auth = waymail.Credentials(name, "secret")
            await waymail.send(b"\r\n", server.url, sender="", recipients=["b@example.org"], auth=auth, tls_context=trust)

        await send("ann")
        with pytest.raises(waymail.AuthenticationFailed):
            await send("nobody")
    assert inbox.mails[0].client.user == inbox.mails[0].envelope.origin.user == "ann"
    assert inbox.mails[0].envelope.origin.protocol == "ESMTPSA"


async def test_nobody_has_keys_or_a_password() -> None:
    users = backend(USERS)
    assert (await users.scram_keys("SCRAM-SHA-256", "nobody"), await users.password("nobody")) == (None, None)
    assert await users.verify("nobody", "") is None
    assert not users.may_send_as("nobody", "a@example.org")
    keys = await users.scram_keys("SCRAM-SHA-1", "ann")
    assert keys is not None
    assert keys.matches("secret")


def test_a_function_that_fails_puts_the_client_off(serve: Serve) -> None:
    def fails(name: str, password: str) -> bool:
        raise OSError("the database is away")

    assert logged_in(serve(Inbox(), users=fails, auth_in_clear=True), "PLAIN") == 454


def test_the_name_that_the_function_says_is_the_one_that_hooks_are_told(serve: Serve) -> None:
    inbox = Inbox()
    with smtplib.SMTP("127.0.0.1", serve(inbox, users=right, auth_in_clear=True).port) as client:
        client.ehlo()
        client.user, client.password = "ann", "secret"
        client.auth("PLAIN", client.auth_plain)
        client.sendmail("a@example.org", "b@example.org", b"")
    assert inbox.mails[0].client.user == "ann@example.org"


def test_who_has_not_logged_in_may_not_send_where_there_are_users(serve: Serve, connect: Connect) -> None:
    assert connect(serve(Inbox(), users=USERS, auth_in_clear=True)).say("MAIL FROM:<>") == ["530 5.7.0"]
    assert connect(serve(Inbox(), users=USERS, auth_in_clear=True, require_auth=False)).say("MAIL FROM:<>") == ["250 2.1.0"]


def test_nobody_logs_in_in_clear_unless_the_program_says_so(serve: Serve, connect: Connect) -> None:
    client = connect(serve(Inbox(), users=USERS, tls="self-signed"))
    assert client.say("AUTH PLAIN AGEAYg==") == ["538 5.7.11"]
    with pytest.raises(ValueError, match="without TLS"):
        waymail.Server(Inbox(), users=USERS)


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"users": {"": "x"}}, ValueError),
        ({"users": {"ann": ""}}, ValueError),
        ({"users": 7}, TypeError),
        ({"require_auth": True}, ValueError),
        ({"require_tls": True}, ValueError),
        ({"implicit_tls": True}, ValueError),
        ({"extensions": ["DSN", "ETRN"]}, ValueError),
        ({"proxies": ["nonsense"]}, ValueError),
    ],
)
def test_what_makes_no_sense_is_said_when_the_server_is_made(settings: Any, problem: type[Exception]) -> None:
    with pytest.raises(problem):
        waymail.Server(Inbox(), **settings)


def test_a_back_end_of_ones_own_is_taken_as_it_is(serve: Serve) -> None:
    class Tokens(UserBackend):
        async def verify(self, name: str, password: str) -> str | None:
            return name if password == name[::-1] else None

    assert logged_in(serve(Inbox(), users=Tokens(), auth_in_clear=True), "PLAIN", "ann", "nna") == 235


def test_a_pair_of_files_is_served_and_tls_can_be_demanded(serve: Serve, connect: Connect, tmp_path: Path) -> None:
    from waymail.net.self_signed import self_signed

    pair = self_signed(tmp_path, "localhost")
    server = serve(Inbox(), tls=pair, require_tls=True)
    assert connect(server).say("MAIL FROM:<>") == ["530 5.7.0"]
    trust = ssl.create_default_context(cafile=server.certificate)
    with smtplib.SMTP("localhost", server.port) as client:
        client.starttls(context=trust)
        client.sendmail("", "b@example.org", b"")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*pair)
    server = serve(Inbox(), tls=context, implicit_tls=True)
    assert server.url.startswith("smtps://")
    with smtplib.SMTP_SSL("localhost", server.port, context=trust) as client:
        client.sendmail("", "b@example.org", b"")
