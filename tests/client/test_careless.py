"""Careless programs, and interrupted ones: nothing is injected, nothing secret shows, and nothing stays half done."""

from __future__ import annotations

import asyncio
import copy
import pickle
import signal
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from email.header import Header
from email.message import Message
from typing import Any

import pytest

import waymail
import waymail.sync
from waymail.client.url import UrlError
from waymail.mail.outcome import Peer as Who
from waymail.testing import SmtpServer
from waymail.testing.peer import Peer
from waymail.wire.commands import Auth, AuthResponse
from waymail.wire.replies import Reply

MESSAGE = b"From: ann@example.com\r\nTo: bob@example.org\r\n\r\nhello\r\n"
REPLY, WHO = Reply(550, "no", "5.1.1"), Who("mx.example", "192.0.2.1")


# --- errors and results go anywhere


@pytest.mark.parametrize("copied", [lambda found: pickle.loads(pickle.dumps(found)), copy.copy, copy.deepcopy])  # noqa: S301
@pytest.mark.parametrize(
    "error",
    [
        waymail.AllRecipientsRefused("nobody", {"bob@example.org": REPLY}, WHO),
        waymail.ConnectionFailed("refused", REPLY, WHO, "refused"),
        waymail.TlsError("no"),
        waymail.UncertainDelivery("perhaps", REPLY, WHO),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_arrives_in_another_process_with_all_that_it_knows(
    error: waymail.SMTPError, copied: Callable[[Any], Any]
) -> None:
    error.dialogue, error.port = ("> EHLO x",), 587
    found = copied(error)
    assert type(found) is type(error)
    assert (str(found), vars(found)) == (str(error), vars(error))


def test_a_result_is_short_to_look_at_and_can_be_pickled(smtp_server: SmtpServer) -> None:
    result = waymail.sync.send(MESSAGE + b"x" * 10_000, smtp_server.url)
    assert len(repr(result)) < 200
    assert pickle.loads(pickle.dumps(result)) == result  # noqa: S301


# --- what is secret does not show


def test_nothing_that_is_kept_shows_the_password() -> None:
    client = waymail.sync.Client("smtp://ann:secret-42@mail.example.org", proxy="socks5://ann:secret-42@proxy.example.org")
    seen = [client, client._own, client._own._next_hop, client._network, Auth("PLAIN", b"secret-42"), AuthResponse(b"secret-42")]
    assert "secret-42" not in " ".join(map(repr, seen))


@pytest.mark.parametrize(
    "url",
    [
        "smtp://ann:12?secret@mail.example.org",
        "smtp://ann:sec/secret@mail.example.org",
        "smtp://ann:#secret@mail.example.org",
        "smtp://ann:@secret@mail.example.org",
        "smtp://ann:%FFsecret@mail.example.org",
        "smtp://ann:%0Asecret@mail.example.org",
        "smtp:/ann:secret@mail.example.org",
        "lmtp:/ann:secret@mail.example.org",
        "smtps:ann:secret@mail.example.org",
        "mx:ann:secret@mail.example.org",
        "ann:secret@mail.example.org",
        "smtp://ann:secret@mail.example.org:x",
        "smtp://ann:secret@mail.example.org?tls=x",
        "http://ann:secret@mail.example.org",
        b"smtp://ann:secret@mail.example.org",
        None,
    ],
)
def test_a_url_that_is_none_is_told_without_what_is_in_it(url: Any) -> None:
    with pytest.raises(UrlError) as caught:
        waymail.Client(url)
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    "settings",
    [
        {"auth": "ann:secret"},
        {"auth": ("ann", "secret", "more")},
        {"auth": ("ann",)},
        {"auth": ("ann", b"secret")},
        {"timeout": 0},
        {"timeout": -1},
        {"timeout": float("nan")},
        {"timeout": "5"},
        {"hello": "x\r\nRSET"},
        {"hello": ""},
        {"tls": "on"},
        {"source_address": "mail.example.org"},
        {"proxy": "http://ann:sec/secret@proxy.example.org"},
    ],
)
def test_a_setting_that_makes_no_sense_is_a_value_error_that_shows_no_secret(settings: dict[str, Any]) -> None:
    for client in (waymail.Client, waymail.sync.Client):
        with pytest.raises(ValueError) as caught:  # noqa: PT011 - each has words of its own
            client("smtp://mail.example.org", **settings)
        assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"pool": 5}, r"pool is a waymail\.Pool, as waymail\.Pool\(max=5\), not int"),
        ({"pool": 0}, r"pool is a waymail\.Pool, as waymail\.Pool\(max=5\), not int"),
        ({"rate": 14}, r"rate is a waymail\.Rate, as waymail\.Rate\(14, per=1\), not int"),
        ({"retry": 3}, r"retry is a waymail\.Retry, as waymail\.Retry\(times=3\), not int"),
        ({"dkim": 5}, r"dkim is a waymail\.DkimKey, as .*, or a sequence of them, not int"),
        ({"tls_context": "ca.pem"}, r"tls_context is an ssl\.SSLContext, as ssl\.create_default_context\(.*\), not str"),
        ({"network": "192.0.2.1"}, r"network is a waymail\.Network, as waymail\.Network\(.*\), not str"),
    ],
)
async def test_a_setting_of_another_type_is_a_type_error_with_an_example(settings: dict[str, Any], told: str) -> None:
    for client in (waymail.Client, waymail.sync.Client):
        with pytest.raises(TypeError, match=told):
            client("smtp://mail.example.org", **settings)
    with pytest.raises(TypeError, match=told):
        await waymail.send(MESSAGE, "smtp://mail.example.org", **settings)
    with pytest.raises(TypeError, match=told):
        waymail.sync.send(MESSAGE, "smtp://mail.example.org", **settings)


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"dsn": 5}, r"dsn is a waymail\.Dsn, as waymail\.Dsn\(waymail\.Notify\.SUCCESS\), not int"),
        ({"options": None}, r"options is a waymail\.Options, as waymail\.Options\(require_tls=True\), not NoneType"),
        ({"recipients": 5}, r"recipients is an address or several, as \[.bob@example\.org.\], not int"),
    ],
)
async def test_what_is_asked_for_a_message_is_of_its_type_or_a_type_error_with_an_example(
    smtp_server: SmtpServer, asked: dict[str, Any], told: str
) -> None:
    with pytest.raises(TypeError, match=told):
        waymail.Mail(MESSAGE, **asked)  # for send_many
    async with waymail.Client(smtp_server.url) as client:
        with pytest.raises(TypeError, match=told):
            await client.send(MESSAGE, **asked)
    with waymail.sync.Client(smtp_server.url) as blocking, pytest.raises(TypeError, match=told):
        blocking.send(MESSAGE, **asked)
    assert smtp_server.commands == []


def test_tls_cannot_be_required_where_there_is_none() -> None:
    with pytest.raises(ValueError, match="Unix-domain socket"):
        waymail.Client("smtp:/run/mail", tls="require")


# --- nothing is injected


@pytest.mark.parametrize(
    "one", [None, 5, b"bob@example.org", "bob@example.org\n", "bob@example.org\0", "bob@exa mple.org", "a@b>\r\nX"]
)
def test_what_is_no_address_is_a_value_error(smtp_server: SmtpServer, one: Any) -> None:
    for asked in ({"recipients": [one]}, {"recipients": one or ""}, {"sender": one or "x y"}):
        if asked != {"recipients": 5}:
            with pytest.raises(ValueError, match=r"is no address|no recipient"):
                waymail.sync.send(MESSAGE, smtp_server.url, **asked)
    assert smtp_server.commands == []


def test_recipients_may_come_from_a_generator(smtp_server: SmtpServer) -> None:
    result = waymail.sync.send(MESSAGE, smtp_server.url, recipients=(one for one in ["cid@example.org"]))  # type: ignore[arg-type]
    assert result.accepted == ("cid@example.org",)


EVIL = "x\r\nBcc: eve@example.net\r\n\r\nevil"


def fields() -> list[Message]:
    """Messages of the old kind, which look at nothing, each with a line break in another place."""
    messages = []
    for name, value in (
        ("Subject", EVIL),
        ("Subject", "x\nBcc: eve"),
        ("Subject", "x\rBcc: eve"),
        ("Subject", "x\u2028Bcc: eve"),
    ):
        message = Message()
        message[name] = value
        messages.append(message)
    encoded, named, filed, outer, inner = [Message() for _ in range(5)]
    encoded["Subject"] = Header(EVIL)  # type: ignore[assignment]
    named["Bcc: eve@example.net\r\nX"] = "x"
    filed.add_header("Content-Disposition", "attachment", filename=EVIL)
    inner["X"] = EVIL
    outer.attach(inner)
    return [*messages, encoded, named, filed, outer]


@pytest.mark.parametrize("at", range(8))
def test_no_header_field_becomes_two(smtp_server: SmtpServer, at: int) -> None:
    message = fields()[at]
    message["From"], message["To"] = "ann@example.com", "bob@example.org"
    try:
        waymail.sync.send(message, smtp_server.url)  # type: ignore[arg-type]
    except ValueError:
        assert smtp_server.commands == []
    else:
        assert b"\nBcc" not in smtp_server.messages[0].octets


@pytest.mark.parametrize("field", ["envid", "ret", "submitter", "hold"])
def test_no_option_becomes_a_command(smtp_server: SmtpServer, field: str) -> None:
    smtp_server.configure(extensions=["PIPELINING", "DSN", "FUTURERELEASE"])
    options = waymail.Options(**{field: "x\r\nRCPT TO:<eve@example.net>"})  # type: ignore[arg-type]
    with suppress(ValueError, waymail.SMTPError):
        waymail.sync.send(MESSAGE, smtp_server.url, options=options)
    assert not [line for line in smtp_server.commands if "eve" in line]


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "SCRAM-SHA-256", "OAUTHBEARER", "XOAUTH2"])
@pytest.mark.parametrize("text", ["a\0b", "a\x01b"])
def test_a_user_name_or_secret_that_a_mechanism_cannot_carry_is_not_sent(
    make_smtp_server: Callable[..., SmtpServer], mechanism: str, text: str
) -> None:
    server = make_smtp_server(tls="starttls", users={"ann": "secret-42"}, mechanisms=[mechanism])
    for user, secret in ((text, "secret-42"), ("ann", text)):
        auth = waymail.Credentials(user, secret, token=secret)
        with pytest.raises((ValueError, waymail.AuthenticationFailed)) as caught:
            waymail.sync.send(MESSAGE, server.url, auth=auth, tls_context=server.tls_context)
        assert "secret-42" not in str(caught.value)
    assert server.messages == []


# --- interrupted anywhere


async def test_a_send_that_is_cancelled_anywhere_leaves_nothing_in_between(
    eventually: Callable[[Callable[[], bool]], Awaitable[None]],
) -> None:
    other = MESSAGE.replace(b"hello", b"other")
    async with Peer() as peer, waymail.Client(f"smtp://{peer.address}?tls=off", pool=waymail.Pool(max=1)) as client:
        for turns in range(40):
            for _ in range(2):  # on a new connection, and on one that was kept
                sending = asyncio.create_task(client.send(MESSAGE))
                for _ in range(turns):
                    await asyncio.sleep(0)
                sending.cancel()
                await asyncio.gather(sending, return_exceptions=True)
            async with asyncio.timeout(5):
                assert (await client.send(other)).accepted == ("bob@example.org",)
        assert {mail.content for mail in peer.messages} <= {MESSAGE, other}
        assert [mail.content for mail in peer.messages].count(other) == 40
        await eventually(lambda: len(peer._tasks) == 1)  # the one that the client keeps


@pytest.mark.parametrize("moment", ["GREETING", "EHLO", "MAIL", "DATA", "END", "QUIT"])
def test_a_keyboard_interrupt_leaves_nothing_in_between(smtp_server: SmtpServer, moment: str) -> None:
    previous = signal.signal(signal.SIGUSR1, signal.default_int_handler)

    def interrupt(_: str) -> None:
        signal.pthread_kill(main, signal.SIGUSR1)

    main = threading.main_thread().ident or 0
    try:
        smtp_server.script(moment, interrupt, hang=True, times=1)
        with waymail.sync.Client(smtp_server.url, pool=waymail.Pool(max=1, messages=1)) as client:
            with pytest.raises(KeyboardInterrupt):
                client.send(MESSAGE)
            assert client.send(MESSAGE).accepted == ("bob@example.org",)
    finally:
        signal.signal(signal.SIGUSR1, previous)
    assert smtp_server.connections == 2
