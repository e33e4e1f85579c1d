"""The examples of docs/testing.md are test files, which pass."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path
from typing import get_args

from waymail.testing import SmtpServer, plugin
from waymail.testing.dns import FaultWord
from waymail.testing.smtp_options import OptionWords

PAGE = Path(__file__).parents[2] / "docs" / "testing.md"
FILES = re.findall(r"^```python (\S+)\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)


def pytest_in(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-c",
        "/dev/null",
        "--rootdir",
        str(folder),
        *arguments,
    ]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=50, check=False)


def test_the_examples_pass_as_they_stand(tmp_path: Path) -> None:
    for name, text in FILES:
        (tmp_path / name).write_text(text)
    ended = pytest_in(tmp_path, "-p", "no:asyncio", *(name for name, _ in FILES if name.startswith("test_")))
    assert f"{PAGE.read_text().count('def test_')} passed" in ended.stdout, ended.stdout + ended.stderr


def test_every_fault_every_option_and_every_fixture_is_in_its_table() -> None:
    text = PAGE.read_text()
    fixtures = [name for name, found in vars(plugin).items() if type(found).__name__ == "FixtureFunctionDefinition"]
    assert len(fixtures) > 10
    assert [name for name in fixtures if f"`{name}`" not in text] == []
    assert [word for word in get_args(FaultWord) if f'`"{word}"`' not in text] == []
    assert [option for option in OptionWords.__annotations__ if f"| `{option}` |" not in text] == []
    ways = set(inspect.signature(SmtpServer.script).parameters) - {"self", "moment", "reply", "times"}
    assert [way for way in ways if not re.search(rf'\| `script\("\w+", {way}=', text)] == []
