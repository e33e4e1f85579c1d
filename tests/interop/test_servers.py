"""Mail in both directions between waymail and Exim, OpenSMTPD and Sendmail: one suite for all of them."""

from __future__ import annotations

import re
import smtplib
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.interop.conftest import PASSWORD, USER, Box, Mail
from tests.interop.exim import Exim
from tests.interop.jail import NextHop, Peer
from tests.interop.opensmtpd import OpenSMTPD
from tests.interop.sendmail import Sendmail

pytestmark = pytest.mark.interop

PEERS = [Exim, OpenSMTPD, Sendmail]
RELAY = '\n[relay]\nallow = ["127.0.0.0/8"]\n'

TEXT = """\
From: ann@example.org
To: x@remote.example
Subject: a test
MIME-Version: 1.0
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: 8bit

.grüße
..
.
last
""".replace("\n", "\r\n").encode()
LARGE = TEXT + b"0123456789abcdef0123456789abcdef0123456789abcdef\r\n" * 40_000
BODY = TEXT.partition(b"\r\n\r\n")[2].replace(b"\r\n", b"\n")


def inject(port: int, recipients: list[str], *messages: bytes, sender: str = USER) -> None:
    with smtplib.SMTP("127.0.0.1", port, timeout=15) as client:
        for message in messages:
            assert client.sendmail(sender, recipients, message, ["BODY=8BITMIME"]) == {}


def wait_for_delivery(mail: Mail, address: str) -> dict[str, Any]:
    """The last attempt for an address, once it has been delivered."""
    deadline = time.monotonic() + 20
    while True:
        stories = mail.trace(address)
        attempts = [event for story in stories for event in story["events"] if event["kind"] == "attempt"]
        if attempts and "'delivered'" in str(attempts[-1]):
            detail: dict[str, Any] = attempts[-1]["detail"]
            return detail
        assert time.monotonic() < deadline, stories
        time.sleep(0.2)


@pytest.fixture(params=PEERS, ids=lambda kind: kind.name)
def kind(request: pytest.FixtureRequest) -> type[Peer]:
    found: type[Peer] = request.param
    return found


@pytest.fixture
def start(kind: type[Peer]) -> Iterator[Callable[..., Peer]]:
    """Starts the peer; ends it after the test."""
    running: list[Peer] = []

    def start(hop: NextHop | None = None) -> Peer:
        running.append(kind(hop))
        return running[-1].__enter__()

    yield start
    for peer in running:
        peer.__exit__()


# To us, as other servers send


@pytest.mark.parametrize("tls", ["off", "starttls"])
def test_it_relays_to_our_mx_listener(start: Callable[..., Peer], box: Box, tls: str) -> None:
    peer = start(NextHop(box.mail.mx, tls))  # type: ignore[arg-type]
    inject(peer.port, [box.address], TEXT, LARGE)
    protocol = rb"\swith ESMTPS\s" if tls == "starttls" else rb"\swith ESMTP\s"
    for message in box.wait(2):
        assert BODY in message
        assert re.search(protocol, message)
        assert peer.name.encode() + b".example.net" in message
    assert max(len(message) for message in box.wait(2)) > 1_900_000
    if isinstance(peer, Exim):
        assert peer.logs().count(" K C=") == 2, "it sends by BDAT where that is offered (RFC 3030), and its log has a K then"


def test_its_users_hear_what_we_refuse(start: Callable[..., Peer], house: Mail) -> None:
    peer = start(NextHop(house.mx))
    before = len(house.mailbox("mail/example.org/bob"))
    inject(peer.port, ["nobody@example.org"], TEXT, sender="bob@example.org")
    notice = house.wait_for_mail("mail/example.org/bob", before + 1)[-1]
    assert b"Return-Path: <>" in notice
    assert b"nobody@example.org" in notice
    assert b"5.1.1" in notice


# To us, as users submit


@pytest.mark.parametrize("tls", ["starttls", "implicit"])
def test_it_submits_with_a_password(start: Callable[..., Peer], kind: type[Peer], box: Box, tls: str) -> None:
    if kind is Sendmail and tls == "implicit":
        tls = "starttls"  # it has no implicit TLS as a client
    port = box.mail.implicit if tls == "implicit" else box.mail.submission
    peer = start(NextHop(port, tls, USER, PASSWORD))  # type: ignore[arg-type]
    inject(peer.port, [box.address], TEXT)
    (message,) = box.wait()
    assert b"with ESMTPSA" in message
    assert BODY in message


# From us


def test_it_takes_what_we_relay(start: Callable[..., Peer], start_mail: Callable[..., Mail]) -> None:
    peer = start()
    mail = start_mail(f"smtp://127.0.0.1:{peer.port}", RELAY)
    inject(mail.mx, ["x@remote.example"], TEXT, LARGE)
    inject(mail.mx, [f"x{number}@remote.example" for number in range(20)], TEXT)
    attempt = wait_for_delivery(mail, "x19@remote.example")
    (result,) = attempt["results"]
    assert len(result["to"]) == 20, "one transaction for all"
    kept = peer.wait_for_mail(3)
    assert all(BODY in message for message in kept)
    assert max(len(message) for message in kept) > 1_900_000


def test_we_use_its_tls_where_it_has_one_that_works(
    start: Callable[..., Peer], kind: type[Peer], start_mail: Callable[..., Mail]
) -> None:
    peer = start()
    mail = start_mail(f"smtp://127.0.0.1:{peer.port}", RELAY)
    inject(mail.mx, ["x@remote.example"], TEXT)
    tls = str(wait_for_delivery(mail, "x@remote.example")["tls"])
    # OpenSMTPD 6.8 as Debian 12 has it offers STARTTLS and fails in each handshake: then in clear, on a new connection.
    assert tls.startswith("TLSv1.3") or (kind is OpenSMTPD and "TLSv1" not in tls), tls
    assert peer.wait_for_mail()
