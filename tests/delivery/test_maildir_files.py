"""What is synced, and in which order."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from waymail.delivery.maildir_files import Counted, Directories, publish


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The paths of what was synced."""
    paths: list[Path] = []
    fsync = os.fsync

    def watched(descriptor: int) -> None:
        fsync(descriptor)
        paths.append(Path(f"/proc/self/fd/{descriptor}").readlink())

    monkeypatch.setattr(os, "fsync", watched)
    return paths


def test_a_new_maildir_is_synced_with_all_that_leads_to_it(tmp_path: Path, synced: list[Path]) -> None:
    top = tmp_path / "srv" / "mail"
    Directories(top).make_maildir(top / "here.example" / "ann")
    assert synced[:4] == [tmp_path, tmp_path / "srv", top, top / "here.example"]
    assert synced[4:] == [top / "here.example" / "ann"] * 3


def test_what_another_process_made_is_synced_once(tmp_path: Path, synced: list[Path]) -> None:
    ann, bob = tmp_path / "here.example" / "ann", tmp_path / "here.example" / "bob"
    for maildir in (ann, bob):
        for part in ("tmp", "new", "cur"):
            (maildir / part).mkdir(parents=True)
    directories = Directories(tmp_path)
    directories.make_maildir(ann)
    assert {tmp_path, ann.parent, ann} <= set(synced)
    synced.clear()
    directories.make_maildir(ann)
    assert synced == []
    directories.make_maildir(bob)
    assert set(synced) == {bob.parent, bob}


def test_what_is_above_the_maildirs_is_not_touched(tmp_path: Path, synced: list[Path]) -> None:
    top = tmp_path / "srv" / "mail"
    top.mkdir(parents=True)
    Directories(top).make_maildir(top / "ann")
    assert set(synced) == {tmp_path / "srv", top, top / "ann"}


def test_a_file_in_the_way_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "ann").touch()
    with pytest.raises(OSError, match="ann"):
        Directories(tmp_path).make_maildir(tmp_path / "ann")


@pytest.mark.parametrize(
    ("chunks", "lone"),
    [
        ([b"a\nb\n"], 2),
        ([b"a\r\nb\n"], 1),
        ([b"a\r", b"\nb\n"], 1),
        ([b"a\r", b"", b"\nb\n"], 1),
        ([b"a\r", b"b\n\r", b"\r\n"], 1),
        ([], 0),
    ],
)
def test_size_and_the_size_with_crlf_are_counted_wherever_chunks_are_cut(chunks: list[bytes], lone: int) -> None:
    counted = Counted(chunks)
    assert b"".join(counted) == b"".join(chunks)
    assert counted.size == len(b"".join(chunks))
    assert counted.crlf_size == counted.size + lone


def test_a_name_that_is_taken_keeps_its_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("first")
    (tmp_path / "b").write_text("second")
    assert publish(f"{tmp_path}/a", f"{tmp_path}/final")
    assert not publish(f"{tmp_path}/b", f"{tmp_path}/final")
    assert (tmp_path / "final").read_text() == "first"
