"""Domains on loopback: their names, their servers, and who is nobody."""

from __future__ import annotations

import smtplib
import socket

import dns.message
import dns.query
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

import waymail
import waymail.sync
from waymail import lookups
from waymail.client.signing import DkimKey
from waymail.lookups import Query, Status
from waymail.net.streams import ConnectFailed
from waymail.senderauth import dkim, spf
from waymail.testing import FakeInternet, Zone
from waymail.testing.dns import serving


def answer(internet: FakeInternet, name: str, kind: str) -> list[object]:
    found = internet.zone.answer(Query(name, kind))
    return list(found.records) if found.status is Status.RECORDS else []


def connect(internet: FakeInternet, host: str, port: int = 25) -> smtplib.SMTP:
    """A client that is connected by way of the fake network."""
    client = smtplib.SMTP(timeout=5, local_hostname="client.example")
    client.sock = internet.network.connect_blocking(host, port, timeout=5)
    client.getreply()
    return client


def send(internet: FakeInternet, host: str, recipient: str) -> None:
    client = connect(internet, host)
    client.sendmail("ann@example.com", [recipient], f"Subject: to {recipient}\r\n\r\nx")
    client.close()


def test_a_domain_has_a_server_with_its_name_in_dns_and_its_certificate() -> None:
    with FakeInternet() as internet:
        server = internet.domain("Example.org.")
        assert internet.domain("example.org") is server
        [mx] = answer(internet, "example.org", "MX")
        assert str(getattr(mx, "host", "")) == "mx.example.org"
        assert answer(internet, "mx.example.org", "A") == ["192.0.2.1"]
        for host in ("192.0.2.1", "MX.example.org."):
            client = connect(internet, host)
            client._host = "mx.example.org"  # type: ignore[attr-defined]  # whose certificate it wants
            client.starttls(context=server.tls_context)
            assert client.ehlo()[1].startswith(b"mx.example.org\n")
            client.close()


def test_the_dns_server_knows_what_the_zone_knows() -> None:
    with FakeInternet() as internet:
        internet.domain("example.org")
        host, port = internet.dns.address.split(":")
        said = dns.query.udp(dns.message.make_query("example.org", "MX"), host, port=int(port), timeout=5)
        assert "10 mx.example.org." in str(said.answer[0])
        assert internet.network.resolvers == (internet.dns.address,)


def test_every_domain_has_its_messages_and_the_internet_has_them_all_in_order() -> None:
    with FakeInternet() as internet:
        one, two = internet.domain("one.example"), internet.domain("two.example", tls="off")
        for recipient in ("a@two.example", "b@one.example", "c@two.example"):
            send(internet, f"mx.{recipient[2:]}", recipient)
        assert [mail.subject for mail in internet.wait_for(3)] == ["to a@two.example", "to b@one.example", "to c@two.example"]
        assert ([len(server.messages) for server in (one, two)], one.port == two.port) == ([1, 2], False)
        assert internet.transcript.startswith("mx.one.example:\n1 S: 220 ")
        internet.clear()
        assert (internet.messages, one.messages, internet.transcript) == ([], [], "")


def test_domains_may_share_hosts_and_prefer_some() -> None:
    with FakeInternet() as internet:
        server = internet.host("mx.provider.example")
        internet.mx("one.example", ["mx.provider.example", "backup.provider.example"])
        assert [(mx.preference, mx.host) for mx in internet.zone.answer(Query("one.example", "MX")).records] == [
            (10, "mx.provider.example"),
            (20, "backup.provider.example"),
        ]
        assert internet.host("mx.provider.example") is server
        assert answer(internet, "backup.provider.example", "A") == ["192.0.2.2"]


def test_a_domain_that_is_down_refuses_until_it_is_started() -> None:
    with FakeInternet() as internet:
        server = internet.down("dead.example")
        with pytest.raises(ConnectFailed, match="refused"):
            connect(internet, "mx.dead.example")
        server.start()
        connect(internet, "mx.dead.example").close()


def test_a_domain_may_say_that_it_takes_no_mail() -> None:
    with FakeInternet() as internet:
        internet.null_mx("silent.example")
        assert [mx.host for mx in internet.zone.answer(Query("silent.example", "MX")).records] == [""]


def test_whoever_was_not_made_is_not_there_but_loopback_is() -> None:
    with FakeInternet() as internet, socket.create_server(("127.0.0.1", 0)) as own:
        assert internet.zone.answer(Query("nobody.example", "MX")).status is Status.NO_NAME
        for host in ("192.0.2.77", "nobody.example", "2001:db8::1"):
            with pytest.raises(ConnectFailed, match="refused"):
                connect(internet, host)
        internet.network.connect_blocking("127.0.0.1", own.getsockname()[1], timeout=5).close()


def test_records_that_say_who_may_send_are_added_to_those_that_are_there() -> None:
    with FakeInternet() as internet:
        internet.domain("example.org")
        internet.publish("example.org", spf="v=spf1 mx -all", dmarc="v=DMARC1; p=reject", dkim={"s1": "v=DKIM1; p=AAAA"})
        assert lookups.run(spf.check("192.0.2.1", "ann@example.org", "pc.example.org"), internet.zone).result == "pass"
        assert lookups.run(spf.check("192.0.2.2", "ann@example.org", "pc.example.org"), internet.zone).result == "fail"
        assert answer(internet, "_dmarc.example.org", "TXT") == ["v=DMARC1; p=reject"]
        assert answer(internet, "s1._domainkey.example.org", "TXT") == ["v=DKIM1; p=AAAA"]


def test_the_key_that_signs_is_published_so_that_its_signatures_can_be_verified() -> None:
    key = DkimKey("example.org", "s1", Ed25519PrivateKey.generate())
    message = b"From: ann@example.org\r\nSubject: x\r\n\r\nx\r\n"
    signed = key.sign(message, now=1_700_000_000) + message
    with FakeInternet() as internet:
        internet.publish("example.org", dkim=key)
        [result] = lookups.run(dkim.verify(signed, now=1_700_000_000), internet.zone)
        assert (result.result, result.domain) == ("pass", "example.org")


def test_it_stands_on_a_zone_and_a_dns_server_that_are_there_already() -> None:
    zone = Zone({"example.org": {"TXT": ["hello"]}})
    with serving(zone) as server, FakeInternet(dns=server) as internet:
        internet.domain("example.org")
        assert internet.dns is server
        assert answer(internet, "example.org", "TXT") == ["hello"]


def test_outside_of_its_block_it_does_not_exist() -> None:
    with pytest.raises(RuntimeError, match="with block"):
        FakeInternet().network  # noqa: B018


MAIL = b"From: ann@example.com\r\nSubject: x\r\n\r\nx\r\n"


def test_blocking_programs_send_directly_to_the_domains() -> None:
    with FakeInternet() as internet:
        internet.domain("one.example")
        internet.down("dead.example")
        internet.mx("two.example", ["mx.dead.example", "mx.one.example"])
        people = ["a@one.example", "b@two.example", "c@dead.example", "d@nobody.example"]
        with waymail.sync.Client("mx:", network=internet.network) as client:
            result = client.send(MAIL, recipients=people)
        assert result.accepted == ("a@one.example", "b@two.example")
        assert {who: reply.code for who, reply in result.refused.items()} == {"c@dead.example": 451, "d@nobody.example": 550}
        assert all(mail.tls for mail in internet.messages)


async def test_a_host_is_reached_by_its_name_and_proves_who_it_is() -> None:
    with FakeInternet() as internet:
        server = internet.domain("one.example")
        url, people = "smtp://mx.one.example", ["a@one.example"]
        await waymail.send(MAIL, url, recipients=people, network=internet.network, tls_context=server.tls_context)
        server.script("TLS", certificate="other name")
        with pytest.raises(waymail.TlsError):
            await waymail.send(MAIL, url, recipients=people, network=internet.network, tls_context=server.tls_context)
        assert len(await internet.arrival()) == 1
