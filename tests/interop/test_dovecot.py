"""Dovecot behind us, as where mail is kept, and before us, as where its users submit."""

from __future__ import annotations

import re
import smtplib
import ssl
from collections.abc import Callable

import pytest
from tests.interop.conftest import PASSWORD, USER, Box, Mail
from tests.interop.dovecot import Dovecot, Reader
from tests.interop.jail import NextHop
from tests.interop.test_servers import BODY, LARGE, RELAY, TEXT, inject, wait_for_delivery

pytestmark = pytest.mark.interop


def test_we_deliver_to_it_by_lmtp(start_mail: Callable[..., Mail]) -> None:
    with Dovecot() as dovecot:
        mail = start_mail(f"lmtp://127.0.0.1:{dovecot.lmtp}", RELAY)
        inject(mail.mx, ["x@remote.example", "y@remote.example"], TEXT)
        inject(mail.mx, ["z@remote.example"], LARGE)
        wait_for_delivery(mail, "z@remote.example")
        kept = dovecot.wait_for_mail(3)
        assert all(BODY in message for message in kept)
        attempt = wait_for_delivery(mail, "x@remote.example")
        assert sorted(name for result in attempt["results"] for name in result["to"]) == ["x@remote.example", "y@remote.example"]


@pytest.mark.parametrize("tls", ["starttls", "implicit"])
def test_its_submission_server_hands_on_to_ours(box: Box, tls: str) -> None:
    port = box.mail.implicit if tls == "implicit" else box.mail.submission
    hop = NextHop(port, tls, USER, PASSWORD)  # type: ignore[arg-type]
    with Dovecot(hop, box.mail.certificate.read_text()) as dovecot:
        context = ssl.create_default_context(cafile=str(dovecot.folder / "cert.pem"))
        with smtplib.SMTP("localhost", dovecot.port, timeout=15) as client:
            client.starttls(context=context)
            client.login("somebody", "theirs")
            client.sendmail(USER, [box.address], TEXT, ["BODY=8BITMIME"])
    (message,) = box.wait()
    assert b"with ESMTPSA" in message
    assert BODY in message


def test_it_reads_the_folders_that_we_deliver_into_and_counts_as_we_do(start_mail: Callable[..., Mail]) -> None:
    with Reader(octets=100_000, messages=5) as dovecot:
        dovecot.doveadm("mailbox", "create", "Lists")
        mail = start_mail("mx", KEPT.format(box=dovecot.folder / "box"))
        inject(mail.mx, ["ann@kept.example"], TEXT)
        inject(mail.mx, ["ann+lists@kept.example"], TEXT)
        inject(mail.mx, ["ann+entw&rfe@kept.example"], TEXT)
        attempt = wait_for_delivery(mail, "ann+lists@kept.example")
        assert [result["place"] for result in attempt["results"]] == [str(dovecot.folder / "box/.Lists")]
        wait_for_delivery(mail, "ann@kept.example")
        wait_for_delivery(mail, "ann+entw&rfe@kept.example")
        dovecot.settle()
        ours = dovecot.maildirsize()
        assert (dovecot.count("INBOX"), dovecot.count("Lists"), dovecot.count("entw&rfe")) == (1, 1, 1)
        # Dovecot believes what we have written, and has the same when it counts by itself.
        assert dovecot.quota() == (ours[0] // 1024 + bool(ours[0] % 1024), 3)
        assert dovecot.maildirsize() == ours
        dovecot.doveadm("quota", "recalc")
        assert dovecot.maildirsize() == ours
        # The sizes in the names of our files are what Dovecot finds when it has to read them.
        assert dovecot.doveadm("fetch", "text", "mailbox", "*", "all").count("Subject: a test") == 3
        (file,) = (path for part in ("new", "cur") for path in (dovecot.folder / "box/.Lists" / part).iterdir())
        _, size, crlf_size = re.split(r",[SW]=", file.name.partition(":")[0])
        file.rename(file.parent / "1.without-sizes:2,")
        fetched = dovecot.doveadm("fetch", "size.physical size.virtual", "mailbox", "Lists", "all").split()
        assert fetched == ["size.physical:", size, "size.virtual:", crlf_size]
        # What Dovecot removes makes room with us.
        dovecot.doveadm("expunge", "mailbox", "Lists", "all")
        dovecot.settle()
        for _ in range(3):
            inject(mail.mx, ["ann+lists@kept.example"], TEXT)
        mail.wait_for_mail(str(dovecot.folder / "box/.Lists"), 3)
        dovecot.settle()
        assert dovecot.count("Lists") == 3
        assert dovecot.maildirsize()[1] == 5
        assert not re.search(r"Error|Warning", dovecot.logs()), dovecot.logs()


KEPT = """
[domains."kept.example"]
deliver = "maildir:{box}"
recipients = ["ann"]
detail = "+"
folders = "create"
quota = "100KB"
quota_messages = 5
"""
