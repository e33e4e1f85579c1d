"""Taking a message back that was submitted."""

from __future__ import annotations

from waymail.store.apart import steer
from waymail.store.contract import Selection
from waymail.store.deposit import Depositor
from waymail.store.operate import REMOVE

PROGRAM = "the program"  # who did it, in the trace


def cancel(depositor: Depositor, id: str, now: float) -> bool:
    """Whether it was in time for all for whom it waited. Blocks. Raises StoreError."""
    changed = steer(depositor, REMOVE, Selection(ids=(id,)), now, PROGRAM)
    return changed.recipients > 0 and not changed.active
