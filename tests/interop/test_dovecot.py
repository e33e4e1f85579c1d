"""Dovecot behind us, as where mail is kept, and before us, as where its users submit."""

from __future__ import annotations

import smtplib
import ssl
from collections.abc import Callable

import pytest
from tests.interop.conftest import PASSWORD, USER, Box, Mail
from tests.interop.dovecot import Dovecot
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
