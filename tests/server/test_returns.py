"""Notices to addresses by which mail was forwarded."""

from __future__ import annotations

from waymail.mail.envelope import Recipient
from waymail.mail.srs import DAY, Srs
from waymail.server.directory import Directory, LocalDomain
from waymail.server.inbound import Inbound, Trust
from waymail.server.reception import Client, Transaction
from waymail.server.returns import NOTICES_ONLY, Returns
from waymail.wire.replies import Reply

NOW = 1_796_000_000.0
SRS = Srs([b"key"])
DOMAIN = LocalDomain(frozenset({"ann"}), {"*": ("ann",), "sales": ("carol@elsewhere.example",)})
ADDRESS = SRS.rewritten("bob@sender.example", "example.org", NOW) or ""
INBOUND = Inbound(Directory("mail.example.org", {"example.org": DOMAIN}), Trust(), returns=Returns(SRS, ["example.org"]))


def resolved(address: str, sender: str = "", now: float = NOW) -> object:
    return INBOUND.rcpt(Client("192.0.2.1"), Transaction(sender, now), address)


def test_a_notice_goes_to_whoever_sent_the_message() -> None:
    assert resolved(ADDRESS) == (Recipient("bob@sender.example", ADDRESS),)


def test_anything_but_a_notice_is_refused_so_that_it_is_no_way_to_send_to_others() -> None:
    assert resolved(ADDRESS, "eve@evil.example") == NOTICES_ONLY


def test_what_was_not_made_here_or_is_old_is_refused_though_a_catch_all_would_take_it() -> None:
    assert resolved(ADDRESS.replace("=bob@", "=eve@")) == Reply(550, "this address was not made here", "5.1.1")
    assert resolved(ADDRESS, now=NOW + 30 * DAY) == Reply(550, "this address has expired", "5.1.1")


def test_others_are_looked_up_as_ever() -> None:
    assert resolved("srstopher@example.org") == (Recipient("ann@example.org", "srstopher@example.org"),)
    foreign = resolved(ADDRESS.replace("@example.org", "@elsewhere.example"))
    assert isinstance(foreign, Reply)
    assert foreign.enhanced == "5.7.1"
