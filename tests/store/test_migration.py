"""Queues that older versions wrote (versions/README.md), opened by today's code."""

# ruff: noqa: S608 - statements are put together of constants alone

from __future__ import annotations

import json
import logging
import shutil
import signal
import sqlite3
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from waymail.mail.envelope import Recipient
from waymail.store import schema
from waymail.store.contract import State, StoreError
from waymail.store.sqlite import SqliteStore

VERSIONS = Path(__file__).parent / "versions"
NOW = 1_790_000_600.0
OLD = sorted(path.name.removesuffix(".tar.xz") for path in VERSIONS.glob("*.tar.xz"))

# Ends the process as kill -9 does, in the migration, right before a statement that begins as the second argument says.
KILLED = """
import os, signal, sys
from pathlib import Path
from waymail.store import schema
connection = schema.connect(Path(sys.argv[1]))
connection.set_trace_callback(lambda text: text.lstrip().startswith(sys.argv[2]) and os.kill(os.getpid(), signal.SIGKILL))
schema.prepare(connection, Path(sys.argv[1]))
"""


@pytest.fixture
def directory(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    with tarfile.open(VERSIONS / f"{request.param}.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path / "queue"


def said(directory: Path) -> list[dict[str, Any]]:
    """What the old version said."""
    version = version_of(directory)
    told: list[dict[str, Any]] = json.loads((VERSIONS / f"version-{version}.json").read_text())["messages"]
    return told


def version_of(directory: Path) -> int:
    connection = sqlite3.connect(directory / schema.FILE)
    try:
        version: int = connection.execute("PRAGMA user_version").fetchone()[0]
        return version
    finally:
        connection.close()


async def stories(directory: Path, ids: Sequence[str]) -> list[dict[str, Any]]:
    """What today's version says, in the same form."""
    store = await SqliteStore.open(directory, now=lambda: NOW)
    told = []
    for id in ids:
        story, body = await store.get(id), await store.body(id)
        assert story is not None
        digest = None if body is None else sha256(b"".join(body.chunks())).hexdigest()
        told.append({"story": json.loads(json.dumps(asdict(story))), "body": digest})
    await store.abort()
    return told


def recovered(message: dict[str, Any]) -> dict[str, Any]:
    """What is to be said of a message whose process died: who was being attempted is queued, and the trace says so."""
    story = message["story"]
    active = [one for one in story["recipients"] if one["state"] == State.ACTIVE]
    for one in active:
        one["state"], one["next_at"] = State.QUEUED.value, NOW
    if active:
        story["events"].append(
            {"at": NOW, "kind": "recovered", "detail": {"to": [one["address"] for one in active], "uncertain": True}}
        )
    return message


def is_as(now: Any, before: Any) -> bool:
    """Whether all that `before` has is in `now`, which may have more fields."""
    if isinstance(before, dict):
        return isinstance(now, dict) and all(key in now and is_as(now[key], value) for key, value in before.items())
    if isinstance(before, list):
        return isinstance(now, list) and len(now) == len(before) and all(is_as(*pair) for pair in zip(now, before, strict=True))
    return bool(now == before)


def test_each_version_before_today_s_has_its_queue_here() -> None:
    assert [f"version-{number}" for number in range(1, schema.VERSION)] == OLD


@pytest.mark.parametrize("directory", OLD, indirect=True)
async def test_nothing_is_lost_of_an_older_version_s_queue(directory: Path) -> None:
    before = [recovered(one) for one in said(directory)]
    ids = [one["story"]["envelope"]["id"] for one in before]
    assert len(before) == 15
    now = await stories(directory, ids)
    for old, new in zip(before, now, strict=True):
        assert is_as(new, old), (old, new)
    assert version_of(directory) == schema.VERSION
    assert await stories(directory, ids) == now  # and the next start changes nothing


@pytest.mark.parametrize("directory", OLD, indirect=True)
async def test_all_that_waited_is_claimed_by_its_domain_and_found_by_its_words(directory: Path) -> None:
    before = said(directory)
    store = await SqliteStore.open(directory, now=lambda: NOW)
    claimed = await store.claim(NOW + 30 * 86_400, 1000)
    queued = {
        (one["story"]["envelope"]["id"], recipient["number"])
        for one in before
        for recipient in one["story"]["recipients"]
        if recipient["state"] in (State.QUEUED, State.ACTIVE)
    }
    assert {(one.envelope.id, pending.number) for one in claimed for pending in one.pending} == queued
    found = await store.find("alias@example.org")
    assert [story.recipients[0].address for story in found] == ["real@example.net"]
    rows = store._connection.execute("SELECT address, domain FROM recipient WHERE message IN (SELECT message FROM body)")
    domains = dict(rows.fetchall())
    assert domains == {address: Recipient(address).domain for address in domains}
    assert domains["jürgen@bücher.example"] == "xn--bcher-kva.example"
    await store.abort()


@pytest.mark.parametrize("directory", OLD, indirect=True)
async def test_the_log_says_that_the_tables_were_changed_and_says_it_once(
    directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "waymail.store")
    version = version_of(directory)
    for _ in range(2):
        await (await SqliteStore.open(directory, now=lambda: NOW)).close()
    told = [record.__dict__["fields"] for record in caplog.records if "brought up to date" in record.message]
    assert told == [{"file": str(directory / schema.FILE), "from": version, "to": schema.VERSION}]


@pytest.mark.parametrize("statement", ["DROP INDEX", "ALTER TABLE", "UPDATE recipient", "CREATE INDEX", "PRAGMA user", "COMMIT"])
@pytest.mark.parametrize("directory", OLD, indirect=True)
async def test_a_death_in_the_middle_of_the_change_leaves_the_old_tables(directory: Path, statement: str) -> None:
    before = [recovered(one) for one in said(directory)]
    version = version_of(directory)
    command = [sys.executable, "-c", KILLED, str(directory), statement]
    ended = subprocess.run(command, check=False, timeout=60)
    assert ended.returncode == -signal.SIGKILL
    assert version_of(directory) == version
    now = await stories(directory, [one["story"]["envelope"]["id"] for one in before])
    assert all(is_as(new, old) for new, old in zip(now, before, strict=True))


@pytest.mark.parametrize("directory", OLD, indirect=True)
async def test_the_change_writes_only_what_is_live_however_long_the_history_is(directory: Path) -> None:
    long = 20_000
    connection = sqlite3.connect(directory / schema.FILE)
    columns = "address, original, state, attempts, next_at, token, lease_until, reply, warned"
    (done,) = connection.execute("SELECT min(message) FROM recipient WHERE state = 3").fetchone()
    with connection:
        connection.execute(
            "WITH RECURSIVE many (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM many WHERE n < ?)"
            f" INSERT INTO recipient (message, number, {columns})"
            f" SELECT n, number, {columns} FROM many CROSS JOIN recipient WHERE message = ? AND number = 0",
            (long, done),
        )
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    connection = schema.connect(directory)
    schema.prepare(connection, directory)
    (live,) = connection.execute("SELECT count(*) FROM recipient WHERE message IN (SELECT message FROM body)").fetchone()
    assert 0 < connection.total_changes <= 2 * live
    written = (directory / f"{schema.FILE}-wal").stat().st_size
    assert written < 40 * 4096 < (directory / schema.FILE).stat().st_size / 4
    connection.close()


@pytest.mark.parametrize("directory", OLD[-1:], indirect=True)
async def test_a_newer_version_s_queue_is_refused_and_left_as_it_is(directory: Path, tmp_path: Path) -> None:
    connection = sqlite3.connect(directory / schema.FILE)
    connection.execute(f"PRAGMA user_version = {schema.VERSION + 1}")
    connection.close()
    shutil.copytree(directory, tmp_path / "before")
    with pytest.raises(StoreError, match="was written by a newer waymail"):
        await SqliteStore.open(directory, now=lambda: NOW)
    assert (directory / schema.FILE).read_bytes() == (tmp_path / "before" / schema.FILE).read_bytes()
