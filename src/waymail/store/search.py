"""Searching all that the store knows, what is finished included: for `waymail trace`.

`search` reads one snapshot after the other and asks little of each, so that a long history can be walked while a server writes.
A text is found by the index of words; without one the messages are walked from the newest on, by the time in their ids.
"""

# ruff: noqa: S608 - statements are put together of constants alone

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice

from waymail.mail.envelope import decode_id
from waymail.store.contract import Story
from waymail.store.read import stories, with_word
from waymail.store.rows import plain
from waymail.store.statements import CHUNK, rows
from waymail.values import value

# How a message is called for what became of one of its recipients.
CONDITIONS: Mapping[str, str] = {
    "queued": "state IN (0, 1)",
    "deferred": "state IN (0, 1) AND attempts > 0",
    "held": "state = 2",
    "delivered": "state = 3",
    "failed": "state = 4",
    "removed": "state = 5",
    "refused": "state = 6",
}
_LIVE = frozenset({"queued", "deferred", "held"})


@value
class Search:
    """What is looked for: all that is given must hold.

    `text` is a queue id, a Message-ID or an address, as for `Store.find`; `since` is the time in seconds since the epoch at or
    after which the message was accepted; `state` a key of `CONDITIONS`, for one of its recipients. At most `limit` are found.
    """

    text: str = ""
    since: float = float("-inf")
    state: str = ""
    limit: int = 20


def search(connection: sqlite3.Connection, wanted: Search) -> list[Story]:
    """What is found, newest first, with events."""
    found: list[int] = []
    ids = _candidates(connection, wanted)
    while len(found) < wanted.limit and (some := list(islice(ids, CHUNK))):
        young = [story for story in stories(connection, _in_state(connection, some, wanted.state)) if _fits(story, wanted)]
        found += [number for story in young if (number := decode_id(story.envelope.id)) is not None]
    return stories(connection, found[: wanted.limit], with_events=True)


def _candidates(connection: sqlite3.Connection, wanted: Search) -> Iterator[int]:
    """Ids, newest first; some of them may not fit."""
    if wanted.text:
        number = decode_id(plain(wanted.text))
        if number is not None:
            yield number
        yield from with_word(connection, wanted.text)
        return
    # Live messages are those with a body: few, where the history is long.
    key, table = ("message", "body") if wanted.state in _LIVE else ("id", "message")
    first = int(wanted.since * 1_000_000) << 11 if wanted.since > 0 else 0  # as `QueueIds` makes them
    statement = f"SELECT {key} FROM {table} WHERE {key} <= ? AND {key} >= ? ORDER BY {key} DESC LIMIT {CHUNK}"
    last = (1 << 63) - 1
    while some := [row[0] for row in connection.execute(statement, (last, first))]:
        yield from some
        last = some[-1] - 1


def _in_state(connection: sqlite3.Connection, ids: Sequence[int], state: str) -> list[int]:
    """Those of `ids`, in order, that have a recipient in that state."""
    if not state:
        return list(ids)
    statement = f"SELECT DISTINCT message FROM recipient WHERE message IN (VALUES {{rows}}) AND {CONDITIONS[state]}"
    have = {row[0] for row in connection.execute(rows(statement, 1, len(ids)), list(ids))}
    return [id for id in ids if id in have]


def _fits(story: Story, wanted: Search) -> bool:
    """Whether it is what was meant: a hash may be another text's too."""
    if story.envelope.accepted_at < wanted.since:
        return False
    if not (text := plain(wanted.text)):
        return True
    texts = [story.envelope.id, story.envelope.message_id, story.envelope.sender]
    for one in story.recipients:
        texts += (one.address, one.original or "")
    return any(plain(one) == text for one in texts)
