"""What an operator does with a selection, in a store: one page of recipients after the other, each in a transaction of its own.

Between reading a page and changing it the world may move. So each change looks at the state once more, and tells what it did.
"""

# ruff: noqa: S608 - statements are put together of constants alone

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from functools import partial
from itertools import chain
from typing import Any, Protocol

from waymail.store import recover, select, statements
from waymail.store.contract import Changed, Selection, State
from waymail.store.read import SqliteReader
from waymail.store.rows import Row
from waymail.store.select import Found
from waymail.values import value

NUMBERS = 32  # bits for the number of a recipient in its message
BATCH = 500  # recipients that one transaction changes, so that no accept waits long behind it


@value
class Move:
    """One of the things that an operator does: which states it changes to which, and the event that tells it."""

    kind: str
    states: tuple[State, ...]
    to: State

    @property
    def looks_for(self) -> tuple[State, ...]:
        """The states of those who are looked for: what is being attempted is left alone, and counted."""
        return (*self.states, State.ACTIVE)


HOLD = Move("held", (State.QUEUED,), State.HELD)
RELEASE = Move("released", (State.HELD,), State.QUEUED)
FLUSH = Move("flushed", (State.QUEUED,), State.QUEUED)
REMOVE = Move("removed", (State.QUEUED, State.HELD), State.REMOVED)


Ended = Callable[[sqlite3.Connection, Sequence[int]], None]


class Submit(Protocol):
    """Runs a change in a transaction; its result once that is on disk."""

    def __call__(self, item: Callable[[sqlite3.Connection], Any], /) -> Awaitable[Any]: ...


class Tally:
    """Counts what was done, and knows to whom: what comes back while the rest is done is not done again, or it never ended."""

    def __init__(self) -> None:
        self._done: set[int] = set()
        self._domains: set[str] = set()
        self.active = 0

    def choose(self, move: Move, found: Sequence[Found], now: float) -> list[Found]:
        """Those of a page to whom it is to be done. Others are counted, where it is as if it had been."""
        self.active += sum(one.state is State.ACTIVE for one in found)
        chosen = [one for one in found if one.state is not State.ACTIVE and _place(one) not in self._done]
        if move is not FLUSH:
            return chosen
        chosen = [one for one in chosen if one.due(now) == now]
        self.add([one for one in chosen if one.next_at <= now])
        return [one for one in chosen if one.next_at > now]

    def add(self, found: Sequence[Found]) -> None:
        self._done.update(map(_place, found))
        self._domains.update(one.domain for one in found)

    def changed(self) -> Changed:
        messages = len({place >> NUMBERS for place in self._done})
        return Changed(len(self._done), messages, tuple(sorted(self._domains)), self.active)


def _place(one: Found) -> int:
    """Message and number as one."""
    return one.message << NUMBERS | one.number


class Operations:
    """For `SqliteStore`: reads by `reader`, changes by `submit`; `numbers` are for events, `ended` is told of messages of which
    nobody may wait any more, within the transaction."""

    def __init__(
        self,
        reader: SqliteReader,
        submit: Submit,
        numbers: Iterator[int],
        ended: Ended,
    ) -> None:
        self._reader = reader
        self._submit = submit
        self._numbers = numbers
        self._ended = ended

    async def pages(self, selection: Selection, states: Sequence[State]) -> AsyncIterator[Sequence[Found]]:
        """The recipients of a selection in these states, at most `BATCH` at a time."""
        cursor = await self._reader.run(select.begin, selection, states)
        while cursor is not None:
            found, cursor = await self._reader.run(select.page, selection, states, cursor, BATCH)
            for chunk in statements.chunks(found, BATCH):
                yield chunk

    async def apply(self, move: Move, selection: Selection, now: float, by: str) -> Changed:
        """Do it to all of the selection."""
        tally = Tally()
        async for found in self.pages(selection, move.looks_for):
            if chosen := tally.choose(move, found, now):
                act = partial(moved, move=move, found=chosen, now=now, by=by, numbers=self._numbers, ended=self._ended)
                tally.add(await self._submit(act))
        return tally.changed()


def moved(
    connection: sqlite3.Connection,
    move: Move,
    found: Sequence[Found],
    now: float,
    by: str,
    numbers: Iterator[int],
    ended: Ended,
) -> list[Found]:
    """Do it to those of `found` that are in a state that fits still, and return those."""
    due: dict[float, list[Row]] = defaultdict(list)
    for one in found:
        due[one.due(now)].append((one.message, one.number))
    rows: list[Row] = []
    for at, places in due.items():
        rows += change(connection, places, move.states, "state = ?, next_at = ?", (int(move.to), at))
    recover.tell(connection, rows, move.kind, numbers, now, {"by": by})
    if not move.to.is_live:
        ids = sorted({row[0] for row in rows})
        statements.write(connection, statements.DELETE_BODY, [(id,) for id in ids])
        ended(connection, ids)
    done = {row[:2] for row in rows}
    return [one for one in found if (one.message, one.number) in done]


def take(connection: sqlite3.Connection, found: Sequence[Found], token: int, lease_until: float) -> list[tuple[int, int]]:
    """Claim those of `found` that are still QUEUED or HELD: (message, number)."""
    places = [(one.message, one.number) for one in found]
    taken = change(connection, places, REMOVE.states, "state = 1, token = ?, lease_until = ?", (token, lease_until))
    return [(row[0], row[1]) for row in taken]


def change(connection: sqlite3.Connection, places: Sequence[Row], states: Sequence[State], to: str, values: Row) -> list[Row]:
    """Set columns of those recipients, (message, number), that are in one of `states`. Returns (message, number, address)."""
    marks = ", ".join(str(int(state)) for state in states)
    statement = f"UPDATE recipient SET {to} {statements.THESE} AND state IN ({marks}) RETURNING message, number, address"
    changed: list[Row] = []
    for chunk in statements.chunks(places):
        text = statements.rows(statement, 2, len(chunk))
        changed += connection.execute(text, (*values, *chain.from_iterable(chunk))).fetchall()
    return sorted(changed)
