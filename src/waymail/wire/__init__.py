"""SMTP without I/O: both sides of the protocol as state machines that take and give octets.

`ServerConnection` and `ClientConnection` open no socket, wait for nothing and know no time, so every rule of the RFCs can be
tested by handing them octets. A shell around them (`waymail.server`, `waymail.client`) moves the octets and keeps the deadlines.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from waymail.wire.client import ClientConnection, EndOfContent, Greeting, Response
    from waymail.wire.commands import (
        Auth,
        AuthResponse,
        Command,
        Data,
        Hello,
        Help,
        Mail,
        Noop,
        Quit,
        Rcpt,
        Reset,
        StartTls,
        Verify,
    )
    from waymail.wire.data import BareLineEnd, DataDecoder, stuff
    from waymail.wire.errors import CommandOrder, ProtocolError, SyntaxProblem
    from waymail.wire.events import DataChunk, EndOfData, Event, Refused
    from waymail.wire.limits import WireLimits
    from waymail.wire.offer import Offer
    from waymail.wire.replies import Reply
    from waymail.wire.server import ServerConnection
    from waymail.wire.state import State

__all__ = [
    "Auth",
    "AuthResponse",
    "BareLineEnd",
    "ClientConnection",
    "Command",
    "CommandOrder",
    "Data",
    "DataChunk",
    "DataDecoder",
    "EndOfContent",
    "EndOfData",
    "Event",
    "Greeting",
    "Hello",
    "Help",
    "Mail",
    "Noop",
    "Offer",
    "ProtocolError",
    "Quit",
    "Rcpt",
    "Refused",
    "Reply",
    "Reset",
    "Response",
    "ServerConnection",
    "StartTls",
    "State",
    "SyntaxProblem",
    "Verify",
    "WireLimits",
    "stuff",
]

# Imported when it is asked for: whoever needs the names of domains does not need both sides of the protocol.
_MODULES = {
    "waymail.wire.client": ("ClientConnection", "EndOfContent", "Greeting", "Response"),
    "waymail.wire.commands": (
        "Auth",
        "AuthResponse",
        "Command",
        "Data",
        "Hello",
        "Help",
        "Mail",
        "Noop",
        "Quit",
        "Rcpt",
        "Reset",
        "StartTls",
        "Verify",
    ),
    "waymail.wire.data": ("BareLineEnd", "DataDecoder", "stuff"),
    "waymail.wire.errors": ("CommandOrder", "ProtocolError", "SyntaxProblem"),
    "waymail.wire.events": ("DataChunk", "EndOfData", "Event", "Refused"),
    "waymail.wire.limits": ("WireLimits",),
    "waymail.wire.offer": ("Offer",),
    "waymail.wire.replies": ("Reply",),
    "waymail.wire.server": ("ServerConnection",),
    "waymail.wire.state": ("State",),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(_HOME[name]), name)
    return found
