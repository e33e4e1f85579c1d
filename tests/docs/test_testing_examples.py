"""The examples of docs/testing.md are test files, which pass."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "testing.md"
FILES = re.findall(r"^```python (\S+)\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)


QUIETLY = ["-q", "-p", "no:cacheprovider", "-c", "/dev/null"]


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


def test_a_test_that_names_no_fixture_imports_nothing_for_it(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(dict(FILES)["conftest.py"])
    (tmp_path / "test_unused.py").write_text(
        "import sys\ndef test_unused(waymail_clock):\n"
        "    assert [name for name in sys.modules if name.startswith(('dns', 'waymail.server', 'waymail.app'))] == []\n"
    )
    ended = pytest_in(tmp_path, "test_unused.py")
    assert "1 passed" in ended.stdout, ended.stdout + ended.stderr


def test_every_fault_and_every_fixture_is_in_its_table() -> None:
    from typing import get_args

    from waymail.testing import plugin
    from waymail.testing.dns import FaultWord

    text = PAGE.read_text()
    assert [word for word in get_args(FaultWord) if f'`"{word}"`' not in text] == []
    assert [name for name in vars(plugin) if name.startswith("waymail_") and f"| `{name}` |" not in text] == []
