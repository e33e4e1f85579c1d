"""Whoever wants to hear what becomes of messages, as it is written down."""

from __future__ import annotations

from typing import Protocol

from waymail.store.contract import Delivery, Settlement


class Observer(Protocol):
    """Neither method raises; a settlement waits for the first."""

    async def settling(self, delivery: Delivery, settlement: Settlement) -> None:
        """This is about to be settled: if the process ends before it is, it happens again."""

    def settled(self, settlement: Settlement) -> None:
        """It is in the store; or somebody else settled it, or the process ends before it can be."""


class Nobody:
    """Hears nothing."""

    async def settling(self, delivery: Delivery, settlement: Settlement) -> None: ...

    def settled(self, settlement: Settlement) -> None: ...


NOBODY = Nobody()
