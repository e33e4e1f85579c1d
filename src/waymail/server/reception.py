"""What both kinds of listener decide about a message: who may send, to whom, and with which fields added.

`Inbound` judges mail from other servers, `Submission` mail from users. A session asks them at MAIL, at RCPT and at the end of
data; they answer with values and know nothing of the wire.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Protocol

from waymail.mail.envelope import NO_OPTIONS, Options, Recipient
from waymail.net.tls import PeerCertificate
from waymail.wire.offer import Offer
from waymail.wire.replies import Reply

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(slots=True)
class Client:
    """What a session knows of its peer. `user` is "" until it has authenticated."""

    address: str
    helo: str = ""
    extended: bool = False
    tls: str = ""
    user: str = ""
    certificate: PeerCertificate | None = None  # what the client proved in TLS, for SASL EXTERNAL
    bindings: Mapping[str, bytes] = field(default_factory=dict)  # of TLS, for SCRAM-...-PLUS (RFC 5056 §2)
    proxy: str = ""  # the IP address of the proxy that said `address`


@dataclass(slots=True)
class Transaction:
    """One message while it comes in."""

    sender: str
    at: float = 0.0  # when it began, in seconds since the epoch
    body: str = "7BIT"
    options: Options = NO_OPTIONS
    recipients: dict[str, Recipient] = field(default_factory=dict)  # by normalised address: each gets one copy
    named: int = 0  # RCPT commands accepted: an alias adds several recipients, a repetition none


class Reception(Protocol):
    """The decisions of one kind of listener. A Reply is a refusal.

    `edit`, where it is not None, is given each message's header section and returns it as it is to be kept.
    """

    edit: Callable[[bytes], bytes] | None

    def offer(self, base: Offer, client: Client) -> Offer:
        """What this client is offered; `base` is what all clients of the listener are."""

    def mail(self, client: Client, transaction: Transaction) -> Reply | None:
        """May this client send as `transaction.sender` ("" is the null path), with these options? A positive reply accepts it in
        other words."""

    def rcpt(self, client: Client, transaction: Transaction, recipient: str) -> Sequence[Recipient] | Reply:
        """Who stands behind this recipient, and may this client send to them?"""

    def message(self, client: Client, transaction: Transaction, head: bytes, *, id: str, now: float) -> bytes | Reply:
        """Header fields to put in front of the message, complete and CRLF-ended. `head` holds its header section."""


class Networks:
    """A set of IP networks."""

    def __init__(self, networks: Sequence[Network]) -> None:
        self._networks = tuple(networks)

        self._look_up = lru_cache(maxsize=10_000)(self._search)  # the same clients come again and again

    def __bool__(self) -> bool:
        return bool(self._networks)

    def __contains__(self, address: str) -> bool:
        return bool(self._networks) and self._look_up(address)

    def _search(self, address: str) -> bool:
        try:
            ip = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(ip in network for network in self._networks)
