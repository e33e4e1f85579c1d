"""Does an account look stolen? One that is used from many networks within an hour is closed before it ruins the server's name.

A person has a phone, a desk and a train: a handful of networks (IPv4 /24, IPv6 /48) a day. Whoever sends spam with a stolen
password has hundreds of hosts. Memory is bounded: at most `limit` networks of each user, and the users that logged in last.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable
from functools import partial

from waymail.server.freezes import Freezes, FreezesUnusable
from waymail.server.networks import network_of

log = logging.getLogger("waymail.server")

WITHIN = 3_600.0  # seconds
MOST_USERS = 65_536


Later = Callable[[Callable[[], None]], object]


class StolenAccounts:
    """Freezes an account that more than `limit` networks use within an hour. `later` does what waits for the disk."""

    def __init__(self, freezes: Freezes, limit: int, *, most: int = MOST_USERS, later: Later = lambda work: work()) -> None:
        self._freezes = freezes
        self._limit = limit
        self._most = most
        self._later = later
        self._networks: OrderedDict[str, dict[str, float]] = OrderedDict()  # by user; the network that was used last stands last

    def go_on_from(self, other: StolenAccounts) -> None:
        """Take over what another one has seen, whose limit was different."""
        self._networks = other._networks

    def logged_in(self, user: str, address: str, now: float) -> bool:
        """Note where a user logged in from, at `now` (Unix time). True where that was too much, and the account is frozen."""
        networks = self._networks.pop(user, {})
        self._networks[user] = networks
        while len(self._networks) > self._most:
            self._networks.popitem(last=False)
        network = network_of(address)
        networks.pop(network, None)
        networks[network] = now
        for old in [one for one, used in networks.items() if used <= now - WITHIN]:
            del networks[old]
        if len(networks) <= self._limit:
            return False
        del self._networks[user]  # whoever thaws the account begins anew
        self._freeze(user, f"used from {len(networks)} networks within an hour", now)
        return True

    def _freeze(self, user: str, reason: str, now: float) -> None:
        fields = {"user": user, "reason": reason, "fix": f"give a new password, then: waymail user thaw {user}"}
        log.error("an account looks stolen, it is frozen", extra={"fields": fields})
        self._freezes.close(user, reason, now)
        self._later(partial(self._keep, user, reason, now))

    def _keep(self, user: str, reason: str, now: float) -> None:
        try:
            self._freezes.freeze(user, reason, now)
        except FreezesUnusable as problem:
            log.error("a frozen account will be open again after a restart", extra={"fields": {"error": str(problem)}})

    def __len__(self) -> int:
        return len(self._networks)
