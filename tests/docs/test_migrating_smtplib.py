"""The examples of docs/migrating.md for who comes from smtplib or aiosmtplib send mail."""

from __future__ import annotations

import re
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest

from waymail.testing import SmtpServer

PAGE = Path(__file__).parents[2] / "docs" / "migrating.md"


def example(name: str) -> dict[str, Any]:
    found = re.search(rf"^```python {name}\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    assert found is not None
    names: dict[str, Any] = {}
    exec(found[1], names)  # noqa: S102 - our own page
    return names


def message() -> EmailMessage:
    made = EmailMessage()
    made["From"], made["To"], made["Subject"] = "me@example.com", "ann@example.org", "Hello"
    made.set_content("Hello!\n")
    return made


def test_one_import_is_enough(smtp_server: SmtpServer) -> None:
    send = example("smtplib")["send"]
    assert send(message(), smtp_server.host, smtp_server.port) == {}
    smtp_server.script("MAIL", "550 5.7.1 not you")
    assert send(message(), smtp_server.host, smtp_server.port).smtp_code == 550


def test_the_better_way(smtp_server: SmtpServer) -> None:
    assert example("sync")["send"](message(), smtp_server.url) == ("ann@example.org",)


@pytest.mark.parametrize("library", ["aiosmtplib", "pooled"])
async def test_many_are_sent_and_the_refused_one_is_told(
    library: str, smtp_server: SmtpServer, capsys: pytest.CaptureFixture[str]
) -> None:
    send_all = example(library)["send_all"]
    smtp_server.script("RCPT", "550 5.1.1 no such user", times=1)
    if library == "pooled":
        await send_all([message(), message()], smtp_server.url)
    else:
        await send_all([message(), message()], hostname=smtp_server.host, port=smtp_server.port, start_tls=False)
    [told] = capsys.readouterr().out.splitlines()
    assert told.startswith("ann@example.org ")
    assert "no such user" in told
    assert len(smtp_server.messages) == 1
