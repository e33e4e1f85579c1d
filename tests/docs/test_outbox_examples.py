"""The examples of docs/outbox.md run as they stand, each by itself, with a server of the test's in place of the one they name."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import time
from pathlib import Path

import waymail
import waymail.sync
from waymail.testing import SmtpServer

PAGE = (Path(__file__).parents[2] / "docs" / "outbox.md").read_text()
SNIPPETS = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
APPLICATION = """
[id] = application({}, lambda status, header: print(status))
print(id.decode())
"""


def run(snippet: str, directory: Path, server: SmtpServer, after: str = "", warning: str = "") -> str:
    code = re.sub(r'"smtps://[^"]+"', f'"{server.url}"', snippet) + after
    done = subprocess.run([sys.executable, "-c", code], cwd=directory, capture_output=True, text=True, timeout=30, check=False)
    lines = done.stderr.splitlines()
    assert len(lines) == bool(warning), done.stderr
    assert all(warning in line for line in lines)
    return done.stdout


def test_what_the_examples_submit_arrives(smtp_server: SmtpServer, tmp_path: Path) -> None:
    with_asyncio, script, *_ = SNIPPETS
    assert run(with_asyncio, tmp_path, smtp_server).startswith("{'bob@example.net': '250")
    run(script, tmp_path, smtp_server)
    assert [one.subject for one in smtp_server.messages] == ["Hello", "Backup"]


def test_what_the_application_deposits_is_delivered_by_another_process(smtp_server: SmtpServer, tmp_path: Path) -> None:
    status, id = run(SNIPPETS[2], tmp_path, smtp_server, APPLICATION).split("\n", 1)
    assert status == "202 Accepted"

    async def carry() -> waymail.Outcome:
        async with waymail.Outbox(tmp_path / "outbox.db", smtp_server.url) as outbox:
            ticket = await outbox.ticket(id.strip())
            assert ticket is not None
            return await ticket.outcome(10)

    assert asyncio.run(carry()).is_delivered


def test_the_program_hears_of_a_failure(smtp_server: SmtpServer, tmp_path: Path) -> None:
    smtp_server.script("RCPT TO:<nobody@", "550 5.1.1 no such user")
    assert (
        run(SNIPPETS[4], tmp_path, smtp_server, warning="waymail.queue: failed") == "nobody@example.net 550 5.1.1 no such user\n"
    )
    assert len(SNIPPETS) == 5


def test_another_process_takes_a_message_back(smtp_server: SmtpServer, tmp_path: Path) -> None:
    with waymail.sync.Outbox(tmp_path / "outbox.db", smtp_server.url) as outbox:
        at = time.time() + 3600
        ticket = outbox.submit(b"Subject: Visit\r\n\r\n", sender="a@b.example", recipients="c@d.example", at=at)
        call_off = f"\nprint(call_off({ticket.id!r}), call_off({ticket.id!r}), call_off('nonsense'))"
        assert run(SNIPPETS[3], tmp_path, smtp_server, call_off) == "True False False\n"
        assert ticket.outcome(10).removed == ("c@d.example",)
