"""What a program sees of the stand-in is what it sees of smtplib: both are run, and compared."""

from __future__ import annotations

import smtplib
from collections.abc import Callable
from email.message import EmailMessage
from typing import Any

import pytest

import waymail.smtplib
from waymail.testing import SmtpServer

ANN, BOB, EVE = "ann@example.org", "bob@example.org", "eve@example.org"
MESSAGE = "Subject: Hello\n\nHello!\n.\nBye.\n"


def outcome(module: Any, server: SmtpServer, work: Callable[[Any], object]) -> tuple[object, ...]:
    """What `work` comes to, as far as a program can see it, and what the server has then."""
    server.clear()
    client = module.SMTP(server.host, server.port, local_hostname="pc.example.org", timeout=5)
    found: tuple[object, ...]
    try:
        found = ("returned", work(client))
    except (smtplib.SMTPException, ValueError) as error:
        attributes = {name: getattr(error, name, None) for name in ("smtp_code", "smtp_error", "sender", "recipients")}
        found = (type(error), attributes)
    try:
        left = client.noop()[0]
    except smtplib.SMTPServerDisconnected:
        left = "closed"
    client.close()
    return (*found, left, client.sock is None, [(mail.sender, mail.recipients, mail.octets) for mail in server.messages])


def same(server: SmtpServer, work: Callable[[Any], object]) -> tuple[object, ...]:
    ours, theirs = outcome(waymail.smtplib, server, work), outcome(smtplib, server, work)
    assert ours == theirs
    return ours


def send(client: Any) -> object:
    return client.sendmail("me@example.com", [ANN, BOB], MESSAGE)


@pytest.mark.parametrize("extensions", [(), ("PIPELINING", "SIZE"), ("PIPELINING", "CHUNKING"), ("CHUNKING",)])
def test_a_message_arrives_for_all(make_smtp_server: Callable[..., SmtpServer], extensions: tuple[str, ...]) -> None:
    found = same(make_smtp_server(extensions=extensions), send)
    assert found[:2] == ("returned", {})
    content = MESSAGE.replace("\n", "\r\n").encode()
    assert found[-1] == [("me@example.com", (ANN, BOB), content)]


@pytest.mark.parametrize("extensions", [(), ("PIPELINING",), ("PIPELINING", "CHUNKING")])
@pytest.mark.parametrize(
    "scripts",
    [
        {"MAIL": "550 5.7.1 not you"},
        {"MAIL": "451 4.7.1 later"},
        {"MAIL": "421 4.3.2 closing"},
        {"RCPT TO:<bob@": "550 5.1.1 no such user"},
        {"RCPT TO:<bob@": "251 2.1.5 goes on to another host"},
        {"RCPT": "452 4.2.2 over quota"},
        {"RCPT TO:<ann@": "421 4.3.2 closing"},
        {"RCPT TO:<bob@": "421 4.3.2 closing"},
        {"END": "554 5.7.1 looks like spam"},
        {"END": "421 4.3.2 closing"},
        {"EHLO": "502 5.5.1 what?"},
        {"EHLO": "550 5.7.1 no", "HELO": "550 5.7.1 no\nreally not"},
    ],
    ids=str,
)
def test_a_refusal_is_the_same(
    make_smtp_server: Callable[..., SmtpServer], extensions: tuple[str, ...], scripts: dict[str, str]
) -> None:
    server = make_smtp_server(extensions=extensions)
    for moment, reply in scripts.items():
        server.script(moment, reply)
    same(server, send)


def test_a_refusal_of_data_is_the_same_and_the_connection_can_be_used(smtp_server: SmtpServer) -> None:
    smtp_server.script("DATA", "451 4.3.0 no room")
    found = same(smtp_server, send)
    assert found[0] is smtplib.SMTPDataError
    assert found[2] == 250


@pytest.mark.parametrize(
    "work",
    [
        lambda client: client.ehlo(),
        lambda client: client.helo(),
        lambda client: (client.ehlo(), client.esmtp_features, client.does_esmtp, client.ehlo_resp, client.has_extn("size")),
        lambda client: client.vrfy("Ann <ann@example.org>"),
        lambda client: client.expn("staff"),
        lambda client: client.help(),
        lambda client: client.docmd("XYZZY", "plugh"),
        lambda client: (client.helo(), client.mail("me@example.com"), client.rcpt(ANN), client.data(b"x\r\n"), client.rset()),
        lambda client: client.data("x\n"),
        lambda client: client.login("ann", "secret"),
        lambda client: client.starttls(),
        lambda client: client.putcmd("NOOP\r\nQUIT"),
        lambda client: client.sendmail("me@example.com", "x@example.org\r\nQUIT", MESSAGE),
        lambda client: client.sendmail("me@example.com", [], MESSAGE),
        lambda client: client.sendmail("me@example.com", ANN, "naïve"),
        lambda client: client.sendmail("mé@example.com", ANN, MESSAGE, mail_options=["SMTPUTF8"]),
        lambda client: (client.send("NOOP\r\nRSET\r\n"), client.getreply(), client.getreply()),
        lambda client: client.quit(),
    ],
)
def test_a_command_is_the_same(smtp_server: SmtpServer, work: Callable[[Any], object]) -> None:
    same(smtp_server, work)


def test_a_message_object_is_sent_the_same_way(smtp_server: SmtpServer) -> None:
    message = EmailMessage()
    message["From"], message["To"], message["Cc"], message["Bcc"] = "Me <me@example.com>", "Ann <ann@example.org>", BOB, EVE
    message["Subject"] = "Grüße"
    message.set_content("Schöne Grüße!\n")
    found = same(smtp_server, lambda client: client.send_message(message))
    assert found[:2] == ("returned", {})
    assert message["Bcc"] == EVE


def test_an_exception_is_caught_by_the_name_of_either_module() -> None:
    names = [name for name in smtplib.__all__ if name.startswith("SMTP") and name not in ("SMTP", "SMTP_SSL")]
    assert len(names) == 10
    assert all(getattr(waymail.smtplib, name) is getattr(smtplib, name) for name in names)
    assert set(smtplib.__all__) <= set(waymail.smtplib.__all__)


def test_methods_and_arguments_are_those_of_smtplib() -> None:
    public = [name for name in vars(smtplib.SMTP) if not name.startswith("_") and callable(getattr(smtplib.SMTP, name))]
    assert len(public) > 25
    for name in public:
        theirs, ours = getattr(smtplib.SMTP, name), getattr(waymail.smtplib.SMTP, name)
        names = theirs.__code__.co_varnames[1 : theirs.__code__.co_argcount]
        assert ours.__code__.co_varnames[1 : len(names) + 1] == names or name == "starttls", name
    for kind in ("SMTP", "SMTP_SSL", "LMTP"):
        for attribute in ("default_port", "sock", "file", "debuglevel", "ehlo_msg", "helo_resp", "ehlo_resp", "does_esmtp"):
            assert getattr(getattr(waymail.smtplib, kind), attribute) == getattr(getattr(smtplib, kind), attribute)
