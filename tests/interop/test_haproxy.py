"""A listener behind HAProxy believes it who the client is, in both versions of the PROXY protocol, before TLS and inside it."""

from __future__ import annotations

import smtplib
import ssl
from collections.abc import Iterator

import pytest
from tests.interop.conftest import PASSWORD, USER, Mail, numbers
from tests.interop.haproxy import HAProxy
from tests.interop.test_postfix import wait

pytestmark = pytest.mark.interop

TEXT = f"From: {USER}\r\nSubject: a test\r\n\r\nhello\r\n"
# Where each test comes from. HAProxy itself comes from 127.0.0.1.
CLIENTS = {"send-proxy": "127.0.0.77", "send-proxy-v2": "127.0.0.78"}


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mail]:
    """The server of the other tests, but its listeners want the header from 127.0.0.1."""
    mail = Mail(tmp_path_factory.mktemp("behind") / "waymail")
    config = mail.config.read_text()
    mail.config.write_text(config.replace('address = "127.0.0.1:', 'proxies = ["127.0.0.1/32"]\naddress = "127.0.0.1:'))
    with mail:
        yield mail


@pytest.mark.parametrize(("header", "source"), CLIENTS.items())
def test_the_client_and_not_the_proxy_stands_in_received(behind: Mail, header: str, source: str) -> None:
    box = f"box{next(numbers)}"
    context = ssl.create_default_context(cafile=str(behind.certificate))
    with (
        HAProxy(behind.mx, header) as proxy,  # type: ignore[arg-type]
        smtplib.SMTP("localhost", proxy.port, timeout=15, source_address=(source, 0)) as client,
    ):
        client.starttls(context=context)
        client.sendmail("stranger@example.net", [f"{box}@any.example"], TEXT)
    (message,) = behind.wait_for_mail(f"mail/any.example/{box}")
    assert f"([{source}])".encode() in message
    assert b"with ESMTPS" in message


@pytest.mark.parametrize(("header", "source"), CLIENTS.items())
def test_tls_from_the_first_octet_goes_through(behind: Mail, header: str, source: str) -> None:
    box = f"box{next(numbers)}"
    context = ssl.create_default_context(cafile=str(behind.certificate))
    with (
        HAProxy(behind.implicit, header) as proxy,  # type: ignore[arg-type]
        smtplib.SMTP_SSL("localhost", proxy.port, timeout=15, source_address=(source, 0), context=context) as client,
    ):
        client.login(USER, PASSWORD)
        client.sendmail(USER, [f"{box}@any.example"], TEXT)
    (message,) = behind.wait_for_mail(f"mail/any.example/{box}")
    assert b"with ESMTPSA" in message
    wait(lambda: f"peer={source} user={USER}" in behind.log.read_text())
