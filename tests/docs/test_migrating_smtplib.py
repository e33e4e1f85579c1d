"""The examples of docs/migrating.md for who comes from smtplib send mail."""

from __future__ import annotations

import re
from email.message import EmailMessage
from pathlib import Path
from typing import Any

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
