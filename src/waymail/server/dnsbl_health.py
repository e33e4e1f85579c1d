"""Which of the lists in DNS work? A list that fails its test (RFC 5782 §5) is not asked until it passes again.

An operator of a list that ends may let it list the whole Internet, so that nobody goes on asking it. Without this test that would
be the end of all mail. So a list counts from its first passed test on, some milliseconds after the start.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from waymail.net.clock import Clock, SystemClock
from waymail.net.drive import Asks, drive
from waymail.senderauth import dnsbl
from waymail.senderauth.dnsbl import Zone

log = logging.getLogger("waymail.server")

EVERY = 3_600.0  # seconds between two tests of lists that work
AGAIN = 120.0  # seconds until one that does not is tested again
DEADLINE = 20.0  # seconds for all questions of one list


class DnsblHealth:
    """The lists of a server. `usable` are those that passed their last test."""

    def __init__(self, zones: Sequence[Zone], resolver: Asks, *, clock: Clock | None = None) -> None:
        self._zones = tuple(zones)
        self._resolver = resolver
        self._clock = clock or SystemClock()
        self._ill: dict[int, str] = dict.fromkeys(range(len(self._zones)), "not tested yet")  # by place in `_zones`
        self.usable: tuple[Zone, ...] = ()

    @property
    def ill(self) -> dict[str, str]:
        """What is wrong with the others, by the name they are shown by."""
        return {self._zones[at].shown: problem for at, problem in self._ill.items()}

    async def run(self) -> None:
        """Test again and again; never returns."""
        while True:
            whole_at = self._clock.monotonic() + EVERY
            await self.look()
            while self._ill and self._clock.monotonic() + AGAIN < whole_at:
                await self._clock.sleep(AGAIN)
                await self.look(tuple(self._ill))
            await self._clock.sleep(max(0.0, whole_at - self._clock.monotonic()))

    async def look(self, places: Sequence[int] | None = None) -> None:
        """Test all lists, or those at some places, at once. What changes is logged."""
        chosen = range(len(self._zones)) if places is None else places
        async with asyncio.TaskGroup() as group:
            tests = [
                (at, group.create_task(drive(dnsbl.health(self._zones[at]), self._resolver, deadline=DEADLINE))) for at in chosen
            ]
        for at, test in tests:
            problem = test.result()
            before = self._ill.pop(at, "")
            fields = {"list": self._zones[at].shown}
            if problem:
                self._ill[at] = problem
                if problem != before:
                    log.error("a list in DNS is not used", extra={"fields": fields | {"error": problem}})
            elif before:
                log.info("a list in DNS is used", extra={"fields": fields})
        self.usable = tuple(zone for at, zone in enumerate(self._zones) if at not in self._ill)
