"""Asking DNS for a command: through the resolvers that the configuration names, or the system's where there is none."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from waymail.lookups import Lookups

T = TypeVar("T")

DEADLINE = 20.0  # seconds; RFC 7208 §4.6.4: at least as long


async def answered(lookups: Lookups[T], given: Path | None, *, deadline: float = DEADLINE) -> T:
    """What `lookups` come to, after `deadline` seconds at most. `given` is the configuration file, found as by `locate.find`.

    Raises ConfigError, and what `lookups` raise.
    """
    from waymail.app.cli.locate import find
    from waymail.app.config import load
    from waymail.net.drive import drive
    from waymail.net.resolver import Resolver

    if file := find(given):
        dns = load(file).dns
        resolver = Resolver([str(one) for one in dns.resolvers] or None, dnssec=dns.dnssec)
    else:
        resolver = Resolver()
    try:
        return await drive(lookups, resolver, deadline=deadline)
    finally:
        await resolver.close()
