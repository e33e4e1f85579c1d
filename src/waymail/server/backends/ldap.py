"""Users in an LDAP directory (RFC 4511): the entry is searched for, then the password tried by a bind as that entry.

Works through the package ldap3, in threads: `pip install waymail[ldap]`. SCRAM needs keys that a directory does not give, so
there are PLAIN and LOGIN only.

Promises: TLS with a verified certificate unless the URL is ldap:// with `starttls` off (which the configuration allows on
loopback only); the name is escaped in the filter (RFC 4515 §3); an empty password is never tried, since a directory takes that
for an anonymous bind (RFC 4513 §5.1.2); an unknown user costs a search and a bind as everybody else. What goes wrong with the
directory is `BackendUnavailable`.
"""

from __future__ import annotations

import asyncio
import importlib
import ssl
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from waymail.server.backends.account import Account, Accounts, senders_of
from waymail.server.backends.contract import BackendUnavailable, BackendUnusable, UserBackend

CONNECTIONS = 4
TIMEOUT = 10  # whole seconds for a connection, and for each answer


@dataclass(frozen=True, slots=True)
class Directory:
    """Where and how to look. `filter` holds "{name}"; `addresses` is the attribute with what a user may send as."""

    url: str
    base: str
    bind_dn: str = ""
    bind_password: str = field(default="", repr=False)
    filter: str = "(mail={name})"
    addresses: str = "mail"
    starttls: bool = True
    ca: str | None = None


def find_package() -> Any:
    """The module ldap3. Raises BackendUnusable where it is not there."""
    try:
        return importlib.import_module("ldap3")
    except ImportError:
        raise BackendUnusable("users in LDAP need the package ldap3: pip install waymail[ldap]") from None


class LdapBackend(UserBackend):
    """See `UserBackend`. Raises BackendUnusable where the package is not there."""

    def __init__(self, directory: Directory) -> None:
        self._ldap3 = find_package()
        self._directory = directory
        self._accounts = Accounts()
        self._threads = ThreadPoolExecutor(CONNECTIONS, thread_name_prefix="users-ldap")

    async def verify(self, name: str, password: str) -> str | None:
        if not password or "\0" in password:
            return None
        found, is_right = await self._in_thread(name, password)
        if found is None or not is_right:
            return None
        self._accounts.remember(name, found)
        return name

    async def knows(self, name: str) -> bool:
        found, _ = await self._in_thread(name, None)
        if found is None:
            self._accounts.forget(name)
            return False
        self._accounts.remember(name, found)
        return True

    def senders(self, user: str) -> Collection[str] | None:
        return self._accounts.senders(user)

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _in_thread(self, name: str, password: str | None) -> tuple[Account | None, bool]:
        try:
            async with asyncio.timeout(3 * TIMEOUT):
                return await asyncio.get_running_loop().run_in_executor(self._threads, self._look, name, password)
        except TimeoutError:
            raise BackendUnavailable(f"{self._directory.url} gave no answer in time") from None
        except BackendUnavailable:
            raise
        except Exception as error:  # the package lets through what its sockets and codecs raise
            raise BackendUnavailable(f"{self._directory.url}: {type(error).__name__}: {error}") from error

    def _look(self, name: str, password: str | None) -> tuple[Account | None, bool]:
        """The user's account, and whether the password is his. Blocks."""
        directory, ldap3 = self._directory, self._ldap3
        server = self._server()
        with self._connection(server, directory.bind_dn, directory.bind_password) as service:
            if not service.bound:
                raise BackendUnavailable(f"{directory.url} refuses {directory.bind_dn or 'an anonymous bind'}: {_said(service)}")
            wanted = directory.filter.replace("{name}", ldap3.utils.conv.escape_filter_chars(name))
            # Two, to know whether it is the only one.
            service.search(directory.base, wanted, attributes=[directory.addresses], size_limit=2, time_limit=TIMEOUT)
            entries = [one for one in service.response or () if one.get("type") == "searchResEntry"]
            if service.result["result"] not in (0, 4, 32):  # RFC 4511 §4.1.9: success, sizeLimitExceeded, noSuchObject
                raise BackendUnavailable(f"{directory.url} does not search: {_said(service)}")
        entry = entries[0] if len(entries) == 1 else None
        is_right = False
        if password is not None:
            # A name that no entry has: whoever is unknown costs a bind, too.
            dn = entry["dn"] if entry is not None else f"cn=nobody,{directory.base}"
            with self._connection(server, dn, password) as user:
                is_right = bool(user.bound) and entry is not None
        if entry is None:
            return None, False
        listed = entry["attributes"].get(directory.addresses) or None
        addresses = listed if isinstance(listed, list | tuple) or listed is None else [listed]
        return Account(senders_of(name, addresses)), is_right

    def _server(self) -> Any:
        directory = self._directory
        context = self._ldap3.Tls(validate=ssl.CERT_REQUIRED, version=ssl.PROTOCOL_TLS_CLIENT, ca_certs_file=directory.ca)
        return self._ldap3.Server(directory.url, tls=context, connect_timeout=TIMEOUT, get_info=self._ldap3.NONE)

    def _connection(self, server: Any, dn: str, password: str) -> Any:
        """Bound, or not, where that was refused. It ends with the `with` block."""
        is_anonymous = not dn
        connection = self._ldap3.Connection(
            server,
            user=dn or None,
            password=password or None,
            authentication=self._ldap3.ANONYMOUS if is_anonymous else self._ldap3.SIMPLE,
            auto_bind=self._ldap3.AUTO_BIND_NONE,
            receive_timeout=TIMEOUT,
            auto_referrals=False,  # a referral would take the password elsewhere
            read_only=True,
        )
        connection.open()
        if self._directory.starttls and self._directory.url.startswith("ldap://"):
            connection.start_tls()
        connection.bind()
        return _Ended(connection)


class _Ended:
    """A connection that is unbound at the end; ldap3's own `with` would bind a second time."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def __enter__(self) -> Any:
        return self._connection

    def __exit__(self, *_: object) -> None:
        self._connection.unbind()


def _said(connection: Any) -> str:
    result = connection.result or {}
    return f"{result.get('description', 'no result')} {result.get('message', '')}".strip()
