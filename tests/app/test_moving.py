from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from waymail.app.config import Config
from waymail.app.config.load import parse
from waymail.app.moving import OLD, answers, folder, new_name, sweep
from waymail.net.clock import SystemClock
from waymail.store.contract import State, Store, StoreError
from waymail.store.sqlite import SqliteStore
from waymail.testing.store_cases import START, Messages, states

EVERYTHING = {"selection": {"everything": True}, "move": True}


@pytest.fixture
def config(tmp_path: Path) -> Config:
    (tmp_path / "data").mkdir()
    return parse('hostname = "mail.example.org"\n', tmp_path / "waymail.toml")


@pytest.fixture
async def store(config: Config) -> AsyncIterator[Store]:
    store = await SqliteStore.open(config.data_dir / "queue", now=lambda: START)
    messages = Messages()
    await asyncio.gather(*(store.accept(messages.new(content=b"x" * 20_000, claim=False)) for _ in range(1000)))
    yield store
    await store.close()


async def asked(store: Store, config: Config, what: str, **request: Any) -> list[Mapping[str, Any]]:
    return [answer async for answer in answers(what, store, config, SystemClock(), request)]


async def test_whoever_goes_away_in_the_middle_leaves_everything_as_it_was(store: Store, config: Config) -> None:
    first, last = (await store.ids(limit=1000))[0], (await store.ids(limit=1000))[-1]
    exporting = asyncio.create_task(asked(store, config, "export", **EVERYTHING))
    while await states(store, first) != [State.HELD]:  # noqa: ASYNC110 - the store tells nobody
        await asyncio.sleep(0)
    assert await states(store, last) == [State.QUEUED]  # it is in the middle
    exporting.cancel()
    with suppress(asyncio.CancelledError):
        await exporting
    assert {(await states(store, id))[0] for id in await store.ids(limit=1000)} == {State.QUEUED}
    assert await store.next_due() == START
    assert list((config.data_dir / "transfer").iterdir()) == []
    [done] = await asked(store, config, "export", **EVERYTHING)  # and the next one may
    assert done["done"]["messages"] == 1000


async def test_one_moves_at_a_time(store: Store, config: Config) -> None:
    results = await asyncio.gather(*(asked(store, config, "export", **EVERYTHING) for _ in range(2)))
    assert [sorted(answer) for [answer] in results] == [["done"], ["code", "error"]]
    assert results[1][0]["code"] == os.EX_TEMPFAIL


@pytest.mark.parametrize("name", ["../queue/queue.sqlite", "import-0123456789abcdef.tar/../x", "", "/etc/passwd", None])
@pytest.mark.parametrize("what", ["import", "export-finish", "export-undo"])
async def test_no_other_file_can_be_named(store: Store, config: Config, what: str, name: object) -> None:
    with pytest.raises(ValueError, match="is no name of a file in transfer"):
        await asked(store, config, what, file=name)


async def test_a_file_that_is_gone_is_an_error_with_its_name(store: Store, config: Config) -> None:
    with pytest.raises(StoreError, match=r"import-0123456789abcdef\.tar: No such file"):
        await asked(store, config, "import", file="import-0123456789abcdef.tar")


def test_root_gives_the_server_no_folder_to_which_a_link_leads(config: Config, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (config.data_dir / "transfer").symlink_to(elsewhere)
    if os.getuid() == 0:
        os.chown(config.data_dir, 12345, 12345)
    with pytest.raises(OSError, match="transfer"):
        folder(config)
    assert elsewhere.stat().st_uid == os.getuid()


def test_what_a_crash_left_behind_is_removed_when_it_is_old_and_nothing_else_is(config: Config, tmp_path: Path) -> None:
    sweep(config, 0.0)  # there is no folder yet
    place, now = folder(config), 1_800_000_000.0
    mine = tmp_path / "mine.tar"
    mine.write_bytes(b"")
    old, young, other, link = (
        place / new_name("export"),
        place / new_name("import"),
        place / "notes.txt",
        place / new_name("export"),
    )
    link.symlink_to(mine)
    for file, age in ((old, OLD + 1), (young, OLD - 1), (other, 9 * OLD), (link, 9 * OLD)):
        file.touch()
        os.utime(file, (now - age, now - age), follow_symlinks=False)
    os.utime(mine, (now, now))  # the age of a link is its own
    sweep(config, now)
    assert sorted(place.iterdir()) == sorted([young, other])
    assert mine.exists()
