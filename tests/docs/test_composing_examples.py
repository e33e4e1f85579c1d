"""The examples of docs/composing.md run as they stand, and what they compose can be sent."""

from __future__ import annotations

import re
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest

from waymail.mail.message import to_wire
from waymail.mail.mime import structure

PAGE = Path(__file__).parents[2] / "docs" / "composing.md"
SNIPPETS = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize(("text", "parts"), list(zip(SNIPPETS, [1, 5, 6, 3], strict=True)))
def test_an_example_composes_a_message_with_its_parts(text: str, parts: int) -> None:
    names: dict[str, Any] = {}
    exec(compile(text, PAGE.name, "exec"), names)  # noqa: S102
    message = names["message"]
    assert isinstance(message, EmailMessage)
    assert len(structure([to_wire(message)])) == parts
