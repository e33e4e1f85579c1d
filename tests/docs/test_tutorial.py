"""The tutorial, done as a reader would: its programs are written down and run, in order, and print what it says they print."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from waymail.testing.process import free_port, wait_for_port

PAGE = (Path(__file__).parents[2] / "docs" / "tutorial.md").read_text()
PROGRAMS = dict(re.findall(r"^```python (\S+)\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE))
CALLS = re.findall(r"^```console\n\$ \.venv/bin/python ([^\n]+)\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


class Inbox:
    """inbox.py in a terminal of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self._process: subprocess.Popen[str] | None = None
        self.said = ""

    def start(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "inbox.py"], cwd=self.folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        wait_for_port(self.port)

    def press_return(self) -> None:
        if self._process is not None:
            self.said += self._process.communicate("\n", timeout=20)[0]
            self._process = None


@pytest.fixture
def inbox(tmp_path: Path) -> Iterator[Inbox]:
    inbox = Inbox(tmp_path)
    for name, text in PROGRAMS.items():
        (tmp_path / name).write_text(text.replace("8025", str(inbox.port)))
    yield inbox
    inbox.press_return()


def test_every_program_prints_what_the_tutorial_says(inbox: Inbox) -> None:
    environment = os.environ | {"MAIL_URL": f"smtp://127.0.0.1:{inbox.port}?tls=off"}
    ran = []
    for call, output in CALLS:
        if call == "inbox.py":
            inbox.start()
            continue
        if call == "order.py":
            inbox.press_return()
        if call == "carrier.py":
            inbox.start()
        more = ["-p", "no:cacheprovider", "-c", "/dev/null", "-p", "no:asyncio"] if "pytest" in call else []
        done = subprocess.run(
            [sys.executable, *call.split(), *more],
            check=False,
            cwd=inbox.folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=50,
        )
        assert done.returncode == 0, f"{call}: {done.stdout}{done.stderr}"
        printed = (
            done.stdout if "pytest" not in call else re.sub(r".*?(\d+ passed).*", r"\1", done.stdout, flags=re.DOTALL) + "\n"
        )
        assert sorted(printed.splitlines()) == sorted(output.splitlines()), call
        ran.append(call)
    inbox.press_return()
    assert [*dict.fromkeys(ran)] == [call for call, _ in CALLS if call != "inbox.py"]
    said = inbox.said.splitlines()
    assert said.count("ready") == 2
    assert "for bob@example.net - Hello" in said
    assert "for bob@example.net - Your order" in said
    assert inbox.said.count(" - News") == 500  # two threads may print on one line
    assert {name for name in PROGRAMS if name.startswith("test_")} <= {word for call in ran for word in call.split()}
