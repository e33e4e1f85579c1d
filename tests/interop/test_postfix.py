"""Mail in both directions between waymail and a real Postfix."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from bench.postfix import PrivatePostfix
from bench.relay import Sink
from tests.interop.conftest import PASSWORD, USER, Mail
from tests.interop.test_submission import swaks

from waymail.testing.process import free_port

pytestmark = pytest.mark.interop

Postfix = Callable[..., tuple[PrivatePostfix, int]]


@pytest.fixture
def sink(tmp_path: Path) -> Iterator[Sink]:
    (tmp_path / "sink").mkdir()
    running = Sink(tmp_path / "sink")
    yield running
    running.stop()


def send(port: int, *arguments: str) -> None:
    command = ["smtp-source", "-f", "stranger@example.net", "-t", "bob@example.org", *arguments, f"127.0.0.1:{port}"]
    subprocess.run(command, check=True, timeout=60)


def wait(condition: Callable[[], object], seconds: float = 30.0) -> object:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.1)
    return found


def test_postfix_relays_to_waymail_over_tls(mail: Mail, start_postfix: Postfix) -> None:
    _, port = start_postfix(relayhost=f"[127.0.0.1]:{mail.mx}", smtp_tls_security_level="encrypt", disable_dns_lookups="yes")
    send(port, "-m", "5")
    delivered = mail.wait_for_mail("mail/example.org/bob", 5)
    assert b"with ESMTPS " in delivered[0]
    assert b"by postfix.example.net (Postfix)" in delivered[0]


def test_postfix_bounces_at_once_what_waymail_refuses(mail: Mail, start_postfix: Postfix) -> None:
    postfix, port = start_postfix(relayhost=f"[127.0.0.1]:{mail.mx}", disable_dns_lookups="yes")
    send(port, "-t", "nobody@example.org")
    wait(lambda: "550 5.1.1" in postfix.log.read_text() and "status=bounced" in postfix.log.read_text())


def test_waymail_relays_to_postfix_over_opportunistic_tls(
    start_mail: Callable[..., Mail], start_postfix: Postfix, sink: Sink, tmp_path: Path
) -> None:
    from waymail.net.self_signed import self_signed

    certificate, key = self_signed(tmp_path / "postfix-tls", "localhost")
    tls = {"smtpd_tls_security_level": "may", "smtpd_tls_cert_file": str(certificate), "smtpd_tls_key_file": str(key)}
    _, port = start_postfix(relayhost=f"[127.0.0.1]:{sink.port}", disable_dns_lookups="yes", **tls)
    mail = start_mail(f"smtp://127.0.0.1:{port}")
    done = swaks(
        mail,
        "--to",
        "x@remote.example,y@remote.example",
        "--tls",
        "--auth",
        "PLAIN",
        "--auth-user",
        USER,
        "--auth-password",
        PASSWORD,
    )
    assert done.returncode == 0, done.stdout
    wait(sink.messages)
    story = wait(lambda: [s for s in mail.trace("x@remote.example") if s["events"][-1]["kind"] == "attempt"])[0]  # type: ignore[index]
    attempt = story["events"][-1]
    assert attempt["detail"]["tls"].startswith("TLSv1.3")
    assert len(attempt["detail"]["results"]) == 1, "two recipients, one transaction, one answer"
    assert attempt["detail"]["results"][0]["outcome"] == "delivered"
    # Postfix counts the octets where they came by BDAT, which it offers (RFC 3030).
    assert re.match(r"250 2\.0\.0 Ok: \d+ bytes queued as", attempt["detail"]["results"][0]["reply"])


def test_what_postfix_refuses_comes_back_to_the_sender_as_a_dsn(start_mail: Callable[..., Mail], start_postfix: Postfix) -> None:
    _, port = start_postfix(smtpd_recipient_restrictions="reject_unauth_destination", mynetworks="10.0.0.0/8")
    mail = start_mail(f"smtp://127.0.0.1:{port}")
    done = swaks(mail, "--to", "x@remote.example", "--tls", "--auth", "PLAIN", "--auth-user", USER, "--auth-password", PASSWORD)
    assert done.returncode == 0, done.stdout
    notice = mail.wait_for_mail("mail/example.org/ann")[0]
    assert notice.startswith(b"Return-Path: <>\n")
    assert b"report-type=delivery-status" in notice
    assert b"Final-Recipient: rfc822; x@remote.example" in notice
    assert b"Action: failed" in notice


def test_mail_waits_while_postfix_is_away_and_arrives_when_it_is_back(
    start_mail: Callable[..., Mail], start_postfix: Postfix, sink: Sink
) -> None:
    port = free_port()
    mail = start_mail(f"smtp://127.0.0.1:{port}", '\n[queue]\nretry = ["1s"]\n')
    send_through = swaks(
        mail, "--to", "x@remote.example", "--tls", "--auth", "PLAIN", "--auth-user", USER, "--auth-password", PASSWORD
    )
    assert send_through.returncode == 0, send_through.stdout
    wait(lambda: "4.4.1" in str(mail.trace("x@remote.example")))
    assert "x@remote.example" in mail.run("queue", "list")
    late = subprocess.Popen(["smtp-sink", "-u", "nobody", f"127.0.0.1:{port}", "100"])
    try:
        wait(lambda: "'delivered'" in str(mail.trace("x@remote.example")))
    finally:
        late.terminate()
        late.wait(10)
    assert "x@remote.example" not in mail.run("queue", "list")


def test_smtp_source_floods_through_to_smtp_sink_without_loss(start_mail: Callable[..., Mail], sink: Sink) -> None:
    mail = start_mail(f"smtp://127.0.0.1:{sink.port}", '\n[relay]\nallow = ["127.0.0.0/8"]\n')
    send(mail.mx, "-t", "x@remote.example", "-s", "20", "-m", "2000", "-l", "4096")
    send(mail.mx, "-t", "x@remote.example", "-s", "20", "-m", "2000", "-l", "4096", "-d")
    wait(lambda: sink.messages() >= 4000)
    assert sink.messages() == 4000
