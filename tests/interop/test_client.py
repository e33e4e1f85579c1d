"""The client as a program uses it, against Postfix, Exim, Dovecot's submission server and OpenSMTPD."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Iterator
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
import trustme
from tests.interop.conftest import PASSWORD as HOUSE_PASSWORD
from tests.interop.conftest import USER as HOUSE_USER
from tests.interop.conftest import Mail, numbers
from tests.interop.keepers import having
from tests.interop.opensmtpd import OpenSMTPD
from tests.interop.submission import PASSWORD, TOKENS, USER, Dovecot, Exim, Postfix, token
from tests.net.certificates import AUTHORITY

import waymail
import waymail.sync

pytestmark = pytest.mark.interop

Server = Postfix | Exim | Dovecot
Send = Callable[..., waymail.SendResult]
KINDS: dict[str, type[Server]] = {"postfix": Postfix, "exim": Exim, "dovecot": Dovecot}
EACH = [(name, mechanism) for name, kind in KINDS.items() for mechanism in kind.mechanisms]


@pytest.fixture(scope="module")
def servers(house: Mail, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Server]]:
    with (
        Dovecot(house, HOUSE_USER, HOUSE_PASSWORD) as dovecot,
        Exim(f"{dovecot.inside}/run/auth-client") as exim,
        Postfix(tmp_path_factory.mktemp("postfix"), dovecot.users) as postfix,
    ):
        yield {"postfix": postfix, "exim": exim, "dovecot": dovecot}


@pytest.fixture(params=KINDS)
def server(request: pytest.FixtureRequest, servers: dict[str, Server]) -> Server:
    return servers[request.param]


def in_a_loop(message: EmailMessage, url: str, *, auth: Any = None, tls_context: Any = None, **more: Any) -> waymail.SendResult:
    async def send() -> waymail.SendResult:
        async with waymail.Client(url, auth=auth, tls_context=tls_context, timeout=15) as client:
            return await client.send(message, **more)

    return asyncio.run(send())


def blocking(message: EmailMessage, url: str, *, auth: Any = None, tls_context: Any = None, **more: Any) -> waymail.SendResult:
    with waymail.sync.Client(url, auth=auth, tls_context=tls_context, timeout=15) as client:
        return client.send(message, **more)


@pytest.fixture(params=[in_a_loop, blocking], ids=["asyncio", "sync"])
def send(request: pytest.FixtureRequest) -> Send:
    found: Send = request.param
    return found


@pytest.fixture
def trusting() -> ssl.SSLContext:
    context = ssl.create_default_context()
    AUTHORITY.configure_trust(context)
    return context


def mail(*to: str, text: str = "") -> EmailMessage:
    message = EmailMessage()
    message["From"] = USER
    message["To"] = ", ".join(to)
    message["Subject"] = f"number {next(numbers)}."
    message.set_content(text or "first\n.dot\nGrüße\n", cte="8bit")
    return message


def credentials(mechanism: str) -> waymail.Credentials:
    if mechanism == "EXTERNAL":
        return waymail.Credentials(USER, mechanism=mechanism)
    if mechanism in TOKENS:
        return waymail.Credentials(USER, token=token, mechanism=mechanism)
    return waymail.Credentials(USER, PASSWORD, mechanism=mechanism)


def with_certificate(context: ssl.SSLContext, folder: Path, authority: trustme.CA = AUTHORITY) -> None:
    pair = authority.issue_cert(USER, common_name=USER)  # Exim looks for the one, Dovecot for the other
    pair.private_key_and_cert_chain_pem.write_to_path(folder / "client.pem")
    context.load_cert_chain(folder / "client.pem")


# AUTH


@pytest.mark.parametrize(("name", "mechanism"), EACH)
def test_each_mechanism_that_it_has_lets_us_in(
    servers: dict[str, Server], send: Send, trusting: ssl.SSLContext, tmp_path: Path, name: str, mechanism: str
) -> None:
    server = servers[name]
    if mechanism == "EXTERNAL":
        with_certificate(trusting, tmp_path)
    message = mail(server.address("ann"))
    result = send(message, f"smtp://localhost:{server.starttls}", auth=credentials(mechanism), tls_context=trusting)
    assert result.accepted == (server.address("ann"),)
    kept = server.wait_for(message["Subject"])
    assert "first\n.dot\nGrüße\n".encode() in kept.replace(b"\r\n", b"\n")


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "XOAUTH2"])
def test_a_wrong_password_or_token_is_told_as_such(server: Server, send: Send, trusting: ssl.SSLContext, mechanism: str) -> None:
    wrong = waymail.Credentials(USER, "wrong", mechanism=mechanism)
    if mechanism in TOKENS:
        wrong = waymail.Credentials(USER, token=token(key=b"of somebody else"), mechanism=mechanism)
    url = f"smtp://localhost:{server.starttls}"
    with pytest.raises(waymail.AuthenticationFailed) as refused:
        send(mail(server.address("ann")), url, auth=wrong, tls_context=trusting)
    assert refused.value.reply is not None
    assert refused.value.reply.code == 535


# TLS


def test_tls_from_the_first_octet(server: Server, send: Send, trusting: ssl.SSLContext) -> None:
    message = mail(server.address("ann"))
    result = send(message, f"smtps://localhost:{server.implicit}", auth=(USER, PASSWORD), tls_context=trusting)
    assert result.accepted
    server.wait_for(message["Subject"])


@pytest.mark.parametrize("scheme", ["smtp", "smtps"])
def test_a_certificate_for_another_name_or_of_nobody_we_know_is_refused(
    server: Server, send: Send, trusting: ssl.SSLContext, scheme: str
) -> None:
    port = server.implicit if scheme == "smtps" else server.starttls
    message = mail(server.address("ann"))
    with pytest.raises(waymail.TlsError, match=r"127\.0\.0\.1"):
        send(message, f"{scheme}://127.0.0.1:{port}", auth=(USER, PASSWORD), tls_context=trusting)
    with pytest.raises(waymail.TlsError, match="certificate"):
        send(message, f"{scheme}://localhost:{port}", auth=(USER, PASSWORD))


def test_no_password_goes_without_tls(server: Server, send: Send) -> None:
    """Dovecot would take it: who comes from the same machine is safe for it."""
    with pytest.raises(waymail.AuthenticationFailed):
        send(mail(server.address("ann")), f"smtp://localhost:{server.starttls}?tls=off", auth=credentials("PLAIN"))


# What was sent


def test_who_is_refused_is_told_beside_who_is_not(server: Server, send: Send, trusting: ssl.SSLContext) -> None:
    message = mail(server.address("ann"), server.nobody)
    result = send(message, f"smtp://localhost:{server.starttls}", auth=(USER, PASSWORD), tls_context=trusting)
    assert result.accepted == (server.address("ann"),)
    assert result.refused.keys() == {server.nobody}
    assert result.refused[server.nobody].status == "5.1.1"
    server.wait_for(message["Subject"])


def test_nobody_accepted_is_an_error_with_the_replies(server: Server, send: Send, trusting: ssl.SSLContext) -> None:
    with pytest.raises(waymail.AllRecipientsRefused) as refused:
        send(mail(server.nobody), f"smtp://localhost:{server.starttls}", auth=(USER, PASSWORD), tls_context=trusting)
    assert refused.value.refused[server.nobody].code == 550


def test_addresses_beyond_ascii_go_where_they_can(server: Server, send: Send, trusting: ssl.SSLContext) -> None:
    message = mail(server.address("grüße"))
    url = f"smtp://localhost:{server.starttls}"
    if isinstance(server, Dovecot):  # its submission server lacks SMTPUTF8
        with pytest.raises(waymail.MessageRefused, match="SMTPUTF8"):
            send(message, url, auth=(USER, PASSWORD), tls_context=trusting)
        return
    assert send(message, url, auth=(USER, PASSWORD), tls_context=trusting).accepted
    assert server.address("grüße").encode() in server.wait_for(message["Subject"])


@pytest.mark.parametrize("name", ["postfix", "exim"])
def test_a_notice_of_success_comes_with_our_envelope_id(
    servers: dict[str, Server], send: Send, trusting: ssl.SSLContext, name: str
) -> None:
    server = servers[name]
    identifier = f"my-id-{next(numbers)}"
    result = send(
        mail(server.address("ann")), f"smtp://localhost:{server.starttls}", auth=(USER, PASSWORD), tls_context=trusting,
        sender=server.address("sender"), dsn=waymail.Dsn(waymail.Notify.SUCCESS, "HDRS", identifier),
    )  # fmt: skip
    assert result.accepted
    assert b"Action: delivered" in server.wait_for(identifier, "delivery-status")


# OpenSMTPD of Debian 12 cannot serve TLS, and so offers no AUTH: what is left


@pytest.fixture(scope="module")
def opensmtpd() -> Iterator[OpenSMTPD]:
    with OpenSMTPD() as running:
        yield running


def test_opensmtpd_takes_plain_mail_and_where_tls_is_demanded_nothing(
    opensmtpd: OpenSMTPD, send: Send, trusting: ssl.SSLContext
) -> None:
    message = mail("ann@remote.example", text="first\n.dot\nlast\n")
    with pytest.raises(waymail.TlsError):
        send(message, f"smtp://localhost:{opensmtpd.port}", tls_context=trusting)
    assert send(message, f"smtp://localhost:{opensmtpd.port}?tls=off").accepted == ("ann@remote.example",)
    opensmtpd.wait(lambda: having(opensmtpd.kept(), f"Subject: {message['Subject']}", "\n.dot\n"))
