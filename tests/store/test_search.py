"""Finding messages in a long history."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from waymail.store import read, schema, select
from waymail.store.contract import Refusal
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


@pytest.mark.parametrize("statement", [select.WAITING, select.WAITING_OF_MANY, select.WAITING_OF_ONE])
async def test_what_waits_is_counted_by_an_index_alone(tmp_path: Path, statement: str) -> None:
    await (await SqliteStore.open(tmp_path, now=lambda: START)).close()
    explained = "EXPLAIN QUERY PLAN " + re.sub(r"\?", "1", statement)
    steps = [row[3] for row in look(tmp_path, lambda connection: connection.execute(explained).fetchall())]
    of_recipients = [step for step in steps if "recipient" in step]
    assert len(of_recipients) >= 5
    assert all("COVERING INDEX recipient_waiting" in step for step in of_recipients), steps


@pytest.mark.parametrize("domains", [0, 1, select.MANY, select.MANY + 1])
async def test_however_many_domains_there_are_each_is_counted(tmp_path: Path, domains: int) -> None:
    """Few are sought one by one, of many all entries are read."""
    store = await SqliteStore.open(tmp_path, now=lambda: START)
    columns = "message, number, address, state, attempts, next_at, token, lease_until, reply, warned, domain"
    rows = [(number, place, f"a@{number}.example", place, number) for number in range(domains) for place in (0, 2, 3)]
    store._connection.execute("BEGIN")
    store._connection.executemany(
        f"INSERT INTO recipient ({columns}) SELECT ?1, ?2, ?3, ?4, 0, ?5, 0, 0, '', 0, substr(?3, 3)", rows
    )
    store._connection.execute("COMMIT")
    backlog = await store.waiting(2)
    assert (backlog.domains, backlog.queued, backlog.held) == (domains, domains, domains)
    assert [(one.domain, one.queued, one.held) for one in backlog.largest] == [
        (f"{number}.example", 1, 1) for number in range(min(domains, 2))
    ]
    await store.close()


async def test_what_was_refused_is_found_as_such(tmp_path: Path) -> None:
    store, messages = await SqliteStore.open(tmp_path, now=lambda: START), Messages()
    await store.accept(messages.new())
    one = messages.new().envelope
    await store.refused(Refusal(one, "550 no"))
    for wanted in (Search(state="refused"), Search("ann@example.org", state="refused")):
        found = look(tmp_path, lambda connection, wanted=wanted: search(connection, wanted))  # type: ignore[misc]
        assert [story.envelope for story in found] == [one]
    await store.close()
