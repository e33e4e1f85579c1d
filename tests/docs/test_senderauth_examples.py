"""The Python in docs/senderauth.md does what the page says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs/senderauth.md"
EXAMPLES = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)


def test_the_examples_are_found() -> None:
    assert any("dmarc.evaluate" in example for example in EXAMPLES)


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_runs_and_what_it_asserts_is_so(example: str) -> None:
    exec(compile(example, str(PAGE), "exec"), {})  # noqa: S102
