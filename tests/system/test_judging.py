"""The whole server among strangers: the DNS around it, its configuration, what is said on the wire, and what history keeps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.system.conftest import Start
from tests.system.test_transcripts import BY_PEER

from waymail.senderauth import dkim
from waymail.senderauth.dkim import key as dkim_key
from waymail.store.contract import State
from waymail.testing.peer import Peer

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
SERVER = """
hostname = "mail.example.org"
[queue]
store = "$store"
[[listener]]
kind = "mx"
address = "127.0.0.1:0"
tls = "off"
[domains."example.org"]
recipients = ["ann", "bob"]
[dns]
resolvers = ["$dns"]
[inbound]
trusted = []
help_url = "https://example.org/help?{code}"
"""
ZONE: dict[str, Any] = {
    "bank.example": {"TXT": ["v=spf1 ip4:192.0.2.1 -all"]},
    "_dmarc.bank.example": {"TXT": ["v=DMARC1; p=reject"]},
    "s1._domainkey.bank.example": {"TXT": [dkim_key.record(KEY.public_key())]},
    "shop.example": {"TXT": ["v=spf1 -all"]},
    "_dmarc.shop.example": {"TXT": ["v=DMARC1; p=quarantine"]},
    "down.example": "SERVFAIL",
    "_dmarc.down.example": "SERVFAIL",
}
MESSAGE = b"From: Clerk <clerk@bank.example>\r\nTo: ann@example.org\r\nSubject: hello\r\n\r\nHello.\r\n"


def said(message: bytes, sender: str, last: str, *, rcpt: str = "250 2.1.5", to: str = "ann@example.org") -> str:
    """The transcript of one message; `last` is the reply to its end."""
    lines = ["S: 220", "C: EHLO client.example", "S: 250", f"C: MAIL FROM:<{sender}>", "S: 250 2.1.0"]
    lines += [f"C: RCPT TO:<{to}>", f"S: {rcpt}"]
    if last:
        lines += ["C: DATA", "S: 354", *(f"C: {line}" for line in message.decode().split("\r\n")[:-1]), "C: .", f"S: {last}"]
    return "\n".join(lines)


async def test_spoofed_mail_is_refused_and_the_trace_says_why(start: Start) -> None:
    server = await start(SERVER, zone=ZONE)
    wanted = "550 5.7.26 bank.example asks to refuse mail that is not authenticated .*; see https://example.org/help\\?5.7.26"
    await server.talk(said(MESSAGE, "clerk@bank.example", wanted))
    story = await server.story("ann@example.org", "judged")
    [event] = story.events
    assert (event.detail["action"], event.detail["rule"]) == ("reject", "dmarc_reject")
    assert event.detail["checks"]["spf"]["result"] == "fail"
    assert ["_dmarc.bank.example", "TXT", "records", ["v=DMARC1; p=reject"], False] in event.detail["dns"]
    assert [one.state for one in story.recipients] == [State.REFUSED]
    assert server.mailboxes() == set()


async def test_a_forwarded_message_passes_by_its_signature_and_forged_results_go(start: Start) -> None:
    server = await start(SERVER, zone=ZONE)
    signature = dkim.sign(MESSAGE, dkim.SigningKey(KEY), domain="bank.example", selector="s1", now=1_700_000_000.0)
    forged = b"Authentication-Results: mail.example.org; dmarc=pass header.from=evil.example\r\n"
    await server.talk(said(forged + signature + MESSAGE, "clerk@bank.example", "250 2.0.0"))
    [message] = await server.mail("example.org/ann")
    head = message.partition("\n\n")[0]
    assert "evil.example" not in head
    assert head.count("Authentication-Results: mail.example.org;") == 1
    for result in ("spf=fail", "dkim=pass", "dmarc=pass"):
        assert result in head
    story = await server.story("ann@example.org", "judged")
    assert story.events[0].detail["forged"] == 1


async def test_quarantine_is_the_junk_folder(start: Start, tmp_path: Path) -> None:
    server = await start(SERVER, zone=ZONE)
    await server.talk(said(MESSAGE.replace(b"bank", b"shop"), "clerk@shop.example", "250 2.0.0"))
    [message] = await server.mail("example.org/ann/.Junk")
    assert "X-Waymail-Verdict: quarantine; rule=dmarc_quarantine;" in message


async def test_a_listed_address_is_refused_at_rcpt_but_reaches_postmaster(start: Start, tmp_path: Path) -> None:
    (tmp_path / "block").write_text("127.0.0.0/8\n")
    server = await start(SERVER + '[inbound.lists]\nblock = ["block"]\n', zone=ZONE)
    await server.talk(said(MESSAGE, "x@client.example", "", rcpt="550 5.7.1 mail from you is not taken here"))
    story = await server.story("ann@example.org", "judged")
    assert story.events[0].detail["rule"] == "block_list"
    await server.talk(said(MESSAGE, "x@client.example", "250 2.0.0", to="postmaster@example.org"))


async def test_a_domain_whose_dns_is_down_is_told_to_come_again(start: Start) -> None:
    server = await start(SERVER, zone=ZONE)
    await server.talk(said(MESSAGE.replace(b"bank", b"down"), "clerk@down.example", "451 4.4.3 DNS gave no answer"))
    story = await server.story("clerk@down.example", "judged")
    assert (story.events[0].detail["action"], story.events[0].detail["rule"]) == ("defer", "temperror")
    assert server.mailboxes() == set()


FORWARDING = (
    SERVER.replace(
        'recipients = ["ann", "bob"]',
        'recipients = ["ann", "bob"]\naliases = { sales = ["ann", "carol@elsewhere.example"], away = "carol@elsewhere.example" }',
    )
    + BY_PEER
)
OURS: dict[str, Any] = ZONE | {
    "example.org": {"TXT": ["v=spf1 ip4:127.0.0.1 -all"]},
    "_dmarc.example.org": {"TXT": ["v=DMARC1; p=none"]},
    "plain.example": {"TXT": ["v=spf1 ip4:127.0.0.1 -all"]},
}


@pytest.mark.parametrize(
    ("author", "is_forwarded"),
    [
        ("a@plain.example", True),
        ("clerk@shop.example", False),
        ("ann@example.org", False),
        ("boss@example.org>, <x@evil.example", False),
    ],
)
async def test_what_is_put_aside_or_forged_as_ours_is_not_forwarded_in_our_name(
    start: Start, author: str, is_forwarded: bool
) -> None:
    server = await start(FORWARDING, zone=OURS, peer=(peer := Peer()))
    message = MESSAGE.replace(b"clerk@bank.example", author.encode())
    await server.talk(said(message, "x@plain.example", "250 2.0.0", to="sales@example.org"))
    story = await server.story("x@plain.example", "judged")
    assert story.events[0].detail.get("withheld", []) == ([] if is_forwarded else ["carol@elsewhere.example"])
    await server.talk(said(message, "x@plain.example", "250 2.0.0" if is_forwarded else "550 5.7.1", to="away@example.org"))
    if is_forwarded:
        await server.results("carol@elsewhere.example")
        assert len(peer.messages) == 2
    else:
        folder = ".Junk" if "shop" in author else ""
        assert len(await server.mail(f"example.org/ann/{folder}")) == 1
        assert peer.messages == []
        found = await server.story("carol@elsewhere.example", "judged")
        assert (found.events[0].detail["rule"], found.recipients[0].state) == ("not_forwarded", State.REFUSED)
