"""Mail from strangers, judged by a whole server by what a resolver says that validates, and handed over by other people's
programs: swaks, which says for which client it speaks (XCLIENT), and Postfix."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import dkim
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from tests.interop.conftest import Mail
from tests.interop.test_postfix import Postfix, send, wait
from tests.interop.test_submission import swaks
from tests.interop.unbound import Unbound

from waymail.senderauth.dkim import key as dkim_key
from waymail.testing import Zone
from waymail.testing.dns import DnsServer, serving

pytestmark = pytest.mark.interop

JUDGED = """
[dns]
resolvers = ["{resolver}"]

[relay]
xclient = ["127.0.0.0/8"]

[inbound]
trusted = []
dns_timeout = "3s"
help_url = "https://example.org/help?{{code}}"
"""
LISTS = """
[[inbound.dnsbl]]
zone = "bl.example"
"""
KEY = generate_private_key(65537, 2048)
ZONE: dict[str, Any] = {
    "bank.example": {"TXT": ["v=spf1 ip4:192.0.2.1 -all"]},
    "_dmarc.bank.example": {"TXT": ["v=DMARC1; p=reject"]},
    "s1._domainkey.bank.example": {"TXT": [dkim_key.record(KEY.public_key())]},
    "shop.example": {"TXT": ["v=spf1 -all"]},
    "_dmarc.shop.example": {"TXT": ["v=DMARC1; p=quarantine"]},
    "2.0.0.127.bl.example": {"A": ["127.0.0.2"]},
    "99.2.0.192.bl.example": {"A": ["127.0.0.4"], "TXT": ["sent spam"]},
}
SIGNED = """
@ 300 IN SOA ns hostmaster 1 3600 600 86400 300
@ 300 IN NS ns
ns 300 IN A 127.0.0.1
@ 300 IN TXT "v=spf1 ip4:192.0.2.1 -all"
_dmarc 300 IN TXT "v=DMARC1; p=reject"
"""
MESSAGE = b"From: Clerk <clerk@bank.example>\r\nTo: ann@example.org\r\nSubject: your account\r\n\r\nHello.\r\n"


@dataclass(frozen=True)
class Town:
    """A server, the resolver that it asks, and the DNS behind that."""

    mail: Mail
    dns: DnsServer

    def send(self, ip: str, sender: str, message: bytes, *arguments: str) -> str:
        """What swaks and the server said to each other; it speaks for the client at `ip`."""
        file = self.mail.directory / "message.eml"
        file.write_bytes(message)
        command = ["--from", sender, "--to", "ann@example.org", "--helo", "client.example", "--xclient-addr", ip]
        return swaks(self.mail, *command, "--data", f"@{file}", *arguments, port=self.mail.mx).stdout

    def judged(self, sender: str) -> dict[str, Any]:
        """What was made of the newest message from a sender."""
        events = self.mail.trace(sender)[0]["events"]
        detail: dict[str, Any] = next(event["detail"] for event in events if event["kind"] == "judged")
        return detail


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    folder = tmp_path_factory.mktemp("judged")
    zones = {"signed.example": SIGNED, "forged.example": SIGNED.replace("reject", "quarantine")}
    with serving(Zone(ZONE)) as dns, Unbound(dns.address, zones, {"p=quarantine": "p=none"}) as unbound:
        mail = Mail(folder / "waymail", "mx", JUDGED.format(resolver=unbound.address) + LISTS)
        with mail:
            wait(lambda: dns.count("1.0.0.127.bl.example", "A"))  # the list has been tested
            yield Town(mail, dns)


def test_spoofed_mail_is_refused_and_the_history_says_why(town: Town) -> None:
    said = town.send("203.0.113.5", "clerk@bank.example", MESSAGE)
    assert "550 5.7.26 bank.example asks to refuse mail that is not authenticated" in said
    assert "see https://example.org/help?5.7.26" in said
    judged = town.judged("clerk@bank.example")
    assert (judged["action"], judged["rule"]) == ("reject", "dmarc_reject")
    told = town.mail.run("explain", "clerk@bank.example")
    assert "reject: dmarc_reject" in told
    assert "_dmarc.bank.example TXT" in told
    assert "(DNSSEC)" not in told
    assert town.mail.mailbox("mail/example.org/ann") == []


def test_a_forwarded_message_passes_by_the_signature_that_dkimpy_made(town: Town) -> None:
    pem = KEY.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    signature = dkim.sign(MESSAGE, b"s1", b"bank.example", pem)
    forged = b"Authentication-Results: mail.example.org; dmarc=pass header.from=evil.example\r\n"
    said = town.send("203.0.113.6", "list-bounces@far.example", forged + signature + MESSAGE)
    assert "250 2.0.0" in said
    (kept,) = town.mail.wait_for_mail("mail/example.org/ann")
    assert b"evil.example" not in kept
    for result in (b"spf=none", b"dkim=pass", b"dmarc=pass"):
        assert result in kept


def test_a_listed_address_is_refused_at_rcpt(town: Town) -> None:
    said = town.send("192.0.2.99", "x@far.example", MESSAGE)
    assert "550 5.7.1 192.0.2.99 or its domain is listed by bl.example: sent spam" in said
    assert " -> DATA" not in said
    assert town.judged("x@far.example")["rule"] == "dnsbl"


def test_what_dnssec_vouches_for_is_shown_as_such(town: Town) -> None:
    message = MESSAGE.replace(b"bank.example", b"signed.example")
    assert "550 5.7.26" in town.send("203.0.113.7", "clerk@signed.example", message)
    told = town.mail.run("explain", "clerk@signed.example")
    assert "v=DMARC1; p=reject  (DNSSEC)" in told
    assert "v=spf1 ip4:192.0.2.1 -all  (DNSSEC)" in told
    assert "250 2.0.0" in town.send("192.0.2.1", "teller@signed.example", message)


def test_a_policy_that_was_changed_on_its_way_is_no_policy(town: Town) -> None:
    said = town.send("203.0.113.7", "clerk@forged.example", MESSAGE.replace(b"bank.example", b"forged.example"))
    assert "451 4.4.3 DNS gave no answer about forged.example" in said
    told = town.mail.run("explain", "clerk@forged.example")
    assert "p=none" not in told
    assert "_dmarc.forged.example TXT" in told


def test_what_a_postfix_relays_goes_to_junk_where_its_domain_asks_for_distrust(town: Town, start_postfix: Postfix) -> None:
    postfix, port = start_postfix(relayhost=f"[127.0.0.1]:{town.mail.mx}", disable_dns_lookups="yes")
    send(port, "-f", "clerk@shop.example")
    (kept,) = town.mail.wait_for_mail("mail/example.org/bob/.Junk")
    assert b"X-Waymail-Verdict: quarantine; rule=dmarc_quarantine;" in kept
    assert "status=sent" in postfix.log.read_text()
    assert town.mail.mailbox("mail/example.org/bob") == []


def test_a_postfix_that_relays_spoofed_mail_gives_it_back_with_our_words(town: Town, start_postfix: Postfix) -> None:
    postfix, port = start_postfix(relayhost=f"[127.0.0.1]:{town.mail.mx}", disable_dns_lookups="yes")
    send(port, "-f", "clerk@bank.example")
    wait(lambda: "status=bounced" in postfix.log.read_text())
    assert "550 5.7.26 bank.example asks to refuse" in postfix.log.read_text()


@pytest.mark.parametrize("trouble", ["silent", "gone"])
def test_mail_that_comes_while_dns_is_down_waits_at_a_postfix_and_gets_through(
    trouble: str, start_mail: Callable[..., Mail], start_postfix: Postfix
) -> None:
    zone = Zone(ZONE | {"bank.example": {"TXT": ["v=spf1 ip4:127.0.0.1 -all"]}})
    with serving(zone) as dns:
        dns.fail("", "timeout" if trouble == "silent" else "servfail")
        mail = start_mail("mx", JUDGED.format(resolver=dns.address))
        soon = {"minimal_backoff_time": "2s", "maximal_backoff_time": "4s", "queue_run_delay": "2s"}
        postfix, port = start_postfix(relayhost=f"[127.0.0.1]:{mail.mx}", disable_dns_lookups="yes", **soon)
        send(port, "-f", "clerk@bank.example")
        wait(lambda: "451 4.4.3" in postfix.log.read_text())
        assert mail.mailbox("mail/example.org/bob") == []
        dns.heal()
        (kept,) = mail.wait_for_mail("mail/example.org/bob")
        assert b"dmarc=pass" in kept
