"""waymail carries mail.

    import waymail

    result = await waymail.send(message, "smtp://ann:secret@mail.example.org")

    async with waymail.Client("smtps://ann:secret@mail.example.org") as client:
        await client.send(message)

`send` and `Client` send, with `Credentials` where more than a password is at hand, and `Options` (with `DeliverBy`) where more is
asked for than to take the message; `SendResult` is what became of it; all that
can go wrong outside of the program is an `SMTPError`.

`Server` receives: a function that is given each `IncomingMail`, or a `Policy`, whose hooks answer with `accept`, `reject` and the
like, or with None.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from waymail.client.api import Client, send
    from waymail.client.dsn import Dsn, Notify
    from waymail.client.errors import (
        AllRecipientsRefused,
        AuthenticationFailed,
        ConnectionFailed,
        Disconnected,
        MessageRefused,
        SenderRefused,
        SMTPError,
        TlsError,
        UncertainDelivery,
    )
    from waymail.client.pool import Pool
    from waymail.client.prepare import Mail
    from waymail.client.rate import Rate
    from waymail.client.results import SendResult
    from waymail.client.retry import Retry
    from waymail.client.sending import ServerInfo
    from waymail.client.signing import DkimKey
    from waymail.client.target import Credentials
    from waymail.client.transaction import Timeouts
    from waymail.client.url import UrlError
    from waymail.embedded.mail import IncomingMail
    from waymail.embedded.server import Server
    from waymail.mail.compose import compose
    from waymail.mail.envelope import DeliverBy, Options
    from waymail.mail.message import EnvelopeProblem
    from waymail.net.network import Network
    from waymail.outbox.api import Outbox, Ticket
    from waymail.outbox.outcome import OutboxEvent, Outcome, Waiting
    from waymail.server.policy import Policy, accept, defer, discard, mark, quarantine, reject
    from waymail.store.contract import StoreError, StoreFull
    from waymail.wire.replies import Reply

__version__ = "0.1.0"

__all__ = [
    "AllRecipientsRefused",
    "AuthenticationFailed",
    "Client",
    "ConnectionFailed",
    "Credentials",
    "DeliverBy",
    "Disconnected",
    "DkimKey",
    "Dsn",
    "EnvelopeProblem",
    "IncomingMail",
    "Mail",
    "MessageRefused",
    "Network",
    "Notify",
    "Options",
    "Outbox",
    "OutboxEvent",
    "Outcome",
    "Policy",
    "Pool",
    "Rate",
    "Reply",
    "Retry",
    "SMTPError",
    "SendResult",
    "SenderRefused",
    "Server",
    "ServerInfo",
    "StoreError",
    "StoreFull",
    "Ticket",
    "Timeouts",
    "TlsError",
    "UncertainDelivery",
    "UrlError",
    "Waiting",
    "accept",
    "compose",
    "defer",
    "discard",
    "mark",
    "quarantine",
    "reject",
    "send",
]

# What is public is imported when it is asked for: the commands that only look into the queue need none of it.
_MODULES = {
    "waymail.client.prepare": ("Mail",),
    "waymail.client.signing": ("DkimKey",),
    "waymail.client.retry": ("Retry",),
    "waymail.client.rate": ("Rate",),
    "waymail.client.dsn": (
        "Notify",
        "Dsn",
    ),
    "waymail.client.api": ("Client", "send"),
    "waymail.client.errors": (
        "AllRecipientsRefused",
        "AuthenticationFailed",
        "ConnectionFailed",
        "Disconnected",
        "MessageRefused",
        "SMTPError",
        "SenderRefused",
        "TlsError",
        "UncertainDelivery",
    ),
    "waymail.client.pool": ("Pool",),
    "waymail.client.results": ("SendResult",),
    "waymail.client.sending": ("ServerInfo",),
    "waymail.client.target": ("Credentials",),
    "waymail.client.transaction": ("Timeouts",),
    "waymail.client.url": ("UrlError",),
    "waymail.embedded.mail": ("IncomingMail",),
    "waymail.embedded.server": ("Server",),
    "waymail.mail.compose": ("compose",),
    "waymail.mail.envelope": ("DeliverBy", "Options"),
    "waymail.mail.message": ("EnvelopeProblem",),
    "waymail.net.network": ("Network",),
    "waymail.outbox.api": ("Outbox", "Ticket"),
    "waymail.outbox.outcome": ("OutboxEvent", "Outcome", "Waiting"),
    "waymail.server.policy": ("Policy", "accept", "defer", "discard", "mark", "quarantine", "reject"),
    "waymail.store.contract": ("StoreError", "StoreFull"),
    "waymail.wire.replies": ("Reply",),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(_HOME[name]), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
