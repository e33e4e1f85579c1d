from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from waymail.server.users_edit import (
    NoSuchUser,
    UserExists,
    add_user,
    change_password,
    editing,
    list_users,
    read,
    remove_user,
    stamp,
)
from waymail.server.users_file import Contents, User, UsersFileError

ANN = User("ann@example.org", "$argon2id$v=19$m=8,t=1,p=1$" + "A" * 22 + "$" + "A" * 43, addresses=("ann@example.org",))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "users.toml"


def put(file: Path, user: User = ANN) -> None:
    with editing(file) as users:
        users[user.name] = user


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_missing_file_is_an_empty_set_of_users(file: Path) -> None:
    assert read(file) == Contents({})
    assert stamp(file) is None
    assert list_users(file) == []


def test_an_added_user_has_both_kinds_of_hashes_with_sound_parameters(file: Path) -> None:
    add_user(file, "Ann@EXAMPLE.org", "p\u00e4ss", ["ann@example.org", "*@lists.example.org"])
    (user,) = list_users(file)
    assert (user.name, user.addresses) == ("Ann@example.org", ("ann@example.org", "*@lists.example.org"))
    assert user.password is not None
    assert user.password.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    Argon2id.verify_phc_encoded("p\u00e4ss".encode(), user.password)
    assert user.scram is not None
    assert user.scram.matches("p\u00e4ss")
    assert user.scram.iterations == 65536
    assert len(user.scram.salt) == 16


def test_an_added_user_may_send_as_his_own_name(file: Path) -> None:
    assert add_user(file, "ann@example.org", "pw").addresses == ("ann@example.org",)


def test_two_users_with_one_password_have_nothing_in_common(file: Path) -> None:
    one, other = add_user(file, "ann", "pw"), add_user(file, "bob", "pw")
    assert one.password != other.password
    assert one.scram is not None
    assert other.scram is not None
    assert one.scram.salt != other.scram.salt


def test_a_user_is_not_added_twice(file: Path) -> None:
    put(file)
    with pytest.raises(UserExists, match=r"waymail user passwd ann@example\.org"):
        add_user(file, "ann@EXAMPLE.ORG", "pw")
    assert list_users(file) == [ANN]


@pytest.mark.parametrize(
    ("name", "password", "addresses", "words"),
    [
        ("an\nn", "pw", None, "cannot be a user name"),
        ("", "pw", None, "cannot be a user name"),
        ("ann", "", None, "cannot be a password"),
        ("ann", "p\0w", None, "cannot be a password"),
        ("ann", "\u0221", None, "cannot be a password"),
        ("ann", "pw", ["ann"], "is not an address"),
    ],
)
def test_a_user_who_could_not_log_in_or_send_is_not_added(
    file: Path, name: str, password: str, addresses: list[str] | None, words: str
) -> None:
    with pytest.raises(UsersFileError, match=words):
        add_user(file, name, password, addresses)
    assert not file.exists()


def test_a_changed_password_replaces_both_hashes_and_keeps_the_addresses(file: Path) -> None:
    put(file)
    change_password(file, "ann@example.org", "new")
    (user,) = list_users(file)
    assert user.addresses == ANN.addresses
    assert user.password is not None
    Argon2id.verify_phc_encoded(b"new", user.password)
    assert user.scram is not None
    assert user.scram.matches("new")


def test_a_removed_user_is_gone_and_the_others_stay(file: Path) -> None:
    put(file)
    put(file, User("bob", ANN.password))
    remove_user(file, "ann@EXAMPLE.org")
    assert [user.name for user in list_users(file)] == ["bob"]


def test_an_unknown_user_is_neither_changed_nor_removed(file: Path) -> None:
    put(file)
    before = file.read_bytes()
    with pytest.raises(NoSuchUser, match=r"did you mean ann@example\.org"):
        remove_user(file, "an@example.org")
    with pytest.raises(NoSuchUser, match="waymail user list"):
        change_password(file, "zoe", "pw")
    assert file.read_bytes() == before


def test_the_secret_is_made_once_and_kept(file: Path) -> None:
    put(file)
    secret = read(file).secret
    put(file, User("bob", ANN.password))
    assert len(secret) == 32
    assert read(file).secret == secret


def test_the_file_and_its_lock_are_the_owner_s_alone(file: Path) -> None:
    before = os.umask(0)
    try:
        put(file)
    finally:
        os.umask(before)
    assert mode(file) == 0o600
    assert {mode(path) for path in file.parent.iterdir()} == {0o600}


def test_a_group_that_could_read_the_file_still_can_and_others_never(file: Path) -> None:
    put(file)
    file.chmod(0o666)
    put(file)
    assert mode(file) == 0o640


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_root_leaves_the_file_to_its_owner(file: Path) -> None:
    put(file)
    os.chown(file, 12345, 12346)
    put(file)
    assert (file.stat().st_uid, file.stat().st_gid) == (12345, 12346)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_file_that_root_makes_belongs_to_the_owner_of_the_directory(file: Path) -> None:
    os.chown(file.parent, 12345, 12346)
    put(file)
    assert {path.stat().st_uid for path in file.parent.iterdir()} == {12345}


def test_a_symbolic_link_stays_one(file: Path) -> None:
    real = file.with_name("real.toml")
    file.symlink_to(real)
    put(file)
    assert file.is_symlink()
    assert list_users(real) == [ANN]


def test_an_edit_that_fails_leaves_the_file_as_it_was(file: Path) -> None:
    put(file)
    before, names = file.read_bytes(), set(file.parent.iterdir())
    with pytest.raises(ZeroDivisionError), editing(file) as users:
        users["bob"] = User(f"bob{1 // 0}")
    assert file.read_bytes() == before
    assert set(file.parent.iterdir()) == names


def test_a_broken_file_is_not_overwritten(file: Path) -> None:
    file.write_text("[users")
    with pytest.raises(UsersFileError, match="not TOML"):
        add_user(file, "ann", "pw")
    assert file.read_text() == "[users"


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsersFileError, match=r"missing/users\.toml: cannot be changed: No such file"):
        add_user(tmp_path / "missing" / "users.toml", "ann", "pw")


def test_a_file_that_is_a_directory_or_not_utf_8_cannot_be_read(file: Path) -> None:
    with pytest.raises(UsersFileError, match="cannot be read"):
        read(file.parent)
    file.write_bytes(b'[users."\xff"]')
    with pytest.raises(UsersFileError, match="not UTF-8"):
        read(file)


def test_edits_at_the_same_time_all_happen(file: Path) -> None:
    def edit(number: int) -> None:
        put(file, User(f"user{number}", ANN.password))

    threads = [threading.Thread(target=edit, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {user.name for user in list_users(file)} == {f"user{number}" for number in range(12)}


def test_each_edit_gives_another_stamp(file: Path) -> None:
    put(file)
    first = stamp(file)
    put(file)
    assert stamp(file) != first
