"""Users in a database, by one SELECT.

    SELECT password, scram_sha_256, addresses FROM users WHERE name = :name

Columns are known by their names: `password` (see `stored`), `scram_sha_256` and `scram_sha_1` (as the users file has them),
`cram_md5` (the password in clear), `addresses` (a list, or a text with commas or spaces between them; NULL or no column: the name
itself), `frozen` (a reason, or true), and the three of [submission]. Drivers are asyncpg, and any module of DB-API 2.0 (PEP 249),
which works in threads.

Promises: every attempt costs one query, whether the user exists or not, and one hash; a database that is away, slow or refuses is
`BackendUnavailable`, and the next attempt makes a new connection.
"""

from __future__ import annotations

import asyncio
import importlib
import re
import threading
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

from waymail.server.backends import stored
from waymail.server.backends.account import Account, Accounts, account_of
from waymail.server.backends.contract import PASSWORD_MECHANISMS, BackendUnavailable, BackendUnusable, UserBackend
from waymail.server.backends.file import VERIFIERS
from waymail.server.users import RecentLogins
from waymail.server.users_file import Allowance
from waymail.wire.sasl import ScramKeys

ASYNCPG = "asyncpg"
CONNECTIONS = 4
TIMEOUT = 10.0  # seconds for one query, connecting included

Dsn = str | Mapping[str, Any]
Row = Mapping[str, Any]


class Database(Protocol):
    """Answers the query."""

    async def row(self, name: str) -> Row | None:
        """The user's row, None where there is none. Raises whatever the driver raises."""

    async def close(self) -> None: ...


class SqlBackend(UserBackend):
    """See `UserBackend`. `key` is random and of this process alone; `secret` is kept."""

    def __init__(self, database: Database, query: str, *, secret: bytes, key: bytes, clock: Callable[[], float]) -> None:
        self._database = database
        self._secret = secret
        self._accounts = Accounts()
        self._recent = RecentLogins(clock, key)
        self._threads = ThreadPoolExecutor(VERIFIERS, thread_name_prefix="password")
        self._mechanisms = mechanisms_for(query)

    @property
    def mechanisms(self) -> Collection[str]:
        return self._mechanisms

    @property
    def secret(self) -> bytes:
        return self._secret

    async def verify(self, name: str, password: str) -> str | None:
        account = await self._account(name)
        kept = account.password if account is not None else stored.NOBODY
        if account is not None and kept and self._recent.knows(name, password, kept):
            return name
        loop = asyncio.get_running_loop()
        # Without a password there is nothing to compare with, and the hash is computed all the same.
        right = await loop.run_in_executor(self._threads, stored.matches, kept or stored.NOBODY, password)
        if account is None or not kept or not right:
            return None
        self._recent.remember(name, password, kept)
        return name

    async def scram_keys(self, hash_name: str, name: str) -> ScramKeys | None:
        account = await self._account(name)
        return None if account is None else account.keys.get(hash_name)

    async def password(self, name: str) -> str | None:
        account = await self._account(name)
        return (account.cram_md5 or None) if account is not None else None

    async def knows(self, name: str) -> bool:
        return await self._account(name) is not None

    def senders(self, user: str) -> Collection[str] | None:
        return self._accounts.senders(user)

    def is_frozen(self, user: str) -> bool:
        return self._accounts.is_frozen(user)

    def allowance(self, user: str) -> Allowance:
        return self._accounts.allowance(user)

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        await self._database.close()

    async def _account(self, name: str) -> Account | None:
        try:
            async with asyncio.timeout(TIMEOUT):
                row = await self._database.row(name)
        except TimeoutError:
            raise BackendUnavailable(f"the database of the users gave no answer within {TIMEOUT:g} s") from None
        except Exception as error:  # drivers have exceptions of their own, with no base in common
            raise BackendUnavailable(f"the database of the users: {type(error).__name__}: {error}") from error
        if row is None:
            self._accounts.forget(name)
            return None
        return self._accounts.remember(name, account_of(name, row))


def mechanisms_for(query: str) -> Collection[str]:
    """The SASL mechanisms that the columns which a query names are enough for."""
    columns = {
        "scram_sha_256": {"SCRAM-SHA-256", *PASSWORD_MECHANISMS},
        "scram_sha_1": {"SCRAM-SHA-1"},
        "cram_md5": {"CRAM-MD5"},
        "password": PASSWORD_MECHANISMS,
    }
    found = (names for column, names in columns.items() if re.search(rf"\b{column}\b", query))
    return frozenset[str]().union(*found)


class DbApi:
    """A module of DB-API 2.0, in threads that each keep a connection."""

    def __init__(self, module: Any, dsn: Dsn, query: str) -> None:
        self._module = module
        self._dsn = dsn
        self._query, self._parameters = adapted(query, module.paramstyle)
        self._local = threading.local()
        self._threads = ThreadPoolExecutor(CONNECTIONS, thread_name_prefix="users-sql")

    async def row(self, name: str) -> Row | None:
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._row, name)

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _row(self, name: str) -> Row | None:
        is_kept = getattr(self._local, "connection", None) is not None
        try:
            return self._ask(name)
        except Exception:
            if not is_kept:
                raise
            return self._ask(name)  # a connection that was kept may have been closed at the other end

    def _ask(self, name: str) -> Row | None:
        connection = getattr(self._local, "connection", None)
        if connection is None:
            dsn = self._dsn
            connection = self._module.connect(**dsn) if isinstance(dsn, Mapping) else self._module.connect(dsn)
            self._local.connection = connection
        try:
            cursor = connection.cursor()
            try:
                cursor.execute(self._query, self._parameters(name))
                found = cursor.fetchone()
                columns = [column[0].lower() for column in cursor.description or ()]
            finally:
                cursor.close()
            connection.rollback()  # else the transaction would stay open until the next question
        except BaseException:
            self._local.connection = None
            connection.close()
            raise
        return None if found is None else dict(zip(columns, found, strict=True))


class AsyncPg:
    """PostgreSQL by asyncpg."""

    def __init__(self, module: Any, dsn: Dsn, query: str) -> None:
        self._module = module
        self._options = {"dsn": dsn} if isinstance(dsn, str) else dict(dsn)
        self._query = re.sub(PARAMETER, "$1", query)
        self._pool: Any = None
        self._opening = asyncio.Lock()

    async def row(self, name: str) -> Row | None:
        async with self._opening:
            if self._pool is None:
                self._pool = await self._module.create_pool(**self._options, min_size=0, max_size=CONNECTIONS)
        found = await self._pool.fetchrow(self._query, name)
        return None if found is None else dict(found)

    async def close(self) -> None:
        if self._pool is not None:
            self._pool.terminate()


PARAMETER = r"(?<![:\w]):name\b"


def adapted(query: str, paramstyle: str) -> tuple[str, Callable[[str], Any]]:
    """The query with ":name" in the style of a driver (PEP 249), and what makes its parameters. Raises BackendUnusable."""
    times = len(re.findall(PARAMETER, query))
    match paramstyle:
        case "named":
            return query, lambda name: {"name": name}
        case "pyformat":
            return re.sub(PARAMETER, "%(name)s", query.replace("%", "%%")), lambda name: {"name": name}
        case "format":
            return re.sub(PARAMETER, "%s", query.replace("%", "%%")), lambda name: (name,) * times
        case "qmark":
            return re.sub(PARAMETER, "?", query), lambda name: (name,) * times
        case "numeric":
            return re.sub(PARAMETER, ":1", query), lambda name: (name,)
    raise BackendUnusable(f"the driver has a paramstyle that PEP 249 does not know: {paramstyle}")


def open_database(driver: str, dsn: Dsn, query: str) -> Database:
    """The database behind a driver's name; nothing is connected yet. Raises BackendUnusable."""
    if not re.search(PARAMETER, query):
        raise BackendUnusable('the query must have ":name" where the user name belongs')
    module = find_driver(driver)
    return AsyncPg(module, dsn, query) if driver == ASYNCPG else DbApi(module, dsn, query)


def find_driver(driver: str) -> Any:
    """The module that talks to the database. Raises BackendUnusable."""
    try:
        module = importlib.import_module(driver)
    except (ImportError, ValueError, TypeError) as error:  # what is no name of a module at all, among them
        raise BackendUnusable(f"the driver {driver} is not there ({error}): pip install {driver.partition('.')[0]}") from None
    if driver != ASYNCPG and not all(hasattr(module, name) for name in ("connect", "paramstyle")):
        raise BackendUnusable(f"{driver} is no module of DB-API 2.0")
    return module
