from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import waymail.sync
from waymail.app.cli import main
from waymail.app.cli.output import Exit
from waymail.testing.peer import Peer

MESSAGE = b"Subject: x\r\n\r\nhello\r\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "outbox.db"


def submitted(path: Path) -> str:
    with waymail.sync.Outbox(path, carry=False) as outbox:
        return outbox.submit(MESSAGE, sender="ann@example.org", recipients="bob@example.net").id


def start(path: Path, peer: Peer, *options: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "waymail", "outbox", "run", str(path), *options]
    environment = {**os.environ, "WAYMAIL_URL": f"smtp://{peer.address}?tls=off"}
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE)


async def test_run_delivers_what_others_submit_until_it_is_told_to_end(path: Path) -> None:
    async with Peer() as peer, waymail.Outbox(path, carry=False) as outbox:
        process = start(path, peer)
        try:
            ticket = await outbox.submit(MESSAGE, sender="ann@example.org", recipients="bob@example.net")
            assert (await ticket.outcome(20)).is_delivered
            process.send_signal(signal.SIGTERM)
            told = (await asyncio.to_thread(process.communicate, timeout=20))[1].decode()
        finally:
            process.kill()
        assert process.returncode == 0
        assert "carrying" in told
        assert "Traceback" not in told


async def test_run_once_ends_when_nothing_is_due(path: Path) -> None:
    submitted(path)
    async with Peer() as peer:
        process = start(path, peer, "--once")
        try:
            await asyncio.to_thread(process.communicate, timeout=20)
        finally:
            process.kill()
        assert process.returncode == 0
        assert len(peer.messages) == 1


def test_run_says_what_it_lacks(path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WAYMAIL_URL", raising=False)
    assert main(["outbox", "run", str(path)]) == Exit.USAGE
    assert "set WAYMAIL_URL" in capsys.readouterr().err
    assert main(["outbox", "run", str(path), "--url", "ftp://x"]) == Exit.USAGE
    assert not path.exists()


def test_run_takes_the_schedule_that_the_program_has(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    submitted(path)
    options = ["--url", "smtp://127.0.0.1:1?tls=off", "--retry", "90m, 2h", "--expire", "3d", "--per-destination", "2"]
    command = [sys.executable, "-m", "waymail", "outbox", "run", str(path), "--once", *options]
    subprocess.run(command, stderr=subprocess.PIPE, timeout=20, check=True)
    with waymail.sync.Outbox(path, carry=False) as outbox:
        [waits] = outbox.waiting()
    assert 4000 < waits.next_at - time.time() < 7000
    for option, wrong in (("--retry", "90"), ("--expire", "soon"), ("--per-destination", "0")):
        assert main(["outbox", "run", str(path), "--url", "mx:", option, wrong]) == Exit.USAGE
        assert option.strip("-").replace("-", "_") in capsys.readouterr().err.replace("-", "_")


def test_list_and_trace_tell_what_waits_and_what_happened(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    id = submitted(path)
    assert main(["outbox", "list", str(path)]) == Exit.OK
    told = capsys.readouterr()
    assert id in told.out
    assert f"nobody delivers from this outbox at the moment; `waymail outbox run {path}` does" in told.err
    assert main(["outbox", "list", str(path), "--json"]) == Exit.OK
    assert [one["id"] for one in json.loads(capsys.readouterr().out)] == [id]
    for text in (id, "bob@example.net", ""):
        assert main(["outbox", "trace", str(path), text]) == Exit.OK
        assert id in capsys.readouterr().out
    assert main(["outbox", "trace", str(path), "eve@example.net"]) == Exit.UNAVAILABLE
    assert "eve@example.net" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["list", "trace", "hold"])
@pytest.mark.parametrize("kind", ["folder", "empty"])
def test_what_is_no_outbox_is_said_to_be_none(path: Path, command: str, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    path.mkdir() if kind == "folder" else path.touch()
    assert main(["outbox", command, str(path), *(["--all"] if command == "hold" else [])]) == Exit.IO
    assert f"there is no outbox {path}: is the path right" in capsys.readouterr().err


def test_an_outbox_that_is_not_there_is_not_made_by_looking(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["outbox", "list", str(path)]) == Exit.IO
    assert "is the path right" in capsys.readouterr().err
    assert not path.exists()
