"""The file maildirsize, with others who keep it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from waymail.delivery.maildir_quota import FILE, LONGEST, STALE, Quota, Usage, has_room, note, told

NOW = 1_800_000_000.0
QUOTA = Quota(1000, 10)


@pytest.fixture
def maildir(tmp_path: Path) -> Path:
    for folder in ("", ".lists", ".Trash"):
        for part in ("tmp", "new", "cur"):
            (tmp_path / folder / part).mkdir(parents=True)
    return tmp_path


def say(maildir: Path, text: str, age: float = 0) -> None:
    (maildir / FILE).write_text(text)
    os.utime(maildir / FILE, (NOW - age, NOW - age))


def keep(maildir: Path, name: str, size: int) -> None:
    (maildir / name).write_bytes(b"x" * size)


def said(maildir: Path) -> str:
    return (maildir / FILE).read_text()


def test_a_missing_file_is_made_from_all_folders_but_trash(maildir: Path) -> None:
    keep(maildir, "new/1.Q1.host,S=100,W=102", 1)  # the name is believed
    keep(maildir, "cur/2.host:2,S", 20)
    keep(maildir, ".lists/cur/3.host,S=300:2,", 1)
    keep(maildir, ".lists/cur/4.host,S=3x:2,", 4)
    keep(maildir, ".Trash/cur/5.host,S=5000:2,", 1)
    keep(maildir, "tmp/6.host", 5000)
    assert has_room(maildir, QUOTA, 100, NOW)
    assert said(maildir) == "1000S,10C\n424 4\n"
    assert list((maildir / "tmp").iterdir()) == [maildir / "tmp/6.host"]


@pytest.mark.parametrize(("quota", "line"), [(Quota(5, 6), "5S,6C"), (Quota(5), "5S"), (Quota(0, 6), "6C")])
def test_the_first_line_is_the_quota(maildir: Path, quota: Quota, line: str) -> None:
    has_room(maildir, quota, 1, NOW)
    assert said(maildir) == f"{line}\n0 0\n"


@pytest.mark.parametrize("first", ["1000S,10C", "10C,1000S", "01000S,10C"])
def test_what_the_file_says_is_believed_and_nothing_is_counted(maildir: Path, first: str) -> None:
    keep(maildir, "new/1,S=999", 1)
    say(maildir, f"{first}\n     500     5\n-100 -1\n  99 1\n12")  # Courier pads, and somebody is just writing the last line
    assert has_room(maildir, QUOTA, 501, NOW)
    assert said(maildir).startswith(first)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1000S,10C\n",
        "1000S,10C",
        "2000S,10C\n1 1\n",
        "1000S\n1 1\n",
        "no quota\n1 1\n",
        "\n1 1\n",
        "1000S,10C\nx y\n",
        "1000S,10C\n1\n",
        "1000S,10C\n-1 0\n",
        "1000S,10C\n10 1\n-5 -2\n",
        "1000S,10C\n1 \xff\n",
        "1000S,10C\n" + "0 0\n" * (LONGEST // 4),
    ],
)
def test_a_file_that_is_broken_long_or_of_another_quota_is_written_anew(maildir: Path, text: str) -> None:
    keep(maildir, "new/1,S=7", 1)
    say(maildir, text)
    assert has_room(maildir, QUOTA, 1, NOW)
    assert said(maildir) == "1000S,10C\n7 1\n"


def test_full_is_believed_for_a_quarter_of_an_hour_where_all_was_counted(maildir: Path) -> None:
    say(maildir, "1000S,10C\n990 1\n", STALE - 1)
    assert not has_room(maildir, QUOTA, 11, NOW)
    assert has_room(maildir, QUOTA, 10, NOW)
    say(maildir, "1000S,10C\n990 1\n", STALE + 1)
    assert has_room(maildir, QUOTA, 11, NOW)
    assert said(maildir) == "1000S,10C\n0 0\n"


def test_full_is_counted_again_where_something_was_added_since(maildir: Path) -> None:
    say(maildir, "1000S,10C\n900 1\n90 1\n")
    assert has_room(maildir, QUOTA, 11, NOW)


def test_a_mailbox_is_full_by_size_or_by_number(maildir: Path) -> None:
    say(maildir, "1000S,10C\n500 9\n")
    assert has_room(maildir, QUOTA, 500, NOW)
    assert not has_room(maildir, QUOTA, 501, NOW)
    say(maildir, "1000S,10C\n0 10\n")
    assert not has_room(maildir, QUOTA, 1, NOW)


def test_what_is_delivered_is_noted_where_there_is_a_file_and_only_there(maildir: Path) -> None:
    note(maildir, 100)
    assert not (maildir / FILE).exists()
    say(maildir, "0S\n1 1\n")
    note(maildir, 100)
    assert said(maildir) == "0S\n1 1\n100 1\n"


def test_a_count_during_which_mail_came_is_used_but_not_written(maildir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scan = os.scandir

    def while_mail_comes(path: Path) -> object:
        if path == maildir / "cur":
            keep(maildir, "new/late,S=1", 1)
        return scan(path)

    monkeypatch.setattr(os, "scandir", while_mail_comes)
    assert has_room(maildir, QUOTA, 1, NOW)
    assert not (maildir / FILE).exists()


def test_what_is_allowed_and_what_is_used_is_told_in_units_that_people_use() -> None:
    assert told(Quota(10**9), Usage(987_654_321, 3)) == "quota of 1GB: 987.7MB used"
    assert told(Quota(messages=1_000), Usage(5, 1_001)) == "quota of 1,000 messages: 1,001 there"
    assert told(Quota(999_999, 2), Usage()) == "quota of 1000KB: 0B used; quota of 2 messages: 0 there"
