"""Notices that come back to an address by which mail was forwarded (`mail.srs`): they are for whoever sent it first."""

from __future__ import annotations

from collections.abc import Collection

from waymail.mail import address as addresses
from waymail.mail.envelope import Recipient
from waymail.mail.srs import NotOurs, Srs, is_srs
from waymail.wire.replies import Reply

# RFC 3463 §3.2: X.1.1, bad destination mailbox address; §3.8: X.7.1, delivery not authorized.
NO_SUCH_ADDRESS = "5.1.1"
NOTICES_ONLY = Reply(550, "this address takes notices alone, from the null path", "5.7.1")


class Returns:
    """`domains` are those in which such addresses were made."""

    def __init__(self, srs: Srs, domains: Collection[str]) -> None:
        self._srs = srs
        self._domains = frozenset(domains)

    def resolve(self, address: str, sender: str, now: float) -> Recipient | Reply | None:
        """Whom a notice is for; a refusal; None where `address` is none of this kind. `now` is in seconds since the epoch."""
        if not is_srs(addresses.split(address)[0]) or addresses.domain_of(address) not in self._domains:
            return None
        try:
            found = self._srs.original(address, now)
        except NotOurs as problem:
            return Reply(550, str(problem), NO_SUCH_ADDRESS)
        return NOTICES_ONLY if sender else Recipient(found, address)
