"""What is to be sent and one transaction as values, and how long the steps may take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from waymail.client.errors import Disconnected
from waymail.mail.envelope import NO_OPTIONS, Body, Options, Recipient
from waymail.mail.outcome import Peer
from waymail.values import value
from waymail.wire.client import EndOfContent, Greeting, Response
from waymail.wire.commands import Command
from waymail.wire.replies import Reply

# RFC 5321 §4.5.3.1.8: every server takes 100 recipients; §4.5.3.1.10 is for those that take no more.
MOST_RECIPIENTS = 100


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long to wait, in seconds (RFC 5321 §4.5.3.2). `transaction` bounds MAIL up to the last octet of the content.

    `opening` bounds all that comes before, over all hosts and addresses: RFC 5321 §4.5.3.2.1 gives one host 5 minutes for
    its greeting alone, and five of them would hold an attempt for half an hour. `total` is for one `send` as a whole, waiting
    for a free connection included; None bounds it by the steps alone.
    """

    connect: float = 30.0
    tls: float = 60.0
    greeting: float = 300.0
    command: float = 300.0  # EHLO, STARTTLS, AUTH, MAIL, RCPT, RSET
    data: float = 120.0
    block: float = 180.0
    final: float = 600.0  # the reply to the final dot
    quit: float = 5.0
    transaction: float = 1800.0
    opening: float = 300.0  # from connecting to the first host until one has a session for us
    total: float | None = None

    def __post_init__(self) -> None:
        for name in self.__slots__:
            seconds = getattr(self, name)
            if not (seconds is None and name == "total") and not (_is_number(seconds) and seconds > 0):
                raise ValueError(f"the timeout {name} is {seconds!r}: it is a number of seconds, more than 0")


def _is_number(found: object) -> bool:
    return isinstance(found, int | float)


@value
class Message:
    """What is to be sent, but for the recipients' addresses.

    `body_type` is the BODY parameter it came with (RFC 6152, RFC 3030); where the body is in memory its octets are looked at
    instead. `options` is what the sender asked for in MAIL, `recipients` those of which he asked something in RCPT, or whose
    addresses he spelled otherwise (RFC 3461 §4, §5.2.1).
    """

    sender: str
    body: Body
    body_type: str = "7BIT"
    options: Options = NO_OPTIONS
    recipients: Sequence[Recipient] = ()


@dataclass(slots=True)
class Transaction:
    """One transaction and what was said in it.

    `batch` are the recipients it was for. `mail` is the reply to MAIL; `recipients` has the replies to RCPT; `final` is the
    reply to the content, or to DATA where it was not 354, or one that we made where the message cannot be sent here at
    all; `finals` has the replies to the content that LMTP gives for each recipient (RFC 2033 §4.2). What did not come is
    missing. `trouble` is why; `uncertain` is true where only a reply to the content is.

    For the trace (`transcript`): `heard` are the replies in the order in which they came, `unanswered` the commands without one
    where there is trouble, `opening` what was said before the session's first transaction; this one is its `number`th.
    """

    batch: Sequence[str]
    peer: Peer
    mail: Reply | None = None
    recipients: dict[str, Reply] = field(default_factory=dict)
    final: Reply | None = None
    finals: dict[str, Reply] = field(default_factory=dict)
    trouble: Disconnected | None = None
    uncertain: bool = False
    lmtp: bool = False
    offers_dsn: bool = False
    offers_deliver_by: bool = False
    number: int = 0
    opening: Sequence[Response] = ()
    heard: Sequence[Response] = ()
    unanswered: Sequence[Command | Greeting | EndOfContent] = ()

    @property
    def is_decided(self) -> bool:
        """Whether the content has been answered, for all recipients that stand."""
        return self.final is not None or (bool(self.finals) and not self.uncertain)

    @property
    def is_untouched(self) -> bool:
        """The connection ended before any reply to MAIL: as if the transaction had not been tried."""
        return self.trouble is not None and self.mail is None

    @property
    def has_accepted(self) -> bool:
        """Whether MAIL and at least one RCPT were accepted."""
        return self.mail is not None and self.mail.is_positive and any(r.is_positive for r in self.recipients.values())
