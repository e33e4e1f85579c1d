from __future__ import annotations

from collections.abc import AsyncIterator
from email.message import EmailMessage
from pathlib import Path

import pytest

from waymail.testing.peer import Peer


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "outbox.db"


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    async with Peer([("RCPT TO:<nobody@", b"550 5.1.1 no such user\r\n"), ("RCPT TO:<later@", b"451 4.7.1 later\r\n")]) as peer:
        yield peer


@pytest.fixture
def message() -> EmailMessage:
    made = EmailMessage()
    made["From"], made["To"], made["Subject"] = "Ann <ann@example.org>", "bob@example.net", "hello"
    made.set_content("hello\n")
    return made
