"""kill -9 at random moments under a load of every kind: whatever got a 250 has one outcome for each of its recipients."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.system.crash import crash

pytestmark = pytest.mark.interop

ROUNDS = int(os.environ.get("WAYMAIL_CRASH_ROUNDS", "0"))
SECONDS = 60.0  # for the rounds, where nobody says how many


@pytest.mark.timeout(0 if ROUNDS else 300)
def test_kill_9_under_mixed_load_loses_nothing_that_got_a_250_and_explains_what_came_twice(tmp_path: Path) -> None:
    report = crash(tmp_path / "server", ROUNDS or 1_000, float("inf") if ROUNDS else SECONDS)
    assert not report.count.wrong, "\n".join([*report.count.wrong[:20], str(report)])
    assert report.done["rounds"] >= (ROUNDS or 5), f"hardly anything was tried: the test proves nothing\n{report}"
    assert min(report.count.delivered, report.count.failed, report.count.doubts) > 0, f"not all of it was tried\n{report}"
