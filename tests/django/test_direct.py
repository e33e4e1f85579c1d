from __future__ import annotations

import logging
import smtplib
import threading
from typing import Any

import pytest
from django.core import mail
from django.core.exceptions import ImproperlyConfigured
from django.core.mail.backends.base import BaseEmailBackend

import waymail
from waymail.django import EmailBackend
from waymail.testing import SmtpServer


def note(to: str = "bob@example.net", **others: Any) -> mail.EmailMessage:
    return mail.EmailMessage("Hello", "Good morning!\n", to=[to], **others)


def test_send_mail_sends_by_the_settings_that_a_project_has_already(project_with: Any, smtp_server: SmtpServer) -> None:
    project_with()
    assert mail.send_mail("Grüße", "Für Ann\n", None, ["Bob <bob@example.net>"], html_message="<p>Für Ann</p>\n") == 1
    [received] = smtp_server.messages
    assert (received.sender, received.recipients) == ("shop@example.com", ("bob@example.net",))
    assert (received.subject, received.text, received.html) == ("Grüße", "Für Ann\n", "<p>Für Ann</p>\n")


def test_send_mass_mail_and_the_mails_after_it_share_a_connection(project_with: Any, smtp_server: SmtpServer) -> None:
    project_with()
    assert mail.send_mass_mail([("News", "x\n", None, [f"reader{number}@example.net"]) for number in range(3)]) == 3
    assert note().send() == 1
    assert len(smtp_server.messages) == 4
    assert smtp_server.connections == 1


def test_who_gets_a_blind_copy_stands_in_the_envelope_alone(project_with: Any, smtp_server: SmtpServer) -> None:
    project_with()
    note(cc=["cc@example.net"], bcc=["Secret <bcc@example.net>"]).send()
    [received] = smtp_server.messages
    assert received.recipients == ("bob@example.net", "cc@example.net", "bcc@example.net")
    assert b"bcc@" not in received.octets.lower()


def test_a_message_without_recipients_is_none(project_with: Any, smtp_server: SmtpServer) -> None:
    project_with()
    assert mail.get_connection().send_messages([mail.EmailMessage("Hello", "x", to=[])]) == 0
    assert smtp_server.connections == 0


def test_an_address_beyond_ascii_arrives_as_it_is(project_with: Any, smtp_server: SmtpServer) -> None:
    project_with()
    note("jürgen@bücher.example").send()
    note("info@bücher.example").send()
    assert [one.recipients for one in smtp_server.messages] == [("jürgen@bücher.example",), ("info@xn--bcher-kva.example",)]


@pytest.mark.parametrize(
    "address", ["bob", "bob@example.net, eve@example.net", "bob@example.net\r\nRCPT TO:<eve@x>", "a: b@c.de;", "<>"]
)
def test_what_is_no_address_is_a_mistake_of_the_program(project_with: Any, smtp_server: SmtpServer, address: str) -> None:
    project_with()
    with pytest.raises(ValueError, match=r"ddress|newlines"):
        note(address).send(fail_silently=True)
    assert smtp_server.messages == []


def test_use_tls_is_starttls_with_a_verified_certificate(
    project_with: Any, smtp_server: SmtpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    smtp_server.configure(tls="starttls", users={"ann": "secret"})
    project_with(EMAIL_USE_TLS=True, EMAIL_HOST_USER="ann", EMAIL_HOST_PASSWORD="secret")
    with pytest.raises(smtplib.SMTPException, match="ertificate") as raised:
        note().send()
    assert isinstance(raised.value.__cause__, waymail.TlsError)
    project_with(
        EMAIL_USE_TLS=True,
        EMAIL_HOST_USER="ann",
        EMAIL_HOST_PASSWORD="secret",
        WAYMAIL_CLIENT={"tls_context": smtp_server.tls_context},
    )
    note().send()
    [received] = smtp_server.messages
    assert (received.user, received.tls[:3]) == ("ann", "TLS")


def test_use_ssl_is_tls_from_the_first_octet(project_with: Any, smtp_server: SmtpServer) -> None:
    smtp_server.configure(tls="implicit")
    project_with(EMAIL_USE_SSL=True, WAYMAIL_CLIENT={"tls_context": smtp_server.tls_context})
    note().send()
    assert smtp_server.messages[0].tls


def test_a_password_does_not_go_in_clear(project_with: Any, smtp_server: SmtpServer) -> None:
    smtp_server.configure(users={"ann": "secret"}, mechanisms=["PLAIN"])
    project_with(EMAIL_HOST_USER="ann", EMAIL_HOST_PASSWORD="secret")
    with pytest.raises(smtplib.SMTPException) as raised:
        note().send()
    assert isinstance(raised.value.__cause__, waymail.AuthenticationFailed)
    assert not any(command.startswith("AUTH") for command in smtp_server.commands)


def test_a_url_stands_in_place_of_the_settings(project_with: Any, smtp_server: SmtpServer) -> None:
    smtp_server.configure(tls="starttls", users={"ann": "secret", "bob": "b"})
    url = f"smtp://ann:secret@{smtp_server.address}"
    project_with(EMAIL_HOST="gone.invalid", WAYMAIL_URL=url, WAYMAIL_CLIENT={"tls_context": smtp_server.tls_context})
    note().send()
    mail.send_mail("Hello", "x", None, ["bob@example.net"], auth_user="bob", auth_password="b")
    assert [one.user for one in smtp_server.messages] == ["ann", "bob"]


def test_a_mailer_of_its_own_is_configured_by_its_options_alone(project_with: Any, smtp_server: SmtpServer) -> None:
    project_with(EMAIL_HOST="gone.invalid", EMAIL_HOST_USER="ann", WAYMAIL_URL="smtp://gone.invalid", WAYMAIL_CLIENT={"none": 1})
    pool = waymail.Pool(max=1)
    assert EmailBackend(alias="news", host=smtp_server.host, port=smtp_server.port, pool=pool).send_messages([note()]) == 1
    assert EmailBackend(alias="news", url=smtp_server.url, timeout=3).send_messages([note()]) == 1
    assert len(smtp_server.messages) == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, 'say "url" or "host"'),
        ({"host": "h", "use_tls": True, "use_ssl": True}, "at most one"),
        ({"url": "http://h"}, "unknown scheme"),
        ({"url": "smtp://h", "port": 25}, "the URL says port and TLS"),
        ({"host": "h", "pol": 1}, "unknown option pol: there are .*pool"),
        ({"host": "h", "timeout": "soon"}, "a number of seconds"),
        ({"host": "h", "timeout": 0}, "a number of seconds"),
        ({"host": "h", "ssl_certfile": "/nowhere.pem"}, "nowhere|No such file"),
    ],
)
def test_what_cannot_be_meant_is_said_when_the_backend_is_made(project_with: Any, arguments: dict[str, Any], words: str) -> None:
    project_with()
    with pytest.raises(ImproperlyConfigured, match=words) as raised:
        EmailBackend(alias="news", **arguments)
    assert str(raised.value).startswith("MAILERS['news']: ")


@pytest.mark.parametrize(
    ("moment", "reply", "kind"),
    [
        ("MAIL", "550 5.7.1 not you", smtplib.SMTPSenderRefused),
        ("RCPT", "451 4.7.1 later", smtplib.SMTPRecipientsRefused),
        ("END", "550 5.7.1 looks like spam", smtplib.SMTPDataError),
        ("GREETING", "554 5.3.2 not today", smtplib.SMTPConnectError),
    ],
)
def test_what_went_wrong_is_one_of_smtplibs_exceptions(
    project_with: Any, smtp_server: SmtpServer, moment: str, reply: str, kind: type[smtplib.SMTPException]
) -> None:
    project_with()
    smtp_server.script(moment, reply)
    with pytest.raises(kind) as raised:
        note().send()
    found = raised.value
    code, text = found.recipients["bob@example.net"] if isinstance(found, smtplib.SMTPRecipientsRefused) else found.args[:2]
    assert (code, text.decode()) == (int(reply[:3]), reply[4:])
    assert isinstance(raised.value.__cause__, waymail.SMTPError)


def test_a_lost_reply_can_be_told_from_a_server_that_is_away(project_with: Any, smtp_server: SmtpServer) -> None:
    project_with()
    smtp_server.script("END", lose_reply=True, times=1)
    with pytest.raises(smtplib.SMTPServerDisconnected) as lost:
        note().send()
    assert isinstance(lost.value.__cause__, waymail.UncertainDelivery)
    smtp_server.stop()
    with pytest.raises(OSError, match="refused") as away:
        note().send()
    assert isinstance(away.value.__cause__, waymail.ConnectionFailed)


def test_silence_ends_with_the_timeout_of_the_settings(project_with: Any, smtp_server: SmtpServer) -> None:
    project_with(EMAIL_TIMEOUT=0.05)
    smtp_server.script("EHLO", hang=True)
    with pytest.raises(smtplib.SMTPException):
        note().send()


def test_with_fail_silently_the_other_mails_are_sent_and_the_log_knows(
    project_with: Any, smtp_server: SmtpServer, caplog: pytest.LogCaptureFixture
) -> None:
    project_with()
    smtp_server.script("RCPT TO:<bob@", "550 5.1.1 no such user")
    connection = mail.get_connection(fail_silently=True)
    assert connection.send_messages([note(), note("ann@example.net")]) == 1
    assert "no such user" in caplog.text
    smtp_server.stop()
    assert connection.send_messages([note(), note()]) == 0
    assert connection.open() is None


def test_without_it_the_first_that_is_not_sent_ends_it(project_with: Any, smtp_server: SmtpServer) -> None:
    project_with()
    smtp_server.script("RCPT TO:<bob@", "550 5.1.1 no such user")
    with pytest.raises(smtplib.SMTPRecipientsRefused):
        mail.get_connection().send_messages([note("ann@example.net"), note(), note("eve@example.net")])
    assert [one.recipients for one in smtp_server.messages] == [("ann@example.net",)]


def test_a_recipient_who_is_refused_beside_others_is_in_the_result_and_in_the_log(
    project_with: Any, smtp_server: SmtpServer, caplog: pytest.LogCaptureFixture
) -> None:
    project_with()
    smtp_server.script("RCPT TO:<gone@", "550 5.1.1 no such user")
    message: Any = note(cc=["gone@example.net"])
    assert message.send() == 1
    assert message.send_result.accepted == ("bob@example.net",)
    assert list(message.send_result.refused) == ["gone@example.net"]
    assert "gone@example.net" in caplog.text


def test_a_log_that_is_sent_by_mail_does_not_beget_more_mail(project_with: Any, smtp_server: SmtpServer) -> None:
    """As with django.utils.log.AdminEmailHandler for warnings."""
    project_with()
    smtp_server.script("RCPT TO:<gone@", "550 5.1.1 no such user")

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            note("admin@example.net", cc=["gone@example.net"]).send(fail_silently=True)

    logger, handler = logging.getLogger("waymail.django"), Handler()
    logger.addHandler(handler)
    try:
        note(cc=["gone@example.net"]).send()
    finally:
        logger.removeHandler(handler)
    assert [one.recipients[0] for one in smtp_server.messages] == ["bob@example.net", "admin@example.net"]


def test_open_tells_of_a_wrong_password_before_there_is_mail(project_with: Any, smtp_server: SmtpServer) -> None:
    smtp_server.configure(tls="starttls", users={"ann": "secret"})
    options = {"tls_context": smtp_server.tls_context}
    project_with(EMAIL_USE_TLS=True, EMAIL_HOST_USER="ann", EMAIL_HOST_PASSWORD="wrong", WAYMAIL_CLIENT=options)
    with pytest.raises(smtplib.SMTPAuthenticationError), mail.get_connection():
        pass


def test_a_with_block_opens_a_connection_that_its_mails_use(project_with: Any, smtp_server: SmtpServer) -> None:
    project_with()
    connection: BaseEmailBackend = mail.get_connection()
    with connection:
        assert smtp_server.connections == 1
        assert connection.open() is False
        connection.send_messages([note()])
    with mail.get_connection():
        note().send()
    assert len(smtp_server.messages) == 2
    assert smtp_server.connections == 1


def test_a_with_block_looks_anew_where_the_last_mail_found_no_server(project_with: Any, smtp_server: SmtpServer) -> None:
    project_with()
    note().send()
    smtp_server.stop()
    note().send(fail_silently=True)
    with pytest.raises(smtplib.SMTPServerDisconnected), mail.get_connection():
        pass


def test_threads_may_share_a_backend(project_with: Any, smtp_server: SmtpServer) -> None:
    project_with(WAYMAIL_CLIENT={"pool": waymail.Pool(max=2)})
    connection = mail.get_connection()
    threads = [threading.Thread(target=connection.send_messages, args=([note(), note()],)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(smtp_server.messages) == 8
    assert smtp_server.connections <= 2


def test_mail_is_signed_where_the_settings_have_a_key(project_with: Any, smtp_server: SmtpServer) -> None:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = waymail.DkimKey("example.com", "2026a", Ed25519PrivateKey.generate())
    project_with(WAYMAIL_CLIENT={"dkim": key})
    mail.EmailMessage("Hello", "Grüße an alle\n", to=["bob@example.net"]).send()
    [received] = smtp_server.messages
    assert received.octets.startswith(b"DKIM-Signature: ")
    assert received.octets.isascii()
    assert received.text == "Grüße an alle\n"
