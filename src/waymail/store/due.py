"""Which recipients to claim next: what is due, the higher priority first (RFC 6710), and no domain before all others.

While all that is due fits into a claim, it is simply that, the oldest due first. Where there is more, domains take turns: each
gives an equal part, so that ten thousand messages for one of them keep nobody else waiting. The turn goes on from claim to claim,
and begins anew when it is round; a domain of which much is due may then be in it again.

Searching happens on a connection that reads. What it finds may be somebody else's by the time it is claimed: the claim looks at
the state once more.
"""

from __future__ import annotations

import sqlite3
from collections import deque
from collections.abc import Hashable, Mapping
from functools import partial
from itertools import islice, takewhile

# The index is named in each: SQLite likes `recipient_waiting` better, and would sort all that waits.
DUE = (
    "SELECT message, number, domain FROM recipient INDEXED BY {} WHERE state = 0 AND {} AND next_at <= ?"
    " ORDER BY next_at, message, number"
)
DUE_ORDINARY = DUE.format("recipient_due", "priority = 0") + " LIMIT ?"
DUE_RANKED = DUE.format("recipient_ranked", "priority <> 0 AND priority = ?")
DUE_OF_DOMAIN = (
    "SELECT message, number FROM recipient WHERE state = 0 AND domain = ? AND next_at <= ? AND priority = 0"
    " ORDER BY next_at, message, number"
)
# From one domain to the next, with one look at the first entry of each.
DOMAINS_DUE = """
WITH RECURSIVE domains (domain) AS (
    SELECT (SELECT domain FROM recipient WHERE state = 0 ORDER BY domain LIMIT 1)
    UNION ALL SELECT (
        SELECT recipient.domain FROM recipient WHERE state = 0 AND recipient.domain > domains.domain
        ORDER BY recipient.domain LIMIT 1) FROM domains WHERE domain IS NOT NULL)
SELECT domain FROM domains WHERE domain IS NOT NULL AND (
    SELECT next_at FROM recipient WHERE state = 0 AND recipient.domain = domains.domain ORDER BY next_at LIMIT 1) <= ?
"""
ANY_RANKED = "SELECT 1 FROM recipient INDEXED BY recipient_ranked WHERE state = 0 AND priority <> 0 LIMIT 1"
PRIORITIES = range(9, -10, -1)  # RFC 6710 §3
LEAST = 2  # messages that a domain gives in its turn: as many as wait for a destination of which nothing is known

NEXT_ORDINARY = (
    "SELECT next_at FROM recipient INDEXED BY recipient_due WHERE state = 0 AND priority = 0 AND next_at > ?"
    " ORDER BY next_at LIMIT 1"
)
NEXT_RANKED = (
    "SELECT next_at FROM recipient INDEXED BY recipient_ranked WHERE state = 0 AND priority <> 0 AND priority = ? AND next_at > ?"
    " ORDER BY priority, next_at LIMIT 1"
)

Place = tuple[int, int]  # message, number


class Turns:
    """Whose turn it is. One for each store; used by one thread."""

    def __init__(self) -> None:
        self._domains: deque[str] = deque()
        self._share = LEAST

    def pick(self, connection: sqlite3.Connection, now: float, limit: int, rooms: Mapping[str, int]) -> list[Place]:
        """Up to `limit` recipients that are due at `now`, of no more messages for the domains in `rooms` than it says."""
        found: list[Place] = []
        left = Left(rooms)
        is_ranked = connection.execute(ANY_RANKED).fetchone() is not None
        for priority in PRIORITIES if is_ranked else (0,):
            if len(found) >= limit:
                break
            pick = self._ordinary if priority == 0 else partial(_ranked, priority)
            found += pick(connection, now, limit - len(found), left)
        return found

    def _ordinary(self, connection: sqlite3.Connection, now: float, limit: int, left: Left) -> list[Place]:
        # One more than is asked for tells whether that is all; and what finds no room should not take all the places.
        window = 2 * limit + 1 if left.rooms else limit + 1
        due = connection.execute(DUE_ORDINARY, (now, window)).fetchall()
        if len(due) < window:
            return [row[:2] for row in due if left.takes(row[2], row[0])][:limit]
        return self._in_turn(connection, now, limit, left)

    def _in_turn(self, connection: sqlite3.Connection, now: float, limit: int, left: Left) -> list[Place]:
        found: list[Place] = []
        served: set[str] = set()  # nobody has two turns in one claim
        is_new = False
        while len(found) < limit:
            if not self._domains:
                if is_new:
                    break
                is_new = True
                due = (row[0] for row in connection.execute(DOMAINS_DUE, (now,)))
                self._domains.extend(one for one in due if one not in served and left.of(one, 1))
                self._share = max(LEAST, limit // max(len(self._domains), 1))
                continue
            domain = self._domains.popleft()
            room = left.of(domain, self._share)
            if room and domain not in served:
                served.add(domain)
                found += _of_domain(connection, domain, now, room, limit - len(found))
        return found


class Left:
    """How many more messages may be claimed for the domains for which that is limited: all recipients that one has there count
    once, for they are one attempt."""

    def __init__(self, rooms: Mapping[str, int]) -> None:
        self.rooms = dict(rooms)
        self._taken: set[tuple[str, Hashable]] = set()

    def of(self, domain: str, wanted: int) -> int:
        """As many of `wanted` as there is room for."""
        return min(wanted, self.rooms.get(domain, wanted))

    def takes(self, domain: str, message: Hashable) -> bool:
        """Whether a recipient of the message may be claimed; the message is counted."""
        room = self.rooms.get(domain)
        if room is None or (domain, message) in self._taken:
            return True
        if room <= 0:
            return False
        self.rooms[domain] = room - 1
        self._taken.add((domain, message))
        return True


def _of_domain(connection: sqlite3.Connection, domain: str, now: float, messages: int, limit: int) -> list[Place]:
    turn = Left({domain: messages})
    rows = connection.execute(DUE_OF_DOMAIN, (domain, now))
    return list(islice(takewhile(lambda row: turn.takes(domain, row[0]), rows), limit))


def _ranked(priority: int, connection: sqlite3.Connection, now: float, limit: int, left: Left) -> list[Place]:
    rows = connection.execute(DUE_RANKED, (priority, now))
    return list(islice((row[:2] for row in rows if left.takes(row[2], row[0])), limit))


def next_due(connection: sqlite3.Connection, after: float) -> float | None:
    """When the first recipient after that time is due."""
    rows = [connection.execute(NEXT_ORDINARY, (after,)).fetchone()]
    if connection.execute(ANY_RANKED).fetchone() is not None:
        rows += [connection.execute(NEXT_RANKED, (priority, after)).fetchone() for priority in PRIORITIES if priority]
    return min((row[0] for row in rows if row is not None), default=None)
