"""Mail from users (RFC 6409): authenticated, sent under their own addresses, completed where fields are missing."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from email.utils import getaddresses
from typing import Protocol

from waymail.mail import headers
from waymail.mail import message as messages
from waymail.mail.envelope import Recipient
from waymail.octets import NUL
from waymail.server.authentication import Connection
from waymail.server.directory import Directory
from waymail.server.inbound import Trust
from waymail.server.judgement import without_forgeries
from waymail.server.quota import Quota
from waymail.server.reception import Client, Reception, Transaction
from waymail.wire.extensions import EVERYWHERE
from waymail.wire.offer import Offer, offering
from waymail.wire.replies import Reply
from waymail.wire.sasl import NO_CHANNEL, Channel

# RFC 4954 §6: 530 5.7.0 where a command needs authentication first.
AUTHENTICATE_FIRST = Reply(530, "authentication required", "5.7.0")
# RFC 6409 §8.1: a message whose author cannot be made out is not passed on as if it were the user's.
UNREADABLE_AUTHOR = Reply(550, "the From field, or Sender, holds no address that can be read", "5.6.0")
# RFC 5322 §3.6: exactly one From field.
SEVERAL_AUTHORS = Reply(550, "the message has more than one From field", "5.6.0")
MALFORMED = Reply(550, "the header section has a line that is no header field", "5.6.0")

HOLD_TOO_LONG = Reply(501, "messages are not held that long here", "5.5.4")
HOLD_PAST_DEADLINE = Reply(501, "the message would be held past the time by which it is to be delivered", "5.5.4")

# Characters: the parser of address lists takes a time that grows with the square of some of them. A thousand addresses fit.
MOST_OF_AUTHORS = 32_768

AUTHORS = {b"from": "From", b"sender": "Sender", b"resent-from": "Resent-From", b"resent-sender": "Resent-Sender"}

# A line of a header section that neither begins a field nor goes on with one.
_NO_FIELD = re.compile(rb"\r\n(?![!-9;-~]+[ \t]*:|[ \t]|\Z)")


class Rights(Protocol):
    """Who may use which address."""

    def may_send_as(self, user: str, address: str) -> bool: ...


class Submission(Reception):
    """The reception of a "submission" listener. Who may relay need not authenticate, and may use any address. `hold` is for how
    many seconds a message may be held for its sender (RFC 4865), 0 for not at all."""

    def __init__(
        self,
        directory: Directory,
        rights: Rights,
        trust: Trust,
        hostname: str,
        *,
        mechanisms: Callable[[Connection], tuple[str, ...]],
        hold: int = 0,
        quota: Quota | None = None,
        authserv_id: str = "",
    ) -> None:
        """`authserv_id` is the name in this server's Authentication-Results, the hostname if it is left out."""
        self._directory = directory
        self._rights = rights
        self._trust = trust
        self._hostname = hostname
        self._mechanisms = mechanisms
        self._hold = hold
        self._quota = quota
        self._authserv_id = authserv_id or hostname
        self.edit: Callable[[Client, bytes], bytes] | None = self._edited

    def _edited(self, _: Client, head: bytes) -> bytes:
        """Without blind copies, and without results that only this server may write: users write to each other, too."""
        return without_forgeries(without_blind_copies(head), self._authserv_id)

    def offer(self, base: Offer, client: Client) -> Offer:
        """AUTH, and to hold messages (RFC 4865 §4.2: only at submission)."""
        names = EVERYWHERE | self._trust.extensions(client)
        mechanisms = self._mechanisms(connection_of(client))
        return offering(base, names | {"FUTURERELEASE"} if self._hold else names, mechanisms, self._hold, False)

    def mail(self, client: Client, transaction: Transaction) -> Reply | None:
        """RFC 6409 §4.3: no mail without authentication. §6.1: an address that is not the user's is refused; the null path is
        nobody's and everybody's (a mail client sends disposition notifications under it, RFC 8098 §2.1)."""
        sender, options = transaction.sender, transaction.options
        if not client.user and client.address not in self._trust.relay:
            return AUTHENTICATE_FIRST
        if client.user and sender and not self._rights.may_send_as(client.user, sender):
            return Reply(553, f"{sender} is not an address of {client.user}", "5.7.1")
        if (refusal := self._over_quota(client, transaction, 0)) is not None:
            return refusal
        return self._judge_hold(transaction) if options.hold else None

    def _judge_hold(self, transaction: Transaction) -> Reply | None:
        """RFC 4865 §4.2: no longer than was offered; §5.2: and not past the time by which it is to be delivered."""
        options = transaction.options
        if options.hold_until > transaction.at + self._hold:
            return HOLD_TOO_LONG
        if options.deliver_by is not None and options.hold_until > options.deliver_by.until:
            return HOLD_PAST_DEADLINE
        return None

    def _over_quota(self, client: Client, transaction: Transaction, recipients: int) -> Reply | None:
        if not client.user or self._quota is None:
            return None
        return self._quota.check(client.user, transaction.at, recipients)

    def rcpt(self, client: Client, transaction: Transaction, recipient: str) -> Sequence[Recipient] | Reply:
        """Any recipient; of the local ones only those that exist."""
        if (refusal := self._over_quota(client, transaction, transaction.named + 1)) is not None:
            return refusal
        found = self._directory.resolve(recipient)
        return (Recipient(recipient),) if found is None else found

    def message(self, client: Client, transaction: Transaction, head: bytes, *, id: str, now: float) -> bytes | Reply:
        """RFC 6409 §8.2, §8.3: Date and Message-ID where they are missing. The From field must name the user's addresses, as the
        envelope must: it is the one that people see."""
        if client.user:
            if (refusal := self._judge_authors(client.user, head)) is not None:
                return refusal
            if self._quota is not None:
                self._quota.sent(client.user, now, transaction.named)
        return messages.complete(head, now=now, message_id=f"<{id}@{self._hostname}>", hostname=self._hostname)

    def _judge_authors(self, user: str, head: bytes) -> Reply | None:
        """A refusal where one of the fields that name an author or a sender holds an address that is not the user's, or nothing
        that can be read as one. That of a message sent again (RFC 5322 §3.6.6) is the user too."""
        section = headers.header_section(head)
        if headers.starts_with_field(section) and (_NO_FIELD.search(section) or NUL in section):
            return MALFORMED  # what is no field here may be the author to somebody else
        found: dict[str, list[str]] = {}
        for name, value in headers.fields(section):
            if (lowered := name.lower()) in AUTHORS:
                found.setdefault(AUTHORS[lowered], []).append(value.decode("utf-8", "replace"))
        if len(found.get("From", ())) > 1:
            return SEVERAL_AUTHORS
        for field, values in found.items():
            if (refusal := self._judge_field(user, field, values)) is not None:
                return refusal
        return None

    def _judge_field(self, user: str, name: str, values: list[str]) -> Reply | None:
        if sum(map(len, values)) > MOST_OF_AUTHORS:
            return UNREADABLE_AUTHOR
        try:
            authors = [address for _, address in getaddresses(values)]
        except (RecursionError, ValueError):  # the parser descends once for each parenthesis
            return UNREADABLE_AUTHOR
        if not authors or not all("@" in address for address in authors):
            return UNREADABLE_AUTHOR
        for author in authors:
            if not self._rights.may_send_as(user, author):
                return Reply(550, f"the {name} field names {author}, which is not an address of {user}", "5.7.1")
        return None


def connection_of(client: Client, *, offers_plus: bool = False) -> Connection:
    """The client's connection, as authentication has to know it."""
    channel = Channel(client.bindings, offers_plus=offers_plus) if client.bindings else NO_CHANNEL
    return Connection(client.address, bool(client.tls), channel, client.certificate)


def without_blind_copies(head: bytes) -> bytes:
    """RFC 5322 §3.6.3: those who get a blind copy are named in the envelope alone. `head` begins with the header section."""
    return messages.without_bcc(head) if headers.starts_with_field(head) else head
