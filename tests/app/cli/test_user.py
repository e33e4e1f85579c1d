from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest

from waymail.app.cli import main
from waymail.app.cli.output import Exit
from waymail.server.users import Users, list_users


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "waymail.toml"
    file.write_text('hostname = "mail.example.org"\n')
    return file


def run(config: Path, *arguments: str) -> int:
    return main(["user", *arguments, "--config", str(config)])


def type_in(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """Standard input is a pipe with this text."""
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))


def users(config: Path) -> Users:
    return Users.load(config.parent / "users.toml")


def test_a_password_from_standard_input_is_one_line(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    type_in(monkeypatch, "correct horse\r\nsecond line\n")
    assert run(config, "add", "ann@example.org", "--password-stdin") == Exit.OK
    assert users(config).verify("ann@example.org", "correct horse")
    assert users(config).may_send_as("ann@example.org", "ann@example.org")


def test_a_generated_password_is_printed_and_good(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(config, "add", "ann", "--generate", "--address", "ann@example.org", "--address", "*@lists.example.org") == Exit.OK
    lines = capsys.readouterr().out.splitlines()
    assert users(config).verify("ann", lines[0].removeprefix("password: "))
    assert lines[1] == "ann may log in and send as ann@example.org, *@lists.example.org"


def test_a_changed_password_replaces_the_old_one(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    type_in(monkeypatch, "old\n")
    run(config, "add", "ann@example.org", "--password-stdin")
    type_in(monkeypatch, "new\n")
    assert run(config, "passwd", "ann@example.org", "--password-stdin") == Exit.OK
    assert users(config).verify("ann@example.org", "old") is None
    assert users(config).verify("ann@example.org", "new")


def test_users_are_listed_and_removed(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(config, "list") == Exit.OK
    assert run(config, "list", "--json") == Exit.OK
    assert capsys.readouterr().out == "There are no users.\n[]\n"
    run(config, "add", "bob@example.org", "--generate")
    capsys.readouterr()
    run(config, "list", "--json")
    assert json.loads(capsys.readouterr().out) == [{"name": "bob@example.org", "addresses": ["bob@example.org"], "frozen": None}]
    run(config, "list")
    assert capsys.readouterr().out.splitlines()[1].split() == ["bob@example.org", "bob@example.org", "-"]
    assert run(config, "remove", "bob@example.org") == Exit.OK
    capsys.readouterr()
    run(config, "list", "--json")
    assert capsys.readouterr().out == "[]\n"


def test_what_cannot_be_done_has_its_own_exit_code(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(config, "remove", "nobody") == Exit.NO_USER
    assert run(config, "passwd", "nobody", "--generate") == Exit.NO_USER
    run(config, "add", "ann@example.org", "--generate")
    assert run(config, "add", "ann@example.org", "--generate") == Exit.DATA
    assert run(config, "add", "eve", "--generate", "--password-stdin") == Exit.USAGE
    type_in(monkeypatch, "")
    assert run(config, "add", "eve", "--password-stdin") == Exit.DATA
    assert run(config, "add", "eve") == Exit.USAGE, "a pipe cannot be asked"
    assert all(line.startswith("waymail: ") for line in capsys.readouterr().err.splitlines())


def test_a_broken_users_file_is_78(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (config.parent / "users.toml").write_text("[")
    assert run(config, "list") == Exit.CONFIG
    assert "users.toml" in capsys.readouterr().err


def test_a_frozen_user_is_listed_with_the_reason_until_he_is_thawed(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(config, "add", "bob@example.org", "--generate")
    run(config, "add", "eve@example.org", "--generate")
    (config.parent / "data").mkdir()
    assert run(config, "freeze", "bob@EXAMPLE.org", "--reason", "on leave") == Exit.OK
    assert run(config, "freeze", "bob@example.org") == Exit.OK
    assert run(config, "freeze", "eve@example.org") == Exit.OK
    capsys.readouterr()
    run(config, "list", "--json")
    assert json.loads(capsys.readouterr().out) == [
        {"name": "bob@example.org", "addresses": ["bob@example.org"], "frozen": "on leave"},
        {"name": "eve@example.org", "addresses": ["eve@example.org"], "frozen": "by hand"},
    ]
    assert run(config, "thaw", "bob@example.org") == Exit.OK
    assert run(config, "thaw", "bob@example.org") == Exit.NO_USER
    capsys.readouterr()
    run(config, "list", "--json")
    assert [one["frozen"] for one in json.loads(capsys.readouterr().out)] == [None, "by hand"]


def test_a_user_whom_the_file_does_not_have_is_not_frozen_in_his_place(config: Path) -> None:
    (config.parent / "data").mkdir()
    assert run(config, "freeze", "nobody@example.org") == Exit.NO_USER


def test_users_of_a_database_are_not_changed_in_a_file_that_nobody_reads(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sql = '{ driver = "sqlite3", dsn = "x.db", query = "SELECT password FROM users WHERE name = :name" }'
    config.write_text(config.read_text() + f"[users]\nsql = {sql}\n")
    (config.parent / "data").mkdir()
    assert run(config, "add", "bob@example.org", "--generate") == Exit.CONFIG
    assert "users come from [users] sql" in capsys.readouterr().err
    assert run(config, "freeze", "bob@example.org") == Exit.OK
    assert run(config, "list") == Exit.OK
    assert "Users come from [users] sql" in capsys.readouterr().out
    assert run(config, "thaw", "bob@example.org") == Exit.OK


def test_thawing_takes_away_what_stands_in_the_users_file_too(config: Path) -> None:
    run(config, "add", "bob@example.org", "--generate")
    file = config.parent / "users.toml"
    file.write_text(file.read_text() + 'frozen = "by hand"\n')
    assert run(config, "thaw", "bob@example.org") == Exit.OK
    assert list_users(file)[0].frozen == ""


def test_old_mechanisms_are_served_only_where_that_is_asked_for(config: Path) -> None:
    run(config, "add", "bob@example.org", "--generate")
    run(config, "add", "old@example.org", "--generate", "--scram-sha-1", "--cram-md5")
    bob, old = list_users(config.parent / "users.toml")
    assert (bob.scram_sha_1, bob.cram_md5) == (None, None)
    assert old.scram_sha_1 is not None
    assert old.cram_md5
    assert run(config, "passwd", "old@example.org", "--generate") == Exit.OK
    again = list_users(config.parent / "users.toml")[1]
    assert again.cram_md5 not in (None, old.cram_md5)
    assert again.scram_sha_1 not in (None, old.scram_sha_1)
