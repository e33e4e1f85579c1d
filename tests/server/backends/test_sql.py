"""Users in a database: sqlite3 for real, other drivers' parameters on paper."""

from __future__ import annotations

import os
import sqlite3
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import pytest

from waymail.server.backends.contract import BackendUnavailable, BackendUnusable
from waymail.server.backends.sql import AsyncPg, SqlBackend, adapted, open_database
from waymail.server.users_edit import hash_password
from waymail.server.users_file import Allowance, scram_line
from waymail.wire.sasl import ScramKeys

QUERY = "SELECT * FROM users WHERE name = :name"
COLUMNS = "name, password, scram_sha_256, scram_sha_1, cram_md5, addresses, frozen, messages_per_hour"
NAMED = f"SELECT {COLUMNS} FROM users WHERE name = :name"  # noqa: S608 - constants
KEYS = ScramKeys.derive("right", b"0123456789abcdef", 4096)


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sql") / "users.db"
    with sqlite3.connect(path) as connection:
        connection.execute(f"CREATE TABLE users ({COLUMNS})")
        hashed = hash_password("right")
        rows = [
            ("ann@example.org", hashed, scram_line(KEYS), None, None, "ann@example.org, *@lists.example.org", None, 7),
            ("bob@example.org", None, scram_line(KEYS), None, None, None, None, None),
            ("old@example.org", hashed, None, None, "right", None, None, None),
            ("off@example.org", hashed, None, None, None, None, "on leave", None),
            ("none@example.org", None, None, None, None, None, None, None),
            ("odd@example.org", "{CRYPT}$1$x$y", "garbage", None, None, "no address", 0, -3),
        ]
        connection.executemany(f"INSERT INTO users VALUES ({', '.join('?' * 8)})", rows)  # noqa: S608 - constants
    return path


def backend(dsn: object, query: str = NAMED, driver: str = "sqlite3") -> SqlBackend:
    opened = open_database(driver, dsn, query)  # type: ignore[arg-type]
    return SqlBackend(opened, query, secret=b"s" * 32, key=b"k" * 32, clock=lambda: 0.0)


@pytest.fixture
async def users(database: Path) -> AsyncIterator[SqlBackend]:
    made = backend(str(database))
    yield made
    await made.close()


async def test_the_right_password_gives_the_user_and_his_rights_of_the_row(users: SqlBackend) -> None:
    assert users.senders("ann@example.org") is None, "nobody has asked yet"
    assert await users.verify("ann@example.org", "right") == "ann@example.org"
    assert users.may_send_as("ann@example.org", "Any@lists.example.org")
    assert not users.may_send_as("ann@example.org", "bob@example.org")
    assert users.allowance("ann@example.org") == Allowance(messages_per_hour=7)


@pytest.mark.parametrize(
    "name", ["ann@example.org", "bob@example.org", "none@example.org", "odd@example.org", "nobody", "' OR 1=1 --"]
)
async def test_a_wrong_password_gives_nobody(users: SqlBackend, name: str) -> None:
    assert await users.verify(name, "wrong") is None


async def test_scram_keys_serve_where_there_is_no_hash_and_a_missing_address_is_the_name(users: SqlBackend) -> None:
    assert await users.verify("bob@example.org", "right") == "bob@example.org"
    assert users.senders("bob@example.org") == {"bob@example.org"}


async def test_scram_and_cram_get_what_the_row_has(users: SqlBackend) -> None:
    assert await users.scram_keys("SCRAM-SHA-256", "ann@example.org") == KEYS
    assert await users.scram_keys("SCRAM-SHA-1", "ann@example.org") is None
    assert await users.scram_keys("SCRAM-SHA-256", "odd@example.org") is None
    assert await users.scram_keys("SCRAM-SHA-256", "nobody") is None
    assert await users.password("old@example.org") == "right"
    assert await users.password("ann@example.org") is None


async def test_a_frozen_row_freezes(users: SqlBackend) -> None:
    await users.verify("off@example.org", "right")
    await users.verify("odd@example.org", "right")
    assert users.is_frozen("off@example.org")
    assert not users.is_frozen("odd@example.org")
    assert users.senders("odd@example.org") == frozenset()


async def test_the_mechanisms_follow_from_the_columns(database: Path) -> None:
    assert set(backend(str(database), "SELECT password FROM users WHERE name = :name").mechanisms) == {"PLAIN", "LOGIN"}
    both = backend(str(database), "SELECT scram_sha_256, scram_sha_1 FROM users WHERE name = :name").mechanisms
    assert set(both) == {"PLAIN", "LOGIN", "SCRAM-SHA-256", "SCRAM-SHA-1"}


async def test_everybody_costs_one_query_and_a_changed_password_counts_at_once(database: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    copy.write_bytes(database.read_bytes())
    users = backend({"database": str(copy), "isolation_level": None})
    assert await users.verify("ann@example.org", "right")
    assert await users.verify("ann@example.org", "right"), "remembered"
    with sqlite3.connect(copy) as connection:
        connection.execute("UPDATE users SET password = ?", (hash_password("new"),))
    assert await users.verify("ann@example.org", "right") is None
    with sqlite3.connect(copy) as connection:
        connection.execute("DELETE FROM users")
    assert await users.verify("ann@example.org", "new") is None
    assert users.senders("ann@example.org") is None
    await users.close()


async def test_a_database_that_is_away_is_no_wrong_password_and_is_asked_anew(tmp_path: Path, database: Path) -> None:
    users = backend(str(tmp_path / "users.db"))
    with pytest.raises(BackendUnavailable, match="no such table"):
        await users.verify("ann@example.org", "right")
    os.replace(_copied(database, tmp_path), tmp_path / "users.db")  # noqa: PTH105 - on purpose under an open connection
    assert await users.verify("ann@example.org", "right") == "ann@example.org"
    await users.close()


def _copied(database: Path, folder: Path) -> Path:
    copy = folder / "copy.db"
    copy.write_bytes(database.read_bytes())
    return copy


@pytest.mark.parametrize(
    ("style", "query", "parameters"),
    [
        ("named", "a = :name AND b LIKE '5%' AND c::text = :name", {"name": "x"}),
        ("pyformat", "a = %(name)s AND b LIKE '5%%' AND c::text = %(name)s", {"name": "x"}),
        ("format", "a = %s AND b LIKE '5%%' AND c::text = %s", ("x", "x")),
        ("qmark", "a = ? AND b LIKE '5%' AND c::text = ?", ("x", "x")),
        ("numeric", "a = :1 AND b LIKE '5%' AND c::text = :1", ("x",)),
    ],
)
def test_the_parameter_is_written_as_each_driver_wants_it(style: str, query: str, parameters: object) -> None:
    text, made = adapted("a = :name AND b LIKE '5%' AND c::text = :name", style)
    assert (text, made("x")) == (query, parameters)


def test_what_cannot_work_says_what_to_do() -> None:
    with pytest.raises(BackendUnusable, match="pip install no_such_driver"):
        open_database("no_such_driver", "x", QUERY)
    with pytest.raises(BackendUnusable, match=":name"):
        open_database("sqlite3", "x", "SELECT 1")
    with pytest.raises(BackendUnusable, match=r"DB-API 2\.0"):
        open_database("json", "x", QUERY)
    with pytest.raises(BackendUnusable, match="paramstyle"):
        adapted(QUERY, "none")


async def test_asyncpg_is_asked_through_its_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    class Pool:
        asked: ClassVar[list[tuple[str, str]]] = []

        async def fetchrow(self, query: str, name: str) -> dict[str, Any] | None:
            self.asked.append((query, name))
            return {"password": None, "addresses": ["ann@example.org"]} if name == "ann" else None

        def terminate(self) -> None:
            self.asked.clear()

    class Module(ModuleType):
        opened: ClassVar[list[object]] = []

        async def create_pool(self, **options: object) -> Pool:
            self.opened.append(options["dsn"])
            return Pool()

    monkeypatch.setitem(sys.modules, "asyncpg", module := Module("asyncpg"))
    users = backend("postgresql:///mail", QUERY, "asyncpg")
    assert isinstance(open_database("asyncpg", "x", QUERY), AsyncPg)
    assert await users.knows("ann")
    assert not await users.knows("bob")
    assert users.senders("ann") == {"ann@example.org"}
    assert module.opened == ["postgresql:///mail"]
    assert Pool.asked == [("SELECT * FROM users WHERE name = $1", "ann"), ("SELECT * FROM users WHERE name = $1", "bob")]
    await users.close()
