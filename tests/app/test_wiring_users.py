"""From [users], [submission] and [limits] to what sessions ask."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from waymail.app.config.load import parse
from waymail.app.config.problems import ConfigError
from waymail.app.config.schema import Config
from waymail.app.config.show import settings
from waymail.app.wiring_users import guard_limits, kept_secret, open_accounts
from waymail.net.clock import SystemClock
from waymail.server.backends.contract import BackendUnusable
from waymail.server.backends.dovecot import DovecotBackend
from waymail.server.backends.file import FileBackend
from waymail.server.backends.ldap import LdapBackend
from waymail.server.backends.sql import SqlBackend
from waymail.server.freezes import Freeze, change
from waymail.server.guard import GuardLimits
from waymail.server.tokens import WithTokens
from waymail.server.users import add_user

LDAP = 'ldap = { url = "ldaps://ldap.example.org", base = "dc=example,dc=org", bind_dn = "cn=mail", bind_password = "hidden" }'
SQL = 'sql = { driver = "sqlite3", dsn = "DSN", query = "SELECT password FROM users WHERE name = :name" }'
OAUTH = 'oauth = { issuer = "https://login.example.org/", jwks = "https://login.example.org/keys", audience = "mail" }'
ASKED = (
    'oauth = { issuer = "https://login.example.org/", audience = "mail", '
    'introspection = { url = "https://login.example.org/ask", client_id = "mail", client_secret = "hidden" } }'
)


def config(text: str, folder: Path) -> Config:
    return parse(f'hostname = "mail.example.org"\n{text}', folder / "waymail.toml")


@pytest.mark.parametrize(
    ("section", "kind"),
    [
        ("", FileBackend),
        (SQL, SqlBackend),
        (LDAP, LdapBackend),
        ('dovecot = "auth-client"', DovecotBackend),
        (OAUTH, WithTokens),
        (f"{SQL}\n{ASKED}", WithTokens),
    ],
)
async def test_users_come_from_where_the_configuration_says(tmp_path: Path, section: str, kind: type) -> None:
    if kind is LdapBackend:
        pytest.importorskip("ldap3")
    accounts = open_accounts(config(f"[users]\n{section}", tmp_path), SystemClock())
    assert type(accounts.users) is kind
    await accounts.close()


@pytest.mark.parametrize("section", ['python = "no_such_module:Users"', SQL.replace("sqlite3", "no_driver")])
def test_a_back_end_that_cannot_work_keeps_the_server_from_starting(tmp_path: Path, section: str) -> None:
    with pytest.raises(BackendUnusable):
        open_accounts(config(f"[users]\n{section}", tmp_path), SystemClock())


async def test_the_numbers_reach_the_guard_and_the_quota(tmp_path: Path) -> None:
    text = """[limits]
        auth_failures_per_address = 5
        auth_failures_per_user = 6
        auth_failures_window = "7m"
        auth_block = "8m"
        [submission]
        messages_per_hour = 1
        recipients_per_message = 2
    """
    made = config(text, tmp_path)
    assert guard_limits(made) == GuardLimits(failures=5, window=420.0, block=480.0, user_failures=6)
    assert guard_limits(config("", tmp_path)) == GuardLimits()
    accounts = open_accounts(made, SystemClock())
    assert accounts.quota.check("ann", 0.0, 3) is not None
    accounts.quota.sent("ann", 0.0, 1)
    assert accounts.quota.check("ann", 0.0) is not None
    await accounts.close()


async def test_a_freeze_from_outside_closes_login_and_mail(tmp_path: Path) -> None:
    add_user(tmp_path / "users.toml", "ann@example.org", "right")
    (tmp_path / "data").mkdir()
    change(tmp_path / "data" / "frozen.json", "ann@example.org", Freeze("by hand", 0.0))
    accounts = open_accounts(config("", tmp_path), SystemClock())
    refusal = accounts.quota.check("ann@example.org", 0.0)
    assert refusal is not None
    assert refusal.enhanced == "5.7.13"
    assert accounts.authenticator.is_frozen("ann@example.org")
    await accounts.close()


async def test_users_of_a_database_log_in_through_the_whole_of_it(tmp_path: Path) -> None:
    from waymail.server.users_edit import hash_password
    from waymail.wire.sasl import Success

    with sqlite3.connect(tmp_path / "users.db") as connection:
        connection.execute("CREATE TABLE users (name, password)")
        connection.execute("INSERT INTO users VALUES (?, ?)", ("ann@example.org", hash_password("right")))
    accounts = open_accounts(config(f"[users]\n{SQL}".replace("DSN", str(tmp_path / "users.db")), tmp_path), SystemClock())
    assert await accounts.authenticator.begin("PLAIN").step(b"\0ann@example.org\0right") == Success("ann@example.org")
    await accounts.close()


def test_the_secret_is_made_once_and_for_the_server_alone(tmp_path: Path) -> None:
    path = tmp_path / "data" / "auth-secret"
    assert kept_secret(path) == kept_secret(path)
    assert len(kept_secret(path)) == 32
    assert path.stat().st_mode & 0o077 == 0
    path.write_bytes(b"short")
    with pytest.raises(BackendUnusable, match="remove it"):
        kept_secret(path)


@pytest.mark.parametrize(
    ("section", "said"),
    [
        (f"{SQL}\n{LDAP}", "named already"),
        (LDAP.replace("ldaps://", "ldap://").replace("base", "starttls = false, base"), "in clear"),
        (LDAP.replace(', bind_password = "hidden"', ""), "belong together"),
        (LDAP.replace("base", 'filter = "(uid=x)", base'), "{name}"),
        (LDAP.replace("ldaps://", "https://"), "ldaps://"),
        (OAUTH.replace(', jwks = "https://login.example.org/keys"', ""), "needs one of"),
        ('mechanisms = ["GSSAPI"]', "is no mechanism"),
        ('python = "Users"', "mypackage.users:Users"),
        (SQL.replace("driver", "driver_name"), "driver"),
    ],
)
def test_what_cannot_be_meant_is_said_before_the_start(tmp_path: Path, section: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        config(f"[users]\n{section}", tmp_path)


@pytest.mark.parametrize("value", ["0", "-1", '"none"', "true"])
def test_a_quota_is_a_number_or_off(tmp_path: Path, value: str) -> None:
    with pytest.raises(ConfigError, match='or "off"'):
        config(f"[submission]\nmessages_per_hour = {value}", tmp_path)


def test_a_warning_is_given_for_cram_md5_and_for_tokens_without_audience(tmp_path: Path) -> None:
    text = '[users]\nmechanisms = ["plain", "CRAM-MD5"]\n' + OAUTH.replace(', audience = "mail"', "")
    made = config(text, tmp_path)
    assert made.users.mechanisms == ("PLAIN", "CRAM-MD5")
    assert len([one for one in made.source.warnings if "users" in one.key]) == 2


def test_no_password_of_a_back_end_is_shown(tmp_path: Path) -> None:
    for section in (LDAP, ASKED, SQL.replace("DSN", "hidden")):
        made = config(f"[users]\n{section}", tmp_path)
        assert "hidden" not in str([one.text for one in settings(made)])
        assert "***" in str([one.text for one in settings(made)])


@pytest.mark.parametrize(
    ("mechanisms", "said"),
    [
        ('["CRAM-MD5"]', ["mechanisms are named that the users have nothing for", "nobody can log in: "]),
        ('["PLAIN", "XOAUTH2"]', ["mechanisms are named that the users have nothing for"]),
        ('["PLAIN", "SCRAM-SHA-256-PLUS"]', []),
    ],
)
async def test_the_start_warns_of_mechanisms_that_cannot_be_offered(
    tmp_path: Path, mechanisms: str, said: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    add_user(tmp_path / "users.toml", "ann@example.org", "sesame")
    accounts = open_accounts(config(f"[users]\nmechanisms = {mechanisms}", tmp_path), SystemClock())
    with caplog.at_level("WARNING", "waymail.server"):
        await accounts.start()
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == len(said)
    assert all(message.startswith(start) for message, start in zip(messages, said, strict=True))
    await accounts.authenticator.close()


async def test_the_freeze_of_an_account_does_not_keep_the_loop_waiting(tmp_path: Path) -> None:
    loop, disk = asyncio.get_running_loop(), threading.Event()
    loop.set_default_executor(ThreadPoolExecutor(1))
    loop.run_in_executor(None, disk.wait)  # whoever writes has to wait for it
    accounts = open_accounts(config("[submission]\nfreeze_after = 1\n", tmp_path), SystemClock())
    assert accounts.stolen is not None
    assert [accounts.stolen.logged_in("ann", f"10.0.{third}.1", 0.0) for third in range(2)] == [False, True]
    assert not (tmp_path / "data" / "frozen.json").exists()
    disk.set()
    await loop.shutdown_default_executor()
    assert "ann" in (tmp_path / "data" / "frozen.json").read_text()
    await accounts.close()
