"""Mail that an alias sends to another domain, and the bounce that comes back, between two real servers."""

from __future__ import annotations

import re
import smtplib
from pathlib import Path

import pytest

from waymail.testing.process import ServerProcess, free_port

FORWARDER = """\
hostname = "mail.example.org"
[[listener]]
kind = "mx"
address = "127.0.0.1:{port}"
tls = "off"
[relay]
allow = ["127.0.0.2/32"]
[domains."example.org"]
recipients = ["ann"]
deliver = "maildir:mail/{{local}}"
aliases = {{ sales = ["ann", "carol@elsewhere.example"], "*" = "ann" }}
[routes]
"*" = "smtp://127.0.0.1:{other}?tls=off"
"""
OTHER = """\
hostname = "mx.elsewhere.example"
[[listener]]
kind = "mx"
address = "127.0.0.1:{port}"
tls = "off"
[domains."elsewhere.example"]
recipients = ["carol"]
deliver = "maildir:mail/{{local}}"
[domains."sender.example"]
recipients = ["bob"]
deliver = "maildir:mail/{{local}}"
"""


def test_forwarded_mail_comes_from_the_forwarder_and_its_bounce_reaches_the_sender(tmp_path: Path) -> None:
    port, other = free_port(), free_port()
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with (
        ServerProcess(tmp_path / "a", FORWARDER.format(port=port, other=other), [port]) as forwarder,
        ServerProcess(tmp_path / "b", OTHER.format(port=other), [other]) as elsewhere,
    ):
        with smtplib.SMTP("127.0.0.1", port) as client:
            client.sendmail("bob@sender.example", "sales@example.org", "Subject: buy\r\n\r\nplease\r\n")
            client.sendmail("bob@sender.example", "anybody@example.org", "Subject: who\r\n\r\nare you\r\n")
        assert len(forwarder.wait_for_mail("mail/ann", 2)) == 2
        (taken,) = elsewhere.wait_for_mail("mail/carol")
        found = re.match(rb"Return-Path: <(SRS0=\w{8}=\w\w=sender\.example=bob@example\.org)>", taken)
        assert found, taken
        sender = found[1].decode()
        with smtplib.SMTP("127.0.0.1", port) as client:
            client.sendmail("", sender, "Subject: not delivered\r\n\r\nsorry\r\n")
            with pytest.raises(smtplib.SMTPRecipientsRefused):
                client.sendmail("eve@evil.example", sender, "Subject: spam\r\n\r\nspam\r\n")
            with pytest.raises(smtplib.SMTPRecipientsRefused):
                client.sendmail("", sender.replace("=bob@", "=eve@"), "Subject: spam\r\n\r\nspam\r\n")
        (notice,) = elsewhere.wait_for_mail("mail/bob")
        assert notice.startswith(b"Return-Path: <>")
    assert (tmp_path / "a" / "data" / "srs.keys").stat().st_mode & 0o777 == 0o600
    assert not (tmp_path / "b" / "data" / "srs.keys").exists()
