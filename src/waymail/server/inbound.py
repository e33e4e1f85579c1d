"""Mail from other servers: taken for local recipients, and relayed for nobody but the networks that the administrator named."""

from __future__ import annotations

from collections.abc import Sequence

from waymail.mail.envelope import Recipient
from waymail.server.directory import Directory
from waymail.server.reception import Client, Networks
from waymail.wire.replies import Reply

# RFC 3463 §3.8: X.7.1, delivery not authorized.
RELAY_DENIED = Reply(550, "relaying denied: this server takes mail for its own domains only", "5.7.1")


class Inbound:
    """The reception of an "mx" listener."""

    mechanisms: tuple[str, ...] = ()  # users authenticate at submission listeners

    def __init__(self, directory: Directory, relay_allowed: Networks) -> None:
        self._directory = directory
        self._relay_allowed = relay_allowed

    def mail(self, client: Client, sender: str) -> Reply | None:
        """Anybody may send: the null path too (RFC 5321 §4.5.5)."""
        return None

    def rcpt(self, client: Client, recipient: str) -> Sequence[Recipient] | Reply:
        """Local recipients, known ones only: refused here, an unknown one costs nobody a bounce (RFC 5321 §6.2)."""
        found = self._directory.resolve(recipient)
        if found is not None:
            return found
        return (Recipient(recipient),) if client.address in self._relay_allowed else RELAY_DENIED

    def message(self, client: Client, head: bytes, *, id: str, now: float) -> bytes | Reply:
        """Nothing is added: what other servers send is not ours to complete (RFC 5321 §6.4)."""
        return b""
