"""A server whose database is damaged refuses mail for the time being, says so in its log, and goes on."""

from __future__ import annotations

import smtplib
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from waymail.store import schema
from waymail.testing.process import ServerProcess, free_port

CONFIG = """
hostname = "mail.example.org"
[[listener]]
kind = "mx"
address = "127.0.0.1:{port}"
tls = "off"
[domains."x.example"]
deliver = "maildir:{folder}/{{local}}"
recipients = "any"
"""
MESSAGE = "Subject: hello\r\n\r\nHow are you?\r\n"


def send(port: int) -> None:
    with smtplib.SMTP("127.0.0.1", port, timeout=10) as client:
        client.sendmail("ann@there.example", ["bob@x.example"], MESSAGE)


def overwrite_page(database: Path, table: str) -> bytes:
    """Put nonsense into the first page of a table. Returns what was there."""
    with closing(sqlite3.connect(database)) as connection:
        ((page,),) = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (table,)).fetchall()
        ((size,),) = connection.execute("PRAGMA page_size").fetchall()
    with database.open("r+b") as file:
        file.seek((page - 1) * size)
        before = file.read(size)
        file.seek((page - 1) * size)
        file.write(b"\xff" * size)
    return before


@pytest.mark.timeout(60)
def test_a_damaged_page_is_answered_with_451_again_and_again_and_the_server_goes_on(tmp_path: Path) -> None:
    port = free_port()
    server = ServerProcess(tmp_path / "server", CONFIG.format(port=port, folder=tmp_path / "mail"), [port])
    with server:
        send(port)
    database = next(tmp_path.rglob(schema.FILE))
    overwrite_page(database, "message")
    with server:
        before = len(server.log.read_text())
        for _ in range(3):
            with pytest.raises(smtplib.SMTPDataError) as refused:
                send(port)
            assert refused.value.smtp_code == 451
        time.sleep(1)  # long enough for a loop to show
        said = server.log.read_text()[before:]
    assert said.count("a message was not stored") == 3, said
    assert said.count("is damaged") < 6, said
    assert "restore it with" in said
