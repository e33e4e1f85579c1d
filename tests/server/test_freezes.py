"""Accounts that are closed for a while, and the ones that look stolen."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from waymail.server.freezes import Freeze, Freezes, FreezesUnusable, change, read
from waymail.server.stolen import StolenAccounts


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "frozen.json"


def test_an_account_frozen_here_is_frozen_at_once_and_after_a_restart(file: Path) -> None:
    freezes = Freezes(file)
    assert not freezes.is_frozen("ann")
    freezes.freeze("ann", "looks stolen", 5.0)
    assert freezes.is_frozen("ann")
    assert Freezes(file).is_frozen("ann")
    assert read(file) == {"ann": Freeze("looks stolen", 5.0)}


def test_what_another_process_changes_counts_within_a_second(file: Path) -> None:
    clock = Clock()
    freezes = Freezes(file, clock=clock)
    change(file, "ann", Freeze("by hand", 0.0))
    change(file, "bob", Freeze("by hand", 0.0))
    assert not freezes.is_frozen("ann"), "the file is not looked at each time"
    clock.now = 1.0
    assert freezes.is_frozen("ann")
    change(file, "ann", None)
    clock.now = 2.0
    assert not freezes.is_frozen("ann")
    assert freezes.is_frozen("bob")


def test_a_file_that_breaks_while_the_server_runs_is_logged_and_who_was_frozen_stays_so(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    freezes = Freezes(file, clock=clock)
    freezes.freeze("ann", "by hand", 0.0)
    file.write_text("no json")
    clock.now = 1.0
    with caplog.at_level(logging.ERROR, "waymail.server"):
        assert freezes.is_frozen("ann")
    assert "those read before stay" in caplog.text


@pytest.mark.parametrize("content", ["", "no json", "[]", '{"ann": 1}', '{"ann": {}}'])
def test_a_file_that_makes_no_sense_ends_the_start_with_the_fix(file: Path, content: str) -> None:
    file.write_text(content)
    with pytest.raises(FreezesUnusable, match="remove it"):
        Freezes(file)


def test_an_account_used_from_too_many_networks_within_an_hour_is_frozen_and_the_log_names_the_fix(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    freezes = Freezes(file)
    stolen = StolenAccounts(freezes, 3)
    with caplog.at_level(logging.ERROR, "waymail.server"):
        seen = [stolen.logged_in("ann", f"198.51.{third}.1", 1000.0 + third) for third in range(4)]
    assert seen == [False, False, False, True]
    assert freezes.is_frozen("ann")
    assert "waymail user thaw ann" in str([record.__dict__.get("fields") for record in caplog.records])


def test_an_account_is_closed_at_once_and_the_disk_is_waited_for_by_somebody_else(file: Path) -> None:
    freezes, later = Freezes(file), list[Callable[[], None]]()
    stolen = StolenAccounts(freezes, 0, later=later.append)
    assert stolen.logged_in("ann", "192.0.2.1", 0.0)
    assert freezes.is_frozen("ann")
    assert not file.exists()
    later[0]()
    assert Freezes(file).is_frozen("ann")


def test_what_was_seen_goes_on_with_another_limit(file: Path) -> None:
    old = StolenAccounts(Freezes(file), 5)
    assert not any(old.logged_in("ann", f"10.0.{third}.1", 0.0) for third in range(3))
    new = StolenAccounts(Freezes(file), 3)
    new.go_on_from(old)
    assert new.logged_in("ann", "10.0.3.1", 0.0)


def test_one_network_is_one_however_many_hosts_and_an_hour_ago_is_forgotten(file: Path) -> None:
    stolen = StolenAccounts(Freezes(file), 2)
    assert not any(stolen.logged_in("ann", f"192.0.2.{last}", 0.0) for last in range(100))
    assert not any(stolen.logged_in("ann", f"10.0.{hour}.1", hour * 3600.0) for hour in range(1, 20))


def test_a_thawed_account_begins_anew(file: Path) -> None:
    stolen = StolenAccounts(Freezes(file), 2)
    assert [stolen.logged_in("ann", f"10.0.{third}.1", 0.0) for third in range(3)] == [False, False, True]
    assert not stolen.logged_in("ann", "10.0.0.1", 0.0)


def test_memory_is_bounded_by_users_and_by_networks(file: Path) -> None:
    stolen = StolenAccounts(Freezes(file), 3, most=5)
    for number in range(50):
        stolen.logged_in(f"user{number}", "192.0.2.1", 0.0)
    assert len(stolen) == 5


def test_where_the_file_cannot_be_written_the_account_is_frozen_all_the_same(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    freezes = Freezes(tmp_path / "folder" / "frozen.json")
    (tmp_path / "folder").touch()
    with caplog.at_level(logging.ERROR, "waymail.server"):
        for third in range(3):
            StolenAccounts(freezes, 0).logged_in("ann", f"10.0.{third}.1", 0.0)
    assert freezes.is_frozen("ann")
    assert "open again after a restart" in caplog.text
