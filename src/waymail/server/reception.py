"""What both kinds of listener decide about a message: who may send, to whom, and with which fields added.

`Inbound` takes mail from other servers, `Submission` from users. A session asks them when a client connects, at MAIL, at RCPT and
at the end of data; they answer with values and know nothing of the wire. Who has to ask others first answers with a coroutine:
the session does nothing else until it is done, calls it off where the client goes away, and answers 451 where it takes longer
than `Limits.decision_time` or raises. An answer that is there at once costs nothing of this.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Protocol, TypeAlias, TypeVar

from waymail.mail.envelope import NO_OPTIONS, Options, Recipient
from waymail.net.tls import PeerCertificate
from waymail.store.contract import Event
from waymail.values import value
from waymail.wire.offer import Offer
from waymail.wire.replies import Reply

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

T = TypeVar("T")
Soon: TypeAlias = T | Coroutine[Any, Any, T]


@dataclass(slots=True)
class Client:
    """What a session knows of its peer. `user` is "" until it has authenticated.

    `talked_early`: it sent something before it was greeted (RFC 5321 §4.3.1). `evidence` is the reception's own, what it has
    found out about the client: it is kept over STARTTLS, and where there is any, `Reception.left` is told of the end.
    """

    address: str
    helo: str = ""
    extended: bool = False
    tls: str = ""
    user: str = ""
    certificate: PeerCertificate | None = None  # what the client proved in TLS, for SASL EXTERNAL
    bindings: Mapping[str, bytes] = field(default_factory=dict)  # of TLS, for SCRAM-...-PLUS (RFC 5056 §2)
    proxy: str = ""  # the IP address of the proxy that said `address`
    talked_early: bool = False
    evidence: object = None


@dataclass(slots=True)
class Transaction:
    """One message while it comes in. `evidence` is the reception's own, as that of a client."""

    sender: str
    at: float = 0.0  # when it began, in seconds since the epoch
    body: str = "7BIT"
    options: Options = NO_OPTIONS
    recipients: dict[str, Recipient] = field(default_factory=dict)  # by normalised address: each gets one copy
    named: int = 0  # RCPT commands accepted: an alias adds several recipients, a repetition none
    evidence: object = None


@value
class Judged:
    """What is to become of a recipient or of a complete message, where that is more than a reply or fields to add.

    `refusal` refuses it. A message that `is_discarded` is answered as if it were taken, and is not; `folder` is that of mailboxes
    on this machine into which it goes instead of the inbox. `fields` are put in front of it, complete and CRLF-ended. `events`
    become part of its history, also where it was not taken.
    """

    refusal: Reply | None = None
    fields: bytes = b""
    folder: str = ""
    is_discarded: bool = False
    events: tuple[Event, ...] = ()


class BodyTaker(Protocol):
    """Sees the body of a message while it comes in, in order and cut anywhere, the dots of DATA taken out."""

    def update(self, chunk: bytes) -> None: ...


class Reception(Protocol):
    """The decisions of one kind of listener. A Reply is a refusal; without a decision of its own a kind has those below.

    `edit`, where it is not None, is given each message's header section and returns it as it is to be kept. With `takes_bodies`
    `body` is asked of each message.
    """

    edit: Callable[[Client, bytes], bytes] | None
    takes_bodies: bool = False

    def offer(self, base: Offer, client: Client) -> Offer:
        """What this client is offered; `base` is what all clients of the listener are."""

    def connect(self, client: Client) -> Soon[Reply | None]:
        """May this client have a session? It is greeted when that is decided. One that is refused with 5xx is told 554, and can
        say nothing but QUIT (RFC 5321 §3.1); one with 4xx is told 421, and hung up on. Asked again where a proxy speaks for
        another client (XCLIENT)."""
        return None

    def mail(self, client: Client, transaction: Transaction) -> Soon[Reply | None]:
        """May this client send as `transaction.sender` ("" is the null path), with these options? A positive reply accepts it in
        other words."""

    def rcpt(self, client: Client, transaction: Transaction, recipient: str) -> Soon[Sequence[Recipient] | Reply | Judged]:
        """Who stands behind this recipient, and may this client send to them? `Judged` is a refusal that history is to keep."""

    def body(self, client: Client, transaction: Transaction, section: bytes) -> BodyTaker | None:
        """The header section has come, as it was sent, each field with its CRLF, without the empty line: what is to see the body?
        Asked once before `message`, but not of a message whose header section is too large, which is refused."""
        return None

    def message(
        self, client: Client, transaction: Transaction, head: bytes, *, id: str, now: float
    ) -> Soon[bytes | Reply | Judged]:
        """Header fields to put in front of the message, complete and CRLF-ended. `head` holds its header section."""

    def left(self, client: Client) -> None:
        """The connection of a client with `evidence` is gone. What was asked about it and is not answered yet is called off."""
        return


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
