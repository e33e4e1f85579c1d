"""Users submit with the programs that they have."""

from __future__ import annotations

import smtplib
import socket
import ssl
import subprocess
from email.message import EmailMessage
from pathlib import Path

import aiosmtplib
import pytest
from tests.interop.conftest import PASSWORD, USER, Mail

from waymail.testing.process import ServerProcess, free_port, wait_for_port

pytestmark = pytest.mark.interop


def message(text: str = "hello\n", **fields: str) -> EmailMessage:
    made = EmailMessage()
    made["From"], made["To"], made["Subject"] = USER, "bob@example.org", "a test"
    for name, value in fields.items():
        made[name.replace("_", "-")] = value
    made.set_content(text)
    return made


def swaks(mail: Mail, *arguments: str, port: int | None = None) -> subprocess.CompletedProcess[str]:
    command = ["swaks", "--server", "127.0.0.1", "--port", str(port or mail.submission), "--timeout", "15"]
    command += ["--from", USER, "--to", "bob@example.org", *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
def test_swaks_submits_over_starttls(mail: Mail, mechanism: str) -> None:
    done = swaks(mail, "--tls", "--auth", mechanism, "--auth-user", USER, "--auth-password", PASSWORD)
    assert done.returncode == 0, done.stdout
    delivered = mail.wait_for_mail("mail/example.org/bob")[0]
    assert b"with ESMTPSA" in delivered
    assert delivered.startswith(b"Return-Path: <ann@example.org>\n")


def test_swaks_submits_over_implicit_tls(mail: Mail) -> None:
    done = swaks(mail, "--tlsc", "--auth", "PLAIN", "--auth-user", USER, "--auth-password", PASSWORD, port=mail.implicit)
    assert done.returncode == 0, done.stdout
    assert mail.wait_for_mail("mail/example.org/bob")


def test_swaks_submits_by_an_alias_to_two_mailboxes(mail: Mail) -> None:
    done = swaks(mail, "--to", "sales@example.org", "--tls", "--auth", "PLAIN", "--auth-user", USER, "--auth-password", PASSWORD)
    assert done.returncode == 0, done.stdout
    for box in ("ann", "bob"):
        assert mail.wait_for_mail(f"mail/example.org/{box}")


def test_auth_is_not_offered_before_tls(mail: Mail) -> None:
    done = swaks(mail, "--auth", "PLAIN", "--auth-user", USER, "--auth-password", PASSWORD)
    assert done.returncode != 0
    said_by_the_server = [line for line in done.stdout.splitlines() if line.startswith("<-")]
    assert any("250-PIPELINING" in line for line in said_by_the_server)
    assert not any("AUTH" in line for line in said_by_the_server)
    assert mail.mailbox("mail/example.org/bob") == []


def test_mail_without_auth_is_refused_with_530(mail: Mail) -> None:
    done = swaks(mail, "--tls")
    assert "530 5.7.0" in done.stdout


def test_a_wrong_password_is_refused_with_535(mail: Mail) -> None:
    done = swaks(mail, "--tls", "--auth", "PLAIN", "--auth-user", USER, "--auth-password", "wrong")
    assert "535 5.7.8" in done.stdout


def test_a_sender_that_is_not_the_users_is_refused_with_553(mail: Mail) -> None:
    arguments = ["--tls", "--auth", "PLAIN", "--auth-user", USER, "--auth-password", PASSWORD, "--from", "bob@example.org"]
    done = swaks(mail, *arguments)
    assert "553 5.7.1" in done.stdout


def test_an_author_that_is_not_the_user_is_refused_with_550(mail: Mail) -> None:
    arguments = [
        "--tls",
        "--auth",
        "PLAIN",
        "--auth-user",
        USER,
        "--auth-password",
        PASSWORD,
        "--header",
        "From: bob@example.org",
    ]
    done = swaks(mail, *arguments)
    assert "550 5.7.1" in done.stdout


def test_an_unknown_local_recipient_is_refused_with_550_5_1_1(mail: Mail) -> None:
    done = swaks(mail, "--to", "nobody@example.org", port=mail.mx)
    assert "550 5.1.1" in done.stdout


def test_relaying_for_a_stranger_is_refused_with_550_5_7_1(mail: Mail) -> None:
    done = swaks(mail, "--to", "someone@elsewhere.example", port=mail.mx)
    assert "550 5.7.1" in done.stdout


@pytest.mark.parametrize("mechanism", ["plain", "login", "scram-sha-256"])
def test_msmtp_submits_and_verifies_the_certificate(mail: Mail, tmp_path: Path, mechanism: str) -> None:
    settings = tmp_path / "msmtprc"
    settings.write_text(
        f"defaults\ntls on\ntls_starttls on\ntls_trust_file {mail.certificate}\n"
        f"account a\nhost localhost\nport {mail.submission}\n"
        f"auth {mechanism}\nuser {USER}\npassword {PASSWORD}\nfrom {USER}\naccount default : a\n"
    )
    settings.chmod(0o600)
    command = ["msmtp", "-C", str(settings), "bob@example.org"]
    done = subprocess.run(command, check=False, input=message().as_bytes(), capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    delivered = mail.wait_for_mail("mail/example.org/bob")[0]
    assert b"\nMessage-ID: <" in delivered
    assert b"\nDate: " in delivered


def test_smtplib_submits_over_both_kinds_of_tls(mail: Mail) -> None:
    context = ssl.create_default_context(cafile=str(mail.certificate))
    with smtplib.SMTP("localhost", mail.submission, timeout=15) as client:
        client.starttls(context=context)
        client.login(USER, PASSWORD)
        assert client.send_message(message()) == {}
    with smtplib.SMTP_SSL("localhost", mail.implicit, timeout=15, context=context) as client:
        client.login(USER, PASSWORD)
        assert client.send_message(message()) == {}
    assert len(mail.wait_for_mail("mail/example.org/bob", 2)) == 2


async def test_aiosmtplib_submits(mail: Mail) -> None:
    context = ssl.create_default_context(cafile=str(mail.certificate))
    await aiosmtplib.send(
        message("ä" * 100), hostname="localhost", port=mail.submission, start_tls=True, tls_context=context,
        username=USER, password=PASSWORD, timeout=15,
    )  # fmt: skip
    assert mail.wait_for_mail("mail/example.org/bob")


def test_a_message_of_twenty_megabytes_arrives_whole(mail: Mail) -> None:
    line = "x" * 76 + "\n"
    context = ssl.create_default_context(cafile=str(mail.certificate))
    with smtplib.SMTP_SSL("localhost", mail.implicit, timeout=30, context=context) as client:
        client.login(USER, PASSWORD)
        client.send_message(message(line * 270_000))
    delivered = mail.wait_for_mail("mail/example.org/bob")[0]
    assert delivered.count(line.encode()) == 270_000


def test_the_server_listens_on_ipv6_too(tmp_path: Path) -> None:
    port = free_port("::1")
    config = f'hostname = "six.example.org"\ndata_dir = "d"\n[[listener]]\nkind = "mx"\naddress = "[::1]:{port}"\ntls = "off"\n'
    with ServerProcess(tmp_path / "six", config, []) as server:
        wait_for_port(port, "::1")
        with socket.create_connection(("::1", port), 5) as client:
            assert client.recv(100).startswith(b"220 six.example.org")
        assert server.pid
