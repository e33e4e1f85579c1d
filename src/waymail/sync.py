"""Sending and receiving for programs without asyncio.

    result = waymail.sync.send(message, "smtp://ann:secret@mail.example.org")

    with waymail.sync.Client("smtp://ann:secret@mail.example.org") as client:
        client.send(message)

The names, arguments, results and errors are those of `waymail`; each call waits in the thread that makes it. `Client` may be
used by many threads at once, and after os.fork(). `Server` serves, and `Outbox` delivers, in
a thread of its own; nothing else makes any.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from waymail.client.threads import Client, send

if TYPE_CHECKING:
    from waymail.embedded.threaded import Server
    from waymail.outbox.sync import Outbox

__all__ = ["Client", "Outbox", "Server", "send"]

_ON_DEMAND = {"Outbox": "waymail.outbox.sync", "Server": "waymail.embedded.threaded"}  # who only sends needs none of it


def __getattr__(name: str) -> object:
    if name not in _ON_DEMAND:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(_ON_DEMAND[name]), name)
    return found
