"""What a client can be asked for besides sending, with asyncio and without: each case runs over both faces."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from tests.net.proxies import PASSWORD, USER, proxy_server

import waymail
import waymail.sync
from waymail.testing import FakeInternet, SmtpServer

Send = Callable[..., waymail.SendResult]


def in_a_loop(message: Any, url: str, **asked: Any) -> waymail.SendResult:
    return asyncio.run(waymail.send(message, url, **asked))


@pytest.fixture(params=[in_a_loop, waymail.sync.send], ids=["asyncio", "sync"])
def send(request: pytest.FixtureRequest) -> Send:
    found: Send = request.param
    return found


@pytest.fixture
def message() -> EmailMessage:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "ann@example.com", "bob@one.example, cid@two.example", "Hello"
    message.set_content("Good morning!\n")
    return message


# --- direct delivery


def test_a_message_goes_to_the_hosts_of_each_domain_and_the_results_are_one(
    send: Send, message: EmailMessage, fake_internet: FakeInternet
) -> None:
    for domain in ("one.example", "two.example"):
        fake_internet.domain(domain)
    fake_internet.null_mx("null.example")
    to = ["bob@one.example", "eve@one.example", "cid@two.example", "dan@gone.example", "fay@null.example"]
    result = send(message, "mx:", recipients=to, hello="mail.example.com", network=fake_internet.network)
    assert set(result.accepted) == set(to[:3])
    assert {address: reply.code for address, reply in result.refused.items()} == {to[3]: 550, to[4]: 556}
    assert sorted(mail.recipients for mail in fake_internet.messages) == [tuple(to[:2]), tuple(to[2:3])]
    server = fake_internet.domain("one.example")
    assert server.commands[0] == "EHLO mail.example.com"
    assert "STARTTLS" in server.commands
    assert fake_internet.messages[0]["Message-ID"] == fake_internet.messages[1]["Message-ID"] is not None


def test_domains_with_the_same_hosts_share_a_transaction(send: Send, message: EmailMessage, fake_internet: FakeInternet) -> None:
    for domain in ("one.example", "two.example"):
        fake_internet.mx(domain, ["mx.shared.example"])
    send(message, "mx:", network=fake_internet.network)
    assert [mail.recipients for mail in fake_internet.messages] == [("bob@one.example", "cid@two.example")]


def test_a_domain_that_is_down_does_not_keep_the_others_from_their_mail(
    send: Send, message: EmailMessage, fake_internet: FakeInternet
) -> None:
    fake_internet.domain("one.example")
    fake_internet.down("two.example")
    result = send(message, "mx:", network=fake_internet.network)
    assert result.accepted == ("bob@one.example",)
    assert result.refused["cid@two.example"].code == 451
    with pytest.raises(waymail.ConnectionFailed):
        send(message, "mx:", recipients="cid@two.example", network=fake_internet.network)


def test_dns_that_fails_refuses_for_now_alone(send: Send, message: EmailMessage, fake_internet: FakeInternet) -> None:
    fake_internet.dns.fail("one.example", "servfail")
    with pytest.raises(waymail.AllRecipientsRefused) as caught:
        send(message, "mx:", recipients="bob@one.example", network=fake_internet.network)
    assert caught.value.is_temporary
    assert caught.value.refused["bob@one.example"].enhanced == "4.4.3"


def test_verified_tls_can_be_demanded_of_mail_hosts(send: Send, message: EmailMessage, fake_internet: FakeInternet) -> None:
    for domain in ("one.example", "two.example"):
        fake_internet.domain(domain)
    fake_internet.domain("two.example").script("TLS", certificate="other name")
    context = fake_internet.domain("one.example").tls_context
    result = send(message, "mx:", tls="require", tls_context=context, network=fake_internet.network)
    assert result.accepted == ("bob@one.example",)
    assert "certificate" in result.refused["cid@two.example"].text
    assert send(message, "mx:", network=fake_internet.network).refused == {}


def test_nobody_logs_in_at_the_mail_hosts_of_others() -> None:
    with pytest.raises(ValueError, match="mx: takes no user"):
        waymail.Client("mx:", auth=("ann", "secret"))
    with pytest.raises(ValueError, match="mx: is no server"):
        waymail.sync.Client("mx:").check()


# --- trying again


def test_what_is_refused_for_now_is_sent_again_to_those_concerned(
    send: Send, message: EmailMessage, smtp_server: SmtpServer
) -> None:
    smtp_server.script("RCPT TO:<bob@", "451 4.2.0 later", times=1)
    result = send(message, smtp_server.url, retry=waymail.Retry(times=1, wait=0.01))
    assert set(result.accepted) == {"bob@one.example", "cid@two.example"}
    assert [mail.recipients for mail in smtp_server.messages] == [("cid@two.example",), ("bob@one.example",)]


def test_a_lost_connection_is_replaced_but_never_after_the_whole_message(
    send: Send, message: EmailMessage, smtp_server: SmtpServer
) -> None:
    retry = waymail.Retry(times=1, wait=0.01)
    smtp_server.script("GREETING", drop=True, times=1)
    assert len(send(message, smtp_server.url, retry=retry).accepted) == 2
    smtp_server.script("END", lose_reply=True, times=1)
    with pytest.raises(waymail.UncertainDelivery):
        send(message, smtp_server.url, retry=retry)
    assert len(smtp_server.messages) == 2


def test_without_retry_nothing_is_tried_again(send: Send, message: EmailMessage, smtp_server: SmtpServer) -> None:
    smtp_server.script("MAIL", "451 4.3.0 later", times=1)
    with pytest.raises(waymail.SenderRefused):
        send(message, smtp_server.url)


# --- not too fast


def test_a_send_whose_turn_comes_too_late_is_not_made(message: EmailMessage, smtp_server: SmtpServer) -> None:
    with waymail.sync.Client(smtp_server.url, rate=waymail.Rate(1, per=3600), timeout=5) as client:
        client.send(message)
        with pytest.raises(waymail.ConnectionFailed, match="no turn in time"):
            client.send(message)
    assert len(smtp_server.messages) == 1


def test_a_send_waits_for_its_turn(message: EmailMessage, smtp_server: SmtpServer) -> None:
    async def three() -> float:
        loop = asyncio.get_running_loop()
        async with waymail.Client(smtp_server.url, rate=waymail.Rate(2, per=0.05)) as client:
            before = loop.time()
            await asyncio.gather(*(client.send(message) for _ in range(3)))
            return loop.time() - before

    assert asyncio.run(three()) >= 0.05
    assert len(smtp_server.messages) == 3


# --- what is sent


@pytest.mark.parametrize("private", [Ed25519PrivateKey.generate(), generate_private_key(65537, 2048)], ids=["ed25519", "rsa"])
def test_a_message_is_signed_once_for_all_its_recipients(
    send: Send, message: EmailMessage, fake_internet: FakeInternet, private: Any
) -> None:
    for domain in ("one.example", "two.example"):
        fake_internet.domain(domain)
    send(message, "mx:", dkim=waymail.DkimKey("example.com", "s1", private), network=fake_internet.network)
    one, two = fake_internet.messages
    assert one.octets == two.octets
    assert one.octets.startswith(b"DKIM-Signature: v=1;")


def test_the_name_in_ehlo_is_the_one_that_was_given(send: Send, message: EmailMessage, smtp_server: SmtpServer) -> None:
    send(message, smtp_server.url, hello="mail.example.com")
    assert smtp_server.commands[0] == "EHLO mail.example.com"
    assert str(smtp_server.messages[0]["Message-ID"]).endswith("@mail.example.com>")
    for wrong in ("two words", "a\r\nMAIL FROM:<eve@example.org>", "", "x" * 300):
        with pytest.raises(ValueError, match="hello is a host name"):
            send(message, smtp_server.url, hello=wrong)


# --- how the server is reached


@pytest.mark.parametrize("scheme", ["socks5", "http"])
def test_mail_goes_through_a_proxy_with_tls_to_its_server(
    send: Send, message: EmailMessage, smtp_server: SmtpServer, scheme: str
) -> None:
    smtp_server.configure(tls="starttls", users={"ann": "secret"})
    with proxy_server() as proxy:
        proxy.demands_password = True
        url = f"{scheme}://{USER}:{PASSWORD}@127.0.0.1:{proxy.port}"
        send(message, smtp_server.url, auth=("ann", "secret"), tls_context=smtp_server.tls_context, proxy=url)
        assert proxy.asked == [("127.0.0.1", smtp_server.port)]
        proxy.refuses = True
        with pytest.raises(waymail.ConnectionFailed, match="through the proxy") as caught:
            send(message, smtp_server.url, proxy=url)
        assert PASSWORD not in str(caught.value)


def test_connections_come_from_the_source_address(send: Send, message: EmailMessage, smtp_server: SmtpServer) -> None:
    send(message, smtp_server.url, source_address="127.0.0.5")
    assert smtp_server.commands[0] == "EHLO [127.0.0.5]"
    with pytest.raises(waymail.ConnectionFailed, match=r"from 192\.0\.2\.1"):
        send(message, smtp_server.url, source_address="192.0.2.1")


@pytest.mark.parametrize("scheme", ["smtp", "lmtp"])
def test_a_unix_socket_that_is_not_there_is_named(send: Send, message: EmailMessage, tmp_path: Path, scheme: str) -> None:
    with pytest.raises(waymail.ConnectionFailed, match="nobody: No such file"):
        send(message, f"{scheme}:{tmp_path}/nobody")
