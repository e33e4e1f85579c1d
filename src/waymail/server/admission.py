"""Who gets a session: the bounds at the door, counted by client and network.

What counts as one client stands in `networks`. Where sessions become scarce (`limits.crowded`), the rest is kept for those who
hold few: so a few addresses, however many slow sessions they open, do not keep others out. Clients in `exempt` are held to
`sessions` and `sessions_per_client` alone; those of a Unix-domain socket (""), whom the file's mode lets in, to `sessions`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable

from waymail.net.door import Addresses
from waymail.server.answers import TOO_MANY_CONNECTIONS, TOO_MANY_OF_YOUR_NETWORK, TOO_MANY_OF_YOURS, TOO_MANY_SESSIONS
from waymail.server.limits import MINUTE, Limits
from waymail.server.networks import client_of, network_of
from waymail.server.rates import Rates
from waymail.wire.replies import Reply


class Admission:
    """Counts the sessions of one listener."""

    def __init__(self, limits: Limits, exempt: Addresses = ()) -> None:
        self._limits = limits
        self._exempt = exempt
        self._clients: Counter[str] = Counter()
        self._networks: Counter[str] = Counter()
        self._crowded_from = math.ceil(limits.sessions * limits.crowded)
        self._connections = _rates(limits.connections_per_minute)
        self._messages = _rates(limits.messages_per_minute)
        self.total = 0

    def reconfigure(self, limits: Limits, exempt: Addresses, held: Iterable[str]) -> None:
        """Go by other bounds. Those that are counted, from the addresses `held`, stay, even where they are too many now."""
        before, self._limits, self._exempt = self._limits, limits, exempt
        self._crowded_from = math.ceil(limits.sessions * limits.crowded)
        if limits.connections_per_minute != before.connections_per_minute:
            self._connections = _rates(limits.connections_per_minute)
        if limits.messages_per_minute != before.messages_per_minute:
            self._messages = _rates(limits.messages_per_minute)
        if limits.sessions_per_network and not before.sessions_per_network:
            self._networks = Counter(network_of(address) for address in held if address)

    def enter(self, address: str, now: float) -> Reply | None:
        """Count a session; a Reply is the refusal of one that is not counted. `now` is in seconds."""
        limits, client = self._limits, client_of(address)
        if self._connections is not None and not self._is_exempt(address) and not self._connections.allows(client, now):
            return TOO_MANY_CONNECTIONS
        if self.total >= limits.sessions:
            return TOO_MANY_SESSIONS
        held = self._clients.get(client, 0)
        if held >= limits.sessions_per_client and address:
            return TOO_MANY_OF_YOURS
        if self.is_crowded and held >= self._share and not self._is_exempt(address):
            return TOO_MANY_SESSIONS
        if limits.sessions_per_network and address:
            network = network_of(address)
            if self._networks[network] >= limits.sessions_per_network and not self._is_exempt(address):
                return TOO_MANY_OF_YOUR_NETWORK
            self._networks[network] += 1
        self.total += 1
        self._clients[client] = held + 1
        return None

    def leave(self, address: str) -> None:
        """A session that was counted is over."""
        self.total -= 1
        _one_less(self._clients, client_of(address))
        if self._limits.sessions_per_network and address:
            _one_less(self._networks, network_of(address))

    @property
    def is_crowded(self) -> bool:
        """Whether sessions are scarce."""
        return self.total >= self._crowded_from

    def holds_many(self, address: str) -> bool:
        """Whether this client has more than is left to each where sessions are scarce."""
        return self._clients.get(client_of(address), 0) > self._share and not self._is_exempt(address)

    def allows_message(self, address: str, user: str, now: float) -> bool:
        """Whether one more message may begin: counted by user where there is one, else by client."""
        if self._messages is None or self._is_exempt(address):
            return True
        return self._messages.allows((user,) if user else client_of(address), now)

    @property
    def _share(self) -> int:
        return max(1, int(self._limits.sessions * self._limits.crowded_share))

    def _is_exempt(self, address: str) -> bool:
        return not address or address in self._exempt


def _rates(per_minute: int | None) -> Rates | None:
    return Rates(per_minute, MINUTE) if per_minute else None


def _one_less(counter: Counter[str], key: str) -> None:
    counter[key] -= 1
    if counter[key] <= 0:
        del counter[key]
