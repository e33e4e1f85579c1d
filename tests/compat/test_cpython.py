"""CPython's own tests of smtplib, run against the stand-in: what docs/compatibility.md says of them is so."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "compatibility.md"
RUN = """
import sys, unittest
import waymail.smtplib
sys.modules["smtplib"] = waymail.smtplib
from test import test_smtplib
unittest.main(module=test_smtplib, argv=["test_smtplib", "-v"])
"""


@pytest.mark.interop
def test_of_cpythons_tests_those_pass_that_the_page_says() -> None:
    if "CI" not in os.environ:  # where nothing may be missing
        pytest.importorskip("test.test_smtplib", reason="this Python comes without its tests (Debian: libpython3.11-testsuite)")
    section = PAGE.read_text().partition("## CPython")[2].partition("\n## ")[0]
    told = set(re.findall(r"^\| `(\w+\.\w+)` \|", section, re.MULTILINE))
    ended = subprocess.run([sys.executable, "-W", "ignore", "-c", RUN], capture_output=True, text=True, timeout=50, check=False)
    found = re.findall(r"^\w+ \(test\.test_smtplib\.(\w+\.\w+)\) \.\.\. (\w+)", ended.stderr, re.MULTILINE)
    assert len(found) > 70, ended.stderr
    assert {name for name, result in found if result not in ("ok", "skipped")} == told, ended.stderr
