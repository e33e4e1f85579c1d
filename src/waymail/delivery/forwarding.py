"""From whom a message goes on that an alias sends to another domain: from an address of ours, which leads back (`mail.srs`).

Only the envelope is rewritten; what is signed in the message stays as it is. The address depends on the message and on the key
alone, so every attempt has the same one, and nothing has to be kept.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from waymail.mail import address as addresses
from waymail.mail.envelope import Envelope, Recipient
from waymail.mail.srs import Srs


class Forwarding:
    """`domains` are the local ones. `domain` is where the new senders are; "" means in the domain of the alias."""

    def __init__(self, srs: Srs, domains: Collection[str], *, domain: str = "") -> None:
        self._srs = srs
        self._domains = frozenset(domains)
        self._domain = domain

    def sender(self, envelope: Envelope, recipient: Recipient) -> str:
        """From whom the message goes to this recipient. A notice stays one, and our own senders stay: SPF names us for them."""
        asked = addresses.domain_of(recipient.original or "")
        if asked not in self._domains or recipient.domain in self._domains:
            return envelope.sender
        if not envelope.sender or addresses.domain_of(envelope.sender) in self._domains:
            return envelope.sender
        return self._srs.rewritten(envelope.sender, self._domain or asked, envelope.accepted_at) or envelope.sender

    def by_sender(self, envelope: Envelope, recipients: Sequence[Recipient]) -> Iterator[tuple[str, Sequence[Recipient]]]:
        """The recipients by the sender that they are shown."""
        found: dict[str, list[Recipient]] = {}
        for one in recipients:
            found.setdefault(self.sender(envelope, one), []).append(one)
        yield from found.items()
