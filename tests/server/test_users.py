from __future__ import annotations

import logging
import os
import time
from pathlib import Path

import pytest

from waymail.server import users as module
from waymail.server.backends.stored import NOBODY
from waymail.server.users import RecentLogins, User, Users, UsersFileError, add_user, change_password, remove_user
from waymail.server.users_edit import editing
from waymail.wire import sasl

KEY = b"k" * 32


class Clock:
    """A clock that the test winds."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "users.toml"
    add_user(path, "ann@example.org", "right", ["ann@example.org", "Sales@Example.org", "*@lists.example.org"])
    return path


@pytest.fixture
def users(file: Path, clock: Clock) -> Users:
    return Users.load(file, clock=clock, key=KEY)


def put(file: Path, user: User) -> None:
    with editing(file) as users:
        users[user.name] = user


# --- passwords ---


def test_the_right_password_gives_the_user_s_name_in_its_normal_form(users: Users) -> None:
    assert users.verify("ann@EXAMPLE.org", "right") == "ann@example.org"


@pytest.mark.parametrize(
    ("name", "password"),
    [("ann@example.org", "wrong"), ("ann@example.org", ""), ("ann@example.org", "right\0"), ("Ann@example.org", "right"),
     ("bob@example.org", "right"), ("", "right")],
)  # fmt: skip
def test_anything_else_gives_nobody(users: Users, name: str, password: str) -> None:
    assert users.verify(name, password) is None


def test_a_password_is_compared_in_its_prepared_form(file: Path, clock: Clock) -> None:
    change_password(file, "ann@example.org", "pass\u00a0\u2168")
    assert Users.load(file, clock=clock).verify("ann@example.org", "pa\u00adss IX") is not None


def test_a_user_with_scram_keys_alone_can_send_his_password_too(file: Path, clock: Clock) -> None:
    put(file, User("bob", scram=sasl.ScramKeys.derive("right", b"0123456789abcdef", 4096)))
    users = Users.load(file, clock=clock)
    assert users.verify("bob", "wrong") is None
    assert users.verify("bob", "right") is not None


def test_an_unknown_user_is_compared_with_a_hash_like_everybody_s(file: Path) -> None:
    hashed = module.list_users(file)[0].password
    assert hashed is not None
    assert [len(part) for part in NOBODY.split("$")] == [len(part) for part in hashed.split("$")]
    assert NOBODY.rsplit("$", 2)[0] == hashed.rsplit("$", 2)[0]


def test_a_login_is_remembered_for_five_minutes(users: Users, clock: Clock) -> None:
    users.verify("ann@example.org", "right")
    user = users.current()["ann@example.org"]
    assert users._recent.knows("ann@example.org", "right", user.password or "")
    assert not users._recent.knows("ann@example.org", "wrong", user.password or "")
    assert users.verify("ann@example.org", "wrong") is None
    assert users.verify("ann@example.org", "right") == user.name
    clock.now += 300
    assert not users._recent.knows("ann@example.org", "right", user.password or "")
    assert users.verify("ann@example.org", "right") is not None


def test_a_remembered_login_is_not_worked_out_again(users: Users) -> None:
    user = users.current()["ann@example.org"]
    users._recent.remember("ann@example.org", "a password that no hash would confirm", user.password or "")
    assert users.verify("ann@example.org", "a password that no hash would confirm") == user.name


def test_an_unknown_user_costs_the_work_of_a_wrong_password(users: Users) -> None:
    def cost(name: str) -> float:
        begun = time.thread_time()
        users.verify(name, "wrong")
        return time.thread_time() - begun

    known, unknown = (min(cost(name) for _ in range(3)) for name in ("ann@example.org", "bob@example.org"))
    assert known / 3 < unknown < known * 3


def test_a_failed_login_is_not_remembered(users: Users) -> None:
    users.verify("ann@example.org", "wrong")
    users.verify("bob@example.org", "wrong")
    assert len(users._recent) == 0


def test_a_remembered_login_ends_with_the_password(users: Users, file: Path, clock: Clock) -> None:
    users.verify("ann@example.org", "right")
    change_password(file, "ann@example.org", "new")
    clock.now += 1
    assert users.verify("ann@example.org", "right") is None
    assert users.verify("ann@example.org", "new") is not None


def test_a_remembered_login_ends_with_the_user(users: Users, file: Path, clock: Clock) -> None:
    users.verify("ann@example.org", "right")
    remove_user(file, "ann@example.org")
    clock.now += 1
    assert users.verify("ann@example.org", "right") is None


def test_no_more_logins_are_remembered_than_the_bound_allows(clock: Clock) -> None:
    recent = RecentLogins(clock, KEY)
    for number in range(module.REMEMBER_MOST + 10):
        recent.remember("ann", str(number), "hash")
    assert len(recent) == module.REMEMBER_MOST
    assert not recent.knows("ann", "9", "hash")
    assert recent.knows("ann", "10", "hash")


def test_what_is_over_is_forgotten_when_something_new_is_remembered(clock: Clock) -> None:
    recent = RecentLogins(clock, KEY)
    recent.remember("ann", "one", "hash")
    clock.now += 200
    recent.remember("ann", "two", "hash")
    clock.now += 100
    recent.remember("ann", "three", "hash")
    assert len(recent) == 2
    assert recent.knows("ann", "two", "hash")


def test_a_login_that_is_remembered_again_lasts_from_then_on(clock: Clock) -> None:
    recent = RecentLogins(clock, KEY)
    recent.remember("ann", "one", "hash")
    clock.now += 299
    recent.remember("ann", "one", "hash")
    clock.now += 299
    assert recent.knows("ann", "one", "hash")
    assert len(recent) == 1


def test_another_process_cannot_use_what_is_remembered(clock: Clock) -> None:
    one, other = RecentLogins(clock, KEY), RecentLogins(clock, b"x" * 32)
    one.remember("ann", "pw", "hash")
    other._until = one._until
    assert not other.knows("ann", "pw", "hash")


# --- SCRAM ---


def log_in(users: Users, name: str, password: str) -> sasl.Step:
    known = sasl.Secrets(users.scram_keys, lambda _: None, users.secret)
    server = sasl.server_exchange("SCRAM-SHA-256", nonce="the-server's-nonce", secrets=known)
    client = sasl.client_mechanism("SCRAM-SHA-256", name, password, "the-client's-nonce")
    step = server.start(client.initial())
    while isinstance(step, sasl.Challenge):
        step = server.step(client.step(step.data))
    return step


def test_an_added_user_can_log_in_with_scram(users: Users) -> None:
    assert log_in(users, "ann@EXAMPLE.org", "right") == sasl.Success("ann@example.org")
    assert isinstance(log_in(users, "ann@example.org", "wrong"), sasl.Failure)
    assert isinstance(log_in(users, "bob@example.org", "right"), sasl.Failure)


def test_a_user_without_scram_keys_is_unknown_to_scram_and_named_in_the_log(
    users: Users, file: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    put(file, User("bob", users.current()["ann@example.org"].password))
    clock.now += 1
    assert users.scram_keys("SCRAM-SHA-256", "bob") is None
    assert caplog.records[-1].fields["users"] == "bob"  # type: ignore[attr-defined]


def test_the_secret_of_unknown_users_is_the_same_in_each_process(file: Path) -> None:
    assert Users.load(file).secret == Users.load(file).secret


def test_a_file_without_a_secret_has_one_all_the_same_that_its_hashes_decide(file: Path) -> None:
    lines = [line for line in file.read_text().splitlines() if not line.startswith("secret")]
    file.write_text("\n".join(lines))
    secret = Users.load(file).secret
    assert len(secret) == 32
    assert Users.load(file).secret == secret
    change_password(file, "ann@example.org", "new")
    assert Users.load(file).secret != secret


# --- senders ---


@pytest.mark.parametrize(
    "address",
    [
        "ann@example.org",
        "Ann@EXAMPLE.org",
        '"ann"@example.org',
        "sales@example.org",
        "x@lists.example.org",
        "*@LISTS.example.org",
        "",
    ],
)
def test_a_user_may_send_as_his_addresses_in_any_case_and_under_the_null_path(users: Users, address: str) -> None:
    assert users.may_send_as("ann@example.org", address)


@pytest.mark.parametrize(
    "address",
    ["bob@example.org", "ann@example.com", "ann@sub.example.org", "x@sub.lists.example.org", "lists.example.org", "*", "ann",
     "ann@example.org@evil.example", "\u212aim@example.org", '"x@lists.example.org"', "ann@evil.example@example.org"],
)  # fmt: skip
def test_a_user_may_not_send_as_anybody_else(users: Users, address: str) -> None:
    assert not users.may_send_as("ann@example.org", address)


def test_a_star_stands_for_every_address(file: Path, users: Users, clock: Clock) -> None:
    put(file, User("root", users.current()["ann@example.org"].password, addresses=("*",)))
    clock.now += 1
    assert users.may_send_as("root", "anybody@anywhere.example")


def test_whoever_is_no_user_may_send_as_nobody(users: Users, file: Path, clock: Clock) -> None:
    assert not users.may_send_as("bob@example.org", "bob@example.org")
    assert not users.may_send_as("bob@example.org", "")
    remove_user(file, "ann@example.org")
    clock.now += 1
    assert not users.may_send_as("ann@example.org", "ann@example.org")


# --- the file changes ---


def test_a_missing_file_has_no_users_until_there_is_one(tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "users.toml"
    caplog.set_level("INFO")
    users = Users.load(path, clock=clock, key=KEY)
    assert users.current() == {}
    assert users.secret == KEY
    assert "no users file" in caplog.text
    add_user(path, "ann", "pw")
    clock.now += 1
    assert users.verify("ann", "pw") is not None


def test_a_broken_file_is_refused_at_the_start(file: Path) -> None:
    file.write_text("[users")
    with pytest.raises(UsersFileError, match="not TOML"):
        Users.load(file)


def test_the_file_is_looked_at_once_a_second(users: Users, file: Path, clock: Clock) -> None:
    remove_user(file, "ann@example.org")
    clock.now += 0.9
    assert "ann@example.org" in users.current()
    clock.now += 0.1
    assert users.current() == {}


def test_a_file_that_breaks_is_reported_once_and_the_users_stay(
    users: Users, file: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    whole = file.read_text()
    file.write_text("[users")
    for _ in range(3):
        clock.now += 1
        assert users.verify("ann@example.org", "right") is not None
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert users.problem is not None
    assert "not TOML" in str(users.problem)
    file.write_text(whole)
    clock.now += 1
    users.current()
    assert users.problem is None


def test_a_path_that_leads_nowhere_is_reported_once_and_the_users_stay(
    tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    put(folder / "users.toml", User("ann", NOBODY, addresses=("ann@example.org",)))
    users = Users.load(folder / "users.toml", clock=clock)
    folder.rename(tmp_path / "elsewhere")
    folder.touch()  # "Not a directory", which is no missing file
    caplog.clear()
    for _ in range(3):
        clock.now += 1
        assert users.may_send_as("ann", "ann@example.org")
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert "cannot be read" in str(users.problem)


def test_a_file_that_goes_away_takes_its_users_with_it(users: Users, file: Path, clock: Clock) -> None:
    file.unlink()
    clock.now += 1
    assert users.verify("ann@example.org", "right") is None


def test_a_file_of_the_same_size_and_time_but_another_inode_is_read_again(users: Users, file: Path, clock: Clock) -> None:
    status = file.stat()
    other = file.with_name("other")
    other.write_text(file.read_text().replace('users."ann@', 'users."bob@'))
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    other.replace(file)
    assert (file.stat().st_size, file.stat().st_mtime_ns) == (status.st_size, status.st_mtime_ns)
    clock.now += 1
    assert list(users.current()) == ["bob@example.org"]


def test_a_file_that_everybody_can_read_is_warned_of(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    file.chmod(0o644)
    Users.load(file)
    assert "open to everybody" in caplog.text


def test_while_one_thread_reads_the_file_the_others_have_the_old_users(users: Users, file: Path, clock: Clock) -> None:
    remove_user(file, "ann@example.org")
    clock.now += 1
    with users._loading:
        assert "ann@example.org" in users.current()
    assert users.current() == {}
