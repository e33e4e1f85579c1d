"""Policy in Python of the operator's own, asked beside the rules of [inbound].

    from waymail.server.policy import Decision, Message, Policy, Recipient, quarantine, reject

    class Ours(Policy):
        async def rcpt(self, rcpt: Recipient) -> Decision | None:
            if rcpt.address.startswith("old-") and not rcpt.sender:
                return reject(550, "5.7.1", "no notices to this address")
            return None

        async def message(self, message: Message) -> Decision | None:
            if message.evidence.dmarc and message.evidence.dmarc.domain == "bank.example" and not message.has("List-Id"):
                return None if message.evidence.dmarc.result == "pass" else quarantine("not from the bank")
            return None

and in the configuration `policy = "myapp.mail:Ours"`. One instance is made, without arguments, at the start and at each reload. A
hook answers with a decision, or with None: then the configuration decides, as it would without it. A hook may be asynchronous
or not; one that is not runs in a thread of its own, so that it may wait.

A hook that raises, that answers something else than a decision, or that takes too long, defers: the client is told 451 and comes
again, the log has the trace, and nothing is lost. `waymail.testing.policy` tries a policy without a server.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import TypeAlias

from waymail.mail import headers
from waymail.senderauth.verdict import Evidence
from waymail.server.reception import Client as Known
from waymail.wire.replies import Reply


@dataclass(frozen=True, slots=True)
class Accept:
    """Take it, whatever the rules of the configuration say about it at this point."""


@dataclass(frozen=True, slots=True)
class Mark:
    """Take it, with a header field."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class Quarantine:
    """Take it, and put it where the configuration has quarantined mail put."""

    reason: str


@dataclass(frozen=True, slots=True)
class Refuse:
    """Do not take it: for now (4yz) or for good (5yz). `why` is for the history, where the client is not told."""

    reply: Reply
    why: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Discard:
    """Answer as if it were taken, and let it vanish: the sender is not told. The history has it."""

    reason: str


Decision: TypeAlias = Accept | Mark | Quarantine | Refuse | Discard
Answer: TypeAlias = "Decision | Awaitable[Decision | None] | None"

_FIELD_NAME = re.compile(r"[!-9;-~]{1,76}")  # RFC 5322 §2.2
_OURS = frozenset({"authentication-results", "received", "return-path", "x-waymail-verdict"})


def accept() -> Accept:
    """At `connect` and `mail`: go on. At `rcpt` and `message`: take it, whatever the rules say."""
    return Accept()


def mark(name: str, value: str = "") -> Mark:
    """For `message`: add a header field. Raises ValueError where that is none, or one that waymail writes itself."""
    if not _FIELD_NAME.fullmatch(name) or name.lower() in _OURS:
        raise ValueError(f"{name!r} is no name of a field, or one that waymail writes itself")
    if not value.isprintable() or len(value) > 900:
        raise ValueError("the value of a field is one line of printable characters, 900 at most")
    return Mark(name, value)


def quarantine(reason: str = "") -> Quarantine:
    """For `message`."""
    return Quarantine(reason)


def defer(code: int = 451, enhanced: str = "4.7.1", text: str = "try again later") -> Refuse:
    """Refuse for now. Raises ValueError where the codes do not begin with 4."""
    return Refuse(_reply(4, code, enhanced, text))


def reject(code: int = 550, enhanced: str = "5.7.1", text: str = "refused by policy") -> Refuse:
    """Refuse for good. Raises ValueError where the codes do not begin with 5."""
    return Refuse(_reply(5, code, enhanced, text))


def discard(reason: str = "") -> Discard:
    """For `message`. RFC 5321 §7.8: with care, for nobody is told."""
    return Discard(reason)


def _reply(kind: int, code: object, enhanced: object, text: object) -> Reply:
    if not (isinstance(code, int) and isinstance(enhanced, str) and isinstance(text, str)):
        name, example = ("reject", '550, "5.1.1", "no such user"') if kind == 5 else ("defer", '451, "4.3.0", "come again"')
        given = f"{name}({code!r:.50}, {enhanced!r:.50}, {text!r:.50})"
        how = f'waymail.{name}({example}), or waymail.{name}(text="...")'
        raise TypeError(f"{given} will not do, code is a number, enhanced and text are strings: {how}")
    # 421 and 521 end a session or a host's service: they are not for one message.
    if not (kind * 100 <= code < kind * 100 + 100 and enhanced.startswith(f"{kind}.")) or code in (421, 521):
        raise ValueError(f"{code} {enhanced} will not do: both begin with {kind}, and 421 and 521 mean more than one message")
    return Reply(code, text, enhanced)


@dataclass(frozen=True, slots=True)
class Client:
    """Who has connected. `tls` is "" in clear; `talked_early`: before it was greeted; `user` is who has authenticated. At
    `connect` there is no `helo` yet."""

    address: str
    helo: str = ""
    tls: str = ""
    talked_early: bool = False
    user: str = ""


def client_of(client: Known) -> Client:
    """What a hook is told of a session's client."""
    return Client(client.address, client.helo, client.tls, client.talked_early, client.user)


@dataclass(frozen=True, slots=True)
class Sender:
    """MAIL: `address` is the reverse-path, "" for the null path."""

    client: Client
    address: str


@dataclass(frozen=True, slots=True)
class Recipient:
    """RCPT: `address` as the client gave it; it exists. `evidence` has what DNS and the lists say of client and sender."""

    client: Client
    sender: str
    address: str
    evidence: Evidence


@dataclass(frozen=True, slots=True)
class Message:
    """The whole message. `section` is its header section as it was received, each field with its CRLF; `size` in octets."""

    client: Client
    sender: str
    recipients: tuple[str, ...]
    evidence: Evidence
    section: bytes
    size: int

    def has(self, name: str) -> bool:
        """Whether there is a header field called so."""
        return headers.has(self.section, name.lower().encode())

    def header(self, name: str) -> str:
        """The first such field's value on one line; "" where there is none. Encoded words stay as they are."""
        return headers.text(self.section, name.lower().encode())

    def headers(self, name: str) -> tuple[str, ...]:
        """The values of all such fields."""
        wanted = name.lower().encode()
        found = (value for spelled, value in headers.fields(self.section) if spelled.lower() == wanted)
        return tuple(headers.unfold(value).strip(b" \t").decode("utf-8", "replace") for value in found)


class Policy:
    """Derive from this, and override what you need. A hook that is not overridden costs nothing."""

    def connect(self, client: Client) -> Answer:
        """A client has connected: Accept or Refuse."""

    def mail(self, mail: Sender) -> Answer:
        """MAIL: Accept or Refuse."""

    def rcpt(self, rcpt: Recipient) -> Answer:
        """RCPT, for a recipient that exists: Accept or Refuse."""

    def message(self, message: Message) -> Answer:
        """The whole message has come: any decision."""
