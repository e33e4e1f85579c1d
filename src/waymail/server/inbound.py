"""Mail from other servers: taken for local recipients, and relayed for nobody but the networks that the administrator named."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from waymail.mail.envelope import Recipient
from waymail.server.directory import Directory
from waymail.server.reception import Client, Networks, Reception, Transaction
from waymail.server.returns import Returns
from waymail.wire.extensions import EVERYWHERE
from waymail.wire.offer import Offer, offering
from waymail.wire.replies import Reply

# RFC 3463 §3.8: X.7.1, delivery not authorized.
RELAY_DENIED = Reply(550, "relaying denied: this server takes mail for its own domains only", "5.7.1")
# RFC 6710 §4.1: the new priority, a space, and words.
PRIORITY_LOWERED = Reply(250, "0 is the priority of this message: a higher one needs authentication", "2.3.6")

NOBODY = Networks(())
NOTHING: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Trust:
    """The networks that may do what others may not: `relay` to anywhere, start queues by ETRN, speak for others by XCLIENT, or
    say by XFORWARD where a message came from."""

    relay: Networks = field(default=NOBODY)
    etrn: Networks = field(default=NOBODY)
    xclient: Networks = field(default=NOBODY)
    xforward: Networks = field(default=NOBODY)

    def extensions(self, client: Client) -> frozenset[str]:
        """The extensions that only some are offered."""
        if not (self.etrn or self.xclient or self.xforward):
            return NOTHING
        named = (("ETRN", self.etrn), ("XCLIENT", self.xclient), ("XFORWARD", self.xforward))
        return frozenset(name for name, networks in named if client.address in networks)


class Inbound(Reception):
    """The reception of an "mx" listener, and with `lmtp` that of an "lmtp" one (RFC 2033), where mail is local or refused."""

    def __init__(self, directory: Directory, trust: Trust, *, lmtp: bool = False, returns: Returns | None = None) -> None:
        self.edit: Callable[[Client, bytes], bytes] | None = None
        self._directory = directory
        self._trust = trust
        self._lmtp = lmtp
        self._returns = returns

    def is_local(self, domain: str) -> bool:
        """Whether mail for it is finally delivered here."""
        return domain in self._directory.domains

    def is_ours(self, domain: str) -> bool:
        """Whether a receiver might take it for a domain of ours (RFC 9989 §4.4.2, relaxed alignment): a local one, or one above
        or below it."""
        return any(domain == one or domain.endswith(f".{one}") or one.endswith(f".{domain}") for one in self._directory.domains)

    def offer(self, base: Offer, client: Client) -> Offer:
        """No AUTH: users authenticate at submission listeners."""
        named = self._trust.extensions(client)
        return offering(base, EVERYWHERE | named if named else EVERYWHERE, (), 0, self._lmtp)

    def mail(self, client: Client, transaction: Transaction) -> Reply | None:
        """Anybody may send: the null path too (RFC 5321 §4.5.5)."""
        return None if client.address in self._trust.relay else believed(transaction)

    def rcpt(self, client: Client, transaction: Transaction, recipient: str) -> Sequence[Recipient] | Reply:
        """Local recipients, known ones only: refused here, an unknown one costs nobody a bounce (RFC 5321 §6.2)."""
        if self._returns is not None and recipient[:3].upper() == "SRS":
            back = self._returns.resolve(recipient, transaction.sender, transaction.at)
            if back is not None:
                return (back,) if isinstance(back, Recipient) else back
        found = self._directory.resolve(recipient)
        if found is not None:
            return found
        return (Recipient(recipient),) if not self._lmtp and client.address in self._trust.relay else RELAY_DENIED

    def message(self, client: Client, transaction: Transaction, head: bytes, *, id: str, now: float) -> bytes | Reply:
        """Nothing is added: what other servers send is not ours to complete (RFC 5321 §6.4)."""
        return b""


def believed(transaction: Transaction) -> Reply | None:
    """Take out of a transaction's options what only a trusted client may say; a reply where he is told.

    RFC 4954 §5: the submitter that AUTH= names counts as "<>" from anybody else. RFC 6710 §4.1: nobody else may raise the
    priority of a message, and X.3.6 says that it was changed.
    """
    options = transaction.options
    if options.submitter:
        transaction.options = options = replace(options, submitter="")
    if options.priority <= 0:
        return None
    transaction.options = replace(options, priority=0)
    return PRIORITY_LOWERED
