"""Finding messages in a long history."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

from waymail.store import read, schema, select
from waymail.store.look import look
from waymail.store.search import Search, search
from waymail.store.sqlite import SqliteStore
from waymail.testing.store_cases import START, Messages


async def test_the_newest_of_a_sender_of_many_slices_are_found_first(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path, now=lambda: START)
    messages = Messages()
    made = [messages.new() for _ in range(2 * schema.WORD_SLICE + 10)]
    await asyncio.gather(*map(store.accept, made))
    newest = sorted((one.envelope.id for one in made), reverse=True)
    sender = made[0].envelope.sender
    found = look(tmp_path, lambda connection: search(connection, Search(sender, limit=600)))
    assert [story.envelope.id for story in found] == newest[:600]
    assert [story.envelope.id for story in await store.find(sender, 600)] == newest[:600]
    await store.close()


async def test_the_newest_are_found_without_gathering_all_that_somebody_sent(tmp_path: Path) -> None:
    await (await SqliteStore.open(tmp_path, now=lambda: START)).close()
    statement = "EXPLAIN QUERY PLAN " + read.WITH_WORD.replace("?", "1")
    steps = [row[3] for row in look(tmp_path, lambda connection: connection.execute(statement).fetchall())]
    assert not any("TEMP B-TREE" in step for step in steps), steps


async def test_what_waits_is_counted_by_an_index_alone(tmp_path: Path) -> None:
    await (await SqliteStore.open(tmp_path, now=lambda: START)).close()
    statement = "EXPLAIN QUERY PLAN " + re.sub(r"\?", "1", select.WAITING.format(domain=""))
    steps = [row[3] for row in look(tmp_path, lambda connection: connection.execute(statement).fetchall())]
    of_recipients = [step for step in steps if "recipient" in step]
    assert len(of_recipients) >= 5
    assert all("COVERING INDEX recipient_waiting" in step for step in of_recipients), steps
