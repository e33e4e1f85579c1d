"""The programs of the pages on logging and on web frameworks run, and the tests beside them on these pages pass."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.docs.test_testing_examples import pytest_in

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("page", ["logging.md", "web-frameworks.md"])
def test_the_examples_pass_as_they_stand(page: str, tmp_path: Path) -> None:
    text = (DOCS / page).read_text()
    files = re.findall(r"^```python (\S+)\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    assert len(files) == text.count("```python")
    for name, content in files:
        (tmp_path / name).write_text(content)
    ended = pytest_in(tmp_path, "-p", "no:asyncio", *(name for name, _ in files if name.startswith("test_")))
    assert f"{text.count('def test_')} passed" in ended.stdout, ended.stdout + ended.stderr
