"""What a program gets wrong in an argument of an outbox is told where it is given."""

from __future__ import annotations

from datetime import date, timedelta
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest

import waymail
import waymail.sync


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"retry": 60}, r"retry is a sequence of seconds, as \(60, 300, 3600\), not int"),
        ({"retry": waymail.Retry()}, r"retry is a sequence of seconds, as \(60, 300, 3600\), not Retry"),
        ({"retry": ["1m", "5m"]}, r"retry is a sequence of seconds, as \(60, 300, 3600\), not str"),
        ({"expire": "5d"}, r"expire is a number of seconds, as 5 \* 86400, not str"),
        ({"expire": None}, r"expire is a number of seconds, as 5 \* 86400, not NoneType"),
        ({"delay_warning": timedelta(hours=4)}, r"delay_warning is a number of seconds, as 4 \* 3600, or None, not timedelta"),
        ({"keep": "30d"}, r"keep is a number of seconds, as 30 \* 86400, or None, not str"),
        ({"grace": "5s"}, r"grace is a number of seconds, as 5\.0, not str"),
        ({"per_destination": "5"}, r"per_destination is a number of connections, as 10, not str"),
        ({"tls_context": "ca.pem"}, r"tls_context is an ssl\.SSLContext, as .*, not str"),
        ({"network": "192.0.2.1"}, r"network is a waymail\.Network, as .*, not str"),
    ],
)
def test_a_setting_of_another_type_is_a_type_error_with_an_example(tmp_path: Path, settings: dict[str, Any], told: str) -> None:
    for outbox in (waymail.Outbox, waymail.sync.Outbox):
        with pytest.raises(TypeError, match=told):
            outbox(tmp_path / "outbox.db", "smtp://mail.example.org", **settings)


def test_a_user_without_a_password_is_a_value_error_that_does_not_show_him(tmp_path: Path) -> None:
    for outbox in (waymail.Outbox, waymail.sync.Outbox):
        with pytest.raises(ValueError, match="auth is a tuple of user name and password"):
            outbox(tmp_path / "outbox.db", "smtp://mail.example.org", auth="ann:secret")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("asked", "kind", "told"),
    [
        ({"at": "2030-01-01"}, TypeError, r"at is a datetime, as datetime\.now\(UTC\) .*, or seconds since the epoch, not str"),
        ({"at": date(2030, 1, 1)}, TypeError, r"at is a datetime, as .*, not date"),
        ({"dsn": 5}, TypeError, r"dsn is a waymail\.Dsn, as waymail\.Dsn\(.*\), not int"),
        ({"options": None}, TypeError, r"options is a waymail\.Options, as waymail\.Options\(.*\), not NoneType"),
        ({"message": "From: ann@example.org\n\nhello"}, ValueError, "EmailMessage or bytes, not str"),
    ],
)
async def test_what_is_submitted_is_of_its_type_or_an_error_with_an_example(
    tmp_path: Path, asked: dict[str, Any], kind: type[Exception], told: str
) -> None:
    message = EmailMessage()
    message["From"], message["To"] = "ann@example.org", "bob@example.net"
    asked = {"message": message} | asked
    async with waymail.Outbox(tmp_path / "outbox.db", carry=False) as outbox:
        with pytest.raises(kind, match=told):
            await outbox.submit(**asked)
    with waymail.sync.Outbox(tmp_path / "outbox.db", carry=False) as blocking:
        with pytest.raises(kind, match=told):
            blocking.submit(**asked)
        assert blocking.waiting() == []
