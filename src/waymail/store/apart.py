"""What a person does with a selection, in a store from which another process may be delivering: hold, release, flush, remove.

The rules are those of `operate`: what is being attempted is left alone. Whoever delivers claims nothing that is held or removed
here, and finds what is due at its next look.
"""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Sequence
from functools import partial
from itertools import count

from waymail.store import select, statements
from waymail.store.contract import OPERATOR, Changed, Selection
from waymail.store.deposit import Depositor
from waymail.store.look import tolerantly
from waymail.store.operate import BATCH, Move, Tally, moved


def steer(depositor: Depositor, move: Move, selection: Selection, now: float, by: str = OPERATOR) -> Changed:
    """Do it to all of the selection, each page in a transaction of its own. Blocks. Raises StoreError."""
    tally = Tally()
    # Who delivers numbers its events upwards from 0: below, there is room for those of others.
    numbers = count(-1 - secrets.randbits(62))
    ended: set[int] = set()

    def end(connection: sqlite3.Connection, ids: Sequence[int]) -> None:
        ended.update(set(ids) - statements.live(connection, ids))

    def page(connection: sqlite3.Connection, cursor: select.Cursor) -> select.Cursor | None:
        read = partial(select.page, selection=selection, states=move.looks_for, cursor=cursor, size=BATCH)
        found, following = tolerantly(connection, read)
        if chosen := tally.choose(move, found, now):
            tally.add(moved(connection, move, chosen, now, by, numbers, end))
        return following

    cursor = depositor.change(partial(select.begin, selection=selection, states=move.looks_for))
    while cursor is not None:
        cursor = depositor.change(partial(page, cursor=cursor))
        depositor.forget_bodies(ended)
        ended.clear()
    return tally.changed()
