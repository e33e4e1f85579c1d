"""Messages of all kinds, and a short way to move them, for the tests of `transfer` and `archive`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

from waymail.mail.envelope import Recipient
from waymail.store.contract import EVERYTHING, Change, Event, NewMessage, Selection, State, Store, Story
from waymail.store.transfer import Note, Transfer
from waymail.testing.store_asked import EVERYTHING as ALL_OPTIONS
from waymail.testing.store_cases import START, Messages, octets, outcome

LATER = START + 3600


def moving(store: Store) -> Transfer:
    return Transfer(store, host="old.example.org", version="1.2.3", now=lambda: START + 100)


async def told(notes: AsyncIterator[Note]) -> list[Note]:
    return [note async for note in notes]


async def fill(store: Store, messages: Messages, count: int = 0) -> dict[str, Story]:
    """Live messages of all kinds, and `count` plain ones. Returns what the store says of them, by id."""
    large = b"Subject: large\r\n\r\n" + b"All work and no play.\r\n" * 5000
    people = (
        Recipient("done@example.net"),
        Recipient("real@example.com", "alias@example.org", "SUCCESS", "rfc822;alias@example.org"),
    )
    half = messages.new(*people, message_id="<half@example.org>")
    changes = (Change(0, State.DELIVERED, 1, "250 2.0.0 ok"), Change(1, State.QUEUED, 4, "451 4.2.0 büsy", LATER, True))
    event = Event(START + 1, "attempt", {"destination": "example.net", "results": [{"to": ["done@example.net"]}]})
    await store.settle(outcome(await store.accept(half), *changes, events=[event]))
    asking = messages.new("pelé@bücher.example", sender="zoë@example.org", options=ALL_OPTIONS, claim=False)
    held, notice = messages.new("held@example.net", claim=False), messages.new("ann@example.org", sender="", claim=False)
    big = messages.new(claim=False)
    spool = store.spool(big.envelope.id)
    spool.write(large)
    big = NewMessage(big.envelope, spool.finish().with_prefix(b"Received: by old.example.org\r\n"), claim=False)
    for one in (asking, held, notice, big):
        await store.accept(one)
    await store.hold(Selection(ids=(held.envelope.id,)), START + 2)
    plain = [messages.new(content=b"X: %d\r\n\r\n" % number + b"x" * 4000, claim=False) for number in range(count)]
    await asyncio.gather(*map(store.accept, plain))
    return await stories(store)


async def stories(store: Store) -> dict[str, Story]:
    """All that is live."""
    return {id: story for id in await store.ids(limit=20_000) if (story := await store.get(id)) is not None}


async def bodies(store: Store) -> dict[str, bytes]:
    return {id: octets(body) for id in await store.ids() if (body := await store.body(id)) is not None}


async def exported(store: Store, path: Path, selection: Selection = EVERYTHING) -> list[Note]:
    """Move the messages out of a store into a file."""
    await told(moving(store).export(path, selection, move=True))
    return await told(moving(store).finish(path, "a file"))
