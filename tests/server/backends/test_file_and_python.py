"""The file as a back end, and a class of one's own."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import ClassVar

import pytest

from waymail.server.backends.contract import BackendUnusable
from waymail.server.backends.file import FileBackend
from waymail.server.backends.python import load
from waymail.server.users import Users, add_user, remove_user, set_frozen
from waymail.server.users_file import Allowance


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "users.toml"
    add_user(path, "ann@example.org", "right")
    return path


def backend(file: Path) -> FileBackend:
    return FileBackend(Users.load(file))


class Watching(Users):
    """Notes in which thread a password was compared."""

    threads: ClassVar[list[threading.Thread]] = []

    def verify(self, name: str, password: str) -> str | None:
        self.threads.append(threading.current_thread())
        return super().verify(name, password)


async def test_a_password_is_compared_in_another_thread(file: Path) -> None:
    users = FileBackend(Watching.load(file))
    assert await users.verify("ann@example.org", "right") == "ann@example.org"
    assert await users.verify("ann@example.org", "wrong") is None
    assert threading.current_thread() not in Watching.threads
    assert len(Watching.threads) == 2
    await users.close()


async def test_old_mechanisms_are_there_as_soon_as_one_user_can_use_them(file: Path) -> None:
    assert set(backend(file).mechanisms) == {"PLAIN", "LOGIN", "SCRAM-SHA-256", "EXTERNAL"}
    add_user(file, "old", "right", scram_sha_1=True, cram_md5=True)
    users = backend(file)
    assert {"SCRAM-SHA-1", "CRAM-MD5"} <= set(users.mechanisms)
    assert await users.password("old") == "right"
    assert await users.password("ann@example.org") is None
    keys = await users.scram_keys("SCRAM-SHA-1", "old")
    assert keys is not None
    assert keys.matches("right")
    assert await users.scram_keys("SCRAM-SHA-1", "ann@example.org") is None


async def test_a_certificate_is_known_by_its_fingerprint_an_address_named_or_the_user_s_own(file: Path) -> None:
    add_user(file, "bob", "right")
    text = file.read_text()
    file.write_text(text + f'certificates = ["SHA256:{"AB:" * 31}AB", "email:bob@elsewhere.example"]\n')
    users = backend(file)
    assert await users.certificate("ab" * 32, []) == "bob"
    assert await users.certificate("cd" * 32, ["bob@elsewhere.example"]) == "bob"
    assert await users.certificate("cd" * 32, ["ann@EXAMPLE.org"]) == "ann@example.org"
    assert await users.certificate("cd" * 32, ["eve@example.org"]) == ""
    assert await users.certificate("cd" * 32, []) == ""


async def test_a_certificate_that_names_two_users_is_nobody_s(file: Path) -> None:
    add_user(file, "bob@example.org", "right")
    assert await backend(file).certificate("ab" * 32, ["ann@example.org", "bob@example.org"]) == ""


async def test_frozen_numbers_and_rights_are_those_of_the_file(file: Path) -> None:
    file.write_text(file.read_text() + 'messages_per_hour = 5\nrecipients_per_day = "off"\n')
    set_frozen(file, "ann@example.org", "on leave")
    users = backend(file)
    assert users.is_frozen("ann@example.org")
    assert users.allowance("ann@example.org") == Allowance(5, 0, None), "kept by the edit"
    assert users.senders("ann@example.org") == {"ann@example.org"}
    remove_user(file, "ann@example.org")
    gone = backend(file)
    assert (gone.senders("ann@example.org"), gone.is_frozen("ann@example.org")) == (None, False)


MODULE = """
from waymail.server.backends.contract import UserBackend

class Accounts(UserBackend):
    async def verify(self, name, password):
        return name if password == "sesame" else None
    def senders(self, user):
        return frozenset({user})

class Broken(UserBackend):
    def __init__(self):
        raise RuntimeError("no luck")

class Other:
    pass
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "own_accounts.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "own_accounts", raising=False)
    return "own_accounts"


async def test_a_class_of_one_s_own_needs_to_say_only_what_it_knows(module: str) -> None:
    users = load(f"{module}:Accounts")
    assert set(users.mechanisms) == {"PLAIN", "LOGIN"}
    assert await users.verify("ann@example.org", "sesame") == "ann@example.org"
    assert users.may_send_as("ann@example.org", "ann@example.org")
    assert not users.may_send_as("ann@example.org", "bob@example.org")
    assert await users.scram_keys("SCRAM-SHA-256", "ann@example.org") is None
    assert not users.is_frozen("ann@example.org")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("no_such_module:Users", "cannot be imported"),
        ("own_accounts:Nobody", "has no Nobody"),
        ("own_accounts:Other", "not derived from"),
        ("own_accounts:Broken", "no luck"),
    ],
)
def test_a_class_that_cannot_be_used_says_why(module: str, name: str, said: str) -> None:
    with pytest.raises(BackendUnusable, match=said):
        load(name)
