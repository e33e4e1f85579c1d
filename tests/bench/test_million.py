"""The bench of a million messages, with fewer."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from bench.million import judged
from bench.million_store import CHOSEN, MANY, SENDER, UP, Plan, build, renew, sample

from waymail.store import schema
from waymail.store.sqlite import SqliteStore


async def test_the_store_is_as_one_that_a_server_made(tmp_path: Path) -> None:
    build(tmp_path, Plan(done=700, waiting=3000, domains=20))
    there = sample(tmp_path)
    store = await SqliteStore.open(tmp_path, now=time.time)
    backlog = await store.waiting()
    assert (backlog.queued, backlog.held) == (3000, 0)
    numbers = {one.domain: one.queued for one in backlog.largest}
    assert (numbers[CHOSEN], numbers[UP]) == (MANY, 1)
    assert [story.envelope.id for story in await store.find(there.message_id)] == [there.id]
    assert len(await store.find(SENDER, 5000)) == 3700
    (delivery, *_) = await store.claim(time.time(), 1)
    assert isinstance(delivery.body.content, bytes)
    assert delivery.body.size == len(delivery.body.content)
    await store.close()


async def test_the_message_that_can_be_delivered_waits_again(tmp_path: Path) -> None:
    build(tmp_path, Plan(done=0, waiting=3000, domains=20))
    connection = schema.connect(tmp_path)
    connection.execute("DELETE FROM body WHERE message = (SELECT message FROM recipient WHERE domain = ?)", (UP,))
    connection.execute("UPDATE recipient SET state = 3 WHERE domain = ?", (UP,))
    connection.close()
    renew(tmp_path)
    store = await SqliteStore.open(tmp_path, now=time.time)
    assert (await store.waiting(1, UP)).queued == 1
    await store.close()


@pytest.mark.parametrize(("medians", "status"), [({"queue": 200.0}, 0), ({"queue": 150.0, "trace ID": 201.0}, 1)])
def test_one_command_that_is_too_slow_fails_it(
    medians: dict[str, float], status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert judged(medians, 200) == status
    assert bool(capsys.readouterr().out) is bool(status)
