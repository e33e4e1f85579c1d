"""A message that a test's server has taken: its envelope, its octets, and what a test wants to read in it."""

from __future__ import annotations

import email.policy
from collections.abc import Mapping
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage
from functools import cached_property

from waymail.wire.grammar import decode_xtext


@dataclass(frozen=True)
class Attachment:
    """A file that came with a message. `name` is "" where it has none; `type` is its media type ("application/pdf")."""

    name: str
    type: str
    content: bytes


@dataclass(frozen=True)
class ReceivedMail:
    """One message.

    `sender` ("" is the null reverse-path) and `recipients` are the envelope: those who are to get it, Bcc among them. `octets` is
    the content as it came, CRLF line ends, nothing added. `options` are the parameters of MAIL ({"SIZE": "512", "BODY":
    "8BITMIME"}), `recipient_options` those of RCPT by address. `helo` is the name that the client said, `user` as whom it has
    authenticated itself ("" for nobody), `tls` the version of TLS ("" for none), `connection` the number of the connection.
    """

    sender: str
    recipients: tuple[str, ...]
    octets: bytes = field(repr=False)
    options: Mapping[str, str | None] = field(default_factory=dict, repr=False)
    recipient_options: Mapping[str, Mapping[str, str | None]] = field(default_factory=dict, repr=False)
    helo: str = field(default="", repr=False)
    user: str = ""
    tls: str = ""
    connection: int = field(default=0, repr=False)

    @cached_property
    def email(self) -> EmailMessage:
        """The message, parsed."""
        return message_from_bytes(self.octets, policy=email.policy.default)

    def __getitem__(self, name: str) -> str | None:
        """A header field, decoded; None where there is none of that name."""
        value = self.email[name]
        return None if value is None else str(value)

    @property
    def headers(self) -> list[tuple[str, str]]:
        """All header fields in their order, decoded."""
        return [(name, str(value)) for name, value in self.email.items()]

    @property
    def subject(self) -> str:
        return self["Subject"] or ""

    @property
    def text(self) -> str:
        """The text for people, "" where there is none but HTML; its line ends are "\\n"."""
        return self._body("plain")

    @property
    def html(self) -> str:
        """The same in HTML."""
        return self._body("html")

    @property
    def attachments(self) -> tuple[Attachment, ...]:
        """The files that came along. Images that stand in the HTML are not among them."""
        parts = self.email.iter_attachments() if self.email.is_multipart() else ()
        return tuple(Attachment(part.get_filename() or "", part.get_content_type(), _content(part)) for part in parts)

    @property
    def dsn(self) -> Mapping[str, str]:
        """What was asked for of notices (RFC 3461): RET and ENVID, decoded, and NOTIFY by recipient ("bob@example.org")."""
        asked = {name: decode_xtext(self.options[name] or "") for name in ("RET", "ENVID") if name in self.options}
        for address, options in self.recipient_options.items():
            if "NOTIFY" in options:
                asked[address] = options["NOTIFY"] or ""
        return asked

    def _body(self, kind: str) -> str:
        part = self.email.get_body((kind,))
        return "" if part is None else str(part.get_content()).replace("\r\n", "\n")


def _content(part: EmailMessage) -> bytes:
    if part.get_content_maintype() == "message":
        return b"".join(inner.as_bytes() for inner in part.iter_parts())
    decoded = part.get_payload(decode=True)
    return decoded if isinstance(decoded, bytes) else part.as_bytes()
