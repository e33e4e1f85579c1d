"""`waymail queue export` and `import`, with a server that runs and with one that does not."""

from __future__ import annotations

import asyncio
import io
import json
import os
import smtplib
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from waymail.app.cli import main
from waymail.app.cli.output import Exit
from waymail.mail.envelope import Body, Envelope, QueueIds, Recipient
from waymail.store.contract import NewMessage
from waymail.store.sqlite import SqliteStore
from waymail.testing.process import ServerProcess, free_port

START = 1_700_000_000.0
SERVER = """
hostname = "{name}"
[queue]
retry = ["1h"]
[[listener]]
kind = "mx"
address = "127.0.0.1:{port}"
tls = "off"
[relay]
allow = ["127.0.0.0/8"]
[routes]
"*" = "smtp://127.0.0.1:{dead}?tls=off"
"""


@pytest.fixture
def stopped(tmp_path: Path) -> tuple[Path, Path]:
    """The configurations of two servers that do not run: in the queue of the first three messages wait, in the other none."""
    configs = [tmp_path / name / "waymail.toml" for name in ("old", "new")]

    async def fill(directory: Path, count: int) -> None:
        store = await SqliteStore.open(directory, now=lambda: START)
        ids = QueueIds(1)
        for number in range(count):
            content = b"Subject: x\r\n\r\n" + b"x" * 100_000 * number
            envelope = Envelope(ids.next(START), "ann@example.org", (Recipient(f"bob@x{number}.example"),), START)
            spool = store.spool(envelope.id)
            spool.write(content)
            await store.accept(NewMessage(envelope, spool.finish(), claim=False))
        await store.close()

    for config, count in zip(configs, (3, 0), strict=True):
        config.parent.mkdir()
        config.write_text(f'hostname = "{config.parent.name}.example.org"\n')
        asyncio.run(fill(config.parent / "data" / "queue", count))
    return configs[0], configs[1]


def run(config: Path, *arguments: str | Path) -> int:
    return main(["queue", *map(str, arguments), "--config", str(config)])


def listed(config: Path, capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    capsys.readouterr()
    assert run(config, "list", "--json") == Exit.OK
    stories: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    return stories


def test_messages_move_from_one_queue_to_another(
    stopped: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old, new = stopped
    before, file = listed(old, capsys), tmp_path / "file.tar"
    assert run(old, "export", file, "--all", "--remove") == Exit.OK
    assert capsys.readouterr().out == f"moved to {file}: 3 messages for 3 recipients\n"
    assert file.stat().st_mode & 0o777 == 0o600
    assert listed(old, capsys) == []
    assert run(new, "import", file) == Exit.OK
    assert capsys.readouterr().out == "taken in: 3 messages for 3 recipients\n"
    assert listed(new, capsys) == before
    assert main(["trace", before[0]["id"], "--config", str(new)]) == Exit.OK
    assert "imported    bob@x0.example: from old.example.org, in file.tar" in capsys.readouterr().out
    assert main(["trace", before[0]["id"], "--config", str(old)]) == Exit.OK
    assert f"exported    bob@x0.example: to {file}" in capsys.readouterr().out
    assert [list((config.parent / "data" / "transfer").iterdir()) for config in stopped] == [[], []]


def test_a_copy_goes_through_a_pipe_and_is_held(stopped: tuple[Path, Path], capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    old, new = stopped
    command = [sys.executable, "-m", "waymail", "queue"]
    copy = subprocess.run([*command, "export", "-", "--all", "--config", old], check=True, capture_output=True, timeout=60)
    assert b"copied to -: 3 messages" in copy.stderr
    taken = subprocess.run(
        [*command, "import", "-", "--config", new], input=copy.stdout, check=True, capture_output=True, timeout=60
    )
    assert taken.stdout == b"taken in: 3 messages for 3 recipients\n"
    run(new, "list", "--json")
    states = {one["state"] for story in json.loads(capsysbinary.readouterr().out) for one in story["recipients"]}
    assert states == {"held"}
    run(old, "list", "--json")
    assert len(json.loads(capsysbinary.readouterr().out)) == 3


def test_what_is_chosen_moves_and_the_rest_stays(
    stopped: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old, _ = stopped
    first, second, third = (one["id"] for one in listed(old, capsys))
    assert run(old, "export", tmp_path / "a", second, "--remove", "--json") == Exit.OK
    assert json.loads(capsys.readouterr().out)["messages"] == 1
    assert run(old, "export", tmp_path / "b", "--destination", "x2.example", "--remove") == Exit.OK
    assert [one["id"] for one in listed(old, capsys)] == [first]
    assert third in (tmp_path / "b").read_bytes().decode("latin-1")
    assert run(old, "export", tmp_path / "c", "--destination", "x2.example") == Exit.UNAVAILABLE
    assert capsys.readouterr().err == "waymail: nothing was exported\n"
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["there", "--all"], "is there already"),
        (["-", "--all", "--remove"], "with --remove, name a file"),
        (["new"], "which messages?"),
        (["new", "--all", "nonsense"], "--all is for all"),
    ],
)
def test_what_cannot_be_asked_for_changes_nothing(
    stopped: tuple[Path, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").write_text("mine")
    assert run(stopped[0], "export", *arguments) == Exit.USAGE
    assert said in capsys.readouterr().err
    assert (tmp_path / "there").read_text() == "mine"
    assert len(listed(stopped[0], capsys)) == 3


def test_a_file_that_cannot_be_written_leaves_the_messages_as_they_were(
    stopped: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    before = listed(stopped[0], capsys)
    assert run(stopped[0], "export", "/nonexistent/file", "--all", "--remove") == Exit.IO
    assert capsys.readouterr().err == "waymail: /nonexistent/file: No such file or directory; nothing was moved\n"
    assert listed(stopped[0], capsys) == before
    assert list((stopped[0].parent / "data" / "transfer").iterdir()) == []


def test_of_a_file_that_was_cut_off_what_is_whole_is_taken_when_asked_for(
    stopped: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old, new = stopped
    assert run(old, "export", tmp_path / "whole", "--all", "--remove") == Exit.OK
    cut = tmp_path / "cut"
    cut.write_bytes((tmp_path / "whole").read_bytes()[:-5000])
    assert run(new, "import", cut) == Exit.DATA
    behind = "it is cut off behind 2 complete messages"
    assert capsys.readouterr().err == f"waymail: {cut}: {behind}. Nothing was taken in; --partly takes what is whole\n"
    assert listed(new, capsys) == []
    assert run(new, "import", cut, "--partly") == Exit.DATA
    said = capsys.readouterr()
    assert said.out == "taken in: 2 messages for 2 recipients\n"
    assert said.err == f"waymail: {cut}: {behind}\n"
    assert run(new, "import", tmp_path / "whole") == Exit.OK
    said = capsys.readouterr()
    assert said.out == "taken in: 1 message for 1 recipient; 2 left as they are\n"
    assert said.err.count("it is in this queue already") == 2
    assert run(new, "import", tmp_path / "nothing") == Exit.NO_INPUT


def test_a_link_in_the_place_of_the_folder_is_named(
    stopped: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_bytes(b"x")
    config = stopped[0]
    (config.parent / "data" / "transfer").symlink_to(tmp_path)
    assert run(config, "import", tmp_path / "file") == Exit.IO
    assert "transfer: Not a directory" in capsys.readouterr().err


def test_a_queue_in_memory_and_one_that_never_was_are_told_apart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "waymail.toml"
    config.write_text('hostname = "x.example"\n[queue]\nstore = "memory"\n')
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"")))
    assert run(config, "import", "-") == Exit.IO
    assert "there is no" in capsys.readouterr().err
    (tmp_path / "data").mkdir()
    assert run(config, "export", tmp_path / "x", "--all") == Exit.UNAVAILABLE
    assert "nowhere but in a server's memory" in capsys.readouterr().err


@pytest.fixture
def running(tmp_path: Path) -> Iterator[tuple[ServerProcess, ServerProcess]]:
    """Two servers that run; a message for two waits in the first."""
    ports, dead = (free_port(), free_port()), free_port()
    with (
        ServerProcess(tmp_path / "old", SERVER.format(name="old.example.org", port=ports[0], dead=dead), [ports[0]]) as old,
        ServerProcess(tmp_path / "new", SERVER.format(name="new.example.org", port=ports[1], dead=dead), [ports[1]]) as new,
    ):
        with smtplib.SMTP("127.0.0.1", ports[0]) as client:
            client.sendmail("ann@example.org", ["bob@x.example", "eve@y.example"], "Subject: x\r\n\r\n" + "x" * 100_000)
        yield old, new


def test_messages_move_between_servers_that_run(
    running: tuple[ServerProcess, ServerProcess], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old, new = running
    deadline = time.monotonic() + 20
    while any(one["state"] != "queued" for story in listed(old.config, capsys) for one in story["recipients"]):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    (before,) = listed(old.config, capsys)
    assert run(old.config, "export", tmp_path / "file", "--all", "--remove") == Exit.OK
    assert listed(old.config, capsys) == []
    assert run(new.config, "import", tmp_path / "file") == Exit.OK
    assert listed(new.config, capsys) == [before]
    assert run(new.config, "import", tmp_path / "file") == Exit.OK
    assert "1 left as they are" in capsys.readouterr().out
    for server, said in ((old, "messages were moved to a file"), (new, "messages were taken in from a file")):
        while said not in server.log.read_text():  # it is written a moment later
            assert time.monotonic() < deadline
            time.sleep(0.05)
    assert os.listdir(old.directory / "data" / "transfer") == os.listdir(new.directory / "data" / "transfer") == []  # noqa: PTH208


def test_a_file_that_is_not_whole_is_refused_by_a_server_that_runs(
    running: tuple[ServerProcess, ServerProcess], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("no such file\n")
    assert run(running[1].config, "import", tmp_path / "file") == Exit.DATA
    assert "this is no file that `waymail queue export` wrote" in capsys.readouterr().err
    assert listed(running[1].config, capsys) == []


def test_content_is_the_same_octets_on_the_other_side(
    stopped: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def bodies(config: Path) -> list[bytes]:
        store = await SqliteStore.open(config.parent / "data" / "queue", now=lambda: START)
        found = [await store.body(id) for id in await store.ids()]
        contents = [b"".join(body.chunks()) for body in found if isinstance(body, Body)]
        await store.close()
        return contents

    before = asyncio.run(bodies(stopped[0]))
    run(stopped[0], "export", tmp_path / "file", "--all", "--remove")
    run(stopped[1], "import", tmp_path / "file")
    assert asyncio.run(bodies(stopped[1])) == before
    assert [len(one) for one in before] == [14, 100_014, 200_014]
