"""aiosmtplib's own network tests, run against waymail's client by way of an adapter: what docs/compatibility.md says is so."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "compatibility.md"
# Those that connect. The others are about its modules, and test_protocol.py about its class for a connection.
FILES = ("connect", "commands", "sendmail", "asyncio", "tls", "timeouts", "api", "config", "sync")
RUN = (
    *("-m", "pytest", "-v", "--tb=short", "--timeout=10", "-p", "aiosmtplib_adapter", "-p", "no:cacheprovider"),
    *(f"tests/test_{name}.py" for name in FILES),
    # These count on nobody listening on ports 25, 465 and 587 of the machine.
    *("--deselect", "tests/test_config.py::test_default_port_on_connect"),
    *("--deselect", "tests/test_config.py::test_default_hostname_on_connect"),
)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Its source distribution, of the version and the hash in constraints.txt, unpacked."""
    pinned = re.search(r"^aiosmtplib==.*\n(?: +--hash=.*\n)+", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert pinned is not None
    requirement = tmp_path / "requirements.txt"
    requirement.write_text(pinned[0].rstrip("\\\n"))
    # Its metadata is made by what builds waymail, too.
    options = "--require-hashes --no-deps --no-binary :all: --no-build-isolation --retries 1 --quiet"
    command = [sys.executable, "-m", "pip", "download", *options.split(), "--dest", str(tmp_path), "-r", str(requirement)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
    if ended.returncode and "CI" not in os.environ:  # where nothing may be missing
        pytest.skip(f"aiosmtplib's source cannot be had: {ended.stderr[-200:]}")
    assert not ended.returncode, ended.stderr
    [archive] = tmp_path.glob("*.tar.gz")
    subprocess.run(["tar", "-xzf", archive, "-C", tmp_path], check=True)
    return tmp_path / archive.name.removesuffix(".tar.gz")


@pytest.mark.interop
def test_of_aiosmtplibs_tests_those_pass_that_the_page_says(source: Path) -> None:
    path = os.pathsep.join([str(Path(__file__).parent), str(source / "src")])
    ended = subprocess.run(
        [sys.executable, *RUN],
        cwd=source,
        env={**os.environ, "PYTHONPATH": path, "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
        timeout=55,
        check=False,
    )
    results = dict(re.findall(r"^tests/test_(\S+) (PASSED|FAILED|ERROR)\b", ended.stdout, re.MULTILINE))
    failed = {name for name, result in results.items() if result != "PASSED"}
    section = PAGE.read_text().partition("## aiosmtplib")[2].partition("\n## ")[0]
    told = [_named(name, results) for name in re.findall(r"`test_(\w+\.py::[^`]+)`", section)]
    assert all(told), "the page names a test that there is not"
    assert set().union(*told) == failed, ended.stdout
    counted = re.search(r"of its (\d+) tests that connect (\d+) pass", section)
    assert counted is not None
    assert (len(results), len(results) - len(failed)) == (int(counted[1]), int(counted[2]))


def _named(told: str, names: Iterable[str]) -> set[str]:
    """The tests that the page means: without a case, all cases of one; a "*" stands for whatever there is."""
    pattern = re.compile(re.escape(told).replace(r"\*", ".*"))
    return {name for name in names if pattern.fullmatch(name) or name.partition("[")[0] == told}
