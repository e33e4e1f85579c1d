"""What docs/inbound.md shows is right: the policy works, and its test passes."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "inbound.md").read_text()


async def test_the_policy_of_the_page_passes_its_own_test(monkeypatch: pytest.MonkeyPatch) -> None:
    policy, test = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    for name in ("myapp", "myapp.mail"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    exec(policy, sys.modules["myapp.mail"].__dict__)  # noqa: S102
    names: dict[str, object] = {}
    exec(test, names)  # noqa: S102
    [run] = [value for name, value in names.items() if name.startswith("test_")]
    await run()  # type: ignore[operator]
