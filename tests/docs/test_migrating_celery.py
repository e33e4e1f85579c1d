"""The example of docs/migrating.md for who comes from Celery keeps what it is given, and tells what failed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from waymail.mail.compose import compose
from waymail.testing import SmtpServer

PAGE = Path(__file__).parents[2] / "docs" / "migrating.md"


def example(name: str) -> str:
    [text] = re.findall(rf"^```python {name}\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    return str(text)


def test_what_it_replaces_is_what_programs_do(smtp_server: SmtpServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"BROKER_URL": "memory://", "MAIL_HOST": smtp_server.host, "MAIL_PORT": smtp_server.port}.items():
        monkeypatch.setenv(name, str(value))
    names: dict[str, Any] = {}
    exec(example("celery-before"), names)  # noqa: S102 - our own page
    names["app"].conf.update(task_always_eager=True, task_eager_propagates=True)
    message = compose(sender="shop@example.org", to=["ann@example.org"], subject="Welcome", text="Hello!\n")
    assert names["welcome"](message)
    assert [one.subject for one in smtp_server.messages] == ["Welcome"]


def test_mail_waits_while_the_server_is_away_and_what_is_refused_is_told(
    smtp_server: SmtpServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MAIL_URL", smtp_server.url)
    monkeypatch.chdir(tmp_path)
    text = example("celery")
    names: dict[str, Any] = {}
    exec(text, names)  # noqa: S102 - our own page
    send, outbox = names["send_mail"], names["outbox"]
    smtp_server.script("RCPT TO:<gone@", "550 5.1.1 no such user")
    message = compose(sender="shop@example.org", to=["ann@example.org", "gone@example.org"], subject="Welcome", text="Hello!\n")

    smtp_server.stop()
    with outbox:
        id = send(message)
        assert outbox.drain(10)  # that was the first attempt
    smtp_server.start()
    assert outbox.ticket(id) is not None  # it is there after a restart, and waits for its next attempt
    outbox.close()
    assert smtp_server.messages == []

    names = {}
    exec(text.replace('"outbox.db"', '"another.db"'), names)  # noqa: S102
    with names["outbox"] as another:
        outcome = another.ticket(names["send_mail"](message)).outcome(10)
    assert list(outcome.delivered) == ["ann@example.org"]
    assert list(outcome.failed) == ["gone@example.org"]
    assert "no mail to gone@example.org: no such user" in caplog.text
