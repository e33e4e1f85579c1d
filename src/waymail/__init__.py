"""waymail carries mail.

    import waymail

    result = await waymail.send(message, "smtp://ann:secret@mail.example.org")

    async with waymail.Client("smtps://ann:secret@mail.example.org") as client:
        await client.send(message)

`send` and `Client` send, with `Credentials` where more than a password is at hand, and `Options` (with `DeliverBy`) where more is
asked for than to take the message; `SendResult` is what became of it; all that
can go wrong outside of the program is an `SMTPError`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from waymail.client.api import Client, SendResult, send
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
    from waymail.client.pool import PoolLimits
    from waymail.client.target import Credentials
    from waymail.client.url import UrlError
    from waymail.mail.envelope import DeliverBy, Options
    from waymail.mail.message import EnvelopeProblem
    from waymail.net.network import Network
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
    "EnvelopeProblem",
    "MessageRefused",
    "Network",
    "Options",
    "PoolLimits",
    "Reply",
    "SMTPError",
    "SendResult",
    "SenderRefused",
    "TlsError",
    "UncertainDelivery",
    "UrlError",
    "send",
]

# What is public is imported when it is asked for: the commands that only look into the queue need none of it.
_MODULES = {
    "waymail.client.api": ("Client", "SendResult", "send"),
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
    "waymail.client.pool": ("PoolLimits",),
    "waymail.client.target": ("Credentials",),
    "waymail.client.url": ("UrlError",),
    "waymail.mail.envelope": ("DeliverBy", "Options"),
    "waymail.mail.message": ("EnvelopeProblem",),
    "waymail.net.network": ("Network",),
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
