"""From whom a message goes on that an alias sends elsewhere."""

from __future__ import annotations

from waymail.client.target import Host, NextHop, Tls
from waymail.delivery.forwarding import Forwarding
from waymail.delivery.smtp import SmtpTransport
from waymail.mail.envelope import Body, Envelope, Recipient
from waymail.mail.outcome import Delivered
from waymail.mail.srs import Srs
from waymail.testing.peer import Peer

SRS = Srs([b"key"])
FORWARDING = Forwarding(SRS, ["example.org", "srs.example.org"])
CAROL = Recipient("carol@elsewhere.example", "sales@example.org")
NOW = 1_796_000_000.0


def sent_by(sender: str) -> Envelope:
    return Envelope("0123456789abc", sender, (CAROL,), NOW)


def test_a_stranger_s_message_goes_on_from_the_domain_of_the_alias_each_time_from_the_same_address() -> None:
    shown = FORWARDING.sender(sent_by("bob@sender.example"), CAROL)
    assert shown.endswith("=sender.example=bob@example.org")
    assert SRS.original(shown, NOW) == "bob@sender.example"
    assert FORWARDING.sender(sent_by("bob@sender.example"), CAROL) == shown


def test_it_goes_on_from_the_domain_that_is_kept_for_that() -> None:
    forwarding = Forwarding(SRS, ["example.org", "srs.example.org"], domain="srs.example.org")
    assert forwarding.sender(sent_by("bob@sender.example"), CAROL).endswith("@srs.example.org")


def test_notices_our_own_senders_and_what_is_too_long_go_on_as_they_are() -> None:
    for sender in ("", "ann@example.org", "a" * 50 + "@a-name-of-some-length.example"):
        assert FORWARDING.sender(sent_by(sender), CAROL) == sender


def test_whoever_was_named_himself_is_shown_the_sender() -> None:
    for named in (
        Recipient("x@elsewhere.example"),
        Recipient("ann@example.org", "Ann@example.org"),
        Recipient("x@y.example", "x@Y"),
    ):
        assert FORWARDING.sender(sent_by("bob@sender.example"), named) == "bob@sender.example"


async def test_each_recipient_gets_the_message_from_whom_it_is_to_come() -> None:
    transport = SmtpTransport(hello_name="mail.example.org", forwarding=FORWARDING)
    named = Recipient("dave@elsewhere.example", "Dave@elsewhere.example")
    async with Peer() as peer:
        next_hop = NextHop("elsewhere.example", (Host("mx.example", peer.port, (peer.host,)),), Tls.OFF)
        envelope = Envelope("0123456789abc", "bob@sender.example", (CAROL, named), NOW)
        outcomes = await transport.deliver(next_hop, envelope, Body(b"Subject: x\r\n\r\nhello\r\n", 22), (CAROL, named))
        assert [type(outcomes[one.address]) for one in (CAROL, named)] == [Delivered, Delivered]
        froms = [line.split(b" ")[1] for line in peer.commands if line.startswith(b"MAIL")]
        assert froms == [f"FROM:<{FORWARDING.sender(envelope, CAROL)}>".encode(), b"FROM:<bob@sender.example>"]
        assert [message.rcpt for message in peer.messages] == [
            [b"RCPT TO:<carol@elsewhere.example>"],
            [b"RCPT TO:<dave@elsewhere.example>"],
        ]
    await transport.close()
