"""Destinations for which more waits in the store than finds room in memory: of which domains it is, and how much of each is to be
claimed. Decides only; the runner claims.

Where a destination has room for fewer messages than it has such domains, they take turns: a provider with a thousand domains
that takes two messages at a time is given two, and nobody claims a thousand to put most of them back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import islice


class Crowds:
    """Domains by the key of their destination. A domain is in one crowd: where its mail was found to go last."""

    def __init__(self) -> None:
        self._domains: dict[str, dict[str, None]] = {}  # by destination, in the order of their turns
        self._keys: dict[str, str] = {}  # by domain

    def __bool__(self) -> bool:
        return bool(self._keys)

    def __contains__(self, key: str) -> bool:
        return key in self._domains

    def __len__(self) -> int:
        """How many domains there are."""
        return len(self._keys)

    def key(self, domain: str) -> str | None:
        """The destination that is crowded, where a domain's mail waits for one."""
        return self._keys.get(domain)

    def add(self, key: str, domain: str) -> None:
        """What waits for a domain found no room."""
        if self._keys.get(domain) != key:
            self.drop(domain)
            self._keys[domain] = key
            self._domains.setdefault(key, {})[domain] = None

    def drop(self, domain: str) -> None:
        """Nothing waits for it, or it goes elsewhere."""
        key = self._keys.pop(domain, None)
        if key is not None:
            del self._domains[key][domain]
            if not self._domains[key]:
                del self._domains[key]

    def rooms(self, room_for: Callable[[str], int]) -> dict[str, int]:
        """How many may be claimed of each domain, where its destination has room for `room_for` of its key."""
        rooms: dict[str, int] = {}
        for key, domains in self._domains.items():
            each, more = divmod(room_for(key), len(domains))
            rooms.update(dict.fromkeys(domains, each))
            for domain in list(islice(domains, more)):
                rooms[domain] += 1
                domains[domain] = domains.pop(domain)  # its next turn comes last
        return rooms

    def forget(self, rooms: Mapping[str, int], claimed: Iterable[str] = ()) -> bool:
        """Drop the domains that might have been claimed from, as `rooms` said, and of which nothing was there to be claimed.
        Returns whether there were any."""
        gone = {domain for domain, room in rooms.items() if room}.difference(claimed)
        for domain in gone:
            self.drop(domain)
        return bool(gone)
