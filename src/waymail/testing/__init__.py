"""Doubles for tests of mail code: our own, and those of programs that use waymail.

`SmtpServer` takes mail, `FakeInternet` is many domains and their DNS, `Zone` is names in DNS. The fixtures of
`waymail.testing.plugin` hand them out.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from waymail.testing.internet import FakeInternet
    from waymail.testing.received import ReceivedMail
    from waymail.testing.smtp_server import SmtpServer
    from waymail.testing.zone import Zone

__all__ = ["FakeInternet", "ReceivedMail", "SmtpServer", "Zone"]

# Imported when asked for: pytest loads the plugin in every run, and nothing else of this package.
_HOME = {"FakeInternet": "internet", "ReceivedMail": "received", "SmtpServer": "smtp_server", "Zone": "zone"}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    return found
