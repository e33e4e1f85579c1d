"""The bound of history: what became of finished messages is kept as long, and as far, as the configuration says.

Live mail is never touched. Others do not wait: the store forgets in batches.
"""

from __future__ import annotations

import logging
from typing import Protocol

from waymail.app.config.schema import History
from waymail.net.clock import Clock
from waymail.store.contract import StoreError

log = logging.getLogger("waymail")

INTERVAL = 3600.0  # seconds


class Forgets(Protocol):
    """What is needed of a store: see `store.contract.Store`."""

    async def forget(self, before: float) -> int: ...
    async def shrink(self, size: int) -> int: ...


class HistoryBound:
    """Keeps a store's history within `bounds`, which may be replaced while it runs."""

    def __init__(self, store: Forgets, bounds: History, clock: Clock) -> None:
        self.bounds = bounds
        self._store = store
        self._clock = clock

    async def run(self) -> None:
        """Once an hour, from now on, until it is cancelled."""
        while True:
            await self.apply()
            await self._clock.sleep(INTERVAL)

    async def apply(self) -> None:
        """Forget what is too old, then what is too much. A store that fails is tried again the next time."""
        bounds = self.bounds
        try:
            if bounds.keep is not None:
                await self._store.forget(self._clock.now() - bounds.keep)
            forgotten = 0 if bounds.size is None else await self._store.shrink(bounds.size)
        except StoreError as error:
            log.error("old history could not be removed", extra={"fields": {"error": str(error)}})
            return
        if forgotten:
            fields = {"messages": forgotten, "size": bounds.size}
            log.warning("history was removed before its time: the database was above history.size", extra={"fields": fields})
