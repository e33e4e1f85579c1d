"""Which recipients an operator means (`contract.Selection`), and how they are found among a million without looking at each.

    ids                  the primary key
    sender, recipient    `word`, slice by slice, from the oldest on
    all others           `recipient_waiting`, which holds what is QUEUED or HELD: recipients that are being attempted are not
                         found by their domain or their age

What is found is given out in pages, so that a large selection is changed in many small transactions; between reading a page
and changing it the world may move, so whoever changes looks at the state once more.
"""

# ruff: noqa: S608 - statements are put together of constants alone

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from itertools import chain

from waymail.mail.envelope import decode_id
from waymail.store.contract import Backlog, Selection, State, Waiting
from waymail.store.rows import Row, held_until, plain, word_of
from waymail.store.statements import chunks, rows
from waymail.values import value

HITS = 2000  # messages with a word that one page looks at: most may be history
LAST_ID = (1 << 63) - 1
WAITS = (State.QUEUED, State.HELD)  # what `recipient_waiting` holds
LIVE = (State.QUEUED, State.ACTIVE, State.HELD)

COLUMNS = "message, number, address, original, state, next_at, domain, sender, envelope"
OF_MESSAGES = f"SELECT {COLUMNS} FROM recipient JOIN message ON id = message WHERE message IN (VALUES {{rows}}) AND state <= 2"
# States are written out: an index with a condition is only used where the condition can be seen to hold.
OF_STATE = (
    f"SELECT {COLUMNS} FROM recipient INDEXED BY recipient_waiting CROSS JOIN message ON id = message WHERE state = {{state}}"
    " AND (domain, next_at, message, number) > (?, ?, ?, ?) AND message < ? ORDER BY domain, next_at, message, number LIMIT ?"
)
OF_DOMAIN = (
    f"SELECT {COLUMNS} FROM recipient INDEXED BY recipient_waiting CROSS JOIN message ON id = message WHERE state = {{state}}"
    " AND domain = ? AND (next_at, message, number) > (?, ?, ?) AND message < ? ORDER BY next_at, message, number LIMIT ?"
)
OLDEST = (
    "SELECT DISTINCT message FROM recipient INDEXED BY recipient_waiting WHERE state = {state}{more} AND message < ?"
    " ORDER BY message LIMIT ?"
)
OF_NULL_PATH = " AND (SELECT sender FROM message WHERE id = recipient.message) = ''"
# From one domain to the next, not from one recipient to the next.
DOMAINS = """
WITH RECURSIVE domains (domain) AS (
    SELECT (SELECT domain FROM recipient WHERE state = {state} ORDER BY domain LIMIT 1)
    UNION ALL SELECT (
        SELECT recipient.domain FROM recipient WHERE state = {state} AND recipient.domain > domains.domain
        ORDER BY recipient.domain LIMIT 1) FROM domains WHERE domain IS NOT NULL)
SELECT domain FROM domains WHERE domain IS NOT NULL
"""
# No ORDER BY, for which SQLite would gather all hits first: the slices come in their order, and the words in that of their key.
WITH_WORD = """
WITH RECURSIVE slices (slice) AS (
    SELECT min(slice) FROM word WHERE slice >= ?
    UNION ALL SELECT (SELECT min(word.slice) FROM word WHERE word.slice > slices.slice) FROM slices WHERE slice IS NOT NULL)
SELECT slices.slice, message FROM slices CROSS JOIN word ON word.slice = slices.slice AND word = ?
WHERE (slices.slice, message) > (?, ?) LIMIT ?
"""
# For the numbers the index is read once. Where the domains are few, each is sought, and its entries are counted without a look at
# their domain; else all entries are gone through.
MANY = 10_000  # domains
_ENTRIES = "FROM recipient INDEXED BY recipient_waiting WHERE state = {state}"
_FIRST = f"(SELECT domain {_ENTRIES}{{behind}} ORDER BY domain LIMIT 1)"
_OF_EACH = f"""
SELECT domain, (SELECT count(*) {_ENTRIES} AND domain = names.domain) AS number FROM (
    WITH RECURSIVE some (domain) AS (
        SELECT {_FIRST.format(state="{state}", behind="")}
        UNION ALL SELECT {_FIRST.format(state="{state}", behind=" AND domain > some.domain")} FROM some
        WHERE domain IS NOT NULL LIMIT {MANY + 2})
    SELECT domain FROM some WHERE domain IS NOT NULL) AS names
"""
_OF_ALL = f"SELECT domain, count(*) AS number {_ENTRIES} GROUP BY domain"
_OF_ONE = f"SELECT domain, count(*) AS number {_ENTRIES} AND domain = ? GROUP BY domain"
_LEAST = f"(SELECT min({{what}}) {_ENTRIES} AND domain = shown.domain)"
# What it takes more time to know is asked of the domains that are shown.
_WAITING = f"""
WITH waiting (domain, queued, held) AS MATERIALIZED (
    SELECT domain, sum(queued), sum(held) FROM (
        SELECT domain, number AS queued, 0 AS held FROM ({{queued}}) UNION ALL SELECT domain, 0, number FROM ({{held}}))
    GROUP BY domain)
SELECT (SELECT count(*) FROM waiting), (SELECT sum(queued) FROM waiting), (SELECT sum(held) FROM waiting), *,
    ifnull({_LEAST.format(what="next_at", state=0)}, 0.0),
    min(ifnull({_LEAST.format(what="message", state=0)}, {LAST_ID}), ifnull({_LEAST.format(what="message", state=2)}, {LAST_ID}))
FROM (SELECT * FROM waiting ORDER BY queued + held DESC, domain LIMIT ?) AS shown ORDER BY queued + held DESC, domain
"""
WAITING, WAITING_OF_ONE, WAITING_OF_MANY = (
    _WAITING.format(queued=counted.format(state=0), held=counted.format(state=2)) for counted in (_OF_EACH, _OF_ONE, _OF_ALL)
)
# What is due next was attempted last, if at all; the first few suffice.
LAST_REPLY = (
    "SELECT reply FROM (SELECT reply FROM recipient WHERE state = {state} AND domain = ? ORDER BY next_at LIMIT 20)"
    " WHERE reply <> '' LIMIT 1"
)


@value
class Found:
    """A recipient of a selection, with what decides about it."""

    message: int
    number: int
    address: str
    original: str | None
    state: State
    next_at: float
    domain: str
    sender: str
    envelope: str  # the envelope's text

    def due(self, now: float) -> float:
        """When it can be tried at the earliest: now, or when its sender wants it released. RFC 4865: nobody but he lets it go."""
        return max(now, held_until(self.envelope))


@value
class Cursor:
    """Where the next page begins: in which of the ways that are still to go, behind which key."""

    ways: tuple[tuple[int, str | None], ...] = ()  # a state, and a domain or None for all
    key: Row = ()


def begin(connection: sqlite3.Connection, selection: Selection, states: Sequence[State]) -> Cursor | None:
    """Where the pages of a selection begin; None where it selects nothing."""
    states = selection.among(states)
    if selection.is_empty or not states:
        return None
    if is_by_message(selection):
        return Cursor()
    waits = [int(state) for state in states if state in WAITS]
    if not (selection.domain or selection.domains):
        return Cursor(tuple((state, None) for state in waits))
    return Cursor(tuple((state, domain) for state in waits for domain in _domains(connection, selection, state)))


def page(
    connection: sqlite3.Connection, selection: Selection, states: Sequence[State], cursor: Cursor, size: int
) -> tuple[list[Found], Cursor | None]:
    """The recipients of the selection that are in one of `states`, from `cursor` on: about `size` of them, all those of a message
    where it is looked for by messages. And where the next page begins, None at the end."""
    if not is_by_message(selection):
        return _waiting_page(connection, selection, cursor, size)
    found: list[Found] = []
    states = selection.among(states)
    following: Cursor | None = cursor
    while following is not None and len(found) < size:
        ids, following = _messages(connection, selection, following)
        found += [one for one in _of_messages(connection, ids) if one.state in states and matches(selection, one)]
    return found, following


def oldest(connection: sqlite3.Connection, selection: Selection, limit: int) -> list[int]:
    """The messages with a live recipient of the selection, oldest first, `limit` at most."""
    if is_by_message(selection):
        return _oldest_by_message(connection, selection, limit)
    before = before_id(selection)
    if is_of_all_states(selection) and not selection.is_empty:
        statement = "SELECT message FROM body WHERE message < ? ORDER BY message LIMIT ?"
        return [row[0] for row in connection.execute(statement, (before, limit))]
    cursor = begin(connection, selection, WAITS)
    ids: set[int] = set()
    for state, domain in cursor.ways if cursor is not None else ():
        more = ("" if domain is None else " AND domain = ?") + (OF_NULL_PATH if selection.sender is not None else "")
        statement = OLDEST.format(state=state, more=more)
        values = (before, limit) if domain is None else (domain, before, limit)
        ids.update(row[0] for row in connection.execute(statement, values))
    return sorted(ids)[:limit]


def _oldest_by_message(connection: sqlite3.Connection, selection: Selection, limit: int) -> list[int]:
    """The same where messages are looked for. Words come in the order in which their messages came."""
    ids: set[int] = set()
    cursor = begin(connection, selection, LIVE)
    while cursor is not None and len(ids) < limit:
        found, cursor = page(connection, selection, LIVE, cursor, limit)
        ids.update(one.message for one in found)
    return sorted(ids)[:limit]


def waiting(connection: sqlite3.Connection, limit: int, domain: str) -> Backlog:
    """As `Store.waiting`."""
    rows_at_least = max(limit, 1)  # the sums stand in each row
    if domain:
        found = connection.execute(WAITING_OF_ONE, (domain, domain, rows_at_least)).fetchall()
    else:
        found = connection.execute(WAITING, (rows_at_least,)).fetchall()
        if found and found[0][0] > MANY:
            found = connection.execute(WAITING_OF_MANY, (rows_at_least,)).fetchall()
    if not found:
        return Backlog()
    largest = tuple(
        Waiting(name, queued, held, (oldest >> 11) / 1_000_000, due, _last_reply(connection, name, bool(queued)))
        for _, _, _, name, queued, held, due, oldest in found[:limit]
    )
    domains, queued, held = found[0][:3]
    return Backlog(domains, queued, held, largest)


def matches(selection: Selection, one: Found) -> bool:
    """Whether a recipient is of the selection, whatever its state."""
    return selects(selection, one.message, one.sender, (one.address, one.original), one.domain)


def selects(selection: Selection, id: int, sender: str, addresses: Sequence[str | None], domain: str) -> bool:
    """The rule of a selection, but for its `ids`: all that is given holds."""
    if selection.sender is not None and plain(selection.sender) != plain(sender):
        return False
    if selection.recipient and plain(selection.recipient) not in [plain(one) for one in addresses if one]:
        return False
    return _is_of(selection, domain) and id < before_id(selection)


def numbers_of(ids: Sequence[str]) -> frozenset[int]:
    """The messages of those ids that are any."""
    return frozenset(number for id in ids if (number := decode_id(id)) is not None)


def is_of_all_states(selection: Selection) -> bool:
    """Whether those that are being attempted are found, too."""
    by_waiting = selection.states or selection.domain or selection.domains or selection.sender is not None
    return is_by_message(selection) or not by_waiting


def before_id(selection: Selection) -> int:
    """Ids rise with time: that of a message that were accepted at `older`."""
    return LAST_ID if selection.older is None else max(0, int(selection.older * 1_000_000)) << 11


def is_by_message(selection: Selection) -> bool:
    """Whether messages are looked for, and then their recipients. The null path is in no index: it is one of all."""
    return bool(selection.ids or selection.sender or selection.recipient)


def _messages(connection: sqlite3.Connection, selection: Selection, cursor: Cursor) -> tuple[list[int], Cursor | None]:
    """The next messages in which recipients of the selection may be."""
    if selection.ids:
        return sorted(numbers_of(selection.ids)), None
    text = selection.recipient or selection.sender or ""
    slice, message = cursor.key or (-1, -1)
    hits = connection.execute(WITH_WORD, (slice, word_of(text), slice, message, HITS)).fetchall()
    return [row[1] for row in hits], Cursor(key=hits[-1]) if len(hits) == HITS else None


def _of_messages(connection: sqlite3.Connection, ids: Sequence[int]) -> list[Found]:
    found = [connection.execute(rows(OF_MESSAGES, 1, len(chunk)), chunk).fetchall() for chunk in chunks(ids)]
    return sorted(map(_found, chain.from_iterable(found)), key=lambda one: (one.message, one.number))


def _waiting_page(
    connection: sqlite3.Connection, selection: Selection, cursor: Cursor, size: int
) -> tuple[list[Found], Cursor | None]:
    found: list[Found] = []
    ways, key = cursor.ways, cursor.key
    while ways and len(found) < size:
        (state, domain), room = ways[0], size - len(found)
        after = key or (float("-inf"), -1, -1)
        if domain is None:
            statement, values = OF_STATE, (key or ("", *after))
        else:
            statement, values = OF_DOMAIN, (domain, *after)
        hits = connection.execute(statement.format(state=state), (*values, before_id(selection), room)).fetchall()
        found += map(_found, hits)
        if len(hits) < room:
            ways, key = ways[1:], ()
        else:
            last = found[-1]
            key = (last.next_at, last.message, last.number) if domain is not None else (last.domain, last.next_at, *hits[-1][:2])
    return [one for one in found if matches(selection, one)], Cursor(ways, key) if ways else None


def _domains(connection: sqlite3.Connection, selection: Selection, state: int) -> list[str]:
    if selection.domains:
        every = sorted(selection.domains)
    elif selection.below:
        every = [row[0] for row in connection.execute(DOMAINS.format(state=state))]
    else:
        every = [selection.domain]
    return [one for one in every if _is_of(selection, one)]


def _is_of(selection: Selection, domain: str) -> bool:
    """Whether a domain is one of those that a selection is for."""
    if selection.domains and domain not in selection.domains:
        return False
    wanted = selection.domain
    return not wanted or domain == wanted or (selection.below and domain.endswith(f".{wanted}"))


def _last_reply(connection: sqlite3.Connection, domain: str, is_queued: bool) -> str:
    row = connection.execute(LAST_REPLY.format(state=0 if is_queued else 2), (domain,)).fetchone()
    return row[0] if row else ""


def _found(row: Row) -> Found:
    return Found(row[0], row[1], row[2], row[3], State(row[4]), *row[5:])
