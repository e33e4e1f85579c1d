"""What a server's EHLO offers, in the terms of a transaction: read once for each session (RFC 5321 §4.1.1.1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType

from waymail.client.transaction import MOST_RECIPIENTS
from waymail.mail import address
from waymail.wire.client import NOTHING_OFFERED


@dataclass(frozen=True, slots=True)
class Offer:
    """The offer of a session.

    `extensions` are the keywords, in upper case, with the text behind them. `size` is the largest message in octets, 0 where none
    is known (RFC 1870 §4). `most_recipients` and `most_domains` (0: any number) bound a transaction, `most_messages` the
    session (RFC 9422 §3). `shortest_by` is the fixed minimum of DELIVERBY in seconds (RFC 2852 §2), None where it is not offered.
    """

    extensions: Mapping[str, str] = field(default_factory=lambda: NOTHING_OFFERED)
    pipelining: bool = False
    chunking: bool = False
    eight_bit: bool = False
    binary: bool = False
    utf8: bool = False
    dsn: bool = False
    has_size: bool = False
    size: int = 0
    most_recipients: int = MOST_RECIPIENTS
    most_domains: int = 0
    most_messages: int | None = None
    shortest_by: int | None = None

    def batch(self, recipients: Sequence[str]) -> Sequence[str]:
        """The recipients of one transaction: the first ones, of as many domains as may stand in it."""
        if not self.most_domains:
            return recipients[: self.most_recipients]
        domains: set[str] = set()
        batch: list[str] = []
        for recipient in recipients:
            domain = address.domain_of(recipient)
            if domain in domains or len(domains) < self.most_domains:
                domains.add(domain)
                batch.append(recipient)
        return batch[: self.most_recipients]


NOTHING = Offer()


def offer_of(extensions: Mapping[str, str]) -> Offer:
    """The offer that these keywords make. What cannot be read in an argument counts as not said."""
    return _offer_of(tuple(extensions.items()))


@lru_cache(maxsize=1024)  # the same hosts are greeted again and again
def _offer_of(keywords: tuple[tuple[str, str], ...]) -> Offer:
    extensions = MappingProxyType(dict(keywords))
    limits = dict(limit.upper().partition("=")[::2] for limit in extensions.get("LIMITS", "").split())  # RFC 9422 §3
    return Offer(
        extensions,
        pipelining="PIPELINING" in extensions,
        chunking="CHUNKING" in extensions,
        eight_bit="8BITMIME" in extensions,
        binary="BINARYMIME" in extensions and "CHUNKING" in extensions,  # RFC 3030 §3: not without
        utf8="SMTPUTF8" in extensions,
        dsn="DSN" in extensions,
        has_size="SIZE" in extensions,
        size=_number(extensions.get("SIZE", "")),
        most_recipients=min(_number(limits.get("RCPTMAX", "")) or MOST_RECIPIENTS, MOST_RECIPIENTS),
        most_domains=_number(limits.get("RCPTDOMAINMAX", "")),
        most_messages=_number(limits.get("MAILMAX", "")) or None,
        shortest_by=_number(extensions["DELIVERBY"]) if "DELIVERBY" in extensions else None,
    )


def _number(text: str) -> int:
    text = text.strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else 0
