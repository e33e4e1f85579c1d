"""Mail from users (RFC 6409): authenticated, sent under their own addresses, completed where fields are missing."""

from __future__ import annotations

import re
from collections.abc import Sequence
from email.utils import getaddresses
from typing import Protocol

from waymail.mail import headers
from waymail.mail import message as messages
from waymail.mail.envelope import Recipient
from waymail.server.directory import Directory
from waymail.server.reception import Client, Networks
from waymail.wire.replies import Reply

# RFC 4954 §6: 530 5.7.0 where a command needs authentication first.
AUTHENTICATE_FIRST = Reply(530, "authentication required", "5.7.0")
# RFC 6409 §8.1: a message whose author cannot be made out is not passed on as if it were the user's.
UNREADABLE_AUTHOR = Reply(550, "the From field holds no address that can be read", "5.6.0")
# RFC 5322 §3.6: exactly one From field.
SEVERAL_AUTHORS = Reply(550, "the message has more than one From field", "5.6.0")
MALFORMED = Reply(550, "the header section has a line that is no header field", "5.6.0")

# A line of a header section that neither begins a field nor goes on with one.
_NO_FIELD = re.compile(rb"\r\n(?![!-9;-~]+[ \t]*:|[ \t]|\Z)")


class Rights(Protocol):
    """Who may use which address."""

    def may_send_as(self, user: str, address: str) -> bool: ...


class Submission:
    """The reception of a "submission" listener. `trusted` networks need not authenticate, and may use any address."""

    mechanisms: tuple[str, ...] = ("SCRAM-SHA-256", "PLAIN", "LOGIN")

    def __init__(self, directory: Directory, rights: Rights, trusted: Networks, hostname: str) -> None:
        self._directory = directory
        self._rights = rights
        self._trusted = trusted
        self._hostname = hostname

    def mail(self, client: Client, sender: str) -> Reply | None:
        """RFC 6409 §4.3: no mail without authentication. §6.1: an address that is not the user's is refused; the null path is
        nobody's and everybody's (a mail client sends disposition notifications under it, RFC 8098 §2.1)."""
        if not client.user:
            return None if client.address in self._trusted else AUTHENTICATE_FIRST
        if sender and not self._rights.may_send_as(client.user, sender):
            return Reply(553, f"{sender} is not an address of {client.user}", "5.7.1")
        return None

    def rcpt(self, client: Client, recipient: str) -> Sequence[Recipient] | Reply:
        """Any recipient; of the local ones only those that exist."""
        found = self._directory.resolve(recipient)
        return (Recipient(recipient),) if found is None else found

    def message(self, client: Client, head: bytes, *, id: str, now: float) -> bytes | Reply:
        """RFC 6409 §8.2, §8.3: Date and Message-ID where they are missing. The From field must name the user's addresses, as the
        envelope must: it is the one that people see."""
        if client.user and (refusal := self._judge_author(client.user, head)) is not None:
            return refusal
        return messages.complete(head, now=now, message_id=f"<{id}@{self._hostname}>", hostname=self._hostname)

    def _judge_author(self, user: str, head: bytes) -> Reply | None:
        """A refusal where a From field names an address that is not the user's, or nothing that can be read as one."""
        section = headers.header_section(head)
        if headers.starts_with_field(section) and (_NO_FIELD.search(section) or b"\0" in section):
            return MALFORMED  # what is no field here may be the author to somebody else
        values = [value.decode("utf-8", "replace") for name, value in headers.fields(section) if name.lower() == b"from"]
        if not values:
            return None
        if len(values) > 1:
            return SEVERAL_AUTHORS
        try:
            authors = [address for _, address in getaddresses(values)]
        except (RecursionError, ValueError):  # the parser descends once for each parenthesis
            return UNREADABLE_AUTHOR
        if not authors or not all("@" in address for address in authors):
            return UNREADABLE_AUTHOR
        for author in authors:
            if not self._rights.may_send_as(user, author):
                return Reply(550, f"the From field names {author}, which is not an address of {user}", "5.7.1")
        return None
