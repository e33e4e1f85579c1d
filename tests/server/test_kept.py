"""What is remembered of clients, and the file in which it is kept."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from waymail.server.kept import EVERY, KeptFile, Recent, Row, digest

ROWS: list[Row] = [["a", 1.5, 2], ["bü\n", -1, None]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "below" / "kept.json"


def written(path: Path, rows: list[Row] = ROWS) -> KeptFile:
    file = KeptFile(path, "the list")
    file.has_changed = True
    file.save(lambda: rows, 0.0)
    return file


def rows_of(path: Path | None) -> list[Row] | None:
    taken: list[list[Row]] = []
    KeptFile(path, "the list").load(lambda rows: taken.append(list(rows)))
    return taken[0] if taken else None


def test_what_was_used_last_stays_and_memory_is_bounded() -> None:
    recent: Recent[int] = Recent(2, 10.0)
    for number, key in enumerate(["a", "b", "a", "c"]):
        recent.put(key, number, 0.0)
    assert [recent.get(key, 0.0) for key in "abc"] == [2, None, 3]
    assert len(recent) == 2


def test_what_was_not_used_for_long_is_forgotten_and_a_clock_that_is_set_back_forgets_nothing() -> None:
    recent: Recent[int] = Recent(2, 10.0)
    recent.put("a", 1, 100.0)
    assert [recent.get("a", now) for now in (0.0, 109.9, 110.0)] == [1, 1, None]
    assert [recent.items(now) for now in (109.9, 110.0)] == [[("a", 100.0, 1)], []]
    assert recent.timed("a") == (100.0, 1)


def test_with_a_smaller_bound_what_another_one_held_is_forgotten_at_the_next_use() -> None:
    big: Recent[int] = Recent(100, 10.0)
    for number in range(100):
        big.put(str(number), number, 0.0)
    small: Recent[int] = Recent(5, 10.0)
    small.go_on_from(big)
    assert small.get("3", 0.0) == 3
    small.put("new", 0, 0.0)
    assert len(small) == 5


def test_texts_have_a_name_by_which_they_differ_whatever_is_in_them() -> None:
    assert digest("a", "b") == digest("a", "b")
    assert len({digest("a", "b"), digest("ab"), digest("a", "b", ""), digest("b", "a"), digest("\udcff"), digest("ü")}) == 6


def test_what_is_written_is_read_again(path: Path) -> None:
    written(path)
    assert rows_of(path) == ROWS
    assert path.stat().st_mode & 0o777 == 0o600
    assert [one.name for one in path.parent.iterdir()] == ["kept.json"], "nothing is left of the writing"


def test_many_rows_are_written_as_few_are(path: Path) -> None:
    rows: list[Row] = [[number] for number in range(1001)]
    written(path, rows)
    assert rows_of(path) == rows


def test_without_a_file_there_is_nothing_and_without_a_path_nothing_is_kept(path: Path) -> None:
    assert rows_of(path) is None
    file = KeptFile(None, "the list")
    file.has_changed = True
    file.save(lambda: ROWS, 0.0, stopping=True)
    assert rows_of(None) is None


def test_a_file_is_written_every_few_minutes_where_something_has_changed_and_at_the_stop(path: Path) -> None:
    file = written(path)
    path.unlink()
    file.save(lambda: ROWS, EVERY)
    assert not path.exists(), "nothing has changed"
    file.has_changed = True
    file.save(lambda: ROWS, EVERY - 1)
    assert not path.exists(), "too early"
    file.save(lambda: ROWS, EVERY)
    assert path.exists()
    path.unlink()
    file.has_changed = True
    file.save(lambda: ROWS, EVERY + 1, stopping=True)
    assert path.exists()
    path.unlink()
    file.has_changed = True
    file.save(lambda: ROWS, -1e6)
    assert path.exists(), "the clock was set back"


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"\0" * 100,
        b"\xff\xfe",
        b"no json\n",
        b'{"form": 2, "rows": 0}\n',
        b'{"form": 1, "rows": 2}\n["a",1]\n',
        b'{"form": 1, "rows": 1}\n["a",\n',
        b"[" * 100_000,
        b'{"form": 1, "rows": 1}\n5\n',
    ],
)
def test_a_damaged_file_is_set_aside_with_a_warning_and_it_begins_anew(
    path: Path, damage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    path.parent.mkdir()
    path.write_bytes(damage)

    def take(rows: Iterator[Row]) -> None:
        for row in rows:
            int(row[1])

    with caplog.at_level(logging.ERROR, "waymail.server"):
        KeptFile(path, "the list").load(take)
    assert "the list is damaged and was set aside" in caplog.text
    assert not path.exists()
    assert path.with_name("kept.json.damaged").read_bytes() == damage


def test_a_file_without_its_end_is_damaged(path: Path) -> None:
    written(path)
    whole = path.read_bytes()
    for length in range(len(whole) - 1):
        path.write_bytes(whole[:length])
        assert rows_of(path) is None
    path.write_bytes(whole)
    assert rows_of(path) == ROWS


def test_a_file_that_cannot_be_read_is_told_and_stays(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path.mkdir(parents=True)
    with caplog.at_level(logging.ERROR, "waymail.server"):
        assert rows_of(path) is None
    assert "cannot be read" in caplog.text
    assert path.is_dir()


def test_a_file_that_cannot_be_written_is_told_and_tried_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "below").touch()
    with caplog.at_level(logging.ERROR, "waymail.server"):
        file = written(tmp_path / "below" / "kept.json")
    assert "the list cannot be written" in caplog.text
    (tmp_path / "below").unlink()
    file.save(lambda: ROWS, EVERY)
    assert rows_of(tmp_path / "below" / "kept.json") == ROWS
