"""A disk that fills up: a small file system in memory, which only root can mount."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.system.test_reload import Session, until

from waymail.testing.process import ServerProcess, free_port

pytestmark = pytest.mark.interop

CONFIG = """\
hostname = "disk.example.org"
data_dir = "{disk}"
[queue]
reserve = "{reserve}"
retry = ["1s"]
[[listener]]
kind = "mx"
address = "127.0.0.1:{port}"
tls = "off"
[relay]
allow = ["127.0.0.0/8"]
[routes]
"*" = "smtp://127.0.0.1:{sink}"
"here.example" = "maildir:mail/{{local}}"
"""
LARGE = 200_000


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """20 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=20m,mode=0700", "tmpfs", folder], check=True, timeout=10)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True, timeout=10)


def send(session: Session, recipient: str, octets: int) -> str:
    """Send a message; the code of what it is answered, at whichever command it is refused."""
    codes = session.say("MAIL FROM:<>", f"RCPT TO:<{recipient}>", "DATA")
    if codes[-1] != "354":
        return codes[0]
    session.content("Subject: x", "", *["x" * 78] * (octets // 80), ".")
    return session.reply()


def fill(session: Session, recipient: str, most: int = 300) -> tuple[int, str]:
    """Send until something else than 250 comes: how many got one, and what came."""
    for number in range(most):
        if (code := send(session, recipient, LARGE)) != "250":
            return number, code
    raise AssertionError("the disk never filled up")


def test_mail_is_refused_before_the_disk_is_full_delivery_goes_on_and_room_is_noticed(tmp_path: Path, disk: Path) -> None:
    port, nobody = free_port(), free_port()
    text = CONFIG.format(disk=disk, reserve="8MB", port=port, sink=nobody)
    with ServerProcess(tmp_path, text, [port]) as server:
        session = Session(port)
        session.say("EHLO client.example")
        assert send(session, "ann@here.example", 1000) == "250"
        server.wait_for_mail("mail/ann")
        filler = disk / "filler"
        filler.write_bytes(bytes(14_000_000))
        until(lambda: session.say("MAIL FROM:<>", "RSET")[0] == "452", "a refusal")
        assert session.say("MAIL FROM:<> SIZE=1000", "RSET")[0] == "452"
        assert os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize > 4_000_000
        filler.unlink()
        until(lambda: session.say("MAIL FROM:<>", "RSET")[0] == "250", "room again")
        assert session.say("MAIL FROM:<> SIZE=19000000")[0] == "452"
        assert send(session, "ann@here.example", 1000) == "250"
        server.wait_for_mail("mail/ann", 2)
        log = server.log.read_text()
        assert log.count("the disk is nearly full, no mail is taken") == 1
        assert log.count("the disk has room again, mail is taken") == 1


@pytest.mark.timeout(120)
def test_a_disk_that_is_full_costs_nothing_that_got_a_250(tmp_path: Path, disk: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = free_port()
        text = CONFIG.format(disk=disk, reserve="off", port=port, sink=silent.getsockname()[1])
        server = ServerProcess(tmp_path, text, [port])
        server.start()
        session = Session(port)
        session.say("EHLO client.example")
        taken, code = fill(session, "x@elsewhere.example")
        assert code == "452"
        assert taken > 10
        small = [send(session, "x@elsewhere.example", 1000) for _ in range(3)]
        assert set(small) <= {"250", "452"}
        taken += small.count("250")
        assert session.say("NOOP") == ["250"], "the session goes on"
        os.kill(server.pid, signal.SIGTERM)
        assert server.stop() == 0
    subprocess.run(["mount", "-o", "remount,size=40m", disk], check=True, timeout=10)
    server.config.write_text(server.config.read_text().replace('"smtp://127.0.0.1:', '"maildir:all/{local}"\n#'))
    with server:
        server.wait_for_mail("all/x", taken)
        time.sleep(0.5)
        assert len(server.mailbox("all/x")) == taken
