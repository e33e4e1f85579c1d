"""What is SQLite's own: the files, the lock, the damage, the shared commit."""

from __future__ import annotations

import asyncio
import json
import re
import sqlite3
from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from waymail.mail.envelope import Body, Options, Recipient, encode_id
from waymail.store import due, operate, read, recover, schema, select, statements
from waymail.store.contract import Change, Changed, Delivery, NewMessage, Refusal, Selection, State, StoreError
from waymail.store.read import SqliteReader
from waymail.store.sqlite import SqliteStore
from waymail.testing.store_cases import START, Messages, delivered, kinds, octets, outcome, states

BIG = b"0123456789abcdef" * 8192


async def open_store(directory: Path) -> SqliteStore:
    return await SqliteStore.open(directory, now=lambda: START)


@pytest.fixture
def messages() -> Messages:
    return Messages()


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    store = await open_store(tmp_path)
    yield store
    await store.close()


def spooled(store: SqliteStore, new: NewMessage, content: bytes = BIG) -> NewMessage:
    spool = store.spool(new.envelope.id)
    spool.write(content)
    return NewMessage(new.envelope, spool.finish(), new.claim)


# --- group commit ---


async def test_all_who_wait_share_a_commit(store: SqliteStore, messages: Messages) -> None:
    before = store.commits
    deliveries = await asyncio.gather(*(store.accept(messages.new()) for _ in range(200)))
    await asyncio.gather(*(store.settle(delivered(one)) for one in deliveries))
    assert store.commits - before <= 20


async def test_what_was_refused_waits_for_the_transaction_of_another(store: SqliteStore, messages: Messages) -> None:
    before = store.commits
    refused = asyncio.create_task(store.refused(Refusal(messages.new().envelope, "550 no")))
    for _ in range(5):  # an urgent one would begin a transaction of its own
        await asyncio.sleep(0)
    await store.accept(messages.new())
    await refused
    assert store.commits == before + 1


async def test_reading_does_not_wait_behind_the_writer(store: SqliteStore, messages: Messages) -> None:
    delivery = await store.accept(messages.new())
    other = sqlite3.connect(store._place.database, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    waiting = asyncio.ensure_future(store.settle(delivered(delivery)))
    assert await states(store, delivery.envelope.id) == [State.ACTIVE]
    assert not waiting.done()
    other.execute("COMMIT")
    other.close()
    await waiting
    assert await states(store, delivery.envelope.id) == [State.DELIVERED]


async def test_a_full_disk_fails_the_large_one_and_the_store_goes_on(store: SqliteStore, messages: Messages) -> None:
    pages = store._connection.execute("PRAGMA page_count").fetchone()[0]
    store._connection.execute(f"PRAGMA max_page_count = {pages + 4}")
    large = messages.new(content=BIG)
    results = await asyncio.gather(store.accept(messages.new()), store.accept(large), return_exceptions=True)
    assert isinstance(results[0], Delivery)
    assert isinstance(results[1], StoreError)
    assert "is full" in str(results[1])
    assert await store.get(large.envelope.id) is None
    store._connection.execute("PRAGMA max_page_count = 1000000")
    await store.accept(large)


async def test_a_batch_of_more_rows_than_a_statement_takes_is_written_whole(store: SqliteStore, messages: Messages) -> None:
    new = messages.new(*(f"user{number}@example.net" for number in range(1000)))
    delivery = await store.accept(new)
    await store.settle(outcome(delivery, *(Change(number, State.QUEUED, 1, "451", START + number) for number in range(1000))))
    claimed = await store.claim(START + 499, 1000)
    assert [one.number for one in claimed[0].pending] == list(range(500))


# --- body files ---


async def test_a_large_body_is_a_file_until_it_is_settled(store: SqliteStore, messages: Messages, tmp_path: Path) -> None:
    delivery = await store.accept(spooled(store, messages.new("a@example.net", "b@example.net")))
    file = tmp_path / "bodies" / delivery.envelope.id
    assert delivery.body.content == file
    assert file.read_bytes() == BIG
    await store.settle(outcome(delivery, Change(0, State.DELIVERED, 1, "250")))
    await store.accept(messages.new())
    assert file.exists()
    await store.settle(outcome(delivery, Change(1, State.FAILED, 1, "550")))
    await store.close()
    assert not file.exists()


async def test_a_removed_message_loses_its_file(store: SqliteStore, messages: Messages, tmp_path: Path) -> None:
    delivery = await store.accept(spooled(store, messages.new(claim=False)))
    await store.remove(Selection(ids=(delivery.envelope.id,)), START)
    await store.close()
    assert list((tmp_path / "bodies").iterdir()) == []


async def test_a_message_that_was_refused_can_be_discarded(store: SqliteStore, messages: Messages, tmp_path: Path) -> None:
    taken = messages.new()
    await store.accept(taken)
    spool = store.spool(taken.envelope.id)
    spool.write(BIG)
    with pytest.raises(StoreError):
        await store.accept(NewMessage(taken.envelope, spool.finish()))
    spool.discard()
    assert list((tmp_path / "bodies").iterdir()) == []


async def test_a_body_file_from_elsewhere_is_refused(store: SqliteStore, messages: Messages, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(b"x")
    with pytest.raises(StoreError, match="spool"):
        await store.accept(NewMessage(messages.new().envelope, Body(tmp_path / "elsewhere", 1)))


async def test_states_1_2_and_8_files_that_no_live_message_needs_are_swept(messages: Messages, tmp_path: Path) -> None:
    store = await open_store(tmp_path)
    live = await store.accept(spooled(store, messages.new()))
    done = await store.accept(spooled(store, messages.new()))
    await store.settle(delivered(done))
    coming_in = store.spool(messages.new().envelope.id)
    coming_in.write(BIG)
    spooled(store, messages.new())
    await store.abort()
    folder = tmp_path / "bodies"
    for name in (done.envelope.id, "README", "not-an-id-at-a", encode_id(5).upper().replace("0", "O")):
        (folder / name).write_bytes(b"x")
    store = await open_store(tmp_path)
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        [live.envelope.id, "README", "not-an-id-at-a", encode_id(5).upper().replace("0", "O")]
    )
    await store.close()


async def test_a_live_message_without_its_file_is_held_and_reported(
    messages: Messages, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = await open_store(tmp_path)
    delivery = await store.accept(spooled(store, messages.new()))
    whole = await store.accept(messages.new())
    await store.abort()
    (tmp_path / "bodies" / delivery.envelope.id).unlink()
    store = await open_store(tmp_path)
    assert await states(store, delivery.envelope.id) == [State.HELD]
    assert await states(store, whole.envelope.id) == [State.QUEUED]
    assert await kinds(store, delivery.envelope.id) == ["recovered", "damaged"]
    assert [one.envelope for one in await store.list()] == [delivery.envelope, whole.envelope]
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == [
        "a message is damaged: it is held"
    ]
    await store.close()


async def test_a_caller_cancelled_while_its_file_is_synced_leaves_no_file(
    store: SqliteStore, messages: Messages, tmp_path: Path
) -> None:
    for turns in range(4):
        new = messages.new()
        spool = store.spool(new.envelope.id)
        spool.write(BIG)
        caller = asyncio.ensure_future(store.accept(NewMessage(new.envelope, spool.finish())))
        for _ in range(turns):
            await asyncio.sleep(0)
        caller.cancel()
        await asyncio.gather(caller, return_exceptions=True)
        spool.discard()
    await store.accept(messages.new())
    await store.close()
    store = await open_store(tmp_path)
    files = {path.name for path in (tmp_path / "bodies").iterdir()}
    in_files = {story.envelope.id for story in await store.list() if story.size == len(BIG)}
    assert files == in_files
    for story in await store.list():
        assert {one.state for one in story.recipients} == {State.QUEUED}
    await store.close()


# --- opening ---


async def test_a_second_process_is_refused_and_told_what_to_do(store: SqliteStore, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"in use by process \d+: stop it"):
        await open_store(tmp_path)


async def test_a_closed_store_can_be_opened_by_another_and_has_what_was_in_it(messages: Messages, tmp_path: Path) -> None:
    for number in range(3):
        store = await open_store(tmp_path)
        assert len(await store.list()) == number
        await store.accept(messages.new())
        await store.close()


async def test_tokens_never_repeat_across_openings(messages: Messages, tmp_path: Path) -> None:
    tokens = []
    for _ in range(3):
        store = await open_store(tmp_path)
        tokens.append((await store.accept(messages.new())).token)
        await store.close()
    assert len(set(tokens)) == 3


async def test_tables_of_a_newer_version_are_refused(tmp_path: Path) -> None:
    await (await open_store(tmp_path)).close()
    with sqlite3.connect(tmp_path / schema.FILE) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(StoreError, match="newer waymail"):
        await open_store(tmp_path)
    with pytest.raises(StoreError, match="newer waymail"):
        await SqliteReader.open(tmp_path)


async def test_a_damaged_database_is_named(tmp_path: Path) -> None:
    tmp_path.joinpath(schema.FILE).write_bytes(b"This is not a database at all. " * 200)
    with pytest.raises(StoreError, match=rf"{schema.FILE} is damaged"):
        await open_store(tmp_path)
    tmp_path.joinpath(schema.FILE).unlink()
    await (await open_store(tmp_path)).close()  # and the lock was given back


async def test_a_damaged_page_fails_the_call_and_names_the_file(messages: Messages, tmp_path: Path) -> None:
    store = await open_store(tmp_path)
    for _ in range(200):
        await store.accept(messages.new(content=b"x" * 3000, claim=False))
    await store.close()
    with (tmp_path / schema.FILE).open("r+b") as file:
        file.seek(2 * 4096)
        file.write(b"\xff" * 300 * 4096)
    with pytest.raises(StoreError, match=rf"{schema.FILE} is damaged"):
        await (await open_store(tmp_path)).close()


async def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreError, match="file"):
        await open_store(tmp_path / "file" / "queue")


# --- looking from another process ---


async def test_a_reader_sees_what_the_running_server_has_committed(
    store: SqliteStore, messages: Messages, tmp_path: Path
) -> None:
    reader = await SqliteReader.open(tmp_path)
    delivery = await store.accept(messages.new(message_id="<1@example.org>"))
    assert [one.envelope for one in await reader.list()] == [delivery.envelope]
    assert [one.envelope for one in await reader.find("<1@example.org>")] == [delivery.envelope]
    body = await reader.body(delivery.envelope.id)
    assert body is not None
    assert octets(body) == octets(delivery.body)
    await store.settle(delivered(delivery))
    story = await reader.get(delivery.envelope.id)
    assert story is not None
    assert story.recipients[0].state is State.DELIVERED
    assert await reader.next_due() is None
    await reader.close()


async def test_a_reader_works_when_no_server_runs_and_changes_nothing(messages: Messages, tmp_path: Path) -> None:
    store = await open_store(tmp_path)
    delivery = await store.accept(messages.new())
    await store.abort()
    reader = await SqliteReader.open(tmp_path)
    story = await reader.get(delivery.envelope.id)
    assert story is not None
    assert story.recipients[0].state is State.ACTIVE
    await reader.close()
    with pytest.raises(StoreError):
        await reader.list()


async def test_a_reader_of_nothing_says_so(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no queue"):
        await SqliteReader.open(tmp_path)
    assert list(tmp_path.iterdir()) == []


async def test_no_query_walks_through_the_history(store: SqliteStore) -> None:
    of_two = [statements.rows(one, 2, 2) for one in (statements.CLAIM, statements.MOVE, statements.RELEASE_LAPSED)]
    selected = [
        one.format(state=state, domain=" AND domain = ?", more=select.OF_NULL_PATH, rows="(1), (2)")
        for one in (select.OF_MESSAGES, select.OF_STATE, select.OF_DOMAIN, select.OLDEST, select.DOMAINS, select.LAST_REPLY)
        for state in (0, 2)
    ]
    for query in (
        *(read.WITH_WORD, select.WITH_WORD, recover.LEFT, select.WAITING, select.WAITING_OF_MANY, *of_two, *selected),
        *(due.DUE_ORDINARY, due.DUE_RANKED, due.DUE_OF_DOMAIN, due.DOMAINS_DUE, due.NEXT_ORDINARY, due.NEXT_RANKED),
    ):
        steps = [row[3] for row in store._connection.execute("EXPLAIN QUERY PLAN " + re.sub(r"\?\d?", "1", query))]
        assert not any(
            step.startswith(("SCAN recipient", "SCAN word", "SCAN message", "USE TEMP B-TREE FOR ORDER BY r"))
            and step != "SCAN recipient USING COVERING INDEX recipient_waiting"  # its first entry, with LIMIT 1
            for step in steps
        ), steps


async def test_what_is_due_first_is_found_without_a_look_at_all_that_waits(store: SqliteStore) -> None:
    for query in (due.DUE_ORDINARY, due.DUE_RANKED, due.DUE_OF_DOMAIN, due.NEXT_ORDINARY, due.NEXT_RANKED, statements.HASTEN[0]):
        steps = [row[3] for row in store._connection.execute("EXPLAIN QUERY PLAN " + re.sub(r"\?\d?", "1", query))]
        assert any("next_at" in step for step in steps), steps
        assert not any("TEMP B-TREE" in step for step in steps), steps


async def test_whether_anybody_has_a_priority_is_seen_at_a_glance(store: SqliteStore) -> None:
    (step,) = store._connection.execute(f"EXPLAIN QUERY PLAN {due.ANY_RANKED}").fetchall()
    assert step[3] == "SCAN recipient USING INDEX recipient_ranked"


async def test_an_ordinary_message_is_written_without_a_word_of_options(store: SqliteStore, messages: Messages) -> None:
    await store.accept(messages.new())
    await store.accept(messages.new(options=Options(envid="x")))
    ordinary, other = (json.loads(text) for (text,) in store._connection.execute("SELECT envelope FROM message ORDER BY id"))
    assert len(ordinary) == 6
    assert other[6] == {"options": {"envid": "x"}, "recipients": {}}


async def test_options_that_this_version_does_not_know_are_passed_over(store: SqliteStore, messages: Messages) -> None:
    new = messages.new(Recipient("a@example.net", notify="NEVER"), options=Options(envid="x"), claim=False)
    await store.accept(new)
    text = store._connection.execute("SELECT envelope FROM message").fetchone()[0]
    text = text.replace('"envid"', '"of_tomorrow":1,"envid"').replace('"notify"', '"of_tomorrow":1,"notify"')
    store._connection.execute("UPDATE message SET envelope = ?", (text,))
    (delivery,) = await store.claim(START, 1)
    assert delivery.envelope == new.envelope


OF_VERSION_1 = """
CREATE TABLE recipient (
    message INTEGER NOT NULL, number INTEGER NOT NULL, address TEXT NOT NULL, original TEXT, state INTEGER NOT NULL,
    attempts INTEGER NOT NULL, next_at REAL NOT NULL, token INTEGER NOT NULL, lease_until REAL NOT NULL,
    reply TEXT NOT NULL, warned INTEGER NOT NULL,
    PRIMARY KEY (message, number)) WITHOUT ROWID;
CREATE INDEX recipient_due ON recipient (next_at) WHERE state = 0;
PRAGMA user_version = 1;
"""


async def test_the_tables_of_version_1_are_brought_up_to_date(messages: Messages, tmp_path: Path) -> None:
    store = await open_store(tmp_path)
    new = messages.new(claim=False)
    await store.accept(new)
    await store.close()
    with sqlite3.connect(tmp_path / schema.FILE) as connection:
        (row,) = connection.execute("SELECT * FROM recipient").fetchall()
        connection.executescript(f"DROP TABLE recipient; {OF_VERSION_1}")
        connection.execute("INSERT INTO recipient VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row[:11])
    connection.close()
    store = await open_store(tmp_path)
    await store.accept(messages.new(claim=False, options=Options(priority=3)))
    assert (await store.flush(Selection(domain="example.net"), START)).messages == 2
    first, second = await store.claim(START, 10)
    assert (first.envelope.options.priority, second.envelope) == (3, new.envelope)
    await store.close()


async def test_what_comes_back_while_the_rest_is_released_is_not_released_again(
    store: SqliteStore, messages: Messages, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody holds at once whatever is released: with that, a release of all would never end."""
    for _ in range(30):
        await store.accept(messages.new(claim=False))
    everything = Selection(everything=True)
    await store.hold(everything, START)
    submit, times = store._operations._submit, count(int(START) + 6)
    hold_all = "UPDATE recipient SET state = 2, next_at = ? WHERE state = 0"

    async def and_hold_again(item: Any) -> Any:
        released = await submit(item)
        await submit(lambda connection: connection.execute(hold_all, (next(times),)))
        return released

    monkeypatch.setattr(store._operations, "_submit", and_hold_again)
    monkeypatch.setattr(operate, "BATCH", 5)
    async with asyncio.timeout(10):
        assert (await store.release(everything, START + 5)).recipients == 30


async def test_what_is_claimed_between_looking_and_changing_is_left_alone(
    store: SqliteStore, messages: Messages, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = messages.new(claim=False)
    await store.accept(new)
    submit = store._operations._submit

    async def claimed_first(item: Any) -> Any:
        assert len(await store.claim(START, 10)) == 1
        return await submit(item)

    monkeypatch.setattr(store._operations, "_submit", claimed_first)
    assert await store.remove(Selection(ids=(new.envelope.id,)), START) == Changed()
    story = await store.get(new.envelope.id)
    assert story is not None
    assert (story.recipients[0].state, story.events) == (State.ACTIVE, ())
