"""A message that a program is given: who sent it to whom, and what is in it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property

from waymail.delivery import handler
from waymail.mail import headers
from waymail.mail.envelope import CHUNK
from waymail.senderauth.verdict import Evidence
from waymail.server import policy

HEAD = 4 * CHUNK  # octets: as far as a header section is looked for; `server.limits` refuses a longer one


@dataclass(frozen=True)
class IncomingMail(handler.IncomingMail):
    """A message while the program decides about it.

    `recipients` are the addresses as the client gave them, each once; `client` is who sends, and `client.user` who has
    authenticated. `envelope` holds what else was asked for. A large message is in a file that goes when the hook `message` has
    returned: keep `raw()`, not this, where it is needed longer.

    It has what `policy.Message` has, too, so that a policy written for a whole server can be asked here. Its `evidence` holds
    addresses only: nobody is asked about the sender.
    """

    client: policy.Client = field(default=policy.Client(""))

    def chunks(self) -> Iterator[bytes]:
        """The message in pieces of 64 KiB at most but for the first, below the Received field (RFC 5321 §4.4) that says how it
        came here. Raises OSError."""
        try:
            yield from self.body.chunks()
        except FileNotFoundError as error:
            raise FileNotFoundError(f"message {self.id} is gone: it is there until the hook has returned") from error

    def content(self) -> bytes:
        """The octets that the client sent and nothing else. Raises OSError."""
        return self.raw()[len(self.body.prefix) :]

    @cached_property
    def section(self) -> bytes:
        """The header section as it was sent, each field with its CRLF. Raises OSError."""
        return headers.header_section(replace(self.body, prefix=b"").head(HEAD))

    @cached_property
    def evidence(self) -> Evidence:
        """Who sends: addresses, and nothing that anybody was asked about them."""
        return evidence_of(self.client, self.sender)

    def has(self, name: str) -> bool:
        """Whether there is a header field called so."""
        return self._message.has(name)

    def header(self, name: str) -> str:
        """The first such field's value on one line; "" where there is none. Encoded words stay as they are."""
        return self._message.header(name)

    def headers(self, name: str) -> tuple[str, ...]:
        """The values of all such fields."""
        return self._message.headers(name)

    @cached_property
    def _message(self) -> policy.Message:
        return policy.Message(self.client, self.sender, self.recipients, self.evidence, self.section, self.size)


def evidence_of(client: policy.Client, sender: str) -> Evidence:
    """What is known of a sender where nobody was asked."""
    return Evidence(client.address, client.helo, sender, client.talked_early)
